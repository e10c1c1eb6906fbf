"""Localisation maps of PyPI's `grad-cam`: Grad-CAM and its successors, for the table beside CAM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, XGradCAM
from torch import Tensor, nn

from decomprec.models import PooledClassifier
from decomprec.models.features import gathered

METHODS = {"grad-cam": GradCAM, "grad-cam++": GradCAMPlusPlus, "layer-cam": LayerCAM, "xgrad-cam": XGradCAM}


def gradcam_maps(classifier: PooledClassifier, method: str) -> Callable[[Tensor], Tensor]:
    """Maps from the gradients of each logit by the features that the classifier pools.

    The package's `get_cam_image` combines features and gradients. The rest of its call is left out: it would
    subtract each map's minimum, which CAM doesn't, and overwrite the parameters' gradients. Without
    `standardise` the gradients are constant over the features' pixels, so "grad-cam" and "xgrad-cam" are CAM itself
    (Selvaraju et al., Grad-CAM, 2017). With it, they differ between features above, at and below zero.

    Args:
        classifier: on the images' device; it is run as it stands, so put it into eval mode.
        method: "grad-cam", "grad-cam++", "layer-cam" or "xgrad-cam".

    Returns:
        A function of images (B, 3, H, W) in [0, 1] that gives maps (B, K-1, h, w) at the features' resolution,
        float32 and not negative. It works in inference mode and with frozen parameters, and ignores autocast.

    Raises:
        ValueError: for another method.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3).eval()
        >>> gradcam_maps(classifier, "layer-cam")(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 2, 4, 4])
    """
    if method not in METHODS:
        raise ValueError(f"Expected `method` to be one of {sorted(METHODS)}, but got {method!r}.")
    rule = METHODS[method](model=nn.Linear(1, 1), target_layers=[])  # the model that its own call would run

    def maps(images: Tensor) -> Tensor:
        features, gradients = _features_and_gradients(classifier, images)
        activations = features.cpu().numpy()
        raw = [rule.get_cam_image(None, None, None, activations, g.cpu().numpy(), False) for g in gradients]
        return torch.stack([torch.from_numpy(m) for m in raw], dim=1).relu().to(images.device)

    return maps


def _features_and_gradients(classifier: PooledClassifier, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The gathered features (B, C, h, w), and the gradient of each of the K-1 logits by them, both float32."""
    with torch.autocast(images.device.type, enabled=False):
        with torch.no_grad():
            features = gathered(classifier.encoder(images.float()), classifier.levels)
        with torch.inference_mode(False), torch.enable_grad():
            features = features.clone().requires_grad_()  # a clone, since autograd refuses inference tensors
            logits = classifier.classify(features)
            gradients = [torch.autograd.grad(logit.sum(), features, retain_graph=True)[0] for logit in logits.unbind(1)]
    return features.detach(), gradients
