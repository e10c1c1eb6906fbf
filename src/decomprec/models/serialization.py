"""Trained networks as a folder: their architecture as plain values in config.json, their tensors as safetensors.

Only classes of this library are built, from a table, and nothing is unpickled: a hostile folder can only fail to load.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors.torch import save
from torch import Tensor, nn

from decomprec._files import write_text, written_whole
from decomprec._validation import first_problem
from decomprec.models.classifiers import PooledClassifier
from decomprec.models.decoders import UnetDecoder
from decomprec.models.encoders import MAX_CHANNELS, SmallEncoder, TimmEncoder
from decomprec.models.evidence_decoder import EvidenceDecoder
from decomprec.models.paper_unet import PaperDecoder, PaperEncoder
from decomprec.models.pooling import Pooling
from decomprec.models.segmenter import DecompositionSegmenter, maps_of_enlarged
from decomprec.models.weights import Unallocated, check_fits, load_local

CONFIG, WEIGHTS = "config.json", "model.safetensors"

_MOST_PIXELS = 4096  # an image is enlarged to the size that the config says
_MOST_STAGES = 8  # more would want images of more than 2^8 pixels, however small the file
_MOST_ENLARGED = 8
_MOST_BYTES = 2**20  # of a config


class Networks(NamedTuple):
    """Content of a model folder.

    Attributes:
        segmenter: the network f.
        classifier: decides which classes occur, if one was saved; its encoder may be the segmenter's.
        class_names: of the K-1 classes; label j+1 is class j.
        image_size: short side of the images that the segmenter was trained on, in pixels.
    """

    segmenter: DecompositionSegmenter
    classifier: PooledClassifier | None
    class_names: tuple[str, ...]
    image_size: int


class NoImageDecoder(nn.Module):
    """Stands where the image decoder was left out."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "Expected a segmenter with an image decoder, but this one was saved with masks_only=True; "
            "call `mask_logits` or `predict`."
        )


class _Values(BaseModel):
    """Plain values that are taken as they are or refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


_Channels = Annotated[int, Field(gt=0, le=MAX_CHANNELS)]
_Level = Annotated[int, Field(ge=-_MOST_STAGES, lt=0)]
_SomeLevels = Annotated[tuple[_Level, ...], Field(max_length=_MOST_STAGES, strict=False)]
_Levels = Annotated[_SomeLevels, Field(min_length=1)]
_Widths = Annotated[tuple[_Channels, ...], Field(min_length=1, max_length=_MOST_STAGES, strict=False)]


class _PaperEncoder(_Values):
    kind: Literal["paper"] = "paper"

    def build(self) -> nn.Module:
        return PaperEncoder()


class _SmallEncoder(_Values):
    kind: Literal["small"] = "small"
    widths: _Widths

    def build(self) -> nn.Module:
        return SmallEncoder(self.widths)


class _TimmEncoder(_Values):
    kind: Literal["timm"] = "timm"
    name: str
    options: dict[str, bool | int | float | str]

    def build(self) -> nn.Module:
        try:
            return TimmEncoder(self.name, None, **self.options)
        except TypeError as error:  # an option by the name of another argument
            raise ValueError(f"Expected other encoder options than {self.options}: {error}.") from error


class _PaperDecoder(_Values):
    kind: Literal["paper"] = "paper"

    def build(self, encoder_channels: Sequence[int], out_channels: int) -> nn.Module:
        return PaperDecoder(out_channels)


class _UnetDecoder(_Values):
    kind: Literal["unet"] = "unet"
    widths: _Widths
    levels: _SomeLevels = ()

    def build(self, encoder_channels: Sequence[int], out_channels: int) -> nn.Module:
        return UnetDecoder(encoder_channels, out_channels, self.widths, levels=self.levels)


class _EvidenceDecoder(_Values):
    kind: Literal["evidence"] = "evidence"
    levels: _Levels
    threshold: Annotated[float, Field(gt=0, lt=1)]
    sharpness: Annotated[float, Field(gt=0, le=1000)]
    steps: Annotated[int, Field(ge=0, le=64)]
    stride: Annotated[float, Field(ge=1, le=64)]

    def build(self, encoder_channels: Sequence[int], out_channels: int) -> nn.Module:
        return EvidenceDecoder(encoder_channels, out_channels, **self.model_dump(exclude={"kind"}))


_Encoder = Annotated[_PaperEncoder | _SmallEncoder | _TimmEncoder, Field(discriminator="kind")]
_Decoder = Annotated[_PaperDecoder | _UnetDecoder, Field(discriminator="kind")]
_MaskDecoder = Annotated[_PaperDecoder | _UnetDecoder | _EvidenceDecoder, Field(discriminator="kind")]
_ENCODERS: dict[type[nn.Module], Any] = {
    PaperEncoder: _PaperEncoder,
    SmallEncoder: _SmallEncoder,
    TimmEncoder: _TimmEncoder,
}
_DECODERS: dict[type[nn.Module], Any] = {
    PaperDecoder: _PaperDecoder,
    UnetDecoder: _UnetDecoder,
}
_MASK_DECODERS = {**_DECODERS, EvidenceDecoder: _EvidenceDecoder}


class _Classifier(_Values):
    encoder: _Encoder | None  # None: the segmenter's
    standardise: bool
    pooling: Pooling
    levels: _Levels


class _Config(_Values):
    class_names: tuple[str, ...]
    image_size: Annotated[int, Field(ge=1, le=_MOST_PIXELS)]
    encoder: _Encoder
    enlarge: Annotated[int, Field(ge=1, le=_MOST_ENLARGED)]
    mask_decoder: _MaskDecoder
    image_decoder: _Decoder | None  # None: masks only
    classifier: _Classifier | None

    @field_validator("class_names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) != len(names):
            raise ValueError(f"should be different names, at least one, and is {names}")
        if unfit := [name for name in names if not name.isprintable()]:
            raise ValueError(f"should be without line breaks and control characters, and has {unfit[0]!r}")
        return names

    def build(self) -> Networks:
        """The networks with random weights."""
        num_classes = len(self.class_names) + 1
        encoder: Any = self.encoder.build()
        channels, _ = maps_of_enlarged(encoder, self.enlarge)
        image_decoder: nn.Module = NoImageDecoder()
        if self.image_decoder is not None:
            image_decoder = self.image_decoder.build(channels, 3 * num_classes)
        mask_decoder = self.mask_decoder.build(channels, num_classes)
        segmenter = DecompositionSegmenter(
            num_classes, encoder, mask_decoder=mask_decoder, image_decoder=image_decoder, enlarge=self.enlarge
        )
        classifier = None
        if self.classifier is not None:
            own = encoder if self.classifier.encoder is None else self.classifier.encoder.build()
            classifier = PooledClassifier(
                own,
                num_classes,
                standardise=self.classifier.standardise,
                pooling=self.classifier.pooling,
                levels=self.classifier.levels,
            )
        return Networks(segmenter, classifier, self.class_names, self.image_size)


def write_networks(folder: str | Path, networks: Networks, *, half: bool, masks_only: bool) -> None:
    """Write config.json and model.safetensors.

    A classifier whose encoder equals the segmenter's, as with a frozen backbone, is saved without it.

    Args:
        folder: is created if it does not exist.
        networks: whose encoders and decoders are the library's own.
        half: write float16. Vectors (biases, batch statistics) stay float32: they weigh little, and variances can
            exceed float16's range.
        masks_only: leave the image decoder out; the segmenter then gives masks, but no decomposition.

    Raises:
        ValueError: if the parts do not fit each other, one is not the library's own or was changed after it was built,
            or a weight does not fit into float16. Nothing is written then.
    """
    segmenter, classifier, class_names, image_size = networks
    masks_only = masks_only or isinstance(segmenter.image_decoder, NoImageDecoder)
    if len(class_names) != segmenter.num_classes - 1:
        raise ValueError(
            f"Expected `class_names` to name the {segmenter.num_classes - 1} classes, but got {list(class_names)}."
        )
    if classifier is not None and classifier.head.out_features != len(class_names):
        raise ValueError(
            f"Expected `classifier` to have {len(class_names)} outputs, but got {classifier.head.out_features}."
        )
    encoder = _describe(segmenter.encoder, _ENCODERS)
    shared, described = False, None
    if classifier is not None:
        own = _describe(classifier.encoder, _ENCODERS)
        shared = own == encoder and _same_tensors(segmenter.encoder, classifier.encoder)
        described = _Classifier(
            encoder=None if shared else own,
            standardise=classifier.rectify,
            pooling=classifier.pooling,
            levels=classifier.levels,
        )
    try:
        config = _Config(
            class_names=tuple(class_names),
            image_size=image_size,
            encoder=encoder,
            enlarge=segmenter.enlarge,
            mask_decoder=_describe(segmenter.mask_decoder, _MASK_DECODERS),
            image_decoder=None if masks_only else _describe(segmenter.image_decoder, _DECODERS),
            classifier=described,
        )
    except ValidationError as error:
        raise ValueError(f"Expected a model that can be read back, but {first_problem(error)}.") from error
    tensors = {
        name: _stored(name, tensor, half)
        for name, tensor in _parts(segmenter, classifier, shared).state_dict().items()
        if not (masks_only and name.startswith("segmenter.image_decoder."))
    }
    with written_whole(Path(folder) / WEIGHTS) as partial:
        partial.write_bytes(save(tensors))
        read = _fill(config, partial)
        if differing := sorted(_parts(read.segmenter, read.classifier, shared).state_dict().keys() ^ tensors.keys()):
            raise ValueError(
                f"Expected the model to be as its constructors built it, but {differing[0]} differs; "
                "save its state dict instead."
            )
    write_text(Path(folder) / CONFIG, config.model_dump_json(indent=2) + "\n")


def read_networks(folder: str | Path) -> Networks:
    """Read what `write_networks` wrote, in eval mode, float32 and on the CPU.

    Raises:
        FileNotFoundError: if the folder lacks a file.
        ValueError: if the config or the tensors are not those of a model of this library.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"Expected {folder} to hold a model that `save_pretrained` wrote, but no {name}.")
    config = folder / CONFIG
    if (size := config.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"Expected {config} to have at most {_MOST_BYTES} bytes, but got {size}.")
    try:
        values = _Config.model_validate_json(config.read_bytes())
    except ValidationError as error:
        raise ValueError(f"Expected {config} to describe a model, but {first_problem(error)}.") from error
    return _fill(values, folder / WEIGHTS)


def _describe(module: nn.Module, known: dict[type[nn.Module], Any]) -> Any:
    if type(module) not in known:
        names = " or ".join(built.__name__ for built in known)
        raise ValueError(
            f"Expected a {names}, which can be rebuilt from plain values, but got {type(module).__name__}; "
            "save the model's state dict instead."
        )
    try:
        return known[type(module)](**getattr(module, "config", {}))
    except ValidationError as error:
        raise ValueError(
            f"Expected a {type(module).__name__} that was built from plain values, but {first_problem(error)}."
        ) from error


def _fill(config: _Config, weights: Path) -> Networks:
    with torch.random.fork_rng(devices=[]):  # the random weights that networks are built with are replaced
        # First without memory: a small file may promise a large network.
        with Unallocated():
            unallocated = config.build()
            check_fits(_parts(unallocated.segmenter, unallocated.classifier), weights)
        networks = config.build()
    load_local(_parts(networks.segmenter, networks.classifier), weights)
    return networks._replace(
        segmenter=networks.segmenter.eval(), classifier=networks.classifier and networks.classifier.eval()
    )


def _parts(
    segmenter: DecompositionSegmenter, classifier: PooledClassifier | None, shared: bool | None = None
) -> nn.ModuleDict:
    """The modules that are saved, under the names that their tensors have in the file."""
    parts = nn.ModuleDict({"segmenter": segmenter})
    if classifier is not None:
        if shared is None:
            shared = classifier.encoder is segmenter.encoder
        parts["classifier"] = _without_encoder(classifier) if shared else classifier
    return parts


def _without_encoder(classifier: PooledClassifier) -> nn.Module:
    """The classifier's own tensors, the same ones."""
    rest = copy.copy(classifier)
    rest._modules = {name: child for name, child in classifier._modules.items() if name != "encoder"}
    return rest


def _stored(name: str, tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not half or tensor.ndim < 2:
        return tensor
    if not tensor.half().isfinite().all():
        raise ValueError(f"Expected {name} to fit into float16, but it has entries beyond; save with half=False.")
    return tensor.half()


def _same_tensors(one: nn.Module, other: nn.Module) -> bool:
    first, second = (
        {name: t.cpu() for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")}
        for module in (one, other)
    )
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
