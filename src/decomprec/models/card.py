"""The model card of a model folder: a README for people and for the hub."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

CARD = "README.md"
EVIDENCE_ONLY = "The masks are the guide's evidence: no segmenter was trained."


def model_card(class_names: Sequence[str], image_size: int, facts: Sequence[str] = (), table: str = "") -> str:
    """The text of a model card, for people and for the hub.

    Args:
        class_names: of the K-1 classes.
        image_size: short side of the training images, in pixels.
        facts: sentences about data and protocol.
        table: figures, in Markdown.

    Examples:
        >>> print(model_card(["dog"], 160, ["Trained on 3,420 photographs."]).splitlines()[4])
        # Masks of dog
    """
    names = ", ".join(_escaped(name) for name in class_names)
    lines = [
        "---",
        "library_name: decomprec",
        "pipeline_tag: image-segmentation",
        "---",
        f"# Masks of {names}",
        "",
        "Trained from image tags; no mask was seen in training.",
        f"Images are resized to a short side of {image_size} pixels.",
        *facts,
        "",
        *([table, ""] if table else []),
        "```python",
        "import decomprec",
        "",
        'model = decomprec.load("FOLDER OR HUB ID")',
        'result = model("photo.jpg")',
        'result.save("photo_mask.png")',
        "```",
    ]
    return "\n".join(lines) + "\n"


def _escaped(name: str) -> str:
    """A name as Markdown text."""
    return re.sub(r"([\\`*_\[\]()#])", r"\\\1", html.escape(name))
