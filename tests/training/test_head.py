"""The guide's head on features that are kept: against scikit-learn, and in a training that was stopped."""

import errno
import gc
from pathlib import Path
from typing import Any
from unittest import mock

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from decomprec.data import SyntheticScenes
from decomprec.data.datamodule import TaggedDataModule
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.models.features import rectified
from decomprec.training import GuideModule, GuideSettings
from decomprec.training.head import KeptFeatures, odds_of_best_f1, train_head

OPTIONS = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "limit_val_batches": 0,
}


@pytest.fixture
def classifier() -> PooledClassifier:
    torch.manual_seed(0)
    return PooledClassifier(SmallEncoder((4, 8)), num_classes=3, standardise=True)


def test_on_mean_pooled_scores_the_head_is_that_of_scikit_learn(classifier: PooledClassifier) -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(200, 8, 1, 1, generator=generator) * torch.linspace(0.5, 2, 8)[:, None, None]
    features = features + torch.randn(200, 8, 2, 3, generator=generator)
    parts = torch.cat([features.clamp(min=0), -features.clamp(max=0)], dim=1)
    means = parts.mean(dim=(2, 3))
    tags = (means[:, :2] + torch.randn(200, 2, generator=generator) > 0.5).float()
    classifier.norm.momentum = None
    classifier.train()(torch.rand(1, 3, 16, 16))
    classifier.norm.reset_running_stats()
    classifier.norm(parts)
    classifier.eval()
    train_head(classifier, [(features, tags)] * 1500, learning_rate=0.05, weight_decay=0.01)

    pixels = parts.double().movedim(1, -1).flatten(0, 2)
    scaled = (means.double() - pixels.mean(dim=0)) / (pixels.var(dim=0) + classifier.norm.eps).sqrt()
    for j in range(2):
        # Its objective is C times the sum over the images, and half the squared norm.
        peer = LogisticRegression(C=1 / (0.01 * len(tags)), tol=1e-8, max_iter=1000)
        peer.fit(scaled.numpy(), tags[:, j].numpy())
        torch.testing.assert_close(
            classifier.head.weight[j].double(), torch.from_numpy(peer.coef_[0]), atol=5e-3, rtol=5e-3
        )
        assert classifier.head.bias[j].item() == pytest.approx(peer.intercept_[0], abs=5e-3)


def test_a_small_thing_decides_if_scores_are_pooled_by_log_sum_exp() -> None:
    """A feature marks one pixel of 64 in images with the class; elsewhere all are noise."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    tags = (torch.arange(64) % 2)[:, None].float()
    features = torch.randn(64, 8, 8, 8, generator=generator)
    where = torch.randint(64, (64,), generator=generator)
    features.flatten(2)[torch.arange(64), 0, where] += 8 * tags[:, 0]
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2, standardise=True, pooling="lse").eval()
    train_head(classifier, [(features, tags)] * 200, learning_rate=0.1, weight_decay=0.01)
    assert torch.equal(classifier.classify(features) > 0, tags > 0)
    highest = classifier.scores(features).flatten(1).argmax(dim=1)
    assert torch.equal(highest[1::2], where[1::2])


@pytest.mark.parametrize(("rarity", "spread"), [(0.0, 1.0), (-2.0, 1.5), (-4.0, 1.0), (-1.0, 5.0)])
def test_the_odds_of_the_best_f1_are_those_that_drawn_tags_confirm(rarity: float, spread: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = rarity + spread * torch.randn(100_000, generator=generator)
    tags = torch.rand(len(logits), generator=generator) < logits.sigmoid()
    classifier = PooledClassifier(SmallEncoder((4, 8)), num_classes=2).eval()
    with torch.no_grad():
        classifier.head.weight.copy_(torch.eye(8)[:1])
        classifier.head.bias.zero_()
    features = torch.zeros(len(logits), 8, 1, 1)
    features[:, 0, 0, 0] = logits
    odds = odds_of_best_f1(classifier, features.split(1000)).item()

    def f1(cut: float) -> float:
        said = logits > cut
        return float(2 * (said & tags).sum() / (said.sum() + tags.sum()))

    best = max(f1(cut / 20) for cut in range(-120, 60))
    assert f1(odds) == pytest.approx(best, abs=0.003)
    assert odds <= 0


@pytest.fixture
def data() -> TaggedDataModule:
    scenes = SyntheticScenes(16, num_classes=2, size=16, seed=1)
    return TaggedDataModule(scenes, SyntheticScenes(8, num_classes=2, size=16, seed=2), batch_size=8)


SETTINGS = GuideSettings(freeze_encoder=True, head_steps=60, weight_decay=0.1, learning_rate=0.01, scales=(1.0, 2.0))


def guide_module(classifier: PooledClassifier) -> GuideModule:
    return GuideModule(classifier, SETTINGS)


def test_a_frozen_guide_sees_every_image_once_an_epoch_and_its_head_takes_all_steps(
    classifier: PooledClassifier, data: TaggedDataModule
) -> None:
    seen: list[Tensor] = []
    steps: list[Tensor] = []
    classifier.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    classifier.head.weight.register_hook(steps.append)
    L.Trainer(max_epochs=2, enable_checkpointing=False, **OPTIONS).fit(guide_module(classifier), data)

    assert [images.shape[-1] for images in seen] == [16, 32, 16, 32]
    assert len(steps) == SETTINGS.head_steps
    with torch.no_grad():
        pixels = torch.cat(
            [rectified(classifier.gather(classifier.encoder(x))).movedim(1, -1).flatten(0, 2) for x in seen[:4]]
        )
    by_batch = [part.var(dim=0) for part in pixels.split([8 * 16, 8 * 64] * 2)]
    torch.testing.assert_close(classifier.norm.running_var, torch.stack(by_batch).mean(dim=0), atol=1e-4, rtol=1e-3)
    assert classifier.floor.all()


def test_the_biases_are_moved_by_these_odds(
    classifier: PooledClassifier, data: TaggedDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    biases = []
    for odds in (0.0, 0.5):
        monkeypatch.setattr("decomprec.training.head.odds_of_best_f1", lambda *_, odds=odds: torch.tensor([odds] * 2))
        classifier.load_state_dict(start)
        L.Trainer(max_epochs=1, enable_checkpointing=False, **OPTIONS).fit(guide_module(classifier), data)
        biases.append(classifier.head.bias.detach().clone())
    torch.testing.assert_close(biases[0] - 0.5, biases[1])


def test_no_more_features_are_kept_than_there_is_room_for(
    classifier: PooledClassifier, data: TaggedDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decomprec.training.modules._MOST_KEPT", 2 * 8 * 8 * 4 * 4)  # one batch of 16 x 16 pixels
    shapes = []

    def watched(classifier, batches, *args):
        shapes.extend({features.shape for features, _ in batches})
        train_head(classifier, batches, *args)

    monkeypatch.setattr("decomprec.training.head.train_head", watched)
    L.Trainer(max_epochs=2, enable_checkpointing=False, **OPTIONS).fit(guide_module(classifier), data)
    assert shapes == [(8, 8, 4, 4)] * 2


def test_kept_features_come_back_in_half_precision_and_any_order() -> None:
    kept = KeptFeatures(most=10**6)
    batches = [(torch.randn(n, 3, 5, 4).bfloat16(), torch.rand(n, 2).round()) for n in (2, 4, 3)]
    for features, tags in batches:
        kept.append(features, tags)
    for i in (2, 0, 1, 0):
        features, tags = kept[i]
        assert torch.equal(features, batches[i][0].half())
        assert torch.equal(tags, batches[i][1])
    kept.clear()
    assert list(kept) == []
    kept.append(*batches[1])
    assert torch.equal(kept[0][0], batches[1][0].half())


@pytest.mark.parametrize(
    "disk", [{"side_effect": OSError(errno.ENOSPC, "No space left on device")}, {"return_value": 8}]
)
def test_features_that_the_disk_has_no_room_for_are_left_out(
    disk: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptFeatures(most=10**6)
    batch = torch.ones(2, 3, 4, 4), torch.ones(2, 1)
    kept.append(*batch)
    full = mock.Mock(wraps=kept._file, write=mock.Mock(**disk))
    monkeypatch.setattr(kept, "_file", full)
    with pytest.warns(UserWarning, match="but it is full: the guide learns from 1 batches of them; set TMPDIR"):
        kept.append(*batch)
    kept.append(*batch)
    assert full.write.call_count == 1
    assert len(kept) == 1
    assert torch.equal(kept[0][0], batch[0].half())


class StopAfterOneEpoch(Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True


def test_a_stopped_training_goes_on_to_the_same_head(
    classifier: PooledClassifier, data: TaggedDataModule, tmp_path: Path
) -> None:
    start = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    L.Trainer(max_epochs=2, enable_checkpointing=False, **OPTIONS).fit(guide_module(classifier), data)
    whole = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}

    classifier.load_state_dict(start)
    callbacks = [ModelCheckpoint(tmp_path, filename="last"), StopAfterOneEpoch()]
    L.Trainer(max_epochs=2, callbacks=callbacks, **OPTIONS).fit(guide_module(classifier), data)
    assert not torch.allclose(classifier.head.weight, whole["head.weight"], atol=1e-3)
    L.Trainer(max_epochs=2, enable_checkpointing=False, **OPTIONS).fit(
        guide_module(classifier), data, ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    torch.testing.assert_close(classifier.state_dict(), whole, atol=1e-4, rtol=1e-3)


def test_the_validation_judges_the_head_after_its_further_steps(
    classifier: PooledClassifier, data: TaggedDataModule
) -> None:
    seen: list[Tensor] = []

    class Watched(GuideModule):
        def validation_step(self, batch, batch_idx):
            seen.append(self.classifier.head.weight.detach().clone())
            super().validation_step(batch, batch_idx)

    options = {**OPTIONS, "limit_val_batches": 1, "num_sanity_val_steps": 0}
    L.Trainer(max_epochs=2, enable_checkpointing=False, **options).fit(Watched(classifier, SETTINGS), data)
    assert len(seen) == 2
    assert torch.equal(seen[-1], classifier.head.weight)


def test_a_classifier_of_another_kind_has_no_head_to_fit() -> None:
    with pytest.raises(ValueError, match=r"Expected `classifier` to be a PooledClassifier .* but got a Linear"):
        GuideModule(nn.Linear(3, 1), SETTINGS)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0)])
def test_wrong_scales(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scales"):
        GuideSettings(scales=scales)


def test_the_file_of_kept_features_closes_with_them() -> None:
    kept = KeptFeatures(most=10**6)
    file = kept._file
    cycle: list[object] = [kept]
    cycle.append(cycle)  # as in a trainer's callbacks: freed by the garbage collector, in no order
    del kept, cycle
    assert gc.collect()
    assert file.closed
