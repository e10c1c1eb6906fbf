"""The guide's head, fitted by itself: against scikit-learn, and in a training that was stopped."""

from pathlib import Path

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from decomprec.data import SyntheticScenes
from decomprec.data.datamodule import TaggedDataModule
from decomprec.models import PooledClassifier, SmallEncoder
from decomprec.training import GuideModule, GuideSettings
from decomprec.training.modules import fit_head
from decomprec.training.sample import Sample

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


@pytest.fixture
def features() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 3 + torch.randn(200, 16, generator=generator) * torch.linspace(0.1, 5, 16)


def test_the_head_is_that_of_scikit_learn(classifier: PooledClassifier, features: Tensor) -> None:
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(2))
    tags = ((features[:, :2] - 3) / features[:, :2].std(dim=0) + noise > 0.5).float()
    fit_head(classifier, features, tags, weight_decay=0.01)

    assert isinstance(classifier.norm, nn.BatchNorm1d)
    torch.testing.assert_close(classifier.norm.running_mean, features.mean(dim=0))
    scaled = F.batch_norm(features.double(), None, None, training=True, eps=classifier.norm.eps)
    for j in range(2):
        # Its objective is C times the sum over the images, and half the squared norm.
        peer = LogisticRegression(C=1 / (0.01 * len(tags)), tol=1e-8, max_iter=1000)
        peer.fit(scaled.numpy(), tags[:, j].numpy())
        torch.testing.assert_close(
            classifier.head.weight[j].double(), torch.from_numpy(peer.coef_[0]), atol=2e-3, rtol=2e-3
        )
        assert classifier.head.bias[j].item() == pytest.approx(peer.intercept_[0], abs=2e-3)


def test_the_start_does_not_matter(classifier: PooledClassifier, features: Tensor) -> None:
    tags = (features[:, :2] > 3.5).float()
    heads = []
    for scale in (0.0, 3.0):
        nn.init.normal_(classifier.head.weight, std=scale)
        fit_head(classifier, features, tags, weight_decay=0.1)
        heads.append(classifier.head.weight.detach().clone())
    torch.testing.assert_close(heads[0], heads[1], atol=1e-3, rtol=1e-3)


@pytest.fixture
def data() -> TaggedDataModule:
    scenes = SyntheticScenes(16, num_classes=2, size=16, seed=1)
    return TaggedDataModule(scenes, SyntheticScenes(8, num_classes=2, size=16, seed=2), batch_size=8)


SETTINGS = GuideSettings(freeze_encoder=True, weight_decay=0.1, scales=(1.0, 2.0))


def guide_module(classifier: PooledClassifier) -> GuideModule:
    return GuideModule(classifier, SETTINGS)


def test_training_ends_with_the_head_of_all_images_that_it_saw(
    classifier: PooledClassifier, data: TaggedDataModule
) -> None:
    seen: list[Tensor] = []
    tags: list[Tensor] = []
    classifier.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    class Watched(GuideModule):
        def training_step(self, batch, batch_idx):
            tags.append(batch["tags"])
            return super().training_step(batch, batch_idx)

    module = Watched(classifier, SETTINGS)
    L.Trainer(max_epochs=2, enable_checkpointing=False, **OPTIONS).fit(module, data)

    assert [images.shape[-1] for images in seen] == [16, 32, 16, 32]
    expected = PooledClassifier(classifier.encoder, num_classes=3, standardise=True)
    pooled = torch.cat([expected.pool(images) for images in list(seen)]).detach()
    fit_head(expected, pooled, torch.cat(tags), weight_decay=0.1)
    torch.testing.assert_close(classifier.head.weight, expected.head.weight, atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(classifier.norm.running_var, expected.norm.running_var, atol=1e-3, rtol=1e-2)


def test_a_stopped_training_goes_on_with_what_it_saw(
    classifier: PooledClassifier, data: TaggedDataModule, tmp_path: Path
) -> None:
    start = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    L.Trainer(max_epochs=2, enable_checkpointing=False, **OPTIONS).fit(guide_module(classifier), data)
    whole = classifier.head.weight.detach().clone()

    classifier.load_state_dict(start)
    half = L.Trainer(max_epochs=1, callbacks=[ModelCheckpoint(tmp_path, filename="last")], **OPTIONS)
    half.fit(guide_module(classifier), data)
    assert not torch.allclose(classifier.head.weight, whole, atol=1e-3)
    L.Trainer(max_epochs=2, enable_checkpointing=False, **OPTIONS).fit(
        guide_module(classifier), data, ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    torch.testing.assert_close(classifier.head.weight, whole, atol=1e-4, rtol=1e-3)


def test_a_training_that_ends_early_fits_the_head_too(classifier: PooledClassifier, data: TaggedDataModule) -> None:
    L.Trainer(max_epochs=5, max_steps=4, enable_checkpointing=False, **OPTIONS).fit(guide_module(classifier), data)
    early = classifier.head.weight.detach().clone()
    again = PooledClassifier(classifier.encoder, num_classes=3, standardise=True)
    L.Trainer(max_epochs=2, enable_checkpointing=False, **OPTIONS).fit(guide_module(again), data)  # 2 steps an epoch
    torch.testing.assert_close(early, again.head.weight, atol=1e-3, rtol=1e-3)


def test_the_validation_judges_the_fitted_head(classifier: PooledClassifier, data: TaggedDataModule) -> None:
    seen: list[Tensor] = []

    class Watched(GuideModule):
        def validation_step(self, batch, batch_idx):
            seen.append(self.classifier.head.weight.detach().clone())
            super().validation_step(batch, batch_idx)

    options = {**OPTIONS, "limit_val_batches": 1, "num_sanity_val_steps": 0}
    L.Trainer(max_epochs=2, enable_checkpointing=False, **options).fit(Watched(classifier, SETTINGS), data)
    assert len(seen) == 2
    assert torch.equal(seen[-1], classifier.head.weight)


def test_a_fit_in_parts_is_the_fit(
    classifier: PooledClassifier, features: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = (features[:, :2] > 3.5).to(torch.uint8)
    heads = []
    for at_once in (1000, 64):
        monkeypatch.setattr("decomprec.training.modules._AT_ONCE", at_once)
        fit_head(classifier, features, tags, weight_decay=0.1)
        heads.append(classifier.head.weight.detach().clone())
    torch.testing.assert_close(heads[1], heads[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_a_sample_is_the_rows_of_the_smallest_keys(batch: int) -> None:
    """Whatever the batches that rows come in, and however often the sample went through a checkpoint."""
    keys = torch.rand(300, generator=torch.Generator().manual_seed(0))
    sample = Sample(most=20)
    for rows in torch.arange(300).split(batch):
        sample.add(rows, keys[rows])
        assert sum(len(part[-1]) for part in sample._parts) <= 2 * 20 + batch
        state = sample.state_dict()
        sample = Sample(most=20)
        sample.load_state_dict(state)
    assert sorted(sample.rows[0].tolist()) == sorted(keys.argsort()[:20].tolist())


def test_more_images_than_are_kept_are_sampled_alike_in_a_resumed_training(
    classifier: PooledClassifier, data: TaggedDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decomprec.training.modules.FITTED", 10)
    start = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    kept = []
    half = tmp_path / "half" / "last.ckpt"
    for folder, epochs, checkpoint in (("whole", 2, None), ("half", 1, None), ("resumed", 2, half)):
        if checkpoint is None:
            classifier.load_state_dict(start)
        module = guide_module(classifier)
        callbacks = [ModelCheckpoint(tmp_path / folder, filename="last")]
        trainer = L.Trainer(max_epochs=epochs, callbacks=callbacks, **OPTIONS)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
        kept.append(module._seen.rows)
    assert len(kept[0][0]) == 10
    torch.testing.assert_close(kept[2], kept[0])


def test_a_classifier_of_another_kind_has_no_head_to_fit() -> None:
    with pytest.raises(ValueError, match=r"Expected `classifier` to be a PooledClassifier .* but got a Linear"):
        GuideModule(nn.Linear(3, 1), SETTINGS)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0)])
def test_wrong_scales(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scales"):
        GuideSettings(scales=scales)
