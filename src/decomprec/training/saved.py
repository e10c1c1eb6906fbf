"""What a run leaves in its folder, and how to read it back."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from decomprec._files import write_bytes
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.models.weights import Unallocated, check_fits, load_local
from decomprec.training.build import build_classifier, build_segmenter
from decomprec.training.checkpoints import check_finite
from decomprec.training.presets import Preset

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Trained:
    """What a run ends with.

    Attributes:
        segmenter: the network f.
        classifier: the trained guide g.
        class_names: of the K-1 classes; label j+1 is class j.
    """

    segmenter: DecompositionSegmenter
    classifier: PooledClassifier
    class_names: tuple[str, ...]


def load_run(run_dir: str | Path) -> Trained:
    """Read back what `train` left in a run folder; nothing is downloaded or unpickled.

    Args:
        run_dir: the folder of a finished run.

    Returns:
        Both networks in eval mode, on the CPU.

    Raises:
        ValueError: if the folder holds no finished run.
    """
    run_dir = Path(run_dir)
    if not (run_dir / "preset.yaml").is_file():
        raise ValueError(f"Expected `run_dir` to hold a finished run, but found no {run_dir / 'preset.yaml'}.")
    preset = Preset.load(run_dir / "preset.yaml")
    guide, segmenter = (run_dir / stage / WEIGHTS for stage in ("guide", "segmenter"))
    if not segmenter.is_file():
        raise ValueError(f"Expected `run_dir` to hold a finished run, but found no {segmenter}; resume it first.")
    try:
        with safe_open(segmenter, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"Expected {segmenter} to be a safetensors file, but: {error}.") from error
    if "class_names" not in metadata:
        raise ValueError(f"Expected {segmenter} to hold the names of its classes, as `train` writes, but got none.")
    class_names = _class_names(metadata["class_names"], segmenter)
    num_classes = len(class_names) + 1
    preset = preset.override({"guide.encoder_weights": None, "segmenter.encoder_weights": None})
    # Each first without memory: a small file may promise a large network.
    with torch.random.fork_rng(devices=[]), Unallocated():
        check_fits(build_classifier(preset, num_classes), guide)
    classifier = build_classifier(preset, num_classes)
    load_local(classifier, guide)
    with torch.random.fork_rng(devices=[]), Unallocated():
        check_fits(build_segmenter(preset, num_classes, classifier), segmenter)
    network = build_segmenter(preset, num_classes, classifier)
    load_local(network, segmenter)
    return Trained(network.eval(), classifier.eval(), class_names)


def _class_names(text: str, where: Path) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {where} to hold the names of its classes as JSON, but: {error}.") from error
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n.isprintable() for n in names):
        raise ValueError(f"Expected {where} to hold the names of its classes, but got {reprlib.repr(names)}.")
    return tuple(names)


def save_weights(network: nn.Module, folder: Path, class_names: Sequence[str]) -> None:
    """Write a network's weights and the names of its classes.

    Raises:
        NonFiniteError: if a weight is not finite; nothing is written then.
    """
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    check_finite(tensors)
    write_bytes(folder / WEIGHTS, save(tensors, metadata={"class_names": json.dumps(list(class_names))}))
