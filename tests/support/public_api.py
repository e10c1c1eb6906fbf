"""The public names with their signatures, one a line: everything that a page of the documentation has a place for.

uv run python tests/support/public_api.py > tests/support/public_api.txt
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_suffix(".txt")


def lines() -> list[str]:
    """The public names as they are now, sorted."""
    found = set()
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            value = pkgutil.resolve_name(name)
            if isinstance(value, ModuleType):
                found |= {line for member in _members(value) for line in _described(f"{name}.{member[0]}", member[1])}
            else:
                found |= set(_described(name, value))
    return sorted(found)


def _members(owner: Any) -> Iterator[tuple[str, Any]]:
    """Public functions, classes and properties that are defined here, not imported or inherited."""
    for name, value in vars(owner).items():
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        value = inspect.unwrap(value) if callable(value) else value  # torch.inference_mode() and the like
        home = getattr(value, "__module__", None)
        mine = home == owner.__name__ if isinstance(owner, ModuleType) else home == owner.__module__
        if not name.startswith("_") and (mine or isinstance(value, property)):
            yield name, value


def _described(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, property):
        yield f"{name}: {value.fget.__annotations__['return']}"
    elif inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases}){_signature(value.__init__)}"
        for member, inner in _members(value):
            yield from _described(f"{name}.{member}", inner)
    elif inspect.isfunction(value):
        yield f"{name}{_signature(value)}"
    else:
        yield name


def _signature(function: Any) -> str:
    """Without what differs from one Python, NumPy or order of imports to the next: quotes, homes, addresses."""
    text = str(inspect.signature(function)).replace("'", "").replace('"', "")
    text = re.sub(r"<([\w.]+)[^>]*>", r"<\1>", text)
    text = re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=\w)", "", text)
    text = re.sub(r"\bself: \w+", "self", text)  # torch's exporters annotate nn.Module.__init__
    return re.sub(r"\b(?:ndarray|NDArray)\[.*", "ndarray...", text)


if __name__ == "__main__":
    print("\n".join(lines()))
