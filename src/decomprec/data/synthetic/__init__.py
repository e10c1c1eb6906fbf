"""Synthetic scenes: tagged images with known masks, drawn from a seed."""

from decomprec.data.synthetic.scenes import SyntheticScenes, render_scene, scene_class_names

__all__ = ["SyntheticScenes", "render_scene", "scene_class_names"]
