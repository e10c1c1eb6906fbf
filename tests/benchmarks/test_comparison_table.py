"""The whole benchmark on photographs, on tiny made-up folders: squares to be found among plain images."""

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[2]))  # `benchmarks` is no part of the package

from benchmarks.quality import comparison as quality
from benchmarks.quality import runs
from benchmarks.quality.diagnostics import TRUE
from benchmarks.quality.measure import ranked
from benchmarks.quality.photographs import evaluation_images, half, of_half, training_images
from benchmarks.quality.supervised import SupervisedModule, pixel_counts, train_supervised
from benchmarks.tables.domains import SUPERVISED
from support.tiny import QUIET, tiny, tiny_words

from decomprec import DecompositionSegmenter
from decomprec.data import collate, eval_transform, train_transform
from decomprec.evaluation import evaluate, guide_accuracy
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.refine import rescale
from decomprec.trained_model import TrainedModel, load
from decomprec.training import PRESETS, CollapsedRunError, SegmenterModule, train

pytestmark = pytest.mark.slow

SIZE = 32  # of support.tiny
TINY = tiny_words({"segmenter.epochs": 2})


def draw(seed: int, square: bool) -> tuple[Tensor, Tensor]:
    """A noisy grey image (3, H, W), perhaps with a red square, and its label map (H, W)."""
    generator = torch.Generator().manual_seed(seed)
    image = 100 + 40 * torch.rand(3, SIZE, SIZE, generator=generator)
    mask = torch.zeros(SIZE, SIZE)
    if square:
        y, x = torch.randint(2, SIZE - 14, (2,), generator=generator).tolist()
        image[:, y : y + 12, x : x + 12] = torch.tensor([230.0, 30.0, 30.0]).view(3, 1, 1)
        mask[y : y + 12, x : x + 12] = 1
        mask[y, x : x + 12] = 255
    return image.byte(), mask.byte()


def write(pixels: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.permute(1, 2, 0).numpy() if pixels.ndim == 3 else pixels.numpy()).save(path)


def make_folder(root: Path, splits: dict[str, int], masks: bool = True) -> Path:
    """As many images with a square, and half as many without, for each split."""
    for split, count in splits.items():
        for i in range(count + count // 2):
            square = i < count
            image, mask = draw(1000 * len(split) + i, square)
            write(image, root / split / ("square" if square else "other") / f"{split}_{i:03d}.png")
            if square and masks and split != "train":
                write(mask, root / f"{split}_masks" / f"{split}_{i:03d}.png")
    return root


def make_table(root: Path, count: int) -> Path:
    """The same as a table, with a further class that nobody asks for."""
    rows = [["image", "split", "classes"]]
    for i in range(2 * count):
        image, mask = draw(i, square=i % 3 > 0)
        write(image, root / "images" / f"p{i:03d}.png")
        write(torch.where(mask == 1, 2, mask), root / "masks" / f"p{i:03d}.png")
        rows.append([f"p{i:03d}.png", "train" if i < count else "val", "square;disc" if i % 3 else "disc"])
    (root / "classes.txt").write_text("background\ndisc\nsquare\n")
    with (root / "tags.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photographs"), {"train": 16, "val": 16})


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a whole run, and its arguments."""
    out = tmp_path_factory.mktemp("runs") / "quality"
    arguments = [
        "--train",
        str(folder),
        "--eval",
        f"{folder}/",
        "--preset=demo",
        "--set",
        *TINY,
        "--out",
        str(out),
        "--workers=0",
    ]
    quality.run(arguments)
    return out, arguments


def test_the_whole_command(finished: tuple[Path, list[str]], folder: Path) -> None:
    out, _ = finished
    results = json.loads((out / "results.json").read_text())
    ours = ["ours", "ours, guide's tags", "ours, PAMR"]
    maps = [f"{name} (best threshold)" for name in ("CAM", "Grad-CAM++", "LayerCAM", "CAM + PAMR")]
    expected = [*ours, "paper's recipe", SUPERVISED, f"{SUPERVISED}, PAMR", *maps, "centred ellipse", "every pixel"]
    for tags in (True, False):
        assert [row["method"] for row in results["rows"] if row["tags"] is tags] == expected

    reported = {f.stem for f in folder.glob("val/*/*.png") if half(f.stem) == "report"}
    for row in results["rows"]:
        assert row["images"] == len(reported)
        assert row["per_image"] is None or {name for name, _ in row["per_image"]} == reported
        assert (row["per_image"] is not None) == (row["method"] in ours)

    assert results["run"]["half"] == f"report, {len(reported)} images"
    assert str(folder.parent) not in json.dumps(results)
    assert f"--train {folder.name} --eval {folder.name} --preset=demo" in results["run"]["command"]
    assert results["preset"]["segmenter"]["decoder_widths"] == [8, 4]
    assert set(results["minutes"]) == {"ours", "paper's recipe", "supervised", "second guide"}
    drawn = {"ours, PAMR", f"{SUPERVISED}, PAMR", "CAM", "Grad-CAM++", "LayerCAM", "CAM + PAMR", *expected[-2:], TRUE}
    assert set(results["diagnostics"]) == {"ours", "paper's recipe", SUPERVISED, *drawn}
    for views in results["diagnostics"].values():
        for opinions in views.values():
            assert set(opinions) == {"guide", "second guide"}
            assert opinions["guide"]["mask_entropy"] == opinions["second guide"]["mask_entropy"]
    assert results["guide_accuracy"]["images"] == results["second_guide_accuracy"]["images"] == len(reported)
    for name in ("best", "median", "worst"):
        assert Image.open(out / "figures" / f"{name}.png").size[0] == 2 * (3 * SIZE + 4) + 4


def test_opinions_of_label_maps(finished: tuple[Path, list[str]], folder: Path) -> None:
    """Where every pixel is the class the guide is shown the whole image, and true masks are what the files say."""
    out, _ = finished
    results = json.loads((out / "results.json").read_text())
    seen = {name: opinions["filled view"]["guide"] for name, opinions in results["diagnostics"].items()}
    classifier = load(out / "ours").classifier.eval()
    images = of_half(evaluation_images(folder, ["square"]), "report", eval_transform(SIZE))
    with_square = [item for item in images if item["tags"].item()]
    with torch.inference_mode():
        found = [classifier(item["image"][None]).item() > 0 for item in with_square]
    assert seen["every pixel"]["present_recognised"] == pytest.approx(sum(found) / len(found))
    assert seen["every pixel"]["present_area"] == 1

    areas = [(item["mask"] == 1).float().mean().item() for item in with_square]
    assert seen[TRUE]["present_area"] == pytest.approx(sum(areas) / len(areas))
    assert seen[TRUE]["mask_entropy"] == seen[TRUE]["recon_error"] == seen[TRUE]["absent_area"] == 0


def test_the_other_trainings_are_what_their_rows_say(finished: tuple[Path, list[str]]) -> None:
    out, _ = finished
    ours, paper = load(out / "ours"), load(out / "paper")
    for name, tensor in ours.classifier.state_dict().items():
        assert torch.equal(paper.classifier.state_dict()[name], tensor)
    second = (out / "second_guide" / "finished.safetensors").read_bytes()
    assert second != (out / "ours" / "guide" / "finished.safetensors").read_bytes()
    recipe = runs.Preset.load(out / "paper" / "preset.yaml").segmenter
    assert (recipe.encoder, recipe.decoder_widths, recipe.epochs, recipe.batch_size) == ("guide", (8, 4), 2, 8)
    assert (recipe.content, recipe.fills, recipe.absent, recipe.area_range) == ("imagelets", (), "ignore", None)
    assert recipe.lambda_mask == 1e-3
    assert recipe.freeze_encoder == runs.Preset.load(out / "ours" / "preset.yaml").segmenter.freeze_encoder


def test_a_resumed_run_trains_nothing_and_gives_the_same_table(
    finished: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, arguments = finished
    before = json.loads((out / "results.json").read_text())
    monkeypatch.setattr("lightning.Trainer.fit", None)
    quality.run([*arguments, "--resume"])
    after = json.loads((out / "results.json").read_text())
    for key in ("rows", "diagnostics", "guide_accuracy", "second_guide_accuracy", "collapsed"):
        assert after[key] == before[key]


def test_a_used_folder_is_refused(finished: tuple[Path, list[str]]) -> None:
    with pytest.raises(SystemExit, match="holds a run; resume it"):
        quality.run(finished[1])


def test_a_collapsed_recipe_is_shown_as_it_was_at_its_last_checkpoint(
    finished: tuple[Path, list[str]], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Collapse(Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            if isinstance(pl_module, SegmenterModule) and trainer.current_epoch == 1:
                raise CollapsedRunError("all black")

    monkeypatch.setattr(runs, "train", lambda *args, **options: train(*args, **{**options, "callbacks": [Collapse()]}))
    transform = eval_transform(SIZE)
    train_set, held_out = training_images(folder, None, transform), evaluation_images(folder, ["square"])
    tune = of_half(held_out, "tune", transform)
    preset = runs.Preset.load(finished[0] / "ours" / "preset.yaml")
    checkpoint = tmp_path / "paper" / "segmenter" / "last.ckpt"
    for resume in (False, True):
        conditions = runs.Conditions(train_set, tune, 0, resume, 0, QUIET)
        trained, message = runs.run_papers_recipe(conditions, preset, finished[0] / "ours", tmp_path / "paper")
        kept = torch.load(checkpoint, weights_only=True)
        assert message == "all black"
        assert kept["epoch"] == 0
        for name, tensor in trained.segmenter.state_dict().items():
            assert torch.equal(tensor, kept["state_dict"][f"segmenter.{name}"])


@pytest.mark.parametrize("with_classifier", [True, False])
def test_a_saved_model_alone_on_a_table_that_it_has_never_seen(
    with_classifier: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = DecompositionSegmenter(2, SmallEncoder((4, 8)), decoder_widths=(8, 4))
    classifier = PooledClassifier(SmallEncoder((4, 8)), 2) if with_classifier else None
    TrainedModel(segmenter, ["square"], SIZE, classifier).save_pretrained(tmp_path / "tiny", masks_only=True)
    table = make_table(tmp_path / "table", 12)
    arguments = ["--model", str(tmp_path / "tiny"), "--eval", str(table), "--out", str(tmp_path), "--workers=0"]
    quality.run([*arguments, "--half=all", f"--json={tmp_path / 'scores.json'}"])
    results = json.loads((tmp_path / "scores.json").read_text())
    methods = {row["method"] for row in results["rows"]}
    assert {"tiny", "tiny, PAMR", "every pixel", "centred ellipse"} <= methods
    assert ("CAM (best threshold)" in methods) == ("tiny, guide's tags" in methods) == with_classifier
    assert results["run"]["half"] == "all, 12 images"
    assert results["run"]["image_size"] == SIZE
    (every,) = (row for row in results["rows"] if row["method"] == "every pixel" and row["tags"])
    truth = torch.stack([of_half(evaluation_images(table, ["square"]), "all", None)[i]["mask"] for i in range(12)])
    tagged = (truth == 1).flatten(1).any(dim=1)
    assert every["iou"][1] == pytest.approx(((truth == 1).sum() / (truth[tagged] != 255).sum()).item(), abs=1e-6)
    assert "| tiny " in capsys.readouterr().out


def test_halves_are_disjoint_stable_and_depend_on_the_name_alone(folder: Path, tmp_path: Path) -> None:
    names = [f"2007_{i:06d}" for i in range(400)]
    assert 150 < sum(half(name) == "tune" for name in names) < 250
    # Written down once: another version of Python or of this file must not move images.
    assert "".join(half(name)[0] for name in names[:24]) == "rrtttrrrrtrtrrrttrrttttt"
    parts = {which: names_of(folder, which) for which in ("tune", "report", "all")}
    assert parts["tune"].isdisjoint(parts["report"])
    assert parts["tune"] | parts["report"] == parts["all"]
    more = make_folder(tmp_path, {"val": 21})
    for which in ("tune", "report"):
        assert names_of(more, which) & parts["all"] == parts[which]


def names_of(root: Path, which: str) -> set[str]:
    return {record.name for record in of_half(evaluation_images(root, ["square"]), which, None).records}


@pytest.mark.parametrize("splits", [{"val": 6}, {"test": 6}, {"train": 4, "val": 6}])
def test_evaluation_needs_no_images_to_train_on(splits: dict[str, int], tmp_path: Path) -> None:
    images = evaluation_images(make_folder(tmp_path, splits), ["square"])
    assert len(images) == 9
    assert images.class_names == ("square",)
    for item in of_half(images, "all", None):
        assert (item["mask"] == 1).any() == bool(item["tags"].item())
        assert (item["mask"] == 255).sum() == 12 * item["tags"].item()


def test_images_with_a_tag_and_without_a_mask_are_left_out(tmp_path: Path) -> None:
    root = make_folder(tmp_path, {"val": 6})
    (root / "val_masks" / "val_002.png").unlink()
    assert "val_002" not in {record.name for record in evaluation_images(root, ["square"]).records}


def test_the_supervised_loss_is_cross_entropy_and_dice_over_the_known_pixels() -> None:
    segmenter = DecompositionSegmenter(3, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
    images, truth = torch.rand(2, 3, 16, 16), torch.randint(3, (2, 16, 16))
    truth[0, :5] = 255
    weights = torch.tensor([1.0, 0.5, 2.0])
    module = SupervisedModule(segmenter, 1e-3, weights)
    module.log = lambda *args, **options: None
    loss = module.training_step({"image": images, "mask": truth}, 0)
    logits = segmenter.mask_logits(images).double()
    cross_entropy = F.cross_entropy(logits, truth, weights.double(), ignore_index=255)
    dice = []
    for masks, labels in zip(logits.softmax(dim=1), truth, strict=True):
        for k in (1, 2):  # both are in either image
            mask, true = masks[k][labels != 255], labels[labels != 255] == k
            dice.append(1 - 2 * mask[true].sum() / (mask.sum() + true.sum()))
    assert loss.item() == pytest.approx((cross_entropy + torch.stack(dice).mean()).item(), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in segmenter.mask_decoder.parameters())
    assert module.training_step({"image": images, "mask": torch.full_like(truth, 255)}, 0).item() == 0


def test_pixels_are_counted_in_all_masks(tmp_path: Path) -> None:
    images = of_half(evaluation_images(make_folder(tmp_path, {"val": 12}), ["square"]), "all", None)
    masks = torch.stack([item["mask"] for item in images])
    assert pixel_counts(images).tolist() == [(masks == 0).sum().item(), (masks == 1).sum().item()]


def test_supervised_training_learns_squares(tmp_path: Path) -> None:
    held_out = evaluation_images(make_folder(tmp_path, {"val": 80}), ["square"])
    settings = {"segmenter.decoder_widths": [16, 8], "segmenter.batch_size": 8}
    segmenter = train_supervised(
        PRESETS["demo"].override(settings),
        PooledClassifier(SmallEncoder((8, 16)), 2),
        of_half(held_out, "tune", train_transform(SIZE)),
        images_seen=1200,
        folder=tmp_path / "supervised",
        seed=0,
        workers=0,
        trainer_options=QUIET,
    )
    loader = DataLoader(of_half(held_out, "report", None), batch_size=8, collate_fn=collate)
    assert evaluate(segmenter.predict, loader, 2, use_tags=False).iou[1] > 0.8


def test_ranked_images() -> None:
    scores = [(f"p{i}", i / 30) for i in range(30)]
    found = ranked([*scores[15:], ("unknown", float("nan")), *scores[:15]], count=10)
    assert found["best"] == [f"p{i}" for i in range(29, 19, -1)]
    assert found["median"] == [f"p{i}" for i in range(19, 9, -1)]
    assert found["worst"] == [f"p{i}" for i in range(9, -1, -1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "{bare}", "--eval", "{bare}"], "to hold masks"),
        (["--eval", "{bare}"], "either --train .* or --model"),
        (["--eval", "{bare}", "--train", "{bare}", "--model", "{bare}"], "either --train .* or --model"),
        (["--train", "{bare}", "--eval", "nowhere"], "Expected --eval to be a folder"),
        (["--train", "nowhere", "--eval", "{bare}"], "nowhere"),
        (["--train", "{bare}", "--eval", "{bare}", "--preset", "best"], "Expected the preset to be one of"),
        (["--train", "{bare}", "--eval", "{bare}", "--classes", "circle"], "circle"),
        (["--model", "nowhere", "--eval", "{bare}"], "nowhere"),
    ],
)
def test_wrong_arguments_end_in_one_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    bare = make_folder(tmp_path / "bare", {"train": 4, "val": 4}, masks=False)
    filled = [argument.format(bare=bare) for argument in arguments]
    with pytest.raises(SystemExit, match=message) as exit:
        quality.run([*filled, "--out", str(tmp_path / "out")])
    assert exit.value.code not in (0, None)
    assert "\n" not in str(exit.value)
    assert not (tmp_path / "out").exists()


def test_single_changes_with_the_guide_of_a_run(
    finished: tuple[Path, list[str]], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.quality import ablation
    from benchmarks.quality.changes import AddTerm, AnnealedPrior, AverageSegmenter, Change, FeatureReconstruction

    terms = []

    class Watched(AddTerm):
        def on_fit_start(self, trainer, pl_module):
            super().on_fit_start(trainer, pl_module)
            terms.extend(getattr(pl_module, "loss", SimpleNamespace(extra={})).extra)

    changes = (
        Change("nothing"),
        Change("features", callback=lambda: Watched(FeatureReconstruction, 0.1)),
        Change("annealed", callback=AnnealedPrior),
        Change("average", callback=AverageSegmenter),
    )
    monkeypatch.setattr(ablation, "CHANGES", changes)
    arguments = ["--train", str(folder), "--eval", str(folder), "--guide", str(finished[0] / "ours"), "--workers=0"]
    arguments += ["--out", str(tmp_path / "runs"), "--json", str(tmp_path / "table.json"), "--only"]
    ablation.main([*arguments, *(change.name for change in changes)])

    table = json.loads((tmp_path / "table.json").read_text())
    assert [row["name"] for row in table["ablation"]] == [change.name for change in changes]
    assert "added" in terms
    weights = {}
    for change in changes:
        run = tmp_path / "runs" / change.name
        assert load_file(run / "guide" / "finished.safetensors").keys()
        weights[change.name] = load_file(run / "segmenter" / "finished.safetensors")
    nothing = weights.pop("nothing")
    ours = load_file(finished[0] / "ours" / "segmenter" / "finished.safetensors")
    assert all(torch.equal(tensor, ours[name]) for name, tensor in nothing.items())
    for changed in weights.values():
        assert any(not torch.equal(tensor, nothing[name]) for name, tensor in changed.items())
    assert str(tmp_path) not in (tmp_path / "table.json").read_text()


def test_how_many_images_it_takes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.quality import training_set_size
    from benchmarks.tables.quality import how_many_table

    total = len(training_images(folder, None, eval_transform(SIZE)))
    preset = tmp_path / "tiny.yaml"
    tiny().save(preset)
    arguments = ["--train", str(folder), "--eval", str(folder), "--images", str(total // 2), "--presets", str(preset)]
    out, file = tmp_path / "runs", tmp_path / "how_many.json"
    training_set_size.main([*arguments, "--out", str(out), "--json", str(file)])

    table = json.loads(file.read_text())
    assert [row["images"] for row in table["how_many"]] == [total // 2, total]
    for row, run in zip(table["how_many"], (f"{tiny().name}_{total // 2}", f"{tiny().name}_all"), strict=True):
        assert json.loads((out / run / "measured.json").read_text()) == row
        trained = load(out / run)
        whole = eval_transform(runs.Preset.load("robust").image_size, crop=False)
        images = of_half(evaluation_images(folder, trained.class_names), "report", whole)
        loader = DataLoader(images, batch_size=1, collate_fn=collate)
        seen, enlarge = trained.image_size / runs.Preset.load("robust").image_size, trained.segmenter.enlarge
        larger = [{**batch, "image": rescale(rescale(batch["image"], seen), enlarge)} for batch in loader]
        assert row["guide_accuracy"] == guide_accuracy(trained.guide, larger)["mean"]
        assert 0 < row["core_minutes"] < 60
    cells = [line.split("|") for line in how_many_table([table]).splitlines() if line.startswith(f"| {total} ")]
    assert [cell.strip() for cell in cells[0]][4:6] == [
        f"{table['how_many'][1][key]:.3f}" for key in ("guide_accuracy", "iou_with_tags")
    ]
    assert str(tmp_path) not in file.read_text()
