"""Ready-made classifiers: logits, activation maps, weights, and their way into a guide."""

import os
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from decomprec import DecompositionSegmenter, FrozenGuide
from decomprec import functional as DF
from decomprec.models import (
    PooledClassifier,
    SmallEncoder,
    TimmEncoder,
)
from decomprec.models.features import rectified


def test_a_standardising_classifier_scores_both_parts_of_every_feature(images: Tensor) -> None:
    encoder = SmallEncoder((4, 8))
    encoder.stages[-1][-1] = nn.Identity()  # instead of the ReLU: features of both signs
    classifier = PooledClassifier(encoder, num_classes=4, standardise=True)
    for _ in range(5):
        classifier(torch.rand(8, 3, 16, 16))
    features = classifier.eval().encoder(images)[-1]
    assert (features < 0).any()
    for b in range(2):
        for c in range(8):
            values = features[b, c].flatten().tolist()
            above, below = sum(v for v in values if v > 0), sum(-v for v in values if v < 0)
            parts = rectified(classifier.gather(classifier.encoder(images)))[b, [c, 8 + c]].sum(dim=(1, 2)).tolist()
            assert parts == pytest.approx([above, below], rel=1e-4, abs=1e-5)
    logits = classifier.activation_maps(images).mean(dim=(-2, -1)) + classifier.head.bias
    torch.testing.assert_close(logits, classifier(images), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classifier.judge(classifier.encoder(images)), classifier(images))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_scores_by_known_statistics_are_those_of_the_standardised_parts(precision: torch.dtype) -> None:
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=4, standardise=True)
    norm = classifier.norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.rand(16))
    norm.running_var.copy_(torch.rand(16) + 0.1)
    features = torch.randn(2, 8, 3, 5)
    parts = torch.cat([features.clamp(min=0), (-features).clamp(min=0)], dim=1).double()
    mean, deviation = (t.double()[:, None, None] for t in (norm.running_mean, (norm.running_var + norm.eps).sqrt()))
    expected = torch.einsum("nchw,sc->nshw", (parts - mean) / deviation, classifier.head.weight.double())
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        scores = classifier.eval().scores(features)
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=1e-5)


def test_activation_maps_average_to_the_logits(images: Tensor) -> None:
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=4).eval()
    maps = classifier.activation_maps(images)
    assert maps.shape == (2, 3, 4, 4)
    torch.testing.assert_close(maps.mean(dim=(-2, -1)) + classifier.head.bias, classifier(images))


@pytest.mark.parametrize("held", ["whole", "trunk"])
def test_resnet18_is_torchvisions_with_another_last_layer(tmp_path: Path, held: str) -> None:
    network = torchvision.models.resnet18(weights=None).eval()
    tensors = {n: t for n, t in network.state_dict().items() if held == "whole" or not n.startswith("fc.")}
    save_file(tensors, tmp_path / "w.safetensors")
    images = torch.rand(1, 3, 40, 40)
    classifier = PooledClassifier("resnet18", num_classes=2, encoder_weights=tmp_path / "w.safetensors").eval()
    network.fc = classifier.head
    normalise = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.testing.assert_close(classifier(images), network(normalise(images)))
    assert sum(p.numel() for p in classifier.parameters()) == 11_176_512 + 513  # ResNet-18's trunk, one neuron


def test_resnet18_gives_the_segmenter_its_features(images: Tensor) -> None:
    encoder = TimmEncoder("resnet18")
    features = encoder(torch.rand(1, 3, 64, 96))
    expected = [(1, c, 64 // 2**i, 96 // 2**i) for i, c in enumerate(encoder.out_channels, start=1)]
    assert [tuple(f.shape) for f in features] == expected
    assert DecompositionSegmenter(2, encoder)(images).masks.shape == (2, 2, 16, 16)


def test_file_of_another_network(tmp_path: Path) -> None:
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="to hold every tensor of ResNet, but it lacks"):
        PooledClassifier("resnet18", num_classes=2, encoder_weights=tmp_path / "w.safetensors")


def test_learns_by_eq_9_and_then_guides() -> None:
    """Red images from blue ones: a guide is trained, frozen, and agrees with its training."""
    tags = torch.randint(0, 2, (32, 1)).float()
    images = 0.2 * torch.rand(32, 3, 8, 8)
    images[:, 0] += 0.6 * tags[:, :, None]
    images[:, 2] += 0.6 * (1 - tags[:, :, None])
    classifier = PooledClassifier(SmallEncoder((8,)), num_classes=2)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=0.05)
    for _ in range(20):
        optimiser.zero_grad()
        DF.guide_loss(classifier(images), tags).backward()
        optimiser.step()
    assert ((FrozenGuide(classifier)(images) > 0) == (tags > 0)).all()


@pytest.mark.skipif("DECOMPREC_PHOTOS" not in os.environ, reason="DECOMPREC_PHOTOS is not set")
def test_shared_trunk_as_a_classifier() -> None:
    path = Path(os.environ["DECOMPREC_PHOTOS"]).parent / "weights" / "mobilenet_v1_trunk.safetensors"
    classifier = PooledClassifier(TimmEncoder("mobilenetv1_100", path, pad_type="same"), num_classes=2).eval()
    tensors, own = load_file(path), classifier.encoder.network.state_dict()
    assert {n for n in own if not n.endswith("num_batches_tracked")} <= tensors.keys()
    assert all(torch.equal(own[name], tensors[name]) for name in own.keys() & tensors.keys())
    assert classifier(torch.rand(1, 3, 64, 64)).shape == (1, 1)
