"""The paper's guide: torchvision's ResNet-18 with its last layer replaced (section 4.2)."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from decomprec.models.classifiers import PooledClassifier
from decomprec.models.weights import clear_download_error, load_local


class ResNet18Encoder(nn.Module):
    """torchvision's ResNet-18 without its last layer, for images in [0, 1].

    Args:
        weights: "imagenet" (downloaded), a local .safetensors file with torchvision's names, or None.

    Attributes:
        out_channels: channels of each feature map, from fine to coarse.
        stride: input sizes must be multiples of it.

    Raises:
        ConnectionError: if the ImageNet weights can't be downloaded.
        ValueError: if a local file doesn't fit.

    Examples:
        >>> [tuple(f.shape[1:]) for f in ResNet18Encoder(weights=None)(torch.rand(1, 3, 64, 64))]
        [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    """

    mean: Tensor
    std: Tensor
    out_channels = (64, 64, 128, 256, 512)
    stride = 32

    def __init__(self, weights: str | Path | None = "imagenet") -> None:
        super().__init__()
        if weights == "imagenet":
            with clear_download_error("resnet18"):
                self.network = torchvision.models.resnet18(weights="IMAGENET1K_V1")
        else:
            self.network = torchvision.models.resnet18(weights=None)
        self.network.fc = nn.Identity()
        if weights not in (None, "imagenet"):
            load_local(self.network, weights)
        # The statistics of ImageNet, which torchvision's weights expect.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, 3, H, W), from fine to coarse, at strides 2, 4, ..., 32."""
        net = self.network
        features = [net.relu(net.bn1(net.conv1((images - self.mean) / self.std)))]
        x = net.maxpool(features[0])
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = layer(x)
            features.append(x)
        return features


def resnet18_classifier(num_classes: int, weights: str | Path | None = "imagenet") -> PooledClassifier:
    """The paper's guide, to be trained by Eq. 9.

    Args:
        num_classes: K, background included.
        weights: as for `ResNet18Encoder`.

    Examples:
        >>> resnet18_classifier(num_classes=2, weights=None)(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 1])
    """
    return PooledClassifier(ResNet18Encoder(weights), num_classes)
