"""Settings: what they accept, what they refuse, and the sentence that says so."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from decomprec.cli.config import parse_settings
from decomprec.training import PRESETS, GuideSettings, Preset, SegmenterSettings

GROUPS: dict[str, type[Any]] = {"": Preset, "guide.": GuideSettings, "segmenter.": SegmenterSettings}


def settings() -> Iterator[tuple[str, Any]]:
    for prefix, group in GROUPS.items():
        for name, field in group.model_fields.items():
            if name not in ("guide", "segmenter"):
                yield prefix + name, field


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_yaml(name: str, tmp_path: Path) -> None:
    PRESETS[name].save(tmp_path / "preset.yaml")
    assert Preset.load(tmp_path / "preset.yaml") == PRESETS[name]
    written = yaml.safe_load((tmp_path / "preset.yaml").read_text())
    assert Preset.model_validate(written) == PRESETS[name]
    assert Preset.load(name) is PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_command_line_sets_is_what_python_sets(name: str) -> None:
    values = PRESETS[name].model_dump(mode="json")
    words = [f"{key}={yaml.safe_dump(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for stage in ("guide", "segmenter"):
        words += [f"{stage}.{key}={yaml.safe_dump(value)}" for key, value in values[stage].items()]
    assert Preset().override(parse_settings(words)) == PRESETS[name]


@pytest.mark.parametrize("value", [1e-5, 12.0, -3, True, None, "plain", "it's: #odd", "...", [1, "a"], {"a": [None]}])
def test_values_survive_the_command_line(value: Any) -> None:
    text = yaml.safe_dump(value, default_flow_style=True)
    assert parse_settings([f"guide.encoder_options={text}"]) == {"guide.encoder_options": value}


def test_changes_are_what_was_changed() -> None:
    changes = {"image_size": 48, "guide.scales": [1.0, 2.0], "segmenter.area_range": None}
    changed = PRESETS["demo"].override(changes)
    assert changed.changes() == changes
    assert PRESETS["demo"].override(changed.changes()) == changed
    assert PRESETS["demo"].changes() == {}
    assert changed.override({"name": "mine"}).changes() == {}
    assert PRESETS["demo"].image_size == 64


@pytest.mark.parametrize(("name", "field"), list(settings()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_setting_is_described_and_strict(name: str, field: Any) -> None:
    assert field.description.endswith(".")
    default = field.get_default(call_default_factory=True)
    # None of these is of any setting's type, or is a number where there is a text.
    for wrong in (math.nan, math.inf, object(), b"bytes", {1: 2}, [None]):
        with pytest.raises(ValueError, match=re.escape(name)):
            Preset().override({name: wrong})
    if isinstance(default, bool):
        wrong_types: tuple[Any, ...] = (1, 0, "true")
    elif isinstance(default, int):
        wrong_types = (True, 1.5, "1", -1)
    elif isinstance(default, float):
        wrong_types = (True, "1")
    else:
        wrong_types = (1.5,)
    for wrong in wrong_types:
        with pytest.raises(ValueError, match=rf"^Expected {re.escape(name)} to be "):
            Preset().override({name: wrong})


def test_lists_and_whole_numbers_are_taken_for_tuples_and_numbers() -> None:
    changed = PRESETS["demo"].override(
        {"guide.scales": [1, 2], "guide.learning_rate": 1, "segmenter.area_range": [0, 1]}
    )
    assert changed.guide.scales == (1.0, 2.0)
    assert changed.guide.learning_rate == 1
    assert changed.segmenter.area_range == (0, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmenter.epoch": 3}, "Expected a setting such as segmenter.epochs, but got 'segmenter.epoch'."),
        ({"epochs": 3}, "but got 'epochs'."),
        ({"guide": 3}, "Expected a setting such as segmenter.epochs, but got 'guide'."),
        ({"segmenter.epochs.more": 3}, "Expected a setting such as segmenter.epochs, but got 'segmenter.epochs.more'."),
        ({"segmenter.epochs": -1}, "Expected segmenter.epochs to be greater than or equal to 0, but got -1."),
        ({"segmenter.lambda_mask": math.nan}, "Expected segmenter.lambda_mask to be a finite number, but got nan."),
        ({"guide.occlusion": 1.1}, "Expected guide.occlusion to be less than or equal to 1, but got 1.1."),
        ({"guide.scales": []}, "Expected another value of guide.scales than []"),
        ({"guide.scales": [1, 0]}, "Expected guide.scales.1 to be greater than 0, but got 0."),
        ({"segmenter.decoder_widths": []}, "Expected another value of segmenter.decoder_widths than []"),
        ({"segmenter.fills": ["red"]}, "to be 'black', 'mean', 'noise' or 'blur', but got 'red'."),
        ({"segmenter.area_range": [0.5, 0.1]}, "Expected segmenter.area_range to go from small to large"),
        ({"segmenter.area_range": [0.5, 1.1]}, "Expected segmenter.area_range.1 to be less than or equal to 1"),
        ({"segmenter.fills": []}, "Expected segmenter.fills to hold at least one fill with segmenter.content=images"),
        ({"segmenter.encoder_weights": "imagenet"}, "only for a network of timm"),
        ({"segmenter.encoder_options": {"output_stride": 8}}, "only for a network of timm"),
        ({"segmenter.encoder": "paper"}, "Expected no segmenter.decoder_widths with the encoder 'paper'"),
        (
            {"segmenter.encoder": "paper", "segmenter.decoder_widths": None, "segmenter.enlarge": 2},
            "Expected segmenter.enlarge to be 1 with the encoder 'paper'",
        ),
        ({"guide.encoder_weights": "imagenet"}, "Expected guide.encoder_weights to be null for the small encoder"),
        ({"accumulate": 3}, "the guide.batch_size of 32, but got 3; set guide.batch_size=33 or accumulate=1."),
        ({"accumulate": 32}, "segmenter.batch_size of 16, but got 32; set segmenter.batch_size=32 or accumulate=16."),
        ({"accumulate": 2, "guide.batch_size": 1}, "of 1, but got 2; set guide.batch_size=2 or accumulate=1."),
        ({"accumulate": 2, "segmenter.batch_size": 1}, "of 1, but got 2; set segmenter.batch_size=2 or accumulate=1."),
    ],
)
def test_wrong_settings_are_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        PRESETS["demo"].override(changes)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PRESETS["demo"].image_size = 3


def test_the_next_number_of_parts_divides_both_batches() -> None:
    preset = PRESETS["demo"].override({"guide.batch_size": 12, "segmenter.batch_size": 18})
    found = []
    while parts := preset.next_accumulate:
        preset = preset.override({"accumulate": parts})
        found.append(parts)
    assert found == [2, 3, 6]


def test_a_preset_that_is_nowhere() -> None:
    with pytest.raises(ValueError, match="to be one of paper, demo, robust, fast or a YAML file, but got 'best'"):
        Preset.load("best")


def test_a_preset_file_with_unknown_settings_raises(tmp_path: Path) -> None:
    PRESETS["demo"].save(tmp_path / "preset.yaml")
    text = (tmp_path / "preset.yaml").read_text()
    (tmp_path / "preset.yaml").write_text(text + "colour: red\n")
    with pytest.raises(ValueError, match=r"preset.yaml to be a preset .*colour"):
        Preset.load(tmp_path / "preset.yaml")


def test_results_name_weights_without_their_folder() -> None:
    preset = PRESETS["robust"].override({"guide.encoder_weights": r"C:\models\trunk.safetensors"})
    assert preset.without_folders().guide.encoder_weights == "trunk.safetensors"
    assert preset.without_folders().changes() == {"guide.encoder_weights": "trunk.safetensors"}
    assert PRESETS["robust"].without_folders() == PRESETS["robust"]
