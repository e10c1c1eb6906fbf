"""Area of a class on images that hold only its usual company."""

from __future__ import annotations

import pytest
import torch
from benchmarks.quality.cooccurrence import companions
from benchmarks.tables.quality import companions_table


def test_areas_are_means_over_the_images_with_the_company_alone_and_with_neither() -> None:
    torch.manual_seed(0)
    names = ["dog", "horse", "person"]
    trained_on, tags = (torch.rand(60, 3) < 0.4).float(), (torch.rand(40, 3) < 0.4).float()
    trained_on[trained_on[:, 0] == 1, 1] = 0  # a horse is never with a dog
    areas = torch.rand(40, 3)
    rows = {(row["class"], row["company"]): row for row in companions(trained_on, tags, {"ours": areas}, names)}
    assert ("dog", "horse") not in rows
    assert ("horse", "dog") not in rows
    row = rows["dog", "person"]
    both = sum(1 for t in trained_on.tolist() if t[0] and t[2])
    assert row["together"] == pytest.approx(both / sum(1 for t in trained_on.tolist() if t[0]))
    for where, company, count in zip(("with company", "with neither"), (1, 0), row["images"], strict=True):
        chosen = [a[0] for a, t in zip(areas.tolist(), tags.tolist(), strict=True) if not t[0] and t[2] == company]
        assert count == len(chosen)
        assert row["ours"][where] == pytest.approx(sum(chosen) / len(chosen))


def test_the_table_names_shares_areas_and_counts() -> None:
    row = {"class": "horse", "company": "person", "together": 0.49, "images": [3, 7]}
    row |= {"ours": {"with company": 0.125, "with neither": 0.01}}
    table = companions_table([{"companions": [row], "images": 10, "machine": "a machine", "torch": "2"}])
    cells = [cell.strip() for cell in table.splitlines()[2].split("|")[1:-1]]
    assert cells == ["horse", "person", "49%", "0.125 (3)", "0.010 (7)"]
    assert "images: 10; machine: a machine" in table
