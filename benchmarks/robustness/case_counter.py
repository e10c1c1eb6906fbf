"""A pytest plugin that counts the cases that Hypothesis tries in each test."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import pytest


class CountedCases:
    """Counts them, explicit and shrunk ones too.

    Args:
        begin: called with the arguments of each case before it is tried.
    """

    def __init__(self, begin: Callable[[dict[str, Any]], None] = lambda case: None) -> None:
        self.begin = begin
        self.count = Counter[str]()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """What Hypothesis calls for each case is another function while the test runs."""
        handle = getattr(getattr(item, "obj", None), "hypothesis", None)
        if handle is None:
            yield
            return
        inner = handle.inner_test

        @functools.wraps(inner)
        def counted(*args: Any, **case: Any) -> Any:
            self.count[item.nodeid] += 1
            self.begin(case)
            return inner(*args, **case)

        handle.inner_test = counted
        try:
            yield
        finally:
            handle.inner_test = inner
