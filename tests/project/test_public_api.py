"""No public name or signature changes unnoticed."""

from support import public_api


def test_public_names_and_signatures_are_the_recorded_ones() -> None:
    recorded, now = set(public_api.FILE.read_text(encoding="utf-8").splitlines()), set(public_api.lines())
    assert len(recorded) > 100
    assert now == recorded, (
        "if this is meant: uv run python tests/support/public_api.py > tests/support/public_api.txt, and say so"
    )


def test_what_is_recorded_of_a_name() -> None:
    record = public_api.lines()
    assert "decomprec.functional.recompose(masks: Tensor, imagelets: Tensor) -> Tensor" in record
    assert any(line.startswith("class decomprec.ClsLoss(Module)(self, guide: ") for line in record)
    assert any(line.startswith("decomprec.DecompositionSegmenter.predict(self, images: ") for line in record)
    assert "decomprec.Decomposition.masks: Tensor" in record
