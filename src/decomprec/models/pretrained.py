"""A trained model as a folder to take away: its architecture as plain values, and its tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import save
from torch import Tensor, nn

from decomprec._files import written_whole
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.plain import (
    DECODERS,
    ENCODERS,
    ValueTypes,
    build_decoder,
    build_encoder,
    check_values,
    describe,
)
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.models.weights import Unallocated, check_fits, load_local

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

_LARGEST = 4096  # pixels: predict enlarges images to the size that the config says
_LONGEST = 2**20  # bytes of a config

_CONFIG: ValueTypes = {
    "class_names": list,
    "image_size": int,
    "encoder": dict,
    "mask_decoder": dict,
    "image_decoder": (dict, NoneType),  # None: masks only
    "classifier": (dict, NoneType),
}
_CLASSIFIER: ValueTypes = {
    "encoder": (dict, NoneType),  # None: the segmenter's
    "standardise": bool,
}


@dataclass(frozen=True)
class Pretrained:
    """What `load_pretrained` reads, in eval mode, float32 and on the CPU.

    Attributes:
        segmenter: the network f.
        classifier: says which classes occur, if one was saved; its encoder may be the segmenter's.
        class_names: of the K-1 classes; label j+1 is class j.
        image_size: short side of the images that it was trained on, in pixels.
    """

    segmenter: DecompositionSegmenter
    classifier: PooledClassifier | None
    class_names: tuple[str, ...]
    image_size: int

    @property
    def masks_only(self) -> bool:
        """Whether the image decoder was left out: there are masks, but no components."""
        return isinstance(self.segmenter.image_decoder, _NoImageDecoder)


def save_pretrained(
    folder: str | Path,
    segmenter: DecompositionSegmenter,
    class_names: Sequence[str],
    *,
    image_size: int,
    classifier: PooledClassifier | None = None,
    half: bool = True,
    masks_only: bool = False,
    card: str = "",
) -> None:
    """Write config.json, model.safetensors and, if there is a card, README.md.

    A classifier whose encoder equals the segmenter's, as with a frozen trunk, is saved without it.

    Args:
        folder: is made if there is none.
        segmenter: its encoder and decoders are the library's own.
        class_names: of the K-1 classes.
        image_size: short side of the images that it was trained on, in pixels.
        classifier: the guide, to say which classes occur where no tags are given.
        half: write float16. Vectors (biases, batch statistics) stay float32: they weigh little, and variances can
            exceed float16's range.
        masks_only: leave the image decoder out; the segmenter then gives masks, but no decomposition.
        card: the text of README.md, in Markdown.

    Raises:
        ValueError: if the arguments do not fit each other, a part is not the library's own or was changed after it
            was built, or a weight does not fit into float16. No model file is written then.

    Examples:
        >>> import tempfile
        >>> from decomprec.models import SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((8, 16)), decoder_widths=(16, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pretrained(folder, segmenter, ["dog"], image_size=64)
        ...     model = load_pretrained(folder)
        >>> model.class_names, model.segmenter.predict(torch.rand(1, 3, 40, 60)).shape
        (('dog',), torch.Size([1, 40, 60]))
    """
    masks_only = masks_only or isinstance(segmenter.image_decoder, _NoImageDecoder)
    if len(class_names) != segmenter.num_classes - 1:
        raise ValueError(
            f"Expected `class_names` to name the {segmenter.num_classes - 1} classes, but got {list(class_names)}."
        )
    if classifier is not None and classifier.head.out_features != len(class_names):
        raise ValueError(
            f"Expected `classifier` to have {len(class_names)} outputs, but got {classifier.head.out_features}."
        )
    config = {
        "class_names": list(class_names),
        "image_size": image_size,
        "encoder": describe(segmenter.encoder, ENCODERS),
        "mask_decoder": describe(segmenter.mask_decoder, DECODERS),
        "image_decoder": None if masks_only else describe(segmenter.image_decoder, DECODERS),
        "classifier": None,
    }
    shared = False
    if classifier is not None:
        encoder = describe(classifier.encoder, ENCODERS)
        shared = encoder == config["encoder"] and _same_tensors(segmenter.encoder, classifier.encoder)
        config["classifier"] = {
            "encoder": None if shared else encoder,
            "standardise": isinstance(classifier.norm, nn.BatchNorm1d),
        }
    try:
        text = json.dumps(config, indent=2) + "\n"
    except TypeError as error:
        raise ValueError(f"Expected encoder options to be plain values, but got {config['encoder']}.") from error
    parts = _parts(segmenter, classifier, shared)
    tensors = {
        name: _stored(name, tensor, half)
        for name, tensor in parts.state_dict().items()
        if not (masks_only and name.startswith("segmenter.image_decoder."))
    }
    with written_whole(Path(folder) / WEIGHTS) as partial:
        partial.write_bytes(save(tensors))
        _check_complete(json.loads(text), partial, shared, tensors)
    for name, content in ((CONFIG, text), (CARD, card)):
        if content:
            with written_whole(Path(folder) / name) as partial:
                partial.write_text(content, encoding="utf-8")


def load_pretrained(source: str | Path) -> Pretrained:
    """Read what `save_pretrained` wrote; nothing is unpickled, and only the library's own classes are built.

    Args:
        source: a folder or, where there is no such folder, an id of the Hugging Face hub such as "owner/name".

    Raises:
        FileNotFoundError: if there is no such folder, or it lacks a file, or the hub can't be reached.
        ValueError: if the config or the tensors are not those of a model of this library.

    Examples:
        >>> load_pretrained("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: Expected `source` to be a folder or an id of the hub (owner/name), but found no nowhere.
    """
    folder = Path(source) if Path(source).is_dir() else _download(str(source))
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"Expected {folder} to hold a model that `save_pretrained` wrote, but no {name}.")
    if (size := (folder / CONFIG).stat().st_size) > _LONGEST:
        raise ValueError(f"Expected {folder / CONFIG} to have at most {_LONGEST} bytes, but got {size}.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {folder / CONFIG} to be JSON, but: {error}.") from error
    return _load(config, folder / WEIGHTS)


class _NoImageDecoder(nn.Module):
    def forward(self, features: Sequence[Tensor]) -> Tensor:
        raise ValueError(
            "Expected a segmenter with an image decoder, but this one was saved with masks_only=True; "
            "call `mask_logits` or `predict`."
        )


def _load(config: Any, weights: Path) -> Pretrained:
    check_values(config, _CONFIG, "the config")
    names = config["class_names"]
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError(f"Expected `class_names` to be different names, at least one, but got {names}.")
    if unfit := [name for name in names if not name.isprintable()]:
        raise ValueError(f"Expected `class_names` without line breaks and control characters, but got {unfit[0]!r}.")
    if not 1 <= config["image_size"] <= _LARGEST:
        raise ValueError(
            f"Expected `image_size` to be at least 1 and at most {_LARGEST}, but got {config['image_size']}."
        )
    with torch.random.fork_rng(devices=[]):  # the random weights that networks are built with are replaced
        # First without memory: a small file may promise a large network.
        with Unallocated():
            check_fits(_parts(*_build(config, num_classes=len(names) + 1)), weights)
        segmenter, classifier = _build(config, num_classes=len(names) + 1)
    load_local(_parts(segmenter, classifier), weights)
    return Pretrained(segmenter.eval(), classifier and classifier.eval(), tuple(names), config["image_size"])


def _build(config: dict[str, Any], num_classes: int) -> tuple[DecompositionSegmenter, PooledClassifier | None]:
    encoder = build_encoder(config["encoder"])
    image_decoder: nn.Module = _NoImageDecoder()
    if config["image_decoder"] is not None:
        image_decoder = build_decoder(config["image_decoder"], encoder, 3 * num_classes)
    mask_decoder = build_decoder(config["mask_decoder"], encoder, num_classes)
    segmenter = DecompositionSegmenter(num_classes, encoder, mask_decoder=mask_decoder, image_decoder=image_decoder)
    if config["classifier"] is None:
        return segmenter, None
    check_values(config["classifier"], _CLASSIFIER, "the config's classifier")
    own, standardise = config["classifier"]["encoder"], config["classifier"]["standardise"]
    return segmenter, PooledClassifier(
        encoder if own is None else build_encoder(own), num_classes, standardise=standardise
    )


def _parts(
    segmenter: DecompositionSegmenter, classifier: PooledClassifier | None, shared: bool | None = None
) -> nn.ModuleDict:
    """What is saved, under the names that its tensors have in the file."""
    parts = nn.ModuleDict({"segmenter": segmenter})
    if classifier is not None:
        if shared is None:
            shared = classifier.encoder is segmenter.encoder
        children = {name: child for name, child in classifier.named_children() if name != "encoder"}
        parts["classifier"] = nn.ModuleDict(children) if shared else classifier
    return parts


def _stored(name: str, tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not half or tensor.ndim < 2:
        return tensor
    if not tensor.half().isfinite().all():
        raise ValueError(f"Expected {name} to fit into float16, but it has entries beyond; save with half=False.")
    return tensor.half()


def _check_complete(config: dict[str, Any], weights: Path, shared: bool, tensors: dict[str, Tensor]) -> None:
    """Raise a ValueError unless the file, read back, gives a model with just these tensors."""
    try:
        read = _load(config, weights)
    except ValueError as error:
        raise ValueError(f"Expected a model that can be read back, but: {error}") from error
    parts = _parts(read.segmenter, read.classifier, shared)
    if differing := sorted(parts.state_dict().keys() ^ tensors.keys()):
        raise ValueError(
            f"Expected the model to be as its constructors built it, but {differing[0]} differs; "
            "save its state dict instead."
        )


def _same_tensors(one: nn.Module, other: nn.Module) -> bool:
    first, second = (
        {name: t.cpu() for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")}
        for module in (one, other)
    )
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _download(source: str) -> Path:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        raise FileNotFoundError(
            f"Expected `source` to be a folder or an id of the hub (owner/name), but found no {source}."
        )
    try:
        return Path(snapshot_download(source, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # httpx and the hub each have their own
        raise FileNotFoundError(
            f"Expected `source` to be a folder or an id of the hub (owner/name), but found no folder {source}, and "
            f"the hub gave none ({type(error).__name__}); check the name, or go online once."
        ) from error
