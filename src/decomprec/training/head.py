"""The head of a guide whose encoder is frozen: its steps on features that are kept, and when it says yes."""

from __future__ import annotations

import math
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from decomprec import functional as DF
from decomprec.evidence import floor_of
from decomprec.models.classifiers import PooledClassifier
from decomprec.training.settings import GuideSettings


class KeptFeatures(Sequence[tuple[Tensor, Tensor]]):
    """Batches of features, in half precision, and tags; the features lie in a temporary file, not in memory.

    Args:
        most: bytes of the file at most. Further batches, and those that the disk has no room for, are left out.

    Examples:
        >>> kept = KeptFeatures(most=100)
        >>> for _ in range(3):
        ...     kept.append(torch.ones(2, 3, 2, 2), torch.tensor([[1.0], [0.0]]))
        >>> len(kept), kept[1][0].shape, kept[1][0].dtype
        (2, torch.Size([2, 3, 2, 2]), torch.float16)
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed with this object:
        weakref.finalize(self, self._file.close)
        self._end = 0
        self._batches: list[tuple[int, torch.Size, Tensor]] = []

    def append(self, features: Tensor, tags: Tensor) -> None:
        """Keep features (N, C, h, w) and tags (N, K-1), if there is room."""
        values = features.half().cpu().contiguous().numpy()
        if self._end + values.nbytes > self.most:
            return
        self._file.seek(self._end)
        try:
            written = self._file.write(values.data) or 0
        except OSError:
            written = 0
        if written < values.nbytes:
            warnings.warn(
                f"Expected room for {self.most / 1e9:.1f} GB of features in {tempfile.gettempdir()}, but it is full: "
                f"the guide learns from {len(self)} batches of them; set TMPDIR to another folder, and train again.",
                stacklevel=2,
            )
            self.most = self._end
            return
        self._batches.append((self._end, features.shape, tags.cpu()))
        self._end += values.nbytes

    def clear(self) -> None:
        """Forget all batches."""
        self._batches.clear()
        self._end = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # no slices
        start, shape, tags = self._batches[index]
        features = torch.empty(shape, dtype=torch.float16)
        self._file.seek(start)
        self._file.readinto(features.numpy().data)
        return features, tags


def fit_head(
    classifier: PooledClassifier,
    kept: Sequence[tuple[Tensor, Tensor]],
    settings: GuideSettings,
    steps: int,
    *,
    seed: int = 0,
    mean: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """Train the head of a frozen encoder on its features; then find the floor of its scores and move its biases.

    With the moved biases, the sign of a logit is the answer with the best expected F1, see `odds_of_best_f1`.

    Args:
        classifier: its head, floor and BatchNorm's mode are changed in place.
        kept: features (N, C, h, w), as `PooledClassifier.gather` gives them, and tags (N, K-1), a pair for each batch.
        settings: learning rate and weight decay.
        steps: of the head, at least 0; each sees a batch, and all are seen in turn in random orders.
        seed: of the orders.
        mean: over all processes that train the head together.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2, standardise=True)
        >>> fit_head(classifier, [(torch.rand(4, 8, 3, 3), torch.tensor([[1.0], [0], [0], [0]]))], GuideSettings(), 5)
        >>> classifier.norm.training
        False
    """
    classifier.norm.eval()
    generator = torch.Generator().manual_seed(seed)
    rounds = range(math.ceil(steps / len(kept)))
    order = [i for _ in rounds for i in torch.randperm(len(kept), generator=generator).tolist()]
    batches: Any = Subset(kept, order[:steps])  # type: ignore[arg-type]  # read one after the other
    train_head(classifier, batches, settings.learning_rate, settings.weight_decay, mean)
    with torch.no_grad():
        classifier.floor.copy_(mean(floor_of(classifier, kept)))
        classifier.head.bias.sub_(mean(odds_of_best_f1(classifier, (features for features, _ in kept))))


@torch.enable_grad()
def train_head(
    classifier: PooledClassifier,
    batches: Sequence[tuple[Tensor, Tensor]],
    learning_rate: float,
    weight_decay: float,
    mean: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """Train the head alone by Eq. 9, a step for each batch of features, with a learning rate that rises and falls.

    Args:
        classifier: its head is changed in place.
        batches: features (N, C, h, w), as `PooledClassifier.gather` gives them, and tags (N, K-1).
        learning_rate: the highest, of Adam.
        weight_decay: λ of the penalty λ/2 ‖w‖² on the weights, at least 0.
        mean: over all processes that train the head together, of its gradients.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2, standardise=True).eval()
        >>> features = torch.randn(50, 8, 1, 1)
        >>> tags = (features[:, :1].mean(dim=(2, 3)) > 0).float()
        >>> train_head(classifier, [(features, tags)] * 99, learning_rate=0.1, weight_decay=0)
        >>> bool(((classifier.classify(features) > 0) == (tags > 0)).float().mean() > 0.9)
        True
    """
    head = classifier.head
    groups: list[dict[str, Any]] = [{"params": [head.weight], "weight_decay": weight_decay}, {"params": [head.bias]}]
    optimizer = torch.optim.Adam(groups, learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=len(batches) + 1, cycle_momentum=False
    )
    for features, tags in batches:
        loss = DF.guide_loss(classifier.classify(features.to(head.weight)), tags.to(head.weight))
        optimizer.zero_grad()
        loss.backward()
        for parameter in head.parameters():
            assert parameter.grad is not None
            parameter.grad.copy_(mean(parameter.grad))
        optimizer.step()
        schedule.step()
    optimizer.zero_grad()


@torch.no_grad()
def odds_of_best_f1(classifier: PooledClassifier, batches: Iterable[Tensor]) -> Tensor:
    """The threshold of each class's logit that gives the best F1 that the classifier expects.

    A threshold at a probability of 0.5 gets most images right, but hardly ever finds a rare class, because the
    classifier is seldom sure of one. F1, like the IoU of masks, compares what is found with what is missed and what is
    found wrongly. The best threshold is half of the best F1, F* (Lipton et al., Optimal Thresholding of Classifiers to
    Maximize F1 Measure, 2014). If the probabilities p can be trusted, they are enough to compute it, without tags:

        p > F*/2    F* = max over m of 2 Σ (m highest p) / (m + Σ p)

    Args:
        classifier: in eval mode.
        batches: features (N, C, h, w) of the images, as `PooledClassifier.gather` gives them.

    Returns:
        (K-1,), log odds; never above 0, as F* is at most 1.

    Examples:
        >>> from decomprec.models import SmallEncoder
        >>> classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=3, standardise=True).eval()
        >>> odds_of_best_f1(classifier, [torch.rand(2, 8, 8, 8)]).shape
        torch.Size([2])
    """
    weight = classifier.head.weight
    sure = torch.cat([classifier.classify(features.to(weight)).sigmoid() for features in batches])
    sure = sure.double().sort(dim=0, descending=True).values
    count = torch.arange(1, len(sure) + 1, device=sure.device)[:, None]
    best = (2 * sure.cumsum(dim=0) / (count + sure.sum(dim=0))).amax(dim=0)
    return (best / 2).logit().to(weight)
