"""Synthetic scenes: tagged images with known masks, drawn from a seed."""

from decomprec.data.synthetic.scenes import SyntheticScenes

__all__ = ["SyntheticScenes"]
