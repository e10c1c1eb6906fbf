"""Bad images: each is read correctly or refused by name, as docs/results/bad_input.md says."""

import resource
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.bad_cases import Case, Cases, save, table_of_page
from support.image_bytes import png_of_16_bits, tiff
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from decomprec import DecompositionSegmenter
from decomprec.data import Record, TaggedFolder, TaggedImages, TaggedRows, collate, eval_transform, train_transform
from decomprec.data.datamodule import TaggedDataModule
from decomprec.data.image_io import read_image, read_mask
from decomprec.models import SmallEncoder
from decomprec.trained_model import TrainedModel

CASES = Cases()
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)


def shows(path: Path, expected: Any, tolerance: int = 0) -> None:
    difference = read_image(path).permute(1, 2, 0).int() - torch.from_numpy(np.array(expected, dtype=np.int32))
    assert difference.abs().max() <= tolerance


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def png(width: int, height: int, rows: bytes, before: bytes = b"") -> bytes:
    """A greyscale PNG, byte by byte: `width` and `height` are what it claims."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    text = chunk(b"zTXt", before) if before else b""
    return b"\x89PNG\r\n\x1a\n" + header + text + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def turned_photo(path: Path, orientation: int = 6) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(path, PIXELS, exif=exif)


class Growth(Dataset[float]):
    """How many MiB the memory of the process grows at most while an image is loaded."""

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = data

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> float:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert self.data[index]["image"].shape == (3, 64, 64)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def growth(folder: Path, transform: Any) -> float:
    """Of a process that loads the one image of a folder."""
    data = Growth(TaggedFolder(folder, transform=transform))
    (grown,) = next(iter(DataLoader(data, num_workers=1, multiprocessing_context="fork")))
    return float(grown)


@CASES("truncated JPEG", "refused", r"a\.jpg to be an image, but it can't be read: image file is truncated")
def _(folder: Path) -> None:
    read_image(cut(save(folder / "a.jpg", PIXELS), 0.5))


@CASES("truncated PNG", "refused", r"a\.png to be an image, but it can't be read: image file is truncated")
def _(folder: Path) -> None:
    read_image(cut(save(folder / "a.png", PIXELS), 0.5))


@CASES("no bytes at all", "refused", r"a\.jpg to be an image")
def _(folder: Path) -> None:
    read_image(written(folder / "a.jpg", b""))


@CASES("text called .jpg", "refused", r"a\.jpg to be an image")
def _(folder: Path) -> None:
    read_image(written(folder / "a.jpg", "no image"))


@CASES("SVG", "refused", r"a\.png to be an image")
def _(folder: Path) -> None:
    read_image(written(folder / "a.png", '<svg xmlns="http://www.w3.org/2000/svg" onload="alert()"/>'))


@CASES("PostScript called .jpg", "refused", r"a\.jpg to be an image, but .* EPS files are programs")
def _(folder: Path) -> None:
    read_image(written(folder / "a.jpg", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"))


@CASES("wrong extension")
def _(folder: Path) -> None:
    shows(save(folder / "a.png", PIXELS).rename(folder / "a.jpg"), PIXELS)


@CASES("greyscale")
def _(folder: Path) -> None:
    shows(save(folder / "a.png", PIXELS[..., 0]), PIXELS[..., [0, 0, 0]])


@CASES("black and white, 1 bit")
def _(folder: Path) -> None:
    Image.fromarray(PIXELS[..., 0] > 99).save(folder / "a.png")
    shows(folder / "a.png", 255 * (PIXELS[..., [0, 0, 0]] > 99))


@CASES("palette")
def _(folder: Path) -> None:
    image = Image.fromarray(PIXELS[..., 0] % 2, mode=None).convert("L").convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(folder / "a.png")
    shows(folder / "a.png", np.array([[10, 20, 30], [200, 100, 50]])[PIXELS[..., 0] % 2])


@CASES("palette with a transparent colour")
def _(folder: Path) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpixel((1, 0), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(folder / "a.png", transparency=b"\x00\xff")
    shows(folder / "a.png", [[[255, 255, 255], [200, 100, 50]]])


@CASES("RGBA")
def _(folder: Path) -> None:
    path = save(folder / "a.png", [[[255, 0, 0, 0], [0, 100, 200, 255], [255, 0, 0, 51]]])
    shows(path, [[[255, 255, 255], [0, 100, 200], [255, 204, 204]]])


@CASES("CMYK")
def _(folder: Path) -> None:
    # Half the ink of each colour, and the same with a quarter of the light taken by black.
    ink = np.array([[[128, 0, 0, 0], [0, 128, 0, 64], [0, 0, 255, 0]]], dtype=np.uint8)
    Image.fromarray(ink, mode="CMYK").save(folder / "a.tif")
    shows(folder / "a.tif", [[[127, 255, 255], [191, 95, 191], [255, 255, 0]]], tolerance=1)


@CASES("16 bits")
def _(folder: Path) -> None:
    values = np.array([[0, 128, 129, 257, 30000, 65535]], dtype=np.uint16)
    expected = [[[round(v / 257)] * 3 for v in values[0].tolist()]]
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(folder / name)
        shows(folder / name, expected)
    photo = Image.fromarray(values)
    pixels = TaggedRows([{"image": photo, "tags": ["dog"]}])[0]["image"].permute(1, 2, 0)
    assert torch.equal(pixels, torch.tensor(expected) / 255)


@CASES("12 bits in 16")
def _(folder: Path) -> None:
    (folder / "a.png").write_bytes(png_of_16_bits(PIXELS.astype(np.uint16) * 16 + 15))
    assert PIXELS.max() == 255
    shows(folder / "a.png", PIXELS, tolerance=1)


@CASES("32-bit integers", "refused", r"a\.tif to be an image, but .* values, 0 to 70000, are not of 16 bits")
def _(folder: Path) -> None:
    Image.fromarray(np.array([[0, 70000]], dtype=np.int32)).save(folder / "a.tif")
    read_image(folder / "a.tif")


@CASES("floating point")
def _(folder: Path) -> None:
    for white in (1, 255, 4095):
        (folder / "a.tif").write_bytes(tiff((PIXELS[..., :1] * (white / 255)).astype(np.float32)))
        shows(folder / "a.tif", PIXELS[..., [0, 0, 0]])


@CASES(
    "floating point with NaN", "refused", r"a\.tif to be an image, but .* floating point; save them with 8 or 16 bits"
)
def _(folder: Path) -> None:
    Image.fromarray(np.array([[0.5, np.nan]], dtype=np.float32)).save(folder / "a.tif")
    read_image(folder / "a.tif")


@CASES("infrared as a fourth band")
def _(folder: Path) -> None:
    bands = np.dstack([PIXELS, PIXELS[..., 1] // 2])
    for extra in (None, [0], [1], [2]):  # 1 and 2 say that it is alpha
        (folder / "a.tif").write_bytes(tiff(bands, extra=extra))
        shows(folder / "a.tif", PIXELS)


@CASES(
    "more than four bands", "refused", r"a\.tif to be .* it has 5 bands; save the three that show red, green and blue"
)
def _(folder: Path) -> None:
    (folder / "a.tif").write_bytes(tiff(np.dstack([PIXELS, PIXELS[..., :2]]), extra=[0, 0]))
    read_image(folder / "a.tif")


@CASES("HEIC without pillow-heif", "refused", r"a\.heic to be .* it is HEIC or HEIF; do pip install pillow-heif")
def _(folder: Path) -> None:
    (folder / "dog").mkdir()
    (folder / "dog" / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    TaggedFolder(folder)[0]


@CASES("unusual endings")
def _(folder: Path) -> None:
    (folder / "dog").mkdir()
    for ending in ("jfif", "jpe", "JPG", "ppm", "tga"):
        Image.fromarray(PIXELS).save(folder / "dog" / f"{ending}.{ending}")
    data = TaggedFolder(folder)
    assert len([data[i] for i in range(len(data))]) == 5


@CASES("animated")
def _(folder: Path) -> None:
    red, green = (Image.new("RGB", (6, 4), colour) for colour in ("red", "lime"))
    (folder / "dog").mkdir()
    for name, options in (("a.gif", {}), ("b.png", {}), ("c.webp", {"lossless": True}), ("d.tif", {})):
        red.save(folder / "dog" / name, save_all=True, append_images=[green], **options)
        shows(folder / "dog" / name, np.full((4, 6, 3), (255, 0, 0)))
    assert len(TaggedFolder(folder)) == 4


@CASES("EXIF-rotated")
def _(folder: Path) -> None:
    shows(turned_photo(folder / "a.png"), np.rot90(PIXELS, -1))


@CASES("EXIF-rotated, with a mask of the displayed size")
def _(folder: Path) -> None:
    displayed = np.rot90(PIXELS[..., 0], -1)
    mask = read_mask(save(folder / "m.png", displayed), turned_photo(folder / "a.png"))
    assert mask.tolist() == displayed.tolist()


@CASES("EXIF-rotated, with a mask of the stored size")
def _(folder: Path) -> None:
    mask = read_mask(save(folder / "m.png", PIXELS[..., 0]), turned_photo(folder / "a.png"))
    assert mask.tolist() == np.rot90(PIXELS[..., 0], -1).tolist()
    row = {"image": folder / "a.png", "mask": PIXELS[..., 0] % 2, "tags": ["dog"]}
    for photo in (folder / "a.png", str(folder / "a.png"), Image.open(folder / "a.png")):
        item = TaggedRows([{**row, "image": photo}], masks=True)[0]
        assert item["mask"].tolist() == np.rot90(PIXELS[..., 0] % 2, -1).tolist()
        assert item["image"].shape[1:] == item["mask"].shape


@CASES("mask with its own EXIF")
def _(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # half a turn, which no size tells
    mask = save(folder / "m.png", PIXELS[..., 0], exif=exif)
    assert read_mask(mask, turned_photo(folder / "a.png", 3)).tolist() == PIXELS[::-1, ::-1, 0].tolist()


@CASES("damaged EXIF")
def _(folder: Path) -> None:
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0"):
        shows(save(folder / "a.png", PIXELS, exif=exif), PIXELS)


@CASES("1 x 1")
def _(folder: Path) -> None:
    strip(folder, 1, 1)


@CASES("1 x N and N x 1")
def _(folder: Path) -> None:
    strip(folder, 1, 20_000)
    strip(folder, 20_000, 1)
    save(folder / "data" / "dog" / "a.png", np.zeros((1, 20_000, 3)))
    assert growth(folder / "data", eval_transform(64)) < 100  # enlarged before it is cropped, it would be 234


def strip(folder: Path, height: int, width: int) -> None:
    """Through both transforms, with its mask, and through `TrainedModel`."""
    pixels = np.zeros((height, width, 3))
    pixels[height // 2, width // 2] = 255
    image = read_image(save(folder / f"{height}_{width}.png", pixels))
    assert image.shape == (3, height, width)
    for transform in (train_transform(32), eval_transform(32)):
        shown, mask = transform(tv_tensors.Image(image), tv_tensors.Mask(image[0].long()))
        assert shown.shape == (3, 32, 32)
        assert mask.shape == (32, 32)
        assert transform(tv_tensors.Image(image)).shape == (3, 32, 32)
    assert (eval_transform(32)(tv_tensors.Image(image)) > 200).any()  # of the middle
    segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
    masks = TrainedModel(segmenter, ("dog",), 32)(image).masks
    assert masks.shape == (2, height, width)
    assert masks.isfinite().all()


@CASES("20,000 pixels wide")
def _(folder: Path) -> None:
    (folder / "dog").mkdir()
    Image.new("RGB", (20_000, 4_000), "blue").save(folder / "dog" / "a.jpg")
    assert growth(folder, train_transform(64)) < 220  # the pixels alone are 229
    assert TaggedFolder(folder)[0]["image"].shape == (3, 1000, 5000)


@CASES("decompression bomb", "refused", r"a\.png to have at most \d+ pixels, but it has more, as a decompression bomb")
def _(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for side in (10_000, 50_000):  # Pillow warns of the one, and refuses the other
            path = written(folder / "a.png", png(side, side, bytes(1000)))
            with pytest.raises(ValueError, match="decompression bomb"):
                read_image(path)
    read_image(path)


@CASES("decompression bomb in the metadata", "refused", r"a\.png to be an image, but .* too large")
def _(folder: Path) -> None:
    text = b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    read_image(written(folder / "a.png", png(1, 1, bytes(2), before=text)))


def transformed(folder: Path, transform: Any) -> None:
    record = Record(save(folder / "park.png", PIXELS), ("dog",), "park")
    TaggedImages([record], ["dog"], transform=transform)[0]


@CASES("transform that gives NaN", "refused", r"pixels in \[0, 1\], but got nan to nan for park")
def _(folder: Path) -> None:
    transformed(folder, lambda image: image.float() * float("nan"))


@CASES("transform that leaves [0, 1]", "refused", r"pixels in \[0, 1\], but got .* for park; leave mean and standard")
def _(folder: Path) -> None:
    scale = v2.ToDtype(torch.float32, scale=True)
    transformed(folder, v2.Compose([scale, v2.Normalize([0.5] * 3, [0.2] * 3)]))


@CASES("transform that gives another shape", "refused", r"\(3, H, W\), but got \(1, 24, 36\) for park")
def _(folder: Path) -> None:
    transformed(folder, v2.Grayscale())


@CASES("tensor with NaN for the model", "refused", r"`images` to lie in \[0, 1\], but got values from nan to nan")
def _(folder: Path) -> None:
    DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))(torch.full((1, 3, 16, 16), torch.nan))


@CASES("tensor out of [0, 1] for the model", "refused", r"`images` to lie in \[0, 1\], but got values from -2 to -2")
def _(folder: Path) -> None:
    DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))(torch.full((1, 3, 16, 16), -2.0))


@CASES("sizes that differ in a batch", "refused", "one size, but got a with .* and b with .* transform with a size")
def _(folder: Path) -> None:
    records = [Record(save(folder / f"{name}.png", PIXELS[:rows]), (), name) for name, rows in (("a", 24), ("b", 9))]
    next(iter(DataLoader(TaggedImages(records, ["dog"]), 2, collate_fn=collate, num_workers=1)))


def many(folder: Path, count: int = 40, damaged: int = 13) -> Path:
    for i in range(count):
        save(folder / ("dog" if i % 2 else "other") / f"{i:02d}.png", PIXELS)
    cut(folder / ("dog" if damaged % 2 else "other") / f"{damaged:02d}.png", 0.5)
    return folder


@CASES("damaged image among many", "refused", r"13\.png to be an image, but it can't be read")
def _(folder: Path) -> None:
    list(TaggedFolder(many(folder)))


@CASES("damaged image, met by a process that loads", "refused", r"13\.png to be an image, but it can't be read")
def _(folder: Path) -> None:
    data = TaggedFolder(many(folder))
    list(TaggedDataModule(data, data, batch_size=4, num_workers=1).val_dataloader())


@CASES('damaged image, on_error="skip"', "warned", r"1 of 40 images are skipped:\n.*13\.png to be an image")
def _(folder: Path) -> None:
    data = TaggedFolder(many(folder), on_error="skip")
    assert [item["name"] for item in data] == [r.name for r in data.records]
    assert sorted(int(r.name) for r in data.records) == [i for i in range(40) if i != 13]
    assert data.tags.tolist() == [[float(int(r.name) % 2)] for r in data.records]
    assert len(data.skipped) == 1
    assert data.skipped == TaggedFolder(folder, on_error="skip").skipped


@CASES('missing image, on_error="skip"', "warned", r"1 of 40 images are skipped:\n.*/nowhere\.png to exist")
def _(folder: Path) -> None:
    whole = TaggedFolder(many(folder, damaged=0)).records[:39]
    records = [Record(record.image, record.tags, record.name) for record in whole if record.name != "00"]
    records += [Record(save(folder / f"{i}.png", PIXELS), (), str(i)) for i in (40, 41)]
    records = [*records[:39], Record(folder / "nowhere.png", (), "nowhere")]
    assert len(TaggedImages(records, ["dog"], on_error="skip")) == 39


@CASES('damaged mask, on_error="skip"', "warned", r"1 of 2 images are skipped:\n.*m\.png to be an image")
def _(folder: Path) -> None:
    mask = cut(save(folder / "m.png", PIXELS[..., 0]), 0.5)
    records = [Record(save(folder / f"{i}.png", PIXELS), ("dog",), str(i), mask if i else None) for i in (0, 1)]
    assert len(TaggedImages(records, ["dog"], on_error="skip")) == 2  # masks were not asked for
    assert len(TaggedImages(records, ["dog"], masks=True, on_error="skip")) == 1


@CASES('damaged row, on_error="skip"', "warned", r"1 of 3 images are skipped:\n.*a\.png to be an image")
def _(folder: Path) -> None:
    bad = cut(save(folder / "a.png", PIXELS), 0.5)
    rows = [{"image": image, "tags": tags} for image, tags in ((PIXELS, ["dog"]), (bad, ["dog"]), (PIXELS, []))]
    data = TaggedRows(rows, on_error="skip")
    assert [(item["name"], item["tags"].tolist()) for item in data] == [("000000", [1]), ("000002", [0])]


@CASES('all damaged, on_error="skip"', "refused", r"some of 1 images to be readable, but none is: Expected .*a\.png")
def _(folder: Path) -> None:
    record = Record(cut(save(folder / "a.png", PIXELS), 0.5), (), "a")
    TaggedImages([record], ["dog"], on_error="skip")


@CASES("image that vanishes while training", "refused", r"a\.png to be an image, but there is no such")
def _(folder: Path) -> None:
    data = TaggedImages([Record(save(folder / "a.png", PIXELS), (), "a")], ["dog"])
    (folder / "a.png").unlink()
    next(iter(DataLoader(data, num_workers=1)))


@CASES.parametrize()
def test_image(case: Case, tmp_path: Path) -> None:
    case.check(tmp_path)


def test_the_page_lists_these_cases() -> None:
    assert table_of_page("Images") == [(case.name, case.outcome) for case in CASES]


def test_on_error_is_one_of_two(tmp_path: Path) -> None:
    for make in (TaggedFolder, lambda root, **options: TaggedRows([{"image": PIXELS, "tags": ["dog"]}], **options)):
        with pytest.raises(ValueError, match='`on_error` to be "raise" or "skip", but got \'ignore\''):
            make(many(tmp_path), on_error="ignore")


def test_many_that_are_skipped_are_counted_and_ten_are_named(tmp_path: Path) -> None:
    records = [Record(written(tmp_path / f"{i}.png", b""), (), str(i)) for i in range(12)]
    records.append(Record(save(tmp_path / "good.png", PIXELS), (), "good"))
    with pytest.warns(UserWarning, match="12 of 13 images are skipped") as caught:
        data = TaggedImages(records, ["dog"], on_error="skip")
    lines = str(caught[0].message).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "and 2 more"
    assert len(data.skipped) == 12
    assert data[0]["name"] == "good"
