import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from decomprec import Decomposition
from decomprec.viz import figure_pairs, overlay, panel, save_image, voc_palette


def render(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)


def as_bytes(image):
    return (image * 255).round().to(torch.uint8)


def random_decomposition(batch, slots, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, 3, height, width, generator=generator)
    logits = 3 * torch.randn(batch, slots, height, width, generator=generator)
    return images, Decomposition(logits, torch.rand(batch, slots, 3, height, width, generator=generator))


def test_palette_is_that_of_voc():
    published = {0: (0, 0, 0), 1: (128, 0, 0), 5: (128, 0, 128), 8: (64, 0, 0), 12: (64, 0, 128), 15: (192, 128, 128)}
    published |= {19: (128, 192, 0), 20: (0, 64, 128), 255: (224, 224, 192)}
    palette = voc_palette(256) * 255
    assert {label: tuple(palette[label].int().tolist()) for label in published} == published
    assert len(palette.unique(dim=0)) == 256
    assert torch.equal(voc_palette(21), voc_palette(256)[:21])


def test_palette_by_shifting_bits():
    for label, colour in enumerate((voc_palette(256) * 255).round().int().tolist()):
        red = green = blue = 0
        rest = label
        for shift in range(7, -1, -1):
            red |= (rest & 1) << shift
            green |= (rest >> 1 & 1) << shift
            blue |= (rest >> 2 & 1) << shift
            rest >>= 3
        assert colour == [red, green, blue]


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_overlay_blends_pixel_by_pixel_and_leaves_the_background(dtype, alpha):
    images = torch.rand(2, 3, 3, 4)
    labels = torch.tensor([0, 1, 2, 20, 255, 0])[torch.randint(6, (2, 3, 4))].to(dtype)
    result = overlay(images, labels, alpha)
    palette = voc_palette(256)
    for b in range(2):
        for y in range(3):
            for x in range(4):
                label = int(labels[b, y, x])
                before = images[b, :, y, x]
                expected = before if label == 0 else (1 - alpha) * before + alpha * palette[label]
                assert torch.allclose(result[b, :, y, x], expected, atol=1e-6)
    assert torch.equal(result[:, 0][labels == 0], images[:, 0][labels == 0])


def test_pairs_stand_image_left_overlay_right_row_by_row():
    images = torch.rand(7, 3, 4, 5)
    labels = torch.randint(3, (7, 4, 5))
    figure = figure_pairs(images, labels, columns=3)
    shown = overlay(images, labels)
    assert figure.shape == (3, 2 + 3 * (4 + 2), 2 + 3 * (10 + 2))
    rest = torch.ones(figure.shape[1:], dtype=torch.bool)
    for i in range(7):
        top, left = 2 + (i // 3) * 6, 2 + (i % 3) * 12
        assert torch.equal(figure[:, top : top + 4, left : left + 5], images[i])
        assert torch.equal(figure[:, top : top + 4, left + 5 : left + 10], shown[i])
        rest[top : top + 4, left : left + 10] = False
    assert (figure[:, rest] == 1).all()


def test_single_pair_has_the_same_border():
    image, labels = torch.rand(1, 3, 4, 5), torch.ones(1, 4, 5, dtype=torch.int64)
    figure = figure_pairs(image, labels)
    assert figure.shape == (3, 8, 14)
    assert torch.equal(figure, figure_pairs(image.repeat(2, 1, 1, 1), labels.repeat(2, 1, 1), columns=1)[:, :8])


@pytest.mark.parametrize(("height", "width", "scale"), [(64, 48, 3), (32, 32, 6), (112, 112, 2), (224, 160, 1)])
def test_panel_shows_every_part_in_its_place_with_whole_pixels(height, width, scale):
    images, out = random_decomposition(2, 3, height, width)
    truth = torch.randint(3, (2, height, width))
    tags = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    figure = panel(images, out, ["cat", "dog"], tags, truth, torch.rand(2, 3, 2))
    drawn = render(figure)
    expected = [images, out.reconstruction, overlay(images, out.labels()), overlay(images, truth)]
    expected += [out.masks[:, k : k + 1].repeat(1, 3, 1, 1) for k in range(3)]
    expected += [out.components[:, k] for k in range(3)]
    shown = figure.axes[0].images
    assert len(shown) == 2 * len(expected)
    canvas_height = drawn.shape[1]
    for index, cell in enumerate(shown):
        row, column = divmod(index, len(expected))
        box = cell.get_window_extent()
        left, top = round(box.x0), canvas_height - round(box.y1)
        found = drawn[:, top : top + height * scale, left : left + width * scale]
        image = expected[column][row].repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        assert torch.equal(found, as_bytes(image))


def test_panel_keeps_texts_inside_the_figure_and_off_the_images():
    images, out = random_decomposition(3, 4, 64, 64)
    names = ["a name that is much too long for a title", "pottedplant", "dog"]
    figure = panel(images, out, names, torch.ones(3, 3), guide_probabilities=torch.rand(3, 4, 3))
    render(figure)
    (ax,) = figure.axes
    cells = [cell.get_window_extent() for cell in ax.images]
    assert [text.get_text() for text in ax.texts[:3]] == ["input", "reconstruction", "prediction"]
    assert len(ax.texts) == 11 + 12 + 3  # titles, opinions, tags
    boxes = [text.get_window_extent() for text in ax.texts]
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height
        assert not any(box.overlaps(cell) for cell in cells)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_panel_writes_tags_and_the_guides_opinion_of_each_components_own_class():
    images, out = random_decomposition(2, 3, 32, 32)
    seen = torch.tensor([[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], [[0.11, 0.09], [0.7, 0.0], [0.0, 0.8]]])
    figure = panel(images, out, ["cat", "dog"], torch.tensor([[1.0, 1.0], [0.0, 0.0]]), guide_probabilities=seen)
    lines = [text.get_text() for text in figure.axes[0].texts]
    assert [line for line in lines if line.startswith("tags")] == ["tags: cat, dog", "tags: none"]
    opinions = [line for line in lines if line.startswith("guide")]
    assert opinions == ["guide 0.20", "guide 0.30", "guide 0.60", "guide 0.11", "guide 0.70", "guide 0.80"]


def test_saved_image_comes_back(tmp_path):
    image = torch.randint(256, (3, 5, 6)) / 255
    path = tmp_path / "new" / "image.png"
    save_image(image, path)
    found = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)
    assert torch.equal(found, as_bytes(image))
    images, out = random_decomposition(1, 2, 32, 32)
    figure = panel(images, out, ["dog"])
    save_image(figure, path)
    found = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)
    assert torch.equal(found, render(figure))
    assert [entry.name for entry in path.parent.iterdir()] == ["image.png"]


def test_failed_save_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "image.unknown"
    path.write_text("old")
    with pytest.raises(ValueError, match="unknown"):
        save_image(torch.rand(3, 4, 4), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: voc_palette(257), "Expected `n`"),
        (lambda: overlay(torch.rand(1, 3, 4, 4), torch.zeros(1, 4, 5).long()), "Expected `labels`"),
        (lambda: overlay(torch.rand(1, 3, 4, 4), torch.zeros(1, 4, 4)), "Expected `labels`"),
        (lambda: overlay(torch.rand(1, 3, 4, 4), torch.full((1, 4, 4), 256)), "Expected `labels` to lie"),
        (lambda: overlay(torch.rand(1, 3, 4, 4), torch.zeros(1, 4, 4).long(), alpha=1.5), "Expected `alpha`"),
        (lambda: overlay(torch.rand(1, 4, 4, 3), torch.zeros(1, 4, 4).long()), "Expected `images`"),
        (lambda: figure_pairs(torch.rand(1, 3, 4, 4), torch.zeros(1, 4, 4).long(), columns=0), "Expected `columns`"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["cat"]}, "Expected `class_names` to hold K-1 = 2"),
        ({"tags": torch.zeros(2, 3)}, "Expected `tags`"),
        ({"truth": torch.zeros(2, 4, 4).long()}, "Expected `truth`"),
        ({"guide_probabilities": torch.zeros(2, 3)}, "Expected `guide_probabilities`"),
    ],
)
def test_bad_panel_raises(options, message):
    images, out = random_decomposition(2, 3, 8, 8)
    with pytest.raises(ValueError, match=message):
        panel(images, out, **{"class_names": ["cat", "dog"], **options})
