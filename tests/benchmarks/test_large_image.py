"""The benchmark of a large image: its table says what was measured."""

from pathlib import Path

from benchmarks.speed.large_image import WAYS, draw_image
from benchmarks.tables.speed import large_image_table


def test_the_table_shows_each_way(tmp_path: Path) -> None:
    image = draw_image(tmp_path / "image.jpg", 30, 40)
    assert image.stat().st_size > 100
    rows = [{"way": way, "seconds": 9.0, "processor seconds": 4.0, "peak_bytes": 2**30} for way in WAYS]
    table = large_image_table([{"large image": rows, "run": {"height": 30, "width": 40, "machine": "2 CPU cores"}}])
    lines = [line for line in table.splitlines() if "1,024 MiB" in line]
    assert len(lines) == len(WAYS)
    assert "30 x 40" in table
