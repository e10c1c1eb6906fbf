"""Values are scanned once per tensor and change: each scan makes the CPU wait for an accelerator."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from decomprec import ClsLoss, DecompositionLoss, DecompositionSegmenter, FrozenGuide, MaskLoss
from decomprec.checks import check_images, check_tags
from decomprec.evidence import EvidenceMasks
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.priors import HingeAreaLoss


class Scans(TorchDispatchMode):
    """Counts the reductions over all values by which images (`aminmax`) and tags (`all`) are scanned."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("aminmax", "all", "_local_scalar_dense"):
            self.count[name] += 1
        return func(*args, **(kwargs or {}))


def scans(call: Callable[[], Any]) -> dict[str, int]:
    with Scans() as seen:
        call()
    return dict(seen.count)


@pytest.fixture
def segmenter() -> DecompositionSegmenter:
    return DecompositionSegmenter(3, SmallEncoder((4, 8)), decoder_widths=(8, 4))


def test_a_step_scans_images_and_tags_once(
    segmenter: DecompositionSegmenter, guide: FrozenGuide, images: Tensor, tags: Tensor
) -> None:
    classifier = PooledClassifier(SmallEncoder((4, 8)), 3, standardise=True).eval()
    # Without a refinement, which checks the smaller images that it is given.
    evidence = EvidenceMasks(classifier, refine=lambda images, masks: masks)
    seeded = DecompositionLoss(guide, mask_loss=HingeAreaLoss(), lambda_seeds=1.0)

    def step(loss: DecompositionLoss, images: Tensor, tags: Tensor) -> None:
        seeds = evidence.seeds(images, tags) if loss is seeded else None
        loss(segmenter(images), images, tags, seeds=seeds).total.backward()

    # One number is read, and another to make seeds: how many classes an image has at most.
    for loss, numbers in ((DecompositionLoss(guide), 1), (seeded, 2)):
        found = scans(partial(step, loss, images.clone(), tags.clone()))
        assert found == {"aminmax": 1, "all": 1, "_local_scalar_dense": numbers}


def test_known_areas_are_scanned_once(guide: FrozenGuide, images: Tensor, tags: Tensor) -> None:
    areas = torch.full((2, 3), 1 / 3)
    assert scans(lambda: [MaskLoss()(areas, areas) for _ in range(2)])["all"] == 1


def test_a_changed_tensor_is_scanned_again(segmenter: DecompositionSegmenter, images: Tensor, tags: Tensor) -> None:
    segmenter(images)
    images[0, 0, 0, 0] = 2
    for _ in range(2):  # what was refused is not remembered as good
        with pytest.raises(ValueError, match=r"`images` to lie in \[0, 1\], but got values from .* to 2"):
            segmenter(images)
    images.clamp_(0, 1)
    segmenter(images)
    loss = ClsLoss(lambda shown: shown.mean(dim=(2, 3))[:, :2])
    out = segmenter(images)
    loss(out, images, tags)
    tags[0, 0] = 0.5
    with pytest.raises(ValueError, match="`tags` to hold only 0 and 1"):
        loss(out, images, tags)


def test_a_view_is_scanned_by_itself_and_changes_with_its_base(images: Tensor) -> None:
    view = images[:1]
    check_images(images)
    check_images(view)
    images[1] = -1
    check_images(view)
    view[:] = 7
    with pytest.raises(ValueError, match="lie in"):
        check_images(view)


def test_images_are_no_tags(images: Tensor) -> None:
    values = torch.full((2, 3, 4, 4), 0.5)
    check_images(values)
    with pytest.raises(ValueError, match="shape"):
        check_tags(values, 2, 4)
    tags = torch.full((2, 3), 0.5)
    MaskLoss()(torch.full((2, 3), 1 / 3), tags)  # as areas they are good
    with pytest.raises(ValueError, match="only 0 and 1"):
        check_tags(tags, 2, 4)


def test_tensors_without_a_version_are_always_scanned() -> None:
    with torch.inference_mode():
        images = torch.rand(1, 3, 4, 4)
        assert scans(lambda: [check_images(images) for _ in range(2)])["aminmax"] == 2
        images += 1
        with pytest.raises(ValueError, match="lie in"):
            check_images(images)


def test_a_new_tensor_in_the_place_of_an_old_one_is_scanned() -> None:
    for value in [0.5] * 20 + [2.0]:
        images = torch.full((1, 3, 4, 4), value)
        if value > 1:
            with pytest.raises(ValueError, match="lie in"):
                check_images(images)
        else:
            assert scans(lambda images=images: check_images(images))["aminmax"] == 1
        del images


def test_no_tensor_is_kept_alive() -> None:
    images = torch.rand(1, 3, 4, 4)
    check_images(images)
    reference = weakref.ref(images)
    del images
    gc.collect()
    assert reference() is None
