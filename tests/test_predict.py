"""Masks of a saved model for single pictures: what decides the classes."""

import torch
from torch import Tensor, nn

from decomprec.models import DecompositionSegmenter, Pretrained, SmallEncoder
from decomprec.predict import picture_masks


class ByWidth(nn.Module):
    """Sees the class in wide pictures, by as much as they are wider than 40 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.new_full((len(images), 1), images.shape[-1] - 40.0)


def test_the_classifier_is_asked_at_two_sizes() -> None:
    torch.manual_seed(0)
    segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
    for image_size, found in ((32, False), (36, True)):
        # At 32 and 45 pixels the mean of its logits is -1.5, at 36 and 50 it is 3; both are below 0 at the first.
        model = Pretrained(segmenter, ByWidth(), ("dog",), image_size)  # type: ignore[arg-type]
        masks = picture_masks(torch.full((3, 72, 72), 90, dtype=torch.uint8), model)
        assert bool(masks[1].any()) is found
        torch.testing.assert_close(masks.sum(dim=0), torch.ones(72, 72))
