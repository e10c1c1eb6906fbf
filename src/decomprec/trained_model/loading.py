"""Reading trained models from folders and the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from huggingface_hub import snapshot_download

from decomprec.models.card import CARD
from decomprec.models.serialization import CONFIG, WEIGHTS, read_networks
from decomprec.trained_model.model import TrainedModel


def load(source: str | Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Read a trained model; nothing is unpickled, and only the library's own classes are built.

    Args:
        source: a run folder, a folder that `save_pretrained` wrote, or an id of the Hugging Face hub ("owner/name").
        device: where its networks go.

    Raises:
        FileNotFoundError: if there is no such folder, it lacks a file, or the hub can't be reached.
        ValueError: if the run is not finished, or a file is not that of a model of this library.

    Examples:
        >>> load("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: Expected `source` to be a folder or an id of the hub (owner/name), but found no nowhere.
    """
    folder = Path(source)
    if (folder / "model" / CONFIG).is_file():
        folder = folder / "model"
    elif (folder / "preset.yaml").is_file():
        raise ValueError(f"Expected {folder} to hold a finished run, but it has no model yet; resume it first.")
    elif not folder.is_dir():
        folder = _download(str(source))
    networks = read_networks(folder)
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    return TrainedModel(
        networks.segmenter, networks.class_names, networks.image_size, networks.classifier, card=text
    ).to(device)


def _download(source: str) -> Path:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        raise FileNotFoundError(
            f"Expected `source` to be a folder or an id of the hub (owner/name), but found no {source}."
        )
    try:
        return Path(snapshot_download(source, allow_patterns=[CONFIG, WEIGHTS, CARD]))
    except Exception as error:  # httpx and the hub each have their own
        raise FileNotFoundError(
            f"Expected `source` to be a folder or an id of the hub (owner/name), but found no folder {source}, and "
            f"the hub gave none ({type(error).__name__}); check the name, or go online once."
        ) from error
