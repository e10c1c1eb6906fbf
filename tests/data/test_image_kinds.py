"""Endings, bands and bit depths: images come out as the colours that they were made of."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, features
from support.image_bytes import grey_png, png_of_16_bits, tiff

from decomprec.data import TaggedFolder, notices
from decomprec.data.image_io import IMAGE_SUFFIXES, image_files, read_image, read_labels, rgb_image

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3))
COLOURS[0, 0] = 255  # a file's highest value is the highest of its bits
GREY = COLOURS[..., :1]
INFRARED = np.clip(COLOURS[..., 1:2] - 20, 0, 255)


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    notices._said.clear()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def deep(values: Any, bits: int) -> Any:
    """Values of 8 bits, stretched to more."""
    return np.round(values * ((2**bits - 1) / 255)).astype(np.uint16)


def opaque(values: Any) -> Any:
    return np.concatenate([values, np.full_like(values[..., :1], np.iinfo(values.dtype).max)], axis=2)


def shows(path: Path, expected: Any, tolerance: int = 0) -> None:
    found = read_image(path).permute(1, 2, 0).numpy().astype(int)
    expected = np.broadcast_to(expected, found.shape)
    assert np.abs(found - expected).max() <= tolerance
    assert torch.equal(rgb_image(Image.open(path)), read_image(path))


@pytest.mark.parametrize("bits", range(8, 17))
def test_16_bits_hold_any_number_of_bits(tmp_path: Path, bits: int, caplog: pytest.LogCaptureFixture) -> None:
    colours, grey = deep(COLOURS, bits), deep(GREY, bits)
    for content, expected in (
        (png_of_16_bits(colours), COLOURS),
        (png_of_16_bits(opaque(colours)), COLOURS),
        (png_of_16_bits(grey), GREY),
        (png_of_16_bits(opaque(grey)), GREY),
        (tiff(colours), COLOURS),
        (tiff(colours, order=">"), COLOURS),
        (tiff(grey), GREY),
        (tiff(grey, order=">"), GREY),
        (tiff(opaque(colours), extra=[2]), COLOURS),
        (tiff(np.dstack([colours, deep(INFRARED, bits)]), extra=[0]), COLOURS),
        (tiff(np.dstack([colours, deep(INFRARED, bits)]), extra=[1], order=">"), COLOURS),
        (tiff(np.dstack([colours, deep(INFRARED, bits)]), extra=[2]), COLOURS),
    ):
        shows(written(tmp_path / "a.tif", content), expected)
    said = [text for text in caplog.messages if "white is taken to be" in text]
    assert len(said) == (bits < 16)
    assert all(f"up to {2**bits - 1}: white is taken to be {2**bits - 1}." in text for text in said)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", None])
def test_compressed_and_of_12_bits(tmp_path: Path, compression: str | None) -> None:
    Image.fromarray(deep(GREY, 12)[..., 0]).save(tmp_path / "a.tif", compression=compression)
    shows(tmp_path / "a.tif", GREY)


def test_a_range_that_the_file_states(tmp_path: Path) -> None:
    """As dark as they are: half of white."""
    values = np.full((2, 3), 2048)
    shows(written(tmp_path / "a.pgm", b"P5 3 2 4095\n" + values.astype(">u2").tobytes()), 128)
    white_is_zero = (65535 - deep(GREY, 16)).astype(np.uint16)
    shows(written(tmp_path / "b.tif", tiff(white_is_zero, photometric=0)), GREY)


@pytest.mark.parametrize("extra", [None, [0], [1], [2]])
def test_infrared_is_no_alpha(tmp_path: Path, extra: Any, caplog: pytest.LogCaptureFixture) -> None:
    """However the file marks it."""
    bands = np.dstack([COLOURS, INFRARED]).astype(np.uint8)
    for name in ("a.tif", "b.tif"):
        shows(written(tmp_path / name, tiff(bands, extra=extra)), COLOURS)
    (said,) = caplog.messages
    assert "a.tif has " in said
    assert "the first three are read as red, green and blue" in said


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    alpha = np.full((5, 7, 1), 255)
    alpha[0], alpha[1, :2] = 0, 128
    over_white = np.round(COLOURS * (alpha / 255) + 255 - alpha)
    shared = np.round(COLOURS * (alpha / 255))
    straight = np.dstack([COLOURS, alpha]).astype(np.uint8)
    for content in (
        tiff(straight, extra=[2]),
        tiff(straight, extra=[2], order=">"),
        tiff(np.dstack([shared, alpha]).astype(np.uint8), extra=[1]),
    ):
        shows(written(tmp_path / "a.tif", content), over_white, tolerance=1)
    Image.fromarray(straight).save(tmp_path / "a.png")
    shows(tmp_path / "a.png", over_white, tolerance=1)
    # Half transparent everywhere: of a PNG, the fourth band is alpha by definition.
    Image.fromarray(np.dstack([COLOURS, np.full((5, 7), 51)]).astype(np.uint8)).save(tmp_path / "a.png")
    shows(tmp_path / "a.png", COLOURS * 0.2 + 204, tolerance=1)


def test_grey_with_a_band_that_is_no_alpha(tmp_path: Path) -> None:
    file = written(tmp_path / "a.tif", tiff(np.dstack([GREY, INFRARED]).astype(np.uint8), extra=[0]))
    if int(PIL.__version__.partition(".")[0]) >= 13:
        shows(file, GREY)
    else:  # earlier ones know no such arrangement
        with pytest.raises(ValueError, match=r"a TIFF file of 2 bands .* that is not read; save"):
            read_image(file)


@pytest.mark.parametrize("white", [1, 255, 4095])
def test_floating_point(tmp_path: Path, white: int, caplog: pytest.LogCaptureFixture) -> None:
    values = (GREY * (white / 255)).astype(np.float32)
    for order in "<>":
        shows(written(tmp_path / "a.tif", tiff(values, order=order)), GREY)
    assert [f"white is taken to be {white}" in text for text in caplog.messages] == [True]


FOUR = np.dstack([COLOURS, INFRARED]).astype(np.uint8)
REFUSED = {
    "NaN": (tiff(np.where(GREY > 99, np.nan, 0.5).astype(np.float32)), "are NaN or infinite, .* save them with 8 or"),
    "infinite": (tiff(np.where(GREY > 99, np.inf, 0.5).astype(np.float32)), "are NaN or infinite"),
    "below zero": (tiff((GREY - 300).astype(np.float32)), "its values, .* are not of 16 bits; save it with"),
    "signed": (tiff((GREY * 16 - 1000).astype(np.int16)), "its values, .* are not of 16 bits; save it with"),
    "32 bits": (tiff((GREY * 2**20).astype(np.uint32)), "its values, .* are not of 16 bits; save it with"),
    "5 bands": (tiff(np.dstack([FOUR, FOUR[..., :1]]), extra=[0, 0]), "has 5 bands; save the three that show red"),
    "5 bands, not marked": (tiff(np.dstack([FOUR, FOUR[..., :1]])), "TIFF file of 5 bands with 8-bit whole numbers"),
    "13 bands": (tiff(np.dstack([FOUR] * 4)[..., :13].astype(np.uint16), photometric=1), "of 13 bands with 16-bit"),
    "RGB of floats": (tiff((COLOURS / 255).astype(np.float32)), "3 bands with 32-bit floating point values"),
    "bands one by one": (tiff(deep(COLOURS, 16), planar=True), "stored one after the other; save them pixel by pixel"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC or HEIF; do pip install pillow-heif, or save it"),
    "JPEG XL": (b"\xff\x0a\xfa\x7f\x01\x90\x08\x08\0", "it is JPEG XL; save it as JPEG or PNG"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_says_the_cure(tmp_path: Path, kind: str) -> None:
    content, message = REFUSED[kind]
    with pytest.raises(ValueError, match=rf"Expected .*a\.jpg to be an image, but it can't be read: .*{message}"):
        read_image(written(tmp_path / "a.jpg", content))


def test_bands_one_by_one_of_8_bits(tmp_path: Path) -> None:
    shows(written(tmp_path / "a.tif", tiff(COLOURS.astype(np.uint8), planar=True)), COLOURS)


def test_the_first_page_is_read_and_that_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = [Image.fromarray(np.full((5, 7, 3), value, dtype=np.uint8)) for value in (40, 200)]
    for name in ("a.tif", "b.gif", "c.png", "d.webp"):
        pages[0].save(
            tmp_path / name, save_all=True, append_images=pages[1:], **({"lossless": True} if "w" in name else {})
        )
        shows(tmp_path / name, 40)
    assert [text for text in caplog.messages if "several pages or frames: the first is read" in text] == caplog.messages
    assert len(caplog.messages) == 1


ENDINGS = ["jpg", "JPG", "jpeg", "jfif", "jpe", "png", "PNG", "bmp", "webp", "tif", "TIFF", "gif", "ppm", "pgm", "tga"]
ENDINGS += ["avif"] * features.check("avif") + ["jp2", "j2k"] * features.check("jpg_2000")


def test_a_folder_finds_what_the_reader_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("dog", "other"):
        (tmp_path / kind).mkdir()
        for number, ending in enumerate(ENDINGS):
            grey = Image.fromarray(np.full((16, 16), 200, dtype=np.uint8))
            (grey if ending == "pgm" else grey.convert("RGB")).save(tmp_path / kind / f"{number}.{ending}")
    (tmp_path / "dog" / "notes.txt").touch()
    assert len(image_files(tmp_path / "dog")) == len(ENDINGS)
    data = TaggedFolder(tmp_path)
    assert data.tags.sum() == len(ENDINGS)
    for i in range(len(data)):
        assert (data[i]["image"] - 200 / 255).abs().max() < 3 / 255, data.records[i].image


def test_endings_that_stand_for_programs_and_films_are_no_images() -> None:
    assert not {".eps", ".ps", ".wmf", ".emf", ".pdf", ".mpg", ".h5", ".txt", ""} & set(IMAGE_SUFFIXES)
    assert {".heic", ".heif", ".avif", ".jxl"} <= set(IMAGE_SUFFIXES)  # refused with the cure where they can't be read


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_hold_numbers(tmp_path: Path, bits: int) -> None:
    numbers = COLOURS[..., 0] % 2**bits
    assert read_labels(written(tmp_path / "m.png", grey_png(numbers, bits))).tolist() == numbers.tolist()


def test_masks_of_16_bits(tmp_path: Path) -> None:
    numbers = COLOURS[..., 0].astype(np.uint16)
    Image.fromarray(numbers).save(tmp_path / "m.png")
    assert read_labels(tmp_path / "m.png").tolist() == numbers.tolist()
    Image.fromarray(numbers + 100).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png to hold the numbers of classes, 0 to 255, but got .* to 355"):
        read_labels(tmp_path / "m.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK", "F"])
def test_masks_of_colours_are_refused(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (4, 3))
    image.paste(1, (0, 0, 1, 1))  # red or, with alpha, transparent
    image.save(tmp_path / "m.tif")
    with pytest.raises(ValueError, match=f"one 8-bit channel, but got mode {mode}; write the number of each pixel's"):
        read_labels(tmp_path / "m.tif")


def test_workers_but_the_first_say_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        id = 1

    monkeypatch.setattr(notices, "get_worker_info", lambda: Worker)
    with caplog.at_level(logging.WARNING):
        notices.say_once("kind", "not said")
        Worker.id = 0
        notices.say_once("kind", "said")
        notices.say_once("kind", "not said again")
    assert caplog.messages == ["said"]


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><title>404</title>", "download it again"),
    ],
)
def test_files_that_came_instead_of_an_image(content: bytes, cure: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"photo\.jpg to be an image, .*; do {cure}|photo\.jpg .*; {cure}"):
        read_image(path)


@pytest.mark.parametrize("values", [(0, 2), (0, 1, 7), (3,), (0, 1), (0, 255)])
def test_masks_that_were_saved_as_gif(values: tuple[int, ...], tmp_path: Path) -> None:
    """Pillow then numbers the values in use from 0 on, and keeps them as shades of the palette."""
    labels = np.resize(np.array(values, dtype=np.uint8), (4, 6))
    Image.fromarray(labels).save(tmp_path / "a.gif")
    expected = labels if max(values) < 255 else (labels > 0).astype(np.uint8)
    found = read_labels(tmp_path / "a.gif").numpy()
    assert (found == expected).all() or (max(values) == 255 and (found == labels).all())
