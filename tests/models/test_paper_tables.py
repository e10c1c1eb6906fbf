"""Tables 1 and 2 of Appendix A, row by row, from the model at the paper's 224 pixels."""

import pytest
import torch
from torch import Tensor, nn

from decomprec import DecompositionSegmenter

# (output shape, parameters), typed from the paper; row 1 of each table is its input.
TABLE_1 = [
    ((3, 224, 224), 0),
    ((64, 112, 112), 38_720),
    ((128, 56, 56), 221_440),
    ((256, 28, 28), 885_248),
    ((512, 14, 14), 3_539_968),
    ((1024, 14, 14), 4_719_616),
]
TABLE_2 = [
    ((512, 14, 14), 0),
    ((512, 28, 28), 9_438_208),
    ((256, 56, 56), 2_359_808),
    ((128, 112, 112), 590_080),
    ((64, 224, 224), 147_584),
    ((64, 224, 224), 36_928),
    ((6, 224, 224), 3_462),
]


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture(scope="module")
def model() -> DecompositionSegmenter:
    return DecompositionSegmenter()


@pytest.fixture(scope="module")
def shapes(model: DecompositionSegmenter) -> dict[nn.Module, tuple[int, ...]]:
    """The output of every module of the network in one pass at 224 px."""
    seen: dict[nn.Module, tuple[int, ...]] = {}

    def record(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            seen[module] = tuple(output.shape[1:])

    hooks = [module.register_forward_hook(record) for module in model.modules()]
    with torch.inference_mode():
        model(torch.rand(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    return seen


def test_table_1(model: DecompositionSegmenter, shapes: dict[nn.Module, tuple[int, ...]]) -> None:
    rows = [*model.encoder.blocks, model.encoder.bottleneck]
    table = [((3, 224, 224), 0), *((shapes[row], parameters(row)) for row in rows)]
    assert table == TABLE_1
    assert parameters(model.encoder) == 9_404_992 == sum(count for _, count in TABLE_1)


@pytest.mark.parametrize(("branch", "out_channels", "total"), [("image", 6, 12_576_070), ("mask", 2, 12_573_762)])
def test_table_2(
    model: DecompositionSegmenter,
    shapes: dict[nn.Module, tuple[int, ...]],
    branch: str,
    out_channels: int,
    total: int,
) -> None:
    decoder = getattr(model, f"{branch}_decoder")
    head = decoder.head
    table = [
        (shapes[model.encoder.blocks[-1]], 0),
        *((shapes[block], parameters(block)) for block in decoder.blocks),
        (shapes[head[1]], parameters(head[:2])),  # Conv + LeakyReLU
        (shapes[head[2]], parameters(head[2])),
    ]
    last = ((out_channels, 224, 224), 64 * 9 * out_channels + out_channels)
    assert table == [*TABLE_2[:-1], last]
    assert parameters(decoder) == total
    if out_channels == 6:  # K = 2 image-lets of three channels: the case that the paper prints
        assert last == TABLE_2[-1]
        assert total == sum(count for _, count in TABLE_2)


def test_rows_are_made_of_the_layers_that_the_captions_name(model: DecompositionSegmenter) -> None:
    conv, act = "Conv2d", "LeakyReLU"

    def names(module: nn.Module) -> list[str]:
        return [type(layer).__name__ for layer in module.children()]

    assert all(names(block) == [conv, act, conv, act, "MaxPool2d"] for block in model.encoder.blocks)
    assert names(model.encoder.bottleneck) == [conv, act]
    for decoder in (model.mask_decoder, model.image_decoder):
        assert all(names(block) == [conv, act, "Upsample", conv, act] for block in decoder.blocks)
        assert names(decoder.head) == [conv, act, conv]
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert {(c.kernel_size, c.stride) for c in convolutions} == {((3, 3), (1, 1))}
