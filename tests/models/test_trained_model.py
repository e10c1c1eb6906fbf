"""A trained model called on images of every kind, streamed over files, and pushed to the hub."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2.functional import resize

import decomprec
from decomprec.data.image_io import read_image
from decomprec.models import DecompositionSegmenter, PooledClassifier, SmallEncoder
from decomprec.trained_model import Prediction, TrainedModel


def small_model(bias: float = 5.0) -> TrainedModel:
    """Two classes and decided masks; the classifier sees both classes everywhere, or none for a negative bias."""
    torch.manual_seed(0)
    segmenter = DecompositionSegmenter(3, SmallEncoder((4, 8)), decoder_widths=(8, 4))
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after some training
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.02, 0.1)
    classifier = PooledClassifier(SmallEncoder((4,)), 3)
    nn.init.zeros_(classifier.head.weight)
    nn.init.constant_(classifier.head.bias, bias)
    return TrainedModel(segmenter, ["cat", "dog"], 32, classifier)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """64 x 48 pixels of noise with a red band, stored lying and to be turned to the right."""
    pixels = np.random.default_rng(0).integers(0, 128, (48, 64, 3), dtype=np.uint8)
    pixels[:, 20:40, 0] += 127
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


def test_every_kind_of_image_gives_the_same_masks(photo: Path) -> None:
    model, pixels = small_model(), read_image(photo)
    assert pixels.shape == (3, 64, 48)
    array = pixels.permute(1, 2, 0).numpy()
    expected = model(pixels)
    for image in (photo, str(photo), Image.open(photo), array, Image.fromarray(array)):
        result = model(image)
        assert isinstance(result, Prediction)
        assert torch.equal(result.masks, expected.masks)
        assert torch.equal(result.image, pixels)
    grey = array[..., 0].copy()
    assert torch.equal(model(grey).masks, model(np.stack([grey] * 3, axis=2)).masks)


def test_a_result_holds_masks_labels_and_names(photo: Path, tmp_path: Path) -> None:
    result = small_model()(photo)
    assert result.classes == ("background", "cat", "dog")
    assert (result.masks.shape, result.masks.dtype) == ((3, 64, 48), torch.float32)
    torch.testing.assert_close(result.masks.sum(dim=0), torch.ones(64, 48))
    assert (result.label_map.shape, result.label_map.dtype) == ((64, 48), torch.int64)
    assert np.array_equal(result.label_map.numpy(), result.masks.numpy().argmax(axis=0))
    assert len(result.label_map.unique()) > 1
    result.save(tmp_path / "sub" / "mask.png")
    assert np.array_equal(np.array(Image.open(tmp_path / "sub" / "mask.png")), result.label_map.numpy())
    drawn = np.array(result.overlay(alpha=1.0)).transpose(2, 0, 1)
    background = result.label_map.numpy() == 0
    assert np.array_equal(drawn[:, background], result.image.numpy()[:, background])
    assert not np.array_equal(drawn[:, ~background], result.image.numpy()[:, ~background])


def test_unsure_pixels_are_ignored(photo: Path, tmp_path: Path) -> None:
    model = small_model()
    sure = model(photo)
    winning, labels = sure.masks.numpy().max(axis=0), sure.label_map.numpy()
    assert np.array_equal(sure.confidence.numpy(), winning)
    assert sure.found == tuple(name for k, name in enumerate(sure.classes) if k and (labels == k).any())
    limit = float(np.median(winning))
    result = model(photo, ignore_below=limit)
    assert np.array_equal(result.label_map.numpy(), np.where(winning < limit, 255, labels))
    assert 0.4 < (result.label_map == 255).float().mean() < 0.6
    result.save(tmp_path / "mask.png", comment="of a test")
    with Image.open(tmp_path / "mask.png") as file:
        assert file.info["Comment"] == "of a test"
        assert np.array_equal(np.array(file), result.label_map.numpy())
    drawn = np.array(result.overlay(alpha=1.0))[winning < limit]
    assert (drawn == drawn[0]).all()  # in one colour
    assert np.array_equal(model([photo], ignore_below=limit)[0].label_map, result.label_map)
    ((_, streamed),) = model.stream([photo], ignore_below=limit)
    assert np.array_equal(streamed.label_map, result.label_map)


def test_masks_are_refined_as_asked(photo: Path) -> None:
    model = small_model()
    raw = model(photo, ["cat"], refine=None)
    asked: list[tuple[int, ...]] = []

    def turned(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        asked.append(tuple(images.shape))
        return masks.flip(1)  # of background and cat alone, which then change places, but for the absent dog

    result = model(photo, ["cat"], refine=turned)
    assert asked == [(1, 3, 44, 32)]  # in multiples of 4, the stride
    assert torch.equal(result.seen_masks[1], raw.seen_masks[1])
    assert not result.seen_masks[2].any()
    assert not torch.equal(model(photo, ["cat"]).masks, raw.masks)  # half PAMR without a word


def test_each_file_of_a_stream_can_have_its_own_tags(photo: Path) -> None:
    blind = small_model(bias=-5.0)
    found = dict(blind.stream([photo] * 3, tags=[["dog"], [], ["cat"]]))
    assert [drawn_classes(found[index]) for index in range(3)] == [{"dog"}, set(), {"cat"}]


def test_a_pickled_model_draws_the_same(photo: Path) -> None:
    model = small_model()
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(photo).masks, model(photo).masks)


def test_a_list_gives_a_list_in_its_order(photo: Path) -> None:
    model, generator = small_model(), torch.Generator().manual_seed(1)
    shapes = [(40, 60), (50, 50), (80, 120), (40, 60)]
    images: list[Any] = [torch.randint(256, (3, *s), dtype=torch.uint8, generator=generator) for s in shapes]
    together = model([*images, photo])
    assert [tuple(r.masks.shape[1:]) for r in together] == [*shapes, (64, 48)]
    for image, result in zip([*images, photo], together, strict=True):
        torch.testing.assert_close(result.masks, model(image).masks, atol=1e-5, rtol=0)
    assert model([]) == []


def drawn_classes(result: Prediction) -> set[str]:
    return {result.classes[k] for k in range(1, 3) if result.masks[k].any()}


def test_tags_decide_instead_of_the_classifier(photo: Path) -> None:
    blind = small_model(bias=-5.0)
    assert drawn_classes(blind(photo)) == set()
    assert drawn_classes(blind(photo, tags=["dog"])) == {"dog"}
    assert [drawn_classes(r) for r in blind([photo, photo], tags=["dog", "cat"])] == [{"cat", "dog"}] * 2
    assert [drawn_classes(r) for r in blind([photo, photo], tags=[["dog"], []])] == [{"dog"}, set()]
    assert drawn_classes(small_model()(photo, tags=[])) == set()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, photo: model(photo, tags="dog"), "list of class names, but got the text 'dog'"),
        (lambda model, photo: model(photo, tags=["dig"]), r"among cat, dog, but got \['dig'\]"),
        (lambda model, photo: model([photo], tags=[["dog"], []]), "each of 1 images, but got 2"),
        (lambda model, photo: model(photo, size=0), "`size` to be at least 1, but got 0"),
        (lambda model, photo: model(photo, ignore_below=60), r"`ignore_below` to lie in \[0, 1\], but got 60"),
        (lambda model, photo: list(model.stream([photo], [["dog"], []])), "each of 1 images, but got 2"),
        (lambda model, photo: model(torch.rand(3, 8, 8)), "uint8 of shape"),
        (lambda model, photo: model(np.zeros((8, 8, 3))), "an array to be uint8 of shape"),
        (lambda model, photo: model(7), "a tensor, but got int"),
        (lambda model, photo: TrainedModel(model.segmenter, ["dog"], 32), r"the 2 classes, but got \['dog'\]"),
        (lambda model, photo: TrainedModel(model.segmenter, ["a", "b"], 32).guide, "a model with a classifier"),
    ],
)
def test_wrong_arguments(call: Any, message: str, photo: Path) -> None:
    with pytest.raises(ValueError, match=message):
        call(small_model(), photo)


def test_components_rebuild_the_image_as_the_segmenter_does(photo: Path) -> None:
    model = small_model()
    components = model.components(photo)
    assert components.shape == (3, 3, 44, 32)  # in multiples of 4, the stride
    with torch.no_grad():
        seen = resize(read_image(photo)[None], [44, 32], antialias=True).float() / 255
        rebuilt = model.segmenter(seen).reconstruction[0]
    torch.testing.assert_close(components.sum(dim=0), rebuilt)


def test_a_stream_gives_what_single_calls_give_and_reports_what_it_cannot_read(photo: Path, tmp_path: Path) -> None:
    model = small_model()
    (tmp_path / "broken.png").write_bytes(b"no image")
    wide = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 90, 3), dtype=np.uint8)).save(wide)
    files, failed = [photo, tmp_path / "broken.png", wide, photo], []
    found = dict(model.stream(files, batch=2, on_error=lambda index, error: failed.append((index, str(error)))))
    assert sorted(found) == [0, 2, 3]
    for index, result in found.items():
        torch.testing.assert_close(result.masks, model(files[index]).masks, atol=1e-5, rtol=0)
    ((index, message),) = failed
    assert index == 1
    assert "broken.png" in message
    with pytest.raises(ValueError, match=r"broken\.png"):
        list(model.stream(files))


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "preset.yaml").write_text("name: demo")
    with pytest.raises(ValueError, match="a finished run, but it has no model yet; resume it first"):
        decomprec.load(tmp_path)


def test_what_is_pushed_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    calls: list[Any] = []

    class Hub:
        def __init__(self, token: str | None) -> None:
            calls.append(token)

        def create_repo(self, repo_id: str, *, exist_ok: bool, **options: Any) -> None:
            calls.append((repo_id, exist_ok, options))

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
            for file in Path(folder_path).iterdir():
                (tmp_path / "hub" / file.name).parent.mkdir(exist_ok=True)
                (tmp_path / "hub" / file.name).write_bytes(file.read_bytes())
            return f"commit of {repo_id}"

    monkeypatch.setattr("decomprec.trained_model.model.HfApi", Hub)
    model = small_model()
    assert model.push_to_hub("someone/pets", half=False, private=True, token="secret") == "commit of someone/pets"
    assert calls == ["secret", ("someone/pets", True, {"private": True})]
    read = decomprec.load(tmp_path / "hub")
    assert torch.equal(read(photo).masks, model(photo).masks)
    assert "# Masks of cat, dog" in read.card
    assert "secret" not in read.card


def test_names_in_a_card_are_text(tmp_path: Path) -> None:
    segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))
    TrainedModel(segmenter, ["<b>[x](y)*"], 32).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert r"# Masks of &lt;b&gt;\[x\]\(y\)\*" in card


def test_the_model_of_a_tensor_moves_with_its_networks() -> None:
    model = small_model()
    assert model.to("cpu") is model
    assert model.device == torch.device("cpu")
    modes: list[bool] = [module.training for net in (model.segmenter, model.guide) for module in net.modules()]
    assert not any(modes)
