"""The baselines of `grad-cam` against their papers' formulas, written out for this classifier."""

import importlib.util
from pathlib import Path

import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from decomprec.evaluation import compare
from decomprec.evaluation.baselines import best_cam_threshold, normalise_maps
from decomprec.models import PooledClassifier, SmallEncoder

spec = importlib.util.spec_from_file_location(
    "gradcam", Path(__file__).parents[2] / "benchmarks" / "quality" / "gradcam.py"
)
assert spec is not None
assert spec.loader is not None
gradcam = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gradcam)

METHODS = ["grad-cam", "grad-cam++", "layer-cam", "xgrad-cam"]


@pytest.fixture
def pooled() -> PooledClassifier:
    return lived_in()


def lived_in(standardise: bool = False) -> PooledClassifier:
    """Its maps have both signs, and its weights are so large that the package's small constants don't show."""
    classifier = PooledClassifier(SmallEncoder((4, 16)), num_classes=4, standardise=standardise)
    nn.init.normal_(classifier.head.weight, std=3)
    for _ in range(30):  # the batch normalisations learn the scale of the features
        classifier(torch.rand(4, 3, 24, 16))
    return classifier.eval()


def assert_proportional(maps: Tensor, expected: Tensor) -> None:
    """Equal up to one positive scale per map."""
    assert maps.shape == expected.shape
    assert expected.any()
    torch.testing.assert_close(scaled(maps), scaled(expected), atol=1e-4, rtol=0)


def scaled(maps: Tensor) -> Tensor:
    return maps / maps.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-7)


@pytest.mark.parametrize("method", ["grad-cam", "xgrad-cam"])
def test_grad_cam_of_a_pooled_classifier_is_cam(pooled: PooledClassifier, method: str) -> None:
    images = torch.rand(3, 3, 24, 16)
    cam = pooled.activation_maps(images).detach()
    assert (cam < 0).any()
    assert_proportional(gradcam.gradcam_maps(pooled, method)(images), cam.relu())


def test_layer_cam_is_cam_of_the_positive_weights(pooled: PooledClassifier) -> None:
    images = torch.rand(3, 3, 24, 16)
    features = pooled.encoder(images)[-1].detach()
    expected = torch.einsum("jc,bchw->bjhw", pooled.head.weight.detach().relu(), features)
    assert_proportional(gradcam.gradcam_maps(pooled, "layer-cam")(images), expected)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize(
    ("method", "own"), [("grad-cam", GradCAM), ("grad-cam++", GradCAMPlusPlus), ("layer-cam", LayerCAM)]
)
def test_the_packages_own_call_gives_the_same_maps_less_their_minimum(method, own, standardise: bool) -> None:
    images, pooled = torch.rand(2, 3, 24, 16), lived_in(standardise)

    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pooled, self.last = pooled, nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            features = self.last(pooled.encoder(images)[-1])
            if standardise:
                features = torch.cat([features.relu(), (-features).relu()], dim=1)
            return pooled.head(pooled.norm(features).mean(dim=(-2, -1)))

    model = Hooked().eval()
    ours = normalise_maps(gradcam.gradcam_maps(pooled, method)(images), (6, 4))
    cam = own(model, [model.last])
    cam.get_target_width_height = lambda images: (4, 6)  # keeps the maps at their size
    for j in range(3):
        theirs = torch.from_numpy(cam(images, [ClassifierOutputTarget(j)] * 2))
        lowered = ours[:, j] - ours[:, j].amin(dim=(-2, -1), keepdim=True)
        torch.testing.assert_close(theirs, scaled(lowered), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_the_same_in_inference_mode_under_autocast_and_of_a_frozen_classifier(pooled, method) -> None:
    images = torch.rand(2, 3, 24, 16)
    maps = gradcam.gradcam_maps(pooled, method)
    expected = maps(images)
    assert expected.shape == (2, 3, 6, 4)
    assert expected.dtype == torch.float32
    assert (expected >= 0).all()
    pooled.requires_grad_(False)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(maps(images + 0), expected)  # `+ 0` makes an inference tensor


def test_maps_leave_the_classifier_as_it_is(pooled: PooledClassifier) -> None:
    pooled.train()
    pooled(torch.rand(2, 3, 24, 16)).sum().backward()
    gradients = [p.grad.clone() for p in pooled.parameters()]
    gradcam.gradcam_maps(pooled, "grad-cam++")(torch.rand(2, 3, 24, 16))
    assert all(module.training for module in pooled.modules())
    assert all(torch.equal(p.grad, g) for p, g in zip(pooled.parameters(), gradients, strict=True))


def test_rows_of_the_table_are_the_sweeps_of_the_maps(pooled: PooledClassifier) -> None:
    tags = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])  # every class is somewhere absent: no NaN in the scores
    data = [{"image": torch.rand(2, 3, 24, 16), "tags": tags, "mask": torch.randint(4, (2, 24, 16))}]
    maps = {
        name: gradcam.gradcam_maps(pooled, method)
        for name, method in (("Grad-CAM++", "grad-cam++"), ("LayerCAM", "layer-cam"))
    }
    rows = {(row.method, row.tags): row for row in compare({}, pooled, data, ["a", "b", "c"], maps=maps).rows}
    for name in maps:
        for use_tags in (True, False):
            threshold, scores = best_cam_threshold(pooled, data, 4, use_tags, maps=maps[name])
            assert rows[f"{name} (best threshold)", use_tags].settings == {"threshold": threshold}
            assert rows[f"{name} (best threshold)", use_tags].scores == scores
    assert rows["LayerCAM (best threshold)", True].scores != rows["CAM (best threshold)", True].scores


def test_unknown_method_raises(pooled: PooledClassifier) -> None:
    with pytest.raises(ValueError, match="Expected `method` to be one of"):
        gradcam.gradcam_maps(pooled, "score-cam")
