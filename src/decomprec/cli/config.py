"""Write the arguments of a call next to its result, and read them back with --config."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
import yaml

from decomprec._files import written_whole
from decomprec._yaml import load_yaml

CONFIG = "config.yaml"
_ABOUT_THE_CALL = ("config", "resume", "shard", "evidence-only")  # not about its result
_ABOUT_THE_RESULT = "weights"  # no argument


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make what a file says the defaults of the command that is called.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not of this command, or holds an unknown key or a value of another type.
    """
    if path is None or context.resilient_parsing:
        return path
    values = dict(load_config(path))
    command = values.pop("command", None)
    values.pop(_ABOUT_THE_RESULT, None)
    if command != context.info_name:
        raise ValueError(f"Expected {path} to be a config of {context.info_name}, but got one of {command}.")
    names = _names(context)
    hints = get_type_hints(context.command.callback)
    for key, value in values.items():
        if key not in names:
            raise ValueError(f"Expected keys of {path} to be among {', '.join(names)}, but got {key!r}.")
        if not _fits(value, hints[names[key]]) and not (key == "preset" and isinstance(value, Mapping)):
            expected = _described(hints[names[key]])
            raise ValueError(f"Expected {key} in {path} to be {expected}, but got {reprlib.repr(value)}.")
    if isinstance(values.get("preset"), Mapping):
        context.obj = values.pop("preset")  # for `chosen_preset`: an option holds text only
    context.default_map = {names[key]: value for key, value in values.items()}
    return path


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=read_config,
        help="Arguments from a config.yaml of an earlier call; options on the command line override it.",
    ),
]


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """What --set says, as `Preset.override` takes it.

    Args:
        settings: each "key=value", whose value is YAML.

    Raises:
        ValueError: if there is no "=", or no YAML after it.

    Examples:
        >>> parse_settings(["segmenter.epochs=3", "guide.learning_rate=1e-3"])
        {'segmenter.epochs': 3, 'guide.learning_rate': 0.001}
    """
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"Expected a setting such as segmenter.epochs=3, but got {setting!r}.")
        try:
            values[key] = load_yaml(value)
        except ValueError as error:
            raise ValueError(f"Expected YAML after {key}=, but {error}, in {reprlib.repr(value)}.") from error
    return values


def load_config(path: Path) -> Mapping[str, Any]:
    """The content of a config file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no mapping in YAML.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a config file, but found no {path}.")
    try:
        values = load_yaml(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"Expected {path} to be a config in YAML, but {error}.") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"Expected {path} to hold arguments, such as seed: 1, but got {reprlib.repr(values)}.")
    return values


def plain_arguments(context: typer.Context) -> dict[str, Any]:
    """The arguments of a call as its config holds them; those that are None are left out."""
    given = {key: _plain(context.params[name]) for key, name in _names(context).items() if key not in _ABOUT_THE_CALL}
    return {key: value for key, value in given.items() if value is not None}


def save_config(context: typer.Context, path: Path, **resolved: Any) -> None:
    """Write the arguments of a call, such that --config with this file repeats it.

    Args:
        context: of the call.
        path: of the file.
        resolved: values by their key in the file, in place of what was given; None leaves the key out.

    Raises:
        ValueError: as for `check_config`.
    """
    check_config(context, path)
    values = {
        key: _plain(value) for key, value in {**plain_arguments(context), **resolved}.items() if value is not None
    }
    text = yaml.safe_dump({"command": context.info_name, **values}, sort_keys=False, allow_unicode=True)
    with written_whole(path) as partial:
        partial.write_text(f"# decomprec {context.info_name} --config FILE repeats it\n{text}", encoding="utf-8")


def check_config(context: typer.Context, path: Path) -> None:
    """See that no config of another command would be written over.

    Raises:
        ValueError: if there is one at `path`, or something that is no config.
    """
    if path.is_file() and (other := load_config(path).get("command")) != context.info_name:
        raise ValueError(f"Expected {path.parent} to hold no result of {other}, but got {path}; choose another place.")


def config_beside(file: Path) -> Path:
    """Path of the config of a result that is one file.

    Examples:
        >>> config_beside(Path("runs/mine/report.html")).name
        'report.config.yaml'
    """
    return file.with_suffix(f".{CONFIG}")


def _names(context: typer.Context) -> dict[str, str]:
    """The names of the command's parameters by their key in the file: the option without its dashes."""
    return {
        (param.opts[0].lstrip("-") if param.param_type_name == "option" else str(param.name)): str(param.name)
        for param in context.command.params
        if param.name != "config"
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _fits(value: Any, hint: Any) -> bool:
    options = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, option) for option in options)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(entry, options[0]) for entry in value)
    if issubclass(hint, Enum):
        return value in [entry.value for entry in hint]
    if hint in (int, float):  # a bool is an int to Python
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, str if hint is Path else hint)


def _described(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_described(option) for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is list:
        return f"a list, each {_described(get_args(hint)[0])}"
    if issubclass(hint, Enum):
        return f"one of {', '.join(entry.value for entry in hint)}"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text")
