"""The mask branch as one file for other runtimes: ONNX, or a program of `torch.export`."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_shapes

from decomprec._files import written_whole
from decomprec.models.borders import RepeatingConv2d
from decomprec.models.segmenter import DecompositionSegmenter
from decomprec.trained_model import TrainedModel

FORMATS = (".onnx", ".pt2")
METADATA = "decomprec.json"
"""The file in a .pt2 with what an .onnx has as metadata."""

_TOLERANCE = 1e-4
_SIZES = ((2, 75, 101), (3, 64, 96), (1, 40, 33))  # batch, height, width: traced with the first, tried with all


def export_masks(model: TrainedModel, path: str | Path) -> None:
    """Write the mask branch as a file that runs without this library, for any batch, height and width.

    Its one input "images" is (B, 3, H, W), float32, RGB in [0, 1], its one output "masks" M, (B, K, H, W), float32,
    summing to one over K: `segmenter.mask_logits(images).softmax(dim=1)`. Images are padded inside, as the segmenter
    pads them. Class names and image size go along as metadata. Before the file is put in place it is run on noise of
    several sizes and compared with the segmenter.

    Args:
        model: stays as it is; a copy of its segmenter on the CPU, in float32, is exported.
        path: ends in .onnx, or in .pt2 for `torch.export.load`.

    Raises:
        ValueError: if the path's ending is another, a package for ONNX is missing, or an
            own encoder or decoder cannot be traced for all sizes at once or gives other masks then.

    Examples:
        >>> import tempfile
        >>> from decomprec.models import DecompositionSegmenter, SmallEncoder
        >>> segmenter = DecompositionSegmenter(2, SmallEncoder((8, 16)), decoder_widths=(16, 8))
        >>> model = TrainedModel(segmenter, ["dog"], image_size=64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_masks(model, f"{folder}/masks.pt2")
        ...     program = torch.export.load(f"{folder}/masks.pt2").module()
        >>> program(torch.rand(1, 3, 50, 70)).shape
        torch.Size([1, 2, 50, 70])
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"Expected a file that ends in {' or '.join(FORMATS)}, but got {path.name!r}.")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if path.suffix == ".onnx" and not find_spec(name)]
    if missing:
        raise ValueError(
            f"Expected {', '.join(missing)} to be installed, which .onnx files need; "
            f"do pip install {' '.join(missing)}, or export to .pt2."
        )
    branch = _MaskBranch(model.segmenter)
    program = _traced(branch)
    metadata = {"class_names": list(model.classes), "image_size": model.image_size}
    write = _write_onnx if path.suffix == ".onnx" else _write_program
    with written_whole(path) as partial:
        run = write(program, partial, metadata)
        _compare(run, branch)


class _MaskBranch(nn.Module):
    """Images to masks, in operations that work for every size: no branches, and padding as an index."""

    def __init__(self, segmenter: DecompositionSegmenter) -> None:
        super().__init__()
        self.segmenter = copy.deepcopy(segmenter)
        self.segmenter.image_decoder = nn.Identity()
        self.to("cpu", torch.float32).eval().requires_grad_(False)
        _pad_statically(self)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
        padded = images.index_select(-2, self._repeat_last(rows)).index_select(-1, self._repeat_last(columns))
        logits: Tensor = self.segmenter.mask_decoder(self.segmenter.features_of_padded(padded))
        return logits.index_select(-2, rows).index_select(-1, columns).softmax(dim=1)

    def _repeat_last(self, index: Tensor) -> Tensor:
        """0, 1, ..., n-1, n-1, ..., as many as the next multiple of the segmenter's stride."""
        size, stride = index.shape[0], self.segmenter.stride
        return torch.arange((size + stride - 1) // stride * stride, device=index.device).clamp(max=size - 1)


def _pad_statically(module: nn.Module) -> None:
    """Make padding a constant: that of timm's "same" convolutions is one where sizes are multiples of the stride."""
    for name, child in module.named_children():
        if not isinstance(child, Conv2dSame | RepeatingConv2d):
            _pad_statically(child)
            continue
        same: Any = child  # timm has no types
        padding = (*_padding(same, 1), *_padding(same, 0))
        plain = nn.Conv2d(
            same.in_channels,
            same.out_channels,
            same.kernel_size,
            same.stride,
            dilation=same.dilation,
            groups=same.groups,
            bias=same.bias is not None,
        )
        plain.weight, plain.bias = same.weight, same.bias
        pad = nn.ReplicationPad2d if isinstance(child, RepeatingConv2d) else nn.ZeroPad2d
        setattr(module, name, nn.Sequential(pad(padding), plain))


def _padding(convolution: Any, side: int) -> tuple[int, int]:
    """How much a convolution adds before and after its input's height (0) or width (1)."""
    if isinstance(convolution, RepeatingConv2d) and not convolution.same:
        return convolution.padding[side], convolution.padding[side]
    kernel, dilation, stride = (getattr(convolution, name)[side] for name in ("kernel_size", "dilation", "stride"))
    total = max((kernel - 1) * dilation + 1 - stride, 0)
    return total // 2, total - total // 2


def _traced(branch: _MaskBranch) -> ExportedProgram:
    batch, height, width = _SIZES[0]
    sizes = {0: Dim("batch", min=1), 2: Dim("height", min=1), 3: Dim("width", min=1)}
    try:
        # Otherwise a feature map of one pixel counts as a special case and is excluded.
        with symbolic_shapes.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # made as it runs
            program = torch.export.export(branch, (torch.rand(batch, 3, height, width),), dynamic_shapes=(sizes,))
    except Exception as error:  # torch has many, and some are bare
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"Expected encoder and mask decoder to be traceable for all sizes at once, but torch says: {reason}"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the folders of this machine
    return program


def _write_program(program: ExportedProgram, path: Path, metadata: dict[str, object]) -> Callable[[Tensor], Tensor]:
    with path.open("wb") as file:  # a path must end in .pt2
        torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _write_onnx(program: ExportedProgram, path: Path, metadata: dict[str, object]) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    axes = ({0: "batch", 2: "height", 3: "width"},)
    converted = torch.onnx.export(
        program, input_names=["images"], output_names=["masks"], dynamic_shapes=axes, dynamo=True, verbose=False
    )
    assert converted is not None
    for key, value in metadata.items():
        converted.model.metadata_props[key] = json.dumps(value)
    converted.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _compare(run: Callable[[Tensor], Tensor], branch: _MaskBranch) -> None:
    random = torch.Generator().manual_seed(0)
    for batch, height, width in _SIZES:
        images = torch.rand(batch, 3, height, width, generator=random)
        difference = (run(images) - branch(images)).abs().max().item()
        if not difference <= _TOLERANCE:
            raise ValueError(f"Expected the exported masks to be the segmenter's, but they differ by {difference:.1g}.")
