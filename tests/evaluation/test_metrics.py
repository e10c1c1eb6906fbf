import json
import math
import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from decomprec import Decomposition, DecompositionSegmenter, FrozenGuide
from decomprec._measuring import measure
from decomprec.data import SyntheticScenes, collate
from decomprec.evaluation import (
    CamPredictor,
    Results,
    SegmentationScores,
    compare,
    comparison,
    evaluate,
    guide_accuracy,
)
from decomprec.evaluation.baselines import CentredEllipse, EveryPixel, best_cam_threshold
from decomprec.evaluation.comparison import Row
from decomprec.evaluation.diagnostics import decomposition_diagnostics
from decomprec.evaluation.metrics import image_iou
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.refine import RefinedPredictor, at_scale, guided_filter, half_pamr, rescale
from decomprec.trained_model import TrainedModel


def batches(sizes, num_classes, seed=0, classes=None):
    """Random images, truths with 255 and tags; `classes` restricts what the truth holds."""
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.tensor(classes if classes is not None else list(range(num_classes)))
    out = []
    for batch, height, width in sizes:
        truth = allowed[torch.randint(len(allowed), (batch, height, width), generator=generator)]
        truth[torch.rand(truth.shape, generator=generator) < 0.1] = 255
        tags = torch.randint(2, (batch, num_classes - 1), generator=generator).float()
        image = torch.rand(batch, 3, height, width, generator=generator)
        out.append({"image": image, "tags": tags, "mask": truth, "name": ["x"] * batch})
    return out


def by_brightness(num_classes):
    """A predictor whose labels depend on the image alone."""
    return lambda images, tags=None: (images[:, 0] * num_classes).long().clamp(max=num_classes - 1)


def iou_by_loops(labels, truths, num_classes):
    both, either = [0] * num_classes, [0] * num_classes
    for label_map, truth in zip(labels, truths, strict=True):
        for p, t in zip(label_map.flatten().tolist(), truth.flatten().tolist(), strict=True):
            if t == 255:
                continue
            for k in range(num_classes):
                both[k] += p == k and t == k
                either[k] += p == k or t == k
    return [b / e if e else math.nan for b, e in zip(both, either, strict=True)]


def test_iou_is_that_of_plain_loops_over_the_whole_data_set():
    data = batches([(3, 6, 5), (1, 9, 4), (2, 3, 3)], num_classes=4)
    predictor = by_brightness(4)
    expected = iou_by_loops([predictor(b["image"]) for b in data], [b["mask"] for b in data], 4)
    scores = evaluate(predictor, data, num_classes=4, use_tags=False)
    assert scores.iou == pytest.approx(expected, rel=1e-6)
    assert scores.mean_iou == pytest.approx(sum(expected) / 4, rel=1e-6)
    assert scores.mean_foreground_iou == pytest.approx(sum(expected[1:]) / 3, rel=1e-6)
    assert scores.images == 6
    # The mean of the batches' own IoU is another number: what is tested is the data set's.
    per_batch = [evaluate(predictor, [b], 4, use_tags=False).mean_iou for b in data]
    assert scores.mean_iou != pytest.approx(sum(per_batch) / 3, rel=1e-4)


def test_class_in_neither_prediction_nor_truth_is_left_out_but_a_missed_one_is_zero():
    data = batches([(2, 5, 5)], num_classes=4, classes=[0, 1, 3])
    scores = evaluate(lambda images, tags: torch.ones(2, 5, 5, dtype=torch.int64), data, 4, use_tags=False)
    assert math.isnan(scores.iou[2])
    assert scores.iou[3] == 0
    assert scores.mean_iou == pytest.approx(scores.iou[1] / 3)
    assert scores.mean_foreground_iou == pytest.approx(scores.iou[1] / 2)
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False))["iou"][2] is None


def test_predictions_on_ignored_pixels_count_for_nothing():
    truth = torch.full((1, 2, 2), 255)
    truth[0, 0] = torch.tensor([0, 1])
    data = [{"image": torch.rand(1, 3, 2, 2), "tags": torch.ones(1, 1), "mask": truth}]
    for ignored in (0, 1):
        labels = torch.tensor([[[0, 1], [ignored, ignored]]])
        assert evaluate(lambda images, tags, labels=labels: labels, data, 2, use_tags=False).iou == (1.0, 1.0)


def test_false_area_is_that_of_plain_loops():
    data = batches([(3, 4, 5), (2, 6, 6), (4, 3, 2)], num_classes=4, seed=1)
    predictor = by_brightness(4)
    expected, counts = [], []
    for k in (1, 2, 3):
        shares, present = [], 0
        for b in data:
            for label_map, tags in zip(predictor(b["image"]), b["tags"], strict=True):
                if tags[k - 1] == 1:
                    present += 1
                else:
                    shares.append(sum(p == k for p in label_map.flatten().tolist()) / label_map.numel())
        expected.append(sum(shares) / len(shares))
        counts.append(present)
    scores = evaluate(predictor, data, 4, use_tags=False)
    assert scores.false_area == pytest.approx(expected, rel=1e-6)
    assert scores.images_with == tuple(counts)
    assert scores.mean_false_area == pytest.approx(sum(expected) / 3, rel=1e-6)


def test_false_area_is_none_with_tags_and_nan_where_every_image_has_the_class():
    data = batches([(2, 4, 4)], num_classes=3)
    data[0]["tags"] = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert evaluate(by_brightness(3), data, 3, use_tags=True).false_area is None
    scores = evaluate(by_brightness(3), data, 3, use_tags=False)
    assert math.isnan(scores.false_area[0])
    assert scores.mean_false_area == scores.false_area[1] > 0
    assert scores.to_dict()["false_area"][0] is None


def test_iou_of_each_image_is_that_of_plain_loops():
    data = batches([(4, 6, 5), (3, 3, 3)], num_classes=5, classes=[0, 1, 3])
    data[0]["mask"][1] = 255
    data[0]["mask"][2] = 0
    data[0]["image"][2] = 0  # predicted as background everywhere
    predictor = by_brightness(5)
    expected = []
    for b in data:
        for label_map, truth in zip(predictor(b["image"]), b["mask"], strict=True):
            known = [x for x in iou_by_loops([label_map], [truth], 5) if not math.isnan(x)]
            expected.append(sum(known) / len(known) if known else math.nan)
    assert math.isnan(expected[1])
    assert expected[2] == 1
    found = [image_iou(predictor(b["image"]), b["mask"], 5) for b in data]
    assert torch.cat(found).tolist() == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_scores_record_the_iou_of_each_image_by_its_name_if_asked():
    data = batches([(2, 6, 5), (1, 3, 3)], num_classes=3)
    data[0]["name"], data[1]["name"] = ["rex", "tom"], ["ada"]
    predictor = by_brightness(3)
    scores = evaluate(predictor, data, 3, use_tags=False, per_image=True)
    alone = {}
    for b in data:
        for i, name in enumerate(b["name"]):
            one = {key: value[i : i + 1] for key, value in b.items()}
            alone[name] = evaluate(predictor, [one], 3, use_tags=False).mean_iou
    assert [name for name, _ in scores.per_image] == ["rex", "tom", "ada"]
    assert dict(scores.per_image) == pytest.approx(alone, rel=1e-6)
    assert scores.to_dict()["per_image"] == [list(pair) for pair in scores.per_image]
    plain = evaluate(predictor, data, 3, use_tags=False)
    assert plain.per_image is None
    assert plain.to_dict() == {**scores.to_dict(), "per_image": None}
    del data[1]["name"]
    with pytest.raises(ValueError, match="Expected batches with a 'name'"):
        evaluate(predictor, data, 3, use_tags=False, per_image=True)


@pytest.mark.parametrize("use_tags", [True, False])
def test_predictor_gets_tags_only_if_asked_and_no_gradients(use_tags):
    data = batches([(2, 4, 4)], num_classes=3)

    def predictor(images, tags=None):
        assert torch.is_inference_mode_enabled()
        assert (tags is None) if not use_tags else torch.equal(tags, data[0]["tags"])
        return torch.zeros(2, 4, 4, dtype=torch.int64)

    evaluate(predictor, data, 3, use_tags=use_tags)


def test_segmenter_predicts_as_it_stands():
    data = batches([(2, 20, 18)], num_classes=3)
    model = DecompositionSegmenter(num_classes=3)
    scores = evaluate(model.predict, data, 3, use_tags=True)
    expected = iou_by_loops([model.predict(data[0]["image"], data[0]["tags"])], [data[0]["mask"]], 3)
    assert scores.iou == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": None}, "Expected batches with a 'mask'"),
        ({"mask": torch.zeros(2, 8, 8, dtype=torch.int64)}, "shape of the ground truth"),
        ({"mask": torch.full((2, 4, 4), 3)}, "Expected the ground truth to lie in 0 to 2"),
        ({"image": torch.full((2, 3, 4, 4), 1.5)}, "Expected predicted labels to lie in 0 to 2"),
        ({"tags": torch.zeros(2, 3)}, "Expected `tags`"),
    ],
)
def test_bad_batches_raise(change, message):
    batch = {**batches([(2, 4, 4)], num_classes=3)[0], **change}
    batch = {key: value for key, value in batch.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        evaluate(lambda images, tags: (images[:, 0] * 2.9).long(), [batch], 3, use_tags=False)


def test_empty_loader_raises():
    for function in (
        lambda: evaluate(by_brightness(2), [], 2, use_tags=False),
        lambda: guide_accuracy(nn.Identity(), []),
        lambda: decomposition_diagnostics(nn.Identity(), nn.Identity(), []),
    ):
        with pytest.raises(ValueError, match="at least one image"):
            function()


def test_guide_accuracy_counts_decisions_over_uneven_batches():
    data = batches([(3, 4, 4), (1, 4, 4), (5, 4, 4)], num_classes=4, seed=2)
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=4)
    classifier.encoder.eval()
    right = []
    for b in data:
        for image, tags in zip(b["image"], b["tags"], strict=True):
            probabilities = classifier(image[None])[0].sigmoid().tolist()
            right.append([(p > 0.5) == bool(t) for p, t in zip(probabilities, tags.tolist(), strict=True)])
    result = guide_accuracy(classifier, data)
    assert result["per_class"] == pytest.approx([sum(r[j] for r in right) / 9 for j in range(3)])
    assert result["mean"] == pytest.approx(sum(map(sum, right)) / 27)
    assert result["exact_match"] == pytest.approx(sum(map(all, right)) / 9)
    assert classifier.training
    assert not classifier.encoder.training


def test_diagnostics_are_those_of_plain_loops():
    torch.manual_seed(3)
    data = batches([(3, 8, 8), (2, 8, 8)], num_classes=3, seed=3)
    model = DecompositionSegmenter(num_classes=3).eval()
    for parameter in model.mask_decoder.head.parameters():
        parameter.data.mul_(30)
    guide = FrozenGuide(PooledClassifier(SmallEncoder((4, 8)), num_classes=3))
    found = decomposition_diagnostics(model.train(), guide, data)
    assert model.training

    error, entropy, background, own, empty = [], [], [], [], []
    area = {True: [], False: []}
    model.eval()
    with torch.no_grad():
        for b in data:
            for image, tags in zip(b["image"], b["tags"].tolist(), strict=True):
                out: Decomposition = model(image[None])
                masks, imagelets = out.masks[0].double(), out.imagelets[0].double()
                error.append(((masks[:, None] * imagelets).sum(0) - image).square().mean().item())
                entropy.append(-(masks * masks.log()).sum(0).mean().item())
                background.append(masks[0].mean().item())
                views = [(masks[k] * imagelets[k]).float()[None] for k in range(3)]
                empty.append(bool((guide(views[0]).sigmoid() <= 0.5).all()))
                for j in range(2):
                    area[tags[j] == 1].append(masks[j + 1].mean().item())
                    if tags[j] == 1:
                        own.append(guide(views[j + 1]).sigmoid()[0, j].item() > 0.5)

    def mean(values):
        return sum(values) / len(values)

    expected = {
        "recon_error": mean(error),
        "present_recognised": mean(own),
        "background_empty": mean(empty),
        "mask_entropy": mean(entropy),
        "background_area": mean(background),
        "present_area": mean(area[True]),
        "absent_area": mean(area[False]),
    }
    assert found == pytest.approx(expected, rel=1e-5)


def test_diagnostics_of_a_data_set_without_any_class_are_none_where_nothing_was_asked():
    data = batches([(2, 4, 4)], num_classes=2)
    data[0]["tags"] = torch.zeros(2, 1)
    found = decomposition_diagnostics(
        lambda images: Decomposition(torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 3, 4, 4)),
        lambda images: -torch.ones(len(images), 1),
        data,
    )
    assert found["present_recognised"] is None
    assert found["present_area"] is None
    assert found["background_empty"] == 1
    assert found["mask_entropy"] == pytest.approx(math.log(2))


def test_a_run_is_measured_in_one_pass_as_by_many():
    torch.manual_seed(0)
    scenes = SyntheticScenes(11, size=32, seed=2, masks=True)
    segmenter = DecompositionSegmenter(5, SmallEncoder((8, 8)), decoder_widths=(8, 8)).eval()
    for parameter in segmenter.mask_decoder.head.parameters():
        parameter.data.mul_(30)
    classifier = PooledClassifier(SmallEncoder((8, 8)), num_classes=5).eval()
    images = torch.stack([scene["image"] for scene in scenes])
    with torch.no_grad():  # every class wins somewhere
        bias = next(p for name, p in segmenter.mask_decoder.head.named_parameters() if name.endswith("bias"))
        bias -= segmenter.mask_logits(images).mean(dim=(0, 2, 3))
        classifier.head.bias -= classifier(images).median(dim=0).values
    model, asked = TrainedModel(segmenter, scenes.class_names, 24, classifier), []
    hook = segmenter.encoder.register_forward_hook(lambda *_: asked.append(1))
    measured = measure(model, scenes, "cpu", masks=True, scale=0.75)
    assert len(asked) == 11  # one at a time
    hook.remove()

    loader = DataLoader(scenes, batch_size=4, collate_fn=collate)
    logits, decide = at_scale(segmenter.mask_logits, 0.75), lambda images: classifier(rescale(images, 0.75))
    predictors = {
        "decomprec": RefinedPredictor(logits),
        "decomprec, guided filter": RefinedPredictor(logits, guided_filter),
        "decomprec, PAMR, guide's tags": RefinedPredictor(logits, half_pamr, decide),
    }
    rows = {(row.method, row.tags): row.scores for row in measured.results.rows}
    assert len(rows) == 12
    for name, predictor in predictors.items():
        for use_tags in (True, False):
            expected = evaluate(predictor, loader, 5, use_tags)
            assert rows[name, use_tags].iou == pytest.approx(expected.iou, rel=1e-3, nan_ok=True)
            assert len(set(expected.iou)) > 2
    smaller = [{**batch, "image": rescale(batch["image"], 0.75)} for batch in loader]
    assert measured.diagnostics == pytest.approx(decomposition_diagnostics(segmenter, classifier, smaller), rel=1e-4)


def test_networks_that_share_an_encoder_are_measured_by_it_once():
    torch.manual_seed(0)
    scenes = SyntheticScenes(7, size=32, seed=2, masks=True)
    classifier = PooledClassifier(SmallEncoder((8, 8, 8)), num_classes=5, standardise=True).eval()
    segmenter = DecompositionSegmenter(5, classifier.encoder, decoder_widths=(8, 8), enlarge=2).eval()
    for parameter in segmenter.mask_decoder.head.parameters():
        parameter.data.mul_(30)  # no pixel is undecided
    images = torch.stack([scene["image"] for scene in scenes])
    with torch.no_grad():
        classifier.head.bias -= classifier(images).median(dim=0).values
    model, asked = TrainedModel(segmenter, scenes.class_names, 21, classifier), []
    hook = segmenter.encoder.register_forward_hook(lambda *_: asked.append(1))
    measured = measure(model, scenes, "cpu", masks=True, scale=21 / 32)  # no multiple of the stride
    assert len(asked) == 2 * 7  # the second time, the guide sees the components
    hook.remove()

    def judge(images):
        return classifier.judge(segmenter.features(rescale(images, 21 / 32)))

    predictor = RefinedPredictor(at_scale(segmenter.mask_logits, 21 / 32), half_pamr, judge)
    loader = DataLoader(scenes, batch_size=4, collate_fn=collate)
    rows = {(row.method, row.tags): row.scores for row in measured.results.rows}
    for use_tags in (True, False):
        expected = evaluate(predictor, loader, 5, use_tags)
        assert rows["decomprec, PAMR, guide's tags", use_tags].iou == pytest.approx(expected.iou, rel=1e-3, nan_ok=True)
        assert max(expected.iou) > 0


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_the_shares_of_processes_add_up(processes, monkeypatch):
    data = batches([(1, 12, 12), (1, 9, 14), (1, 12, 8), (1, 16, 16)], num_classes=3)  # fewer than five
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3)
    words = ({"ours": by_brightness(3)}, classifier)
    whole = compare(*words, data, ["cat", "dog"], per_image=True)
    parts = []

    def gathered(part):
        parts.append(pickle.dumps(part))
        return [pickle.loads(sent) for sent in parts]

    monkeypatch.setattr(comparison, "gathered", gathered)
    for rank in range(processes):  # the last one gets what all have sent
        found = compare(*words, data[rank::processes], ["cat", "dog"], per_image=True, distributed=True)
    assert len(parts) == processes
    assert found.guide.pop("per_class") == pytest.approx(whole.guide.pop("per_class"))
    assert found.guide == pytest.approx(whole.guide)
    for row, expected in zip(found.rows, whole.rows, strict=True):
        assert (row.method, row.settings) == (expected.method, expected.settings)
        assert row.scores.iou == pytest.approx(expected.scores.iou, rel=1e-12, nan_ok=True)
        assert row.scores.images_with == expected.scores.images_with
        assert row.scores.false_area == (expected.scores.false_area and pytest.approx(expected.scores.false_area))
        assert sorted(row.scores.per_image or ()) == sorted(expected.scores.per_image or ())


def test_compare_saves_all_methods_with_and_without_tags(tmp_path):
    data = batches([(2, 12, 12), (1, 12, 12)], num_classes=3)
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3)
    model = DecompositionSegmenter(num_classes=3)
    once = iter(data)
    results = compare({"decomprec": model.predict}, classifier, once, ["cat", "dog"], ellipse_share=0.4)
    alone = {
        "decomprec": lambda tags: evaluate(model.predict, data, 3, tags),
        "CAM (best threshold)": lambda tags: best_cam_threshold(classifier, data, 3, tags)[1],
        "centred ellipse": lambda tags: evaluate(CentredEllipse(0.4, classifier), data, 3, tags),
        "every pixel": lambda tags: evaluate(EveryPixel(classifier), data, 3, tags),
    }
    assert [(r.method, r.tags) for r in results.rows] == [(m, t) for t in (True, False) for m in alone]
    for row in results.rows:
        assert row.scores.to_dict() == alone[row.method](row.tags).to_dict()
    assert results.guide == guide_accuracy(classifier, data)
    for tags, row in zip((True, False), (results.rows[1], results.rows[5]), strict=True):
        assert row.settings == {"threshold": best_cam_threshold(classifier, data, 3, tags)[0]}

    path = tmp_path / "new" / "results.json"
    results.save(path)
    saved = json.loads(path.read_text())
    assert saved == results.to_dict()
    assert saved["class_names"] == ["cat", "dog"]
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_compare_reports_further_maps_and_records_images():
    data = batches([(2, 12, 12), (1, 12, 12)], num_classes=3)
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3)

    def brightness(images):
        assert not classifier.training
        return images[:, :2, ::2, ::2] - 0.3

    predictors = {"fixed": CamPredictor(classifier, 0.35, brightness)}
    once = iter(data)
    results = compare(predictors, classifier, once, ["cat", "dog"], maps={"brightness": brightness}, per_image=True)
    methods = ["fixed", "CAM (best threshold)", "brightness (best threshold)", "centred ellipse", "every pixel"]
    assert [(r.method, r.tags) for r in results.rows] == [(m, t) for t in (True, False) for m in methods]
    for tags, (fixed, cam, further, *_) in ((True, results.rows[:5]), (False, results.rows[5:])):
        assert fixed.scores == evaluate(predictors["fixed"], data, 3, tags, per_image=True)
        assert cam.scores == best_cam_threshold(classifier, data, 3, tags)[1]
        threshold, scores = best_cam_threshold(classifier, data, 3, tags, maps=brightness)
        assert (further.settings, further.scores) == ({"threshold": threshold}, scores)
        assert scores != cam.scores
    with pytest.raises(ValueError, match="Expected no `maps` called 'CAM'"):
        compare({}, classifier, data, ["cat", "dog"], maps={"CAM": brightness})
    with pytest.raises(ValueError, match="one map for each of the classes"):
        compare({}, classifier, data, ["cat", "dog"], maps={"one": lambda images: images[:, :1]})


def test_failed_save_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        Results((), ("dog",), {"mean": object()}).save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("classes", [2, 8])
def test_table_has_a_column_per_class_up_to_seven(classes):
    names = tuple(f"class{j}" for j in range(classes))
    iou = (0.5, math.nan, *(0.25,) * (classes - 1))
    scores = SegmentationScores(iou, None, images=3, images_with=(1,) * classes)
    lines = Results((Row("ours", True, scores),), names, {}).table().splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert set("".join(cells[1])) == {"-"}
    if classes == 2:
        assert cells[0] == [
            "method",
            "tags at test time",
            *names,
            "foreground IoU",
            "IoU with background",
            "area where absent",
        ]
        assert cells[2] == ["ours", "yes", "-", "0.250", "0.250", "0.375", "-"]
    else:
        assert "class0" not in lines[0]
        assert cells[2] == ["ours", "yes", "0.250", "0.281", "-"]
