"""All settings of a preset as Markdown, from the models that check them."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.tables.markdown import markdown
from decomprec.training import PRESETS, Preset

SHOWN = ("demo", "robust")
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def settings_table() -> str:
    """A row for each setting: the paper's value, the presets that differ, what it may be, and what it means."""
    schema = Preset.model_json_schema()
    stages = {
        key: schema["$defs"][schema["properties"][key]["$ref"].rpartition("/")[2]] for key in ("guide", "segmenter")
    }
    changed = {name: _flat(PRESETS[name]) for name in ("paper", *SHOWN)}
    lines = []
    for prefix, group in {"": schema, **{f"{stage}.": found for stage, found in stages.items()}}.items():
        for name, field in group["properties"].items():
            key = prefix + name
            if key in ("name", *stages):
                continue
            paper = changed["paper"][key]
            others: dict[str, list[str]] = {}  # presets by their value
            for other in SHOWN:
                if changed[other][key] != paper:
                    others.setdefault(_value(changed[other][key]), []).append(other)
            about = field["description"].replace("|", "\\|")
            lines.append(
                [
                    f"`{key}`",
                    _value(paper),
                    "; ".join(f"{', '.join(names)}: {value}" for value, names in others.items()),
                    _range(field),
                    about,
                ]
            )
    return markdown(["setting", "paper (default)", "other presets", "range", "meaning"], lines)


def _flat(preset: Preset) -> dict[str, Any]:
    values = preset.model_dump(mode="json")
    stages = {f"{stage}.{name}": v for stage in ("guide", "segmenter") for name, v in values[stage].items()}
    return {**values, **stages}


def _value(value: Any) -> str:
    return f"`{json.dumps(value)}`".replace('`"', "`").replace('"`', "`")


def _range(field: dict[str, Any]) -> str:
    """What a setting may be, from its JSON schema.

    Examples:
        >>> _range({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]})
        'whole number ≥ 1, or null'
    """
    if "anyOf" in field:
        return ", or ".join(_range(option) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = field.get("type", "any")
    if kind == "array":
        entries = field.get("items") or field["prefixItems"][0]
        return f"{'pair' if 'prefixItems' in field else 'list'}, each {_range(entries)}"
    words = {"integer": "whole number", "string": "text", "boolean": "true or false", "object": "mapping"}
    bounds = " and ".join(text.format(field[bound]) for bound, text in BOUNDS.items() if bound in field)
    return f"{words.get(kind, kind)} {bounds}".strip()
