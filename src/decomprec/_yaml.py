"""YAML of plain values, from files that anybody may have written."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML with the numbers of its version 1.2, of which 1e-3 is one."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_yaml(text: str | bytes) -> Any:
    """The values that a text holds; nothing in it is executed.

    Args:
        text: YAML, in UTF-8 if bytes.

    Raises:
        ValueError: if it is not YAML, or holds objects other than plain values, or aliases, by which a short text
            can stand for millions of values; says which, without the text.

    Examples:
        >>> load_yaml("learning_rate: 1e-3")
        {'learning_rate': 0.001}
        >>> load_yaml("&a [*a]")
        Traceback (most recent call last):
        ValueError: it has aliases
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, _Loader)):
            raise ValueError("it has aliases")
        return yaml.load(text, _Loader)
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8") from error
    except (yaml.constructor.ConstructorError, TypeError) as error:
        raise ValueError("it has values that are not plain") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("it is not YAML") from error
