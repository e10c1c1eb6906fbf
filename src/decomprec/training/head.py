"""Fit a classifier's linear head until it has converged, on features that a frozen encoder gave in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decomprec import functional as DF
from decomprec.models.classifiers import PooledClassifier


@torch.enable_grad()
def fit_head(classifier: PooledClassifier, features: Tensor, tags: Tensor, weight_decay: float) -> None:
    """Minimise Eq. 9 over the head alone, by L-BFGS from where it stands.

    With an L2 penalty the problem is strictly convex in the weights: the result depends on the features and the
    penalty, and neither on a learning rate nor on the number of epochs. A standardising classifier gets the mean and
    variance of the features.

    Args:
        classifier: changed in place.
        features: (N, C), pooled, as `PooledClassifier.pool` gives them.
        tags: (N, K-1), {0, 1}.
        weight_decay: λ of the penalty λ/2 ‖w‖² on the weights, at least 0.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2, standardise=True)
        >>> features = torch.randn(50, 8)
        >>> fit_head(classifier, features, (features[:, :1] > 0).float(), weight_decay=1e-3)
        >>> logits = classifier.eval().head(classifier.norm(features))
        >>> bool(((logits > 0) == (features[:, :1] > 0)).float().mean() > 0.9)
        True
    """
    norm, head = classifier.norm, classifier.head
    features, tags = features.to(head.weight), tags.to(head.weight)
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):  # Lightning's sync_batchnorm leaves one of another class
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(features.mean(dim=0))
        norm.running_var.copy_(features.var(dim=0, unbiased=False))
        features = (features - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = DF.guide_loss(head(features), tags) + weight_decay / 2 * head.weight.square().sum()
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    optimizer.zero_grad()
