"""Checks for custom components: each calls one on small synthetic inputs and says in one sentence what is wrong."""

from decomprec.testing.data import check_dataset
from decomprec.testing.guide import check_fill, check_guide, check_view
from decomprec.testing.losses import check_extra_loss, check_mask_loss, check_recon_loss
from decomprec.testing.masks import check_refinement
from decomprec.testing.models import check_decoder, check_encoder

__all__ = [
    "check_dataset",
    "check_decoder",
    "check_encoder",
    "check_extra_loss",
    "check_fill",
    "check_guide",
    "check_mask_loss",
    "check_recon_loss",
    "check_refinement",
    "check_view",
]
