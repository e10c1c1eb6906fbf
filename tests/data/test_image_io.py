import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from decomprec.data import Record, TaggedImages
from decomprec.data.image_io import read_image, read_mask
from decomprec.data.record import MaskValues


def save(path, array, **options):
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path, **options)
    return path


def image(height=4, width=6):
    return np.zeros((height, width, 3))


def test_records_are_checked(tmp_path):
    file = save(tmp_path / "a.png", image())
    with pytest.raises(ValueError, match="at least one"):
        TaggedImages([], ("dog",))
    with pytest.raises(ValueError, match="horse"):
        TaggedImages([Record(file, ("horse",), "a")], ("dog",))
    with pytest.raises(ValueError, match="distinct"):
        TaggedImages([Record(file, (), "a")], ("dog", "dog"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TaggedImages([Record(file, (), "a", tmp_path / "nowhere.png")], ("dog",), masks=True)
    assert len(TaggedImages([Record(file, (), "a", tmp_path / "nowhere.png")], ("dog",))) == 1


def test_transform_is_joint(tmp_path):
    image = np.zeros((4, 6, 3))
    image[:, :2] = 255
    record = Record(save(tmp_path / "a.png", image), ("dog",), "a", save(tmp_path / "m.png", image[..., 0] > 0))
    item = TaggedImages([record], ("dog",), masks=True, transform=v2.RandomHorizontalFlip(1.0))[0]
    assert item["mask"][0].tolist() == [0, 0, 0, 0, 1, 1]
    assert torch.equal(item["image"][0], item["mask"].float())


def test_mask_values_keep_255():
    values = torch.arange(256, dtype=torch.uint8)[None]
    decode = MaskValues.from_names([f"c{i}" for i in range(255)], ["c7", "c3"])
    labels = decode(values, Record("a", (), "a"))[0].tolist()
    assert labels == [{7: 1, 3: 2, 255: 255}.get(value, 0) for value in range(256)]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    grey = 255 if mode == "1" else 51
    Image.new("RGB", (6, 4), (grey, grey, grey)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (3, 4, 6)
    assert image.dtype == torch.uint8
    assert (image.int() - (255 if mode == "1" else 51)).abs().max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_image_and_stored_mask(tmp_path, orientation):
    stored = np.arange(24).reshape(4, 6) * 10
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.repeat(stored[..., None], 3, axis=2), exif=exif)
    # From the EXIF standard: what the first row and the first column of the stored image show.
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].T,
        8: np.rot90(stored, 1),
    }[orientation]
    assert read_image(path)[0].tolist() == turned.tolist()
    shown_mask = save(tmp_path / "shown.png", turned)
    assert read_mask(shown_mask, path).tolist() == turned.tolist()
    if orientation >= 5:
        assert read_mask(save(tmp_path / "stored.png", stored), path).tolist() == turned.tolist()


def test_palette_mask_gives_indices(tmp_path):
    mask = Image.fromarray(np.array([[0, 15, 255]], dtype=np.uint8))
    mask.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    mask.save(tmp_path / "m.png")
    path = save(tmp_path / "a.png", image(height=1, width=3))
    assert read_mask(tmp_path / "m.png", path).tolist() == [[0, 15, 255]]


def test_bad_masks(tmp_path):
    path = save(tmp_path / "a.png", image())
    with pytest.raises(ValueError, match="height and width"):
        read_mask(save(tmp_path / "small.png", np.zeros((2, 2))), path)
    with pytest.raises(ValueError, match="mode RGB"):
        read_mask(save(tmp_path / "colour.png", noise(0, 2, 2)), path)


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3))


def test_what_is_in_memory_is_what_the_files_hold(tmp_path):
    sizes = [(4, 6), (8, 8), (5, 3)]
    records = [
        Record(save(tmp_path / f"{i}.png", noise(i, *size)), ("dog",) if i % 2 else (), f"{i}")
        for i, size in enumerate(sizes)
    ]
    data = TaggedImages(records, ("dog",), transform=v2.RandomCrop(3))
    held = data.in_memory()
    torch.manual_seed(0)
    wanted = [data[i] for i in range(3)]
    for record in records:
        record.image.unlink()
    torch.manual_seed(0)
    for i, item in enumerate(wanted):
        found = held[i]
        assert torch.equal(found["image"], item["image"])
        assert torch.equal(found["tags"], item["tags"])
        assert found["name"] == item["name"]
    with pytest.raises(ValueError, match=r"0\.png to be an image, but there is no such file"):
        data[0]
    chosen = held.select([2, 0])
    assert [chosen[i]["name"] for i in range(2)] == ["2", "0"]
    assert chosen.tags.tolist() == [[0.0], [0.0]]
    assert len(held) == 3


def test_in_memory_images_are_reduced(tmp_path):
    record = Record(save(tmp_path / "a.png", noise(0, 8, 12)), (), "a")
    pixels = TaggedImages([record], ("dog",)).in_memory(most_pixels=24)[0]["image"]
    mean = noise(0, 8, 12).reshape(4, 2, 6, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1) / 255  # of each 2 x 2 pixels
    assert pixels.shape == (3, 4, 6)
    assert np.abs(pixels.numpy() - mean).max() <= 0.5 / 255 + 1e-6


def test_in_memory_names_what_cannot_be_held(tmp_path):
    good, bad = save(tmp_path / "a.png", image()), tmp_path / "b.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b\.png to be an image"):
        TaggedImages([Record(good, (), "a"), Record(bad, (), "b")], ("dog",)).in_memory()
    with pytest.raises(ValueError, match="masks=False"):
        TaggedImages([Record(good, (), "a")], ("dog",), masks=True).in_memory()
