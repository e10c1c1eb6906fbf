import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d

from decomprec.data import SyntheticScenes
from decomprec.data.synthetic.scenes import render_scene, scene_class_names


@pytest.fixture(scope="module")
def scenes():
    return SyntheticScenes(400, num_classes=4, size=48, seed=3, masks=True)


def test_scene_depends_on_seed_and_index_only():
    few, many = SyntheticScenes(4, size=32, seed=7), SyntheticScenes(9, size=32, seed=7)
    other = SyntheticScenes(4, size=32, seed=8)
    for i in range(4):
        assert torch.equal(few[i]["image"], many[i]["image"])
        assert torch.equal(few[i]["tags"], many[i]["tags"])
        assert few[i]["name"] == many[i]["name"] == f"scene_{i:06d}"
        for j in range(4):
            assert not torch.equal(few[i]["image"], other[j]["image"])


def test_items_have_the_common_form(scenes):
    item = scenes[-1]
    assert item["name"] == "scene_000399"
    assert item["image"].shape == (3, 48, 48)
    assert item["image"].dtype == torch.float32
    assert 0 <= item["image"].min() < item["image"].max() <= 1
    assert item["tags"].shape == (4,)
    assert item["tags"].dtype == torch.float32
    assert item["mask"].shape == (48, 48)
    assert item["mask"].dtype == torch.int64
    assert type(item["image"]) is torch.Tensor
    assert "mask" not in SyntheticScenes(1, size=32)[0]
    with pytest.raises(IndexError):
        scenes[400]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    index=st.integers(0, 10_000),
    num_classes=st.integers(1, 20),
    size=st.integers(16, 72),
    max_objects=st.integers(1, 8),
)
def test_every_class_of_a_scene_covers_one_percent(seed, index, num_classes, size, max_objects):
    image, labels = render_scene(seed, index, num_classes=num_classes, size=size, max_objects=max_objects)
    assert image.shape == (size, size, 3)
    areas = np.bincount(labels.ravel(), minlength=num_classes + 1)
    assert len(areas) == num_classes + 1
    assert (areas[1:][areas[1:] > 0] >= 0.01 * size * size).all()
    assert (areas[1:] > 0).sum() <= max_objects


def test_tags_agree_with_masks(scenes):
    for item in scenes:
        present = set(item["mask"].unique().tolist()) - {0}
        assert present == {j + 1 for j in range(4) if item["tags"][j] == 1}


def test_classes_are_balanced_and_some_scenes_are_empty(scenes):
    shares = scenes.tags.mean(0)
    assert shares.min() > 0.8 * shares.max()
    tags_per_scene = scenes.tags.sum(1)
    assert 0.12 < (tags_per_scene == 0).float().mean() < 0.3
    assert (tags_per_scene >= 2).float().mean() > 0.3


def test_colour_alone_does_not_tell_the_class(scenes):
    # Class means of object colours lie within the spread that random colours give.
    images = torch.stack([item["image"] for item in scenes])
    masks = torch.stack([item["mask"] for item in scenes])
    for label in range(1, 5):
        objects = [image[:, mask == label].mean(1) for image, mask in zip(images, masks, strict=True)]
        colours = torch.stack([colour for colour in objects if not colour.isnan().any()])
        assert colours.std(0).min() > 0.08
        assert (colours.mean(0) - images.mean((0, 2, 3))).abs().max() < 0.12


def test_texture_fills_the_object():
    # Nearly every 9 x 9 window inside an object varies, so there is evidence everywhere in it.
    scenes = SyntheticScenes(60, size=64, seed=11, masks=True)
    grey = torch.stack([item["image"].mean(0) for item in scenes])
    masks = torch.stack([item["mask"] for item in scenes])
    mean = avg_pool2d(grey, 9, 1)
    spread = (avg_pool2d(grey**2, 9, 1) - mean**2).clamp(min=0).sqrt()
    inside = torch.stack([avg_pool2d((masks == label).float(), 9, 1) == 1 for label in range(1, 5)]).any(0)
    assert inside.sum() > 1000
    assert (spread[inside] > 0.08).float().mean() > 0.95


def test_names_are_distinct_combinations():
    names = scene_class_names(20)
    assert len(set(names)) == 20
    first = [name.split() for name in names[:4]]
    assert len({texture for texture, _ in first}) == len({shape for _, shape in first}) == 4


@pytest.mark.parametrize(
    "bad",
    [{"num_images": 0}, {"num_classes": 0}, {"num_classes": 21}, {"size": 8}, {"seed": -1}, {"max_objects": 0}],
)
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        SyntheticScenes(**{"num_images": 2, **bad})
