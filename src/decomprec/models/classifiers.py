"""Ready-made classifiers to train by Eq. 9 and then freeze as guides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from decomprec.models.weights import clear_download_error, load_local


class PooledClassifier(nn.Module):
    """A convolutional trunk, global average pooling and one linear layer: normalises, classifies, localises.

    Args:
        trunk: maps normalised images to features (N, C, h, w).
        channels: C.
        num_classes: K, background included; the classifier has K-1 outputs.
        mean: of the trunk's training images, per channel.
        std: likewise.

    Example:
        >>> classifier = PooledClassifier(nn.Conv2d(3, 8, 3), channels=8, num_classes=3)
        >>> images = torch.rand(2, 3, 16, 16)
        >>> classifier(images).shape, classifier.activation_maps(images).shape
        (torch.Size([2, 2]), torch.Size([2, 2, 14, 14]))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        trunk: nn.Module,
        channels: int,
        num_classes: int,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"Expected `num_classes` (with background) to be at least 2, but got {num_classes}.")
        self.trunk = trunk
        self.head = nn.Linear(channels, num_classes - 1)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def features(self, images: Tensor) -> Tensor:
        """The trunk's features (N, C, h, w) of images (N, 3, H, W) in [0, 1]."""
        features: Tensor = self.trunk((images - self.mean) / self.std)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K-1) of images (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.head(self.features(images).mean(dim=(-2, -1)))
        return logits

    def activation_maps(self, images: Tensor) -> Tensor:
        """Class activation maps (N, K-1, h, w): their mean over pixels is the logit without its bias."""
        return F.conv2d(self.features(images), self.head.weight[:, :, None, None])


def resnet18_classifier(num_classes: int, weights: str | Path | None = "imagenet") -> PooledClassifier:
    """The paper's guide (section 4.2): torchvision's ResNet-18 with its last layer replaced.

    Args:
        num_classes: K, background included.
        weights: "imagenet" (downloaded), a local .safetensors file with torchvision's names, or None.

    Raises:
        ConnectionError: if the ImageNet weights can't be downloaded.
        ValueError: if a local file doesn't fit.

    Example:
        >>> resnet18_classifier(num_classes=2, weights=None)(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 1])
    """
    if weights == "imagenet":
        with clear_download_error("resnet18"):
            network = torchvision.models.resnet18(weights="IMAGENET1K_V1")
        channels = network.fc.in_features
    else:
        network = torchvision.models.resnet18(weights=None)
        channels = network.fc.in_features
        network.fc = nn.Identity()  # a file need not hold the head that is replaced
        if weights is not None:
            load_local(network, weights)
    trunk = nn.Sequential(*list(network.children())[:-2])
    return PooledClassifier(
        trunk, channels, num_classes, timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    )


def timm_classifier(name: str, num_classes: int, weights: str | Path | None = None, **options: Any) -> PooledClassifier:
    """A guide from any convolutional model of timm.

    Args:
        name: timm's name, such as "mobilenetv1_100".
        num_classes: K, background included.
        weights: "imagenet" (downloaded), a local .safetensors file with timm's names, or None.
        options: passed on to `timm.create_model`, such as pad_type="same" for weights that come from Keras.

    Raises:
        ConnectionError: if the ImageNet weights can't be downloaded.
        ValueError: if timm has no such model, its features are no maps, or a local file doesn't fit.

    Example:
        >>> timm_classifier("resnet10t", num_classes=5)(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 4])
    """
    if not timm.is_model(name):
        raise ValueError(f"Expected `name` to be a model of timm, but got {name!r}; see timm.list_models().")
    bare = {"num_classes": 0, "global_pool": "", **options}
    if weights == "imagenet":
        with clear_download_error(name):
            trunk = timm.create_model(name, pretrained=True, **bare)
    else:
        trunk = timm.create_model(name, **bare)
        if weights is not None:
            load_local(trunk, weights)
    with torch.no_grad():
        features = trunk.eval()(torch.zeros(1, *trunk.default_cfg["input_size"]))
    trunk.train()
    if features.ndim != 4 or features.shape[2] != features.shape[3]:  # channels come last in some transformers
        raise ValueError(
            f"Expected `name` to be a model that gives feature maps (N, C, h, w), but {name!r} gives shape {tuple(features.shape)}; "
            "choose a convolutional model."
        )
    return PooledClassifier(trunk, features.shape[1], num_classes, trunk.default_cfg["mean"], trunk.default_cfg["std"])
