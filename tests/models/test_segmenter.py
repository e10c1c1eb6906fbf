"""The segmenter: any size, its own or other parts, prediction, saving."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from decomprec import Decomposition, DecompositionLoss, DecompositionSegmenter
from decomprec.models import SmallEncoder
from decomprec.models.paper_unet import PaperEncoder


class TinyEncoder(nn.Module):
    """A custom encoder: two feature maps."""

    out_channels = (4, 8)
    strides = (2, 4)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.first(images).relu()
        return [fine, self.norm(self.second(fine)).relu()]


class TinyDecoder(nn.Module):
    """A custom decoder: from the coarsest features alone."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, out_channels, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        out: Tensor = nn.functional.interpolate(self.conv(features[-1]), scale_factor=4)
        return out


def tiny(num_classes: int = 3) -> DecompositionSegmenter:
    return DecompositionSegmenter(num_classes, TinyEncoder())


@pytest.fixture(scope="module")
def paper() -> DecompositionSegmenter:
    return DecompositionSegmenter(3).eval()


def check(out: Decomposition, batch: int, slots: int, height: int, width: int) -> None:
    assert out.mask_logits.shape == out.masks.shape == (batch, slots, height, width)
    assert out.imagelets.shape == out.components.shape == (batch, slots, 3, height, width)
    assert out.reconstruction.shape == (batch, 3, height, width)
    assert out.areas.shape == (batch, slots)
    torch.testing.assert_close(out.masks.sum(dim=1), torch.ones(batch, height, width))
    for images in (out.imagelets, out.reconstruction):
        assert images.min() >= 0
        assert images.max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (5, 16), (17, 15)])
def test_any_size(paper: DecompositionSegmenter, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        check(paper(torch.rand(1, 3, *size)), 1, 3, *size)
        assert paper.predict(torch.rand(1, 3, *size)).shape == (1, *size)


@pytest.mark.parametrize("make", [lambda: DecompositionSegmenter(2), lambda: tiny(2)], ids=["paper", "own"])
def test_multiples_of_the_stride_are_not_padded(make: Any) -> None:
    model = make().eval()
    images = torch.rand(1, 3, 16, 32)
    features = model.encoder(images)
    out = model(images)
    assert torch.equal(out.mask_logits, model.mask_decoder(features))
    assert torch.equal(out.imagelets.flatten(1, 2), model.image_decoder(features).sigmoid())


@pytest.mark.parametrize("size", [(32, 48), (21, 30)])
def test_the_encoder_sees_the_image_enlarged(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoder = SmallEncoder((4, 8, 16))
    segmenter = DecompositionSegmenter(3, encoder, decoder_widths=(8, 4), enlarge=2).eval()
    images = torch.rand(2, 3, *size)
    height, width = (-(-side // 4) * 4 for side in size)
    padded = F.pad(images, (0, width - size[1], 0, height - size[0]), mode="replicate")
    maps = encoder(F.interpolate(padded, size=(2 * height, 2 * width), mode="bilinear"))
    assert segmenter.stride == 4
    assert maps[0].shape[2:] == (height, width)  # left out
    expected = segmenter.mask_decoder(maps[1:])[..., : size[0], : size[1]]
    torch.testing.assert_close(segmenter.mask_logits(images), expected)
    assert segmenter(images).imagelets.shape == (2, 3, 3, *size)


@pytest.mark.parametrize("factor", [0, -1, 1.5, True])
def test_a_factor_must_be_a_whole_number(factor: Any) -> None:
    with pytest.raises(ValueError, match="`enlarge` to be an integer of at least 1"):
        DecompositionSegmenter(3, SmallEncoder((4, 8)), enlarge=factor)


@pytest.mark.parametrize("factor", [3, 4])
def test_a_factor_that_leaves_no_map_at_stride_2_raises(factor: int) -> None:
    with pytest.raises(ValueError, match="to be at stride 2"):
        DecompositionSegmenter(3, SmallEncoder((4, 8, 16) if factor == 3 else (4, 8)), enlarge=factor)


def test_padding_repeats_the_border(paper: DecompositionSegmenter) -> None:
    images = torch.rand(1, 3, 13, 30)
    padded = torch.cat([images, images[..., -1:].expand(-1, -1, -1, 2)], dim=-1)
    padded = torch.cat([padded, padded[..., -1:, :].expand(-1, -1, 3, -1)], dim=-2)
    with torch.inference_mode():
        assert torch.equal(paper(images).mask_logits, paper(padded).mask_logits[..., :13, :30])


def test_channels_of_the_image_decoder_are_slot_by_slot() -> None:
    class Constant(TinyDecoder):
        def forward(self, features: list[Tensor]) -> Tensor:
            image = super().forward(features)
            return torch.arange(6.0).view(6, 1, 1).expand_as(image)

    model = DecompositionSegmenter(2, TinyEncoder(), image_decoder=Constant(6))
    expected = torch.tensor([[0.0, 1, 2], [3, 4, 5]]).sigmoid()
    assert torch.equal(model(torch.rand(1, 3, 8, 8)).imagelets[0, :, :, 0, 0], expected)


def test_own_modules_take_the_place_of_every_part() -> None:
    model = DecompositionSegmenter(3, TinyEncoder(), mask_decoder=TinyDecoder(3), image_decoder=TinyDecoder(9))
    check(model(torch.rand(2, 3, 9, 10)), 2, 3, 9, 10)
    check(DecompositionSegmenter(3, PaperEncoder())(torch.rand(1, 3, 20, 20)), 1, 3, 20, 20)  # with U-Net decoders


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_networks_of_timm(name: str) -> None:
    model = DecompositionSegmenter(3, encoder=name, encoder_weights=None).eval()
    with torch.inference_mode():
        check(model(torch.rand(1, 3, 20, 33)), 1, 3, 20, 33)


@pytest.mark.parametrize("make", [lambda: DecompositionSegmenter(3), tiny], ids=["paper", "own"])
def test_gradients_reach_every_parameter(make: Any, images: Tensor, tags: Tensor, guide: nn.Module) -> None:
    model = make()
    DecompositionLoss(guide)(model(images), images, tags).total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_mask_logits_are_the_mask_branch(paper: DecompositionSegmenter) -> None:
    images = torch.rand(1, 3, 20, 20)
    with torch.inference_mode():
        assert torch.equal(paper.mask_logits(images), paper(images).mask_logits)


def test_predict_is_the_likeliest_class(images: Tensor) -> None:
    model = tiny()
    out = model.eval()(images)
    labels = model.predict(images)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, out.labels())
    assert torch.equal(labels, out.masks.argmax(dim=1))


def test_predict_with_tags_takes_the_likeliest_that_is_present(images: Tensor) -> None:
    model = tiny()
    out = model.eval()(images)
    tags = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    labels = model.predict(images, tags)
    assert torch.equal(labels, out.labels(tags))
    assert torch.equal(labels[0], 2 * (out.masks[0, 2] > out.masks[0, 0]).long())  # tag 1 is class 2
    assert (labels[1] == 0).all()


def test_predict_leaves_the_model_as_it_was(images: Tensor) -> None:
    model = tiny().train()
    model.encoder.norm.eval()  # frozen by its user
    before = copy.deepcopy(model.state_dict())
    labels = model.predict(images)
    assert not labels.requires_grad
    assert model.training
    assert model.encoder.training
    assert not model.encoder.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_predict_restores_the_mode_after_an_error(images: Tensor) -> None:
    model = tiny().train()
    with pytest.raises(ValueError, match="lie in"):
        model.predict(2 * images + 1)
    assert model.training


def test_saved_and_loaded_it_is_the_same(tmp_path: Path, images: Tensor) -> None:
    model, other = tiny().eval(), tiny().eval()
    assert not torch.equal(model(images).masks, other(images).masks)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(model(images).masks, other(images).masks)
    assert torch.equal(model(images).imagelets, copy.deepcopy(model)(images).imagelets)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(images: Tensor, dtype: torch.dtype) -> None:
    model = tiny().eval()
    exact = model(images).masks
    out = model.to(dtype)(images[..., :15].to(dtype))
    assert out.mask_logits.dtype == out.imagelets.dtype == dtype
    torch.testing.assert_close(out.masks[..., :12].float(), exact[..., :12], atol=5e-2, rtol=0)
