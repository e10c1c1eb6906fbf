"""Tags kept as class numbers: the same tags, and no matrix of all images and classes."""

from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from decomprec.data import eval_transform
from decomprec.data.datamodule import TaggedDataModule
from decomprec.data.dataset import TaggedImages, TaggedRecords
from decomprec.data.findings import constant_findings, tag_findings
from decomprec.data.inspection import inspect_images
from decomprec.data.overview import overview_rows
from decomprec.data.record import Record
from decomprec.data.tags import TagTable, tag_table


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    images, classes = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    cells = draw(st.lists(st.booleans(), min_size=images * classes, max_size=images * classes))
    return np.array(cells, dtype=np.float32).reshape(images, classes)


@given(matrices(), st.randoms(use_true_random=False))
def test_a_table_is_the_matrix(matrix: np.ndarray, random: Random) -> None:
    tags = torch.from_numpy(matrix)
    table = tag_table(SimpleNamespace(tags=tags))
    order = [random.randrange(len(matrix)) for _ in range(4)]
    assert torch.equal(table.dense(), tags)
    assert torch.equal(table.dense(order), tags[order])
    assert torch.equal(table.select(order).dense(), tags[order])
    assert table.counts().tolist() == matrix.sum(axis=0).tolist()
    assert table.sizes().tolist() == matrix.sum(axis=1).tolist()
    assert table.images_with() == [tuple(np.flatnonzero(column)) for column in matrix.T]
    assert table.rows() == [np.flatnonzero(row).tolist() for row in matrix]


def test_a_table_of_names() -> None:
    table = TagTable.from_names([("dog", "cat", "dog"), (), ("cow",)], ["cat", "dog"])
    assert table.dense().tolist() == [[1, 1], [0, 0], [0, 0]]
    other = TagTable.from_names([("dog",), ("cat",), ("cow",)], ["cat", "dog"])
    assert table.to_bytes() != other.to_bytes()  # as many numbers, of other images


def test_an_image_takes_few_bytes() -> None:
    table = TagTable(([i % 1000] for i in range(20_000)), num_tags=1000)
    assert table._numbers.nbytes + table._starts.nbytes < 13 * len(table)
    assert not hasattr(Record(Path("a.jpg"), (), "a"), "__dict__")


def test_nothing_asks_for_the_whole_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(data: object) -> None:
        raise AssertionError("the matrix of all tags")

    sets = []
    for split in ("train", "val"):
        records = []
        for i in range(6):
            path = tmp_path / f"{split}_{i}.png"
            Image.fromarray(np.random.default_rng([i, len(split)]).integers(0, 255, (8, 8, 3), np.uint8)).save(path)
            records.append(Record(path, ("dog",) if i % 2 else (), path.stem))
        sets.append(TaggedImages(records, ["cat", "dog"], transform=eval_transform(8)))
    monkeypatch.setattr(TaggedRecords, "tags", property(refused))
    with pytest.warns(UserWarning, match="none of 6 have cat"):
        data = TaggedDataModule(*sets, batch_size=2)
    batches = list(data.train_dataloader())
    assert sum(batch["tags"].sum(dim=0) for batch in batches).tolist() == [0, 3]
    assert [finding.check for finding in constant_findings(sets[0])] == ["no images"]
    assert {finding.check for finding in tag_findings(*sets)} == {"few images", "validation"}
    assert overview_rows(*sets)[2][:5] == ["dog", "3", "3", "3", "3"]
    assert [image.tags for image in inspect_images(sets[0], "train")] == [(), ("dog",)] * 3
    assert sets[0].select([1, 2])[0]["tags"].tolist() == [0, 1]
