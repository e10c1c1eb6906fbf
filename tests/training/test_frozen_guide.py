"""What the training of a guide with a frozen encoder starts from and sees."""

import math
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import Callback
from support.tiny import QUIET, tiny
from torch import Tensor

from decomprec.data import SyntheticScenes, TaggedRows, train_transform
from decomprec.training import GuideModule, train


class Watch(Callback):
    """Keeps what the guide's training is given, and where its biases start."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.start: list[float] = []

    def on_train_start(self, trainer, pl_module) -> None:
        if isinstance(pl_module, GuideModule):
            self.start = pl_module.classifier.head.bias.tolist()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.images.extend(batch["image"])


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_encoder_shows_whole_images_to_a_head_that_knows_how_frequent_classes_are(
    tmp_path: Path, frozen: bool
) -> None:
    scenes = SyntheticScenes(16, 2, size=40, seed=1)
    images = [(255 * scenes[i]["image"]).round().byte() for i in range(16)]
    rows = [{"image": image, "tags": ["rare"] if i < 3 else ["frequent"]} for i, image in enumerate(images)]
    train_set = TaggedRows(rows, names=["rare", "frequent"], transform=train_transform(40))
    val_set = TaggedRows(rows[:8], names=["rare", "frequent"])
    watch = Watch()
    preset = tiny({"guide.freeze_encoder": frozen})
    options = {"evidence_only": True} if frozen else {}  # no more than the guide, where that is possible
    train(preset, train_set, val_set, tmp_path, callbacks=[watch], trainer_options=QUIET, **options)

    whole = {tuple(image.flatten().tolist()) for image in images}
    seen = {tuple((255 * image).round().byte().flatten().tolist()) for image in watch.images[:16]}
    assert (seen == whole) is frozen
    odds = [math.log(4 / 14), math.log(14 / 4)]
    assert (watch.start == pytest.approx(odds)) is frozen
