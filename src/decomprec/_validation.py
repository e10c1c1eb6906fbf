"""Turn pydantic's errors into half a sentence."""

from __future__ import annotations

import reprlib

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """Describe the first problem, as text that follows "but": the place, what was expected and what was found.

    Examples:
        >>> from pydantic import BaseModel
        >>> class Size(BaseModel, strict=True, extra="forbid"):
        ...     height: int
        >>> for values in ({"height": "64"}, {}, {"height": 64, "depth": 3}):
        ...     try:
        ...         Size(**values)
        ...     except ValidationError as error:
        ...         print(first_problem(error))
        height should be a valid integer, and is '64'
        height is missing
        depth is unknown
    """
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "it"
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{where} is unknown"
    if problem["type"] == "json_invalid":
        return "it is not JSON"
    message = problem["msg"].removeprefix("Value error, ").removesuffix(".")
    if problem["type"] == "value_error":
        return f"{where} {message}"
    said = (
        message.removeprefix("Input ")
        if message.startswith("Input should")
        else f"is wrong: {message[:1].lower()}{message[1:]}"
    )
    return f"{where} {said}, and is {reprlib.repr(problem['input'])}"
