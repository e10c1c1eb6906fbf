"""Where results lie, and how they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decomprec._files import written_whole

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def save(values: Mapping[str, Any], path: Path) -> None:
    """Write values as JSON, with lists of numbers on one line."""
    with written_whole(path) as whole:
        text = json.dumps(values, indent=2, allow_nan=False)
        text = re.sub(r"\[[\s\d.,e+null-]+\]", lambda numbers: " ".join(numbers[0].split()), text)
        whole.write_text(text + "\n", encoding="utf-8")
