"""Overlays of label maps, contact sheets, Figures 2 and 3, and panels of decompositions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torchvision.transforms.v2.functional import resize
from torchvision.utils import make_grid

from decomprec._files import written_whole
from decomprec.checks import check_decomposition, check_images, check_tags
from decomprec.decomposition import Decomposition

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 128  # a power of two makes sizes in inches whole pixels
_CELL = 192  # approximate longer side of a panel's image, in pixels
_GAP = 8
_HEAD, _FOOT = 48, 26  # pixels for the titles and for the line under each row


def voc_palette(n: int = 256) -> Tensor:
    """The colours of Pascal VOC label maps: bits 0, 3 and 6 of a label are the high bits of red, and so on.

    Args:
        n: number of labels, 1 to 256. Label 255 (ignore) is cream.

    Returns:
        Colours (n, 3), float32, in [0, 1].

    Raises:
        ValueError: if `n` is out of range.

    Examples:
        >>> (voc_palette(4) * 255).int().tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    if not 1 <= n <= 256:
        raise ValueError(f"Expected `n` to be 1 to 256, but got {n!r}.")
    labels = torch.arange(n)[:, None]
    channel = torch.arange(3)
    colours = sum(((labels >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
    return torch.as_tensor(colours).float() / 255


def overlay(images: Tensor, labels: Tensor, alpha: float = 0.5) -> Tensor:
    """Blend the VOC colours of label maps into images; the background is left unchanged.

    Args:
        images: (B, 3, H, W), in [0, 1].
        labels: (B, H, W), integers: 0 is the background, 255 (ignore) is cream.
        alpha: weight of the colours.

    Returns:
        (B, 3, H, W), in [0, 1].

    Raises:
        ValueError: if a shape, type or range differs from this.

    Examples:
        >>> overlay(torch.ones(1, 3, 1, 2), torch.tensor([[[0, 1]]]))[0, :, 0].T
        tensor([[1.0000, 1.0000, 1.0000],
                [0.7510, 0.5000, 0.5000]])
    """
    check_images(images)
    _check_label_maps(labels, images, "labels")
    if not 0 <= alpha <= 1:
        raise ValueError(f"Expected `alpha` to lie in [0, 1], but got {alpha!r}.")
    colours = rearrange(voc_palette()[labels.cpu().long()], "b h w c -> b c h w").to(images)
    return torch.lerp(images, colours, alpha * rearrange(labels > 0, "b h w -> b 1 h w").to(images))


def figure_pairs(images: Tensor, labels: Tensor, columns: int = 10) -> Tensor:
    """Figures 2 and 3: a grid of pairs, the image on the left and its overlay on the right.

    Args:
        images: (B, 3, H, W), in [0, 1]; in the paper 50 with the class, then 50 without.
        labels: (B, H, W), integers in 0 to 255.
        columns: pairs in a row, at least 1.

    Returns:
        One image (3, H', W'), in [0, 1], with a white border of two pixels around each pair.

    Raises:
        ValueError: if a shape, type or range differs from this.

    Examples:
        >>> figure_pairs(torch.rand(6, 3, 8, 8), torch.zeros(6, 8, 8, dtype=torch.int64), columns=3).shape
        torch.Size([3, 22, 56])
    """
    if columns < 1:
        raise ValueError(f"Expected `columns` to be at least 1, but got {columns!r}.")
    pairs = torch.cat([images, overlay(images, labels)], dim=-1)
    if len(pairs) == 1:  # make_grid omits the border of a single image
        return torch.nn.functional.pad(pairs[0], (2, 2, 2, 2), value=1)
    grid: Tensor = make_grid(pairs, nrow=columns, padding=2, pad_value=1)
    return grid


def contact_sheet(images: Sequence[Tensor], columns: int = 4, cell: int = 160) -> Tensor:
    """Show images of any sizes in a grid, each whole and centred on white.

    Args:
        images: each (3, H, W), uint8; at least one.
        columns: images in a row.
        cell: longer side of each, in pixels.

    Returns:
        One image (3, H', W'), in [0, 1].

    Examples:
        >>> contact_sheet([torch.zeros(3, 20, 40, dtype=torch.uint8)] * 3, columns=2, cell=16).shape
        torch.Size([3, 38, 38])
    """
    cells = [_fitted(image, cell) for image in images]
    cells += [torch.ones(3, cell, cell)] * (-len(cells) % columns)
    grid: Tensor = make_grid(torch.stack(cells), nrow=columns, padding=2, pad_value=1)
    return grid


def panel(
    images: Tensor,
    out: Decomposition,
    class_names: Sequence[str],
    tags: Tensor | None = None,
    truth: Tensor | None = None,
    guide_probabilities: Tensor | None = None,
) -> Figure:
    """Show decompositions, one image per row: input, reconstruction, prediction, mask-lets, components.

    The prediction is `out.labels()`, without tags. Titles have the colour of the class in the overlay.

    Args:
        images: I, (B, 3, H, W), in [0, 1].
        out: their decomposition.
        class_names: of the K-1 classes without the background.
        tags: (B, K-1), written under each row.
        truth: label maps (B, H, W), shown next to the prediction.
        guide_probabilities: of the guide for each component, (B, K, K-1), in [0, 1]. Each component is labelled with
            the probability of its own class, the background with the highest one.

    Raises:
        ValueError: if shapes don't match.

    Examples:
        >>> out = Decomposition(torch.zeros(2, 2, 8, 8), torch.rand(2, 2, 3, 8, 8))
        >>> figure = panel(torch.rand(2, 3, 8, 8), out, ["dog"])
        >>> len(figure.axes[0].images)  # 2 rows of 3 images, 2 masks and 2 components
        14
    """
    check_images(images)
    check_decomposition(out.mask_logits, out.imagelets, images)
    batch, slots, height, width = out.mask_logits.shape
    if len(class_names) != slots - 1:
        raise ValueError(f"Expected `class_names` to hold K-1 = {slots - 1} names, but got {len(class_names)}.")
    if tags is not None:
        check_tags(tags, batch, slots)
    if truth is not None:
        _check_label_maps(truth, images, "truth")
    if guide_probabilities is not None and tuple(guide_probabilities.shape) != (batch, slots, slots - 1):
        raise ValueError(
            f"Expected `guide_probabilities` to have shape (B, K, K-1) = {(batch, slots, slots - 1)}, "
            f"but got {tuple(guide_probabilities.shape)}."
        )

    # A line break in a name would break the layout of the titles.
    class_names = [" ".join(name.split()) for name in class_names]
    names = ["background", *class_names]
    columns = [("input", images), ("reconstruction", out.reconstruction), ("prediction", overlay(images, out.labels()))]
    if truth is not None:
        columns.append(("ground truth", overlay(images, truth)))
    first_mask, first_component = len(columns), len(columns) + slots
    columns += [(f"mask\n{name}", out.masks[:, k : k + 1]) for k, name in enumerate(names)]
    columns += [(f"component\n{name}", out.components[:, k]) for k, name in enumerate(names)]

    longer = max(height, width)
    # Whole multiples keep pixels sharp; only large images are reduced.
    scale = round(_CELL / longer) or _CELL / longer
    cell_height, cell_width = round(height * scale), round(width * scale)
    total_width = _GAP + len(columns) * (cell_width + _GAP)
    total_height = _HEAD + batch * (cell_height + _FOOT)
    from matplotlib.figure import Figure  # takes much memory, and label maps and overlays do without

    figure = Figure(figsize=(total_width / _DPI, total_height / _DPI), dpi=_DPI, facecolor="white")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, total_width), ylim=(0, total_height))  # in pixels, from the bottom left
    ax.set_axis_off()
    write = partial(ax.text, va="top", fontsize=7, parse_math=False)
    palette = voc_palette().tolist()
    for row in range(batch):
        bottom = total_height - _HEAD - cell_height - row * (cell_height + _FOOT)
        top, below = bottom + cell_height, bottom - 4
        for column, (title, cells) in enumerate(columns):
            left = _GAP + column * (cell_width + _GAP)
            right, middle = left + cell_width, left + cell_width / 2
            pixels = rearrange(cells[row].detach().cpu().expand(3, -1, -1), "c h w -> h w c")
            pixels = (255 * pixels.float()).round().clamp(0, 255).byte()
            interpolation = "nearest" if scale >= 1 else "auto"
            ax.imshow(pixels.numpy(), extent=(left, right, bottom, top), aspect="auto", interpolation=interpolation)
            if row == 0:
                slot = (column - first_mask) % slots if column >= first_mask else 0
                write(middle, top + 7, _fit(title, cell_width), color=palette[slot], ha="center", va="baseline")
            if guide_probabilities is not None and column >= first_component:
                line = _opinion(guide_probabilities[row, column - first_component], column - first_component)
                write(middle, below, line, ha="center", fontsize=6.5)
        if tags is not None:
            line = ", ".join(name for name, tag in zip(class_names, tags[row].tolist(), strict=True) if tag)
            write(_GAP, below, f"tags: {line or 'none'}")
    return figure


def save_image(image: Tensor | Figure, path: str | Path) -> None:
    """Write an image (3, H, W) in [0, 1] or a figure; a reader sees the old file or the whole new one.

    Args:
        image: an image or a figure.
        path: of the file; the suffix selects the format, such as .png or .jpg.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_image(torch.rand(3, 4, 4), Path(folder) / "noise.png")
        ...     [file.name for file in Path(folder).iterdir()]
        ['noise.png']
    """
    with written_whole(path) as partial:
        if not isinstance(image, Tensor):
            image.savefig(partial)
        else:
            pixels = rearrange(image.detach().cpu().float().clamp(0, 1), "c h w -> h w c")
            _save(Image.fromarray((255 * pixels).round().byte().numpy()), partial)


def save_label_map(labels: Tensor, path: str | Path, comment: str = "") -> None:
    """Write a label map in the format of Pascal VOC: an 8-bit PNG with VOC's palette whose values are the labels.

    Args:
        labels: (H, W), integers in 0 to 255; 255 is ignore.
        path: of the PNG; a reader sees the old file or the whole new one.
        comment: text to store in the file, under the key "Comment".

    Raises:
        ValueError: if the shape, type or range differs from this.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_label_map(torch.tensor([[0, 1]]), Path(folder) / "mask.png")
        ...     mask = Image.open(Path(folder) / "mask.png")
        ...     mask.mode, mask.getpixel((1, 0)), mask.convert("RGB").getpixel((1, 0))
        ('P', 1, (128, 0, 0))
    """
    if labels.ndim != 2 or labels.is_floating_point():
        raise ValueError(
            f"Expected `labels` to be integers of shape (H, W), but got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    _check_label_range(labels, "labels")
    mask = Image.fromarray(labels.cpu().byte().numpy())
    mask.putpalette((255 * voc_palette()).byte().flatten().tolist())
    text = PngInfo()
    if comment:
        text.add_text("Comment", comment)
    with written_whole(path) as partial:
        _save(mask, partial, pnginfo=text)


def _fitted(image: Tensor, cell: int) -> Tensor:
    """Resize an image (3, H, W), uint8, to a longer side of `cell` pixels, and pad it to a square with white."""
    height, width = (max(1, round(side * cell / max(image.shape[1:]))) for side in image.shape[1:])
    pixels = resize(image, [height, width], antialias=True).float() / 255
    left, top = (cell - width) // 2, (cell - height) // 2
    return torch.nn.functional.pad(pixels, (left, cell - width - left, top, cell - height - top), value=1)


def _save(image: Image.Image, path: Path, **options: Any) -> None:
    image.save(path, compress_level=1, **options)  # several times as fast as the default for PNG


def _check_label_maps(labels: Tensor, images: Tensor, name: str) -> None:
    expected = (images.shape[0], *images.shape[2:])
    if tuple(labels.shape) != expected or labels.is_floating_point():
        raise ValueError(
            f"Expected `{name}` to be integers of shape (B, H, W) = {expected}, "
            f"but got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    _check_label_range(labels, name)


def _check_label_range(labels: Tensor, name: str) -> None:
    if not (labels.min() >= 0 and labels.max() <= 255):
        raise ValueError(f"Expected `{name}` to lie in 0 to 255, but got {labels.min()} to {labels.max()}.")


def _fit(title: str, pixels: int) -> str:
    """Truncate lines that are wider than a cell, at about 7 pixels per letter."""
    most = max(pixels // 7, 2)
    return "\n".join(line if len(line) <= most else f"{line[: most - 1]}…" for line in title.splitlines())


def _opinion(probabilities: Tensor, slot: int) -> str:
    return f"guide {probabilities[slot - 1]:.2f}" if slot else f"guide {probabilities.max():.2f}"
