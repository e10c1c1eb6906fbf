"""The U-Net decoder's linear layer: which class a pixel is, and how a guide's weights become the first opinion."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from decomprec import DecompositionSegmenter
from decomprec.models import PooledClassifier, SmallEncoder, UnetDecoder
from decomprec.models.serialization import Networks, read_networks, write_networks
from decomprec.training import PRESETS
from decomprec.training.build import build_segmenter, start_from_guide

LEVELS = (-2, -1)


def silenced(decoder: UnetDecoder) -> UnetDecoder:
    """The decoder without what its U-Net gives."""
    torch.nn.init.zeros_(decoder.head[0].weight)
    torch.nn.init.zeros_(decoder.head[0].bias)
    return decoder


def opinionated(decoder: UnetDecoder) -> UnetDecoder:
    """The decoder with random weights of its linear layer."""
    assert decoder.which is not None
    decoder.start_from_scores(torch.randn_like(decoder.which.weight), torch.randn_like(decoder.which.bias))
    return decoder


def log_shares_by_hand(features: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """0 and log p (K, h, w) of one image's features (C, h, w), pixel by pixel in float64."""
    channels, height, width = features.shape
    scores = bias.double()[:, None, None].repeat(1, height, width)
    for j in range(len(weights)):
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    value = float(features[c, y, x])
                    scores[j, y, x] += float(weights[j, c if value > 0 else channels + c]) * abs(value)
    shares = scores.exp() / scores.exp().sum(dim=0)
    return torch.cat([torch.zeros(1, height, width, dtype=torch.float64), shares.log()])


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(2, 5))
def test_a_linear_layer_on_rectified_features_says_which_class(seed: int, slots: int) -> None:
    torch.manual_seed(seed)
    decoder = silenced(UnetDecoder((2, 3), slots, (4, 4), levels=(-1,)))
    maps = [torch.randn(1, 2, 8, 8), torch.randn(1, 3, 4, 4)]
    weights, bias = torch.randn(slots - 1, 6), torch.randn(slots - 1)
    decoder.start_from_scores(weights, bias)
    shares = log_shares_by_hand(maps[1][0], weights, bias)
    expected = F.interpolate(shares[None], size=(16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(decoder(maps).double(), expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_what_is_background_is_left_to_the_unet(seed: int) -> None:
    """If it finds all classes alike, they are together as likely as a class that is alone, wherever they can be told
    apart to the pixel.
    """
    torch.manual_seed(seed)
    decoder = opinionated(UnetDecoder((2, 3), 4, (4, 4), levels=(-1,))).eval()
    with torch.no_grad():
        decoder.head[0].weight[1:] = decoder.head[0].weight[1]
        decoder.head[0].bias[1:] = decoder.head[0].bias[1]
    one_color = [torch.randn(1, 2, 1, 1).expand(-1, -1, 8, 8), torch.randn(1, 3, 1, 1).expand(-1, -1, 4, 4)]
    background = decoder(one_color).softmax(dim=1)[:, 0]
    decoder.which = None
    alone = decoder(one_color)[:, :2].softmax(dim=1)[:, 0]
    torch.testing.assert_close(background, alone, atol=1e-5, rtol=1e-5)


def test_it_says_nothing_at_first_and_of_one_class() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)]
    decoder = UnetDecoder((3, 5), 4, (8, 4), levels=(-1,)).eval()
    with_layer = decoder(maps)
    decoder.which = None
    # log p of even odds, the same for all classes
    torch.testing.assert_close(with_layer[:, 1:], decoder(maps)[:, 1:] - torch.tensor(3.0).log())
    assert torch.equal(with_layer[:, 0], decoder(maps)[:, 0])
    one = opinionated(UnetDecoder((3, 5), 2, (8, 4), levels=(-1,))).eval()
    with_layer = one(maps)
    one.which = None
    assert torch.equal(with_layer, one(maps))


def test_some_channels_are_those_of_all() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)]
    decoder = opinionated(UnetDecoder((3, 5), 6, (8, 4), levels=(-1,))).eval()
    channels = torch.tensor([[0, 4, 2], [0, 1, 5]])
    expected = decoder(maps)[torch.arange(2)[:, None], channels]
    torch.testing.assert_close(decoder(maps, channels), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("weights", "bias"), [((5, 8), (5,)), ((6, 10), (6,)), ((5, 10), (1,))])
def test_weights_that_do_not_fit(weights: tuple[int, ...], bias: tuple[int, ...]) -> None:
    decoder = UnetDecoder((3, 5), 6, (8, 4), levels=(-1,))
    with pytest.raises(ValueError, match=r"Expected weights \(5, 10\) and a bias but got"):
        decoder.start_from_scores(torch.zeros(weights), torch.zeros(bias))
    with pytest.raises(ValueError, match="Expected no weights, for want of `levels`, but got"):
        UnetDecoder((3, 5), 6, (8, 4)).start_from_scores(torch.zeros(weights), torch.zeros(bias))


def test_levels_that_the_encoder_lacks() -> None:
    with pytest.raises(ValueError, match="levels"):
        UnetDecoder((3, 5), 6, (8, 4), levels=(-3,))


def guide(slots: int = 4) -> PooledClassifier:
    """One with random weights, whose BatchNorm has seen features."""
    torch.manual_seed(2)
    classifier = PooledClassifier(SmallEncoder((4, 6, 8)), slots, standardise=True, pooling="lse", levels=LEVELS)
    classifier(torch.rand(4, 3, 32, 32))
    return classifier.eval()


def built(classifier: PooledClassifier, preset: str = "robust") -> tuple[DecompositionSegmenter, UnetDecoder]:
    """A segmenter that starts from this guide, and its mask decoder."""
    chosen = PRESETS[preset].override({"guide.encoder": "small", "guide.encoder_weights": None})
    segmenter = build_segmenter(chosen, classifier.head.out_features + 1, classifier).eval()
    start_from_guide(chosen, segmenter, classifier)
    assert isinstance(segmenter.mask_decoder, UnetDecoder)
    return segmenter, segmenter.mask_decoder


def test_masks_start_from_the_guides_opinion_of_each_pixel() -> None:
    classifier = guide()
    segmenter, decoder = built(classifier)
    features = segmenter.features(torch.rand(2, 3, 32, 32))
    opinion = classifier.scores(classifier.gather(features)) + classifier.head.bias[:, None, None]
    size = [2 * side for side in features[0].shape[-2:]]
    shares = F.interpolate(opinion.log_softmax(dim=1), size=size, mode="bilinear", align_corners=False)
    logits = silenced(decoder)(features)
    torch.testing.assert_close(logits[:, 1:], shares, atol=1e-4, rtol=1e-4)
    assert not logits[:, 0].any()


def test_one_class_needs_no_opinion() -> None:
    assert built(guide(2))[1].which is None


def test_a_guide_that_does_not_standardise_gives_no_opinion() -> None:
    classifier = PooledClassifier(SmallEncoder(), 4)
    assert built(classifier, "demo")[1].which is None


def test_levels_that_the_segmenter_does_not_see_give_no_opinion() -> None:
    # Images are enlarged twice, and the encoder's finest map is left out.
    classifier = PooledClassifier(SmallEncoder((4, 6, 8)), 4, standardise=True, levels=(-3,))
    assert built(classifier)[1].which is None


def test_the_layer_is_saved_and_read(tmp_path: Path) -> None:
    classifier = guide()
    decoder = opinionated(UnetDecoder((4, 6, 8), 4, (8, 4, 4), levels=LEVELS))
    segmenter = DecompositionSegmenter(4, classifier.encoder, decoder_widths=(8, 4, 4), mask_decoder=decoder).eval()
    write_networks(tmp_path, Networks(segmenter, classifier, ("a", "b", "c"), 32), half=False, masks_only=False)
    read = read_networks(tmp_path).segmenter.eval()
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(read.mask_logits(images), segmenter.mask_logits(images))
