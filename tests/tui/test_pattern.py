"""The patterns of the filters: what `re` finds, and nothing that freezes the window."""

import re
import time

import pytest

from tui.data.pattern import pattern


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("loss", "train/loss"), ("^loss$", "loss"), ("a|b", "b"), (r"[^a-c]\d+", "x12"), (r"\(a\)*", "(a"),
        ("[)*+]+x", ")*x"), ("(ab|c)d", "cd"), ("(?i)a+?b??", "Ab"),
    ],
)  # fmt: skip
def test_it_finds_what_re_finds(source: str, text: str) -> None:
    assert pattern(source).search(text)


@pytest.mark.parametrize(
    "source",
    ["(a+)+$", "(a|a)*b", "(a*){9}", ".*.*.*.*x", "a?" * 30 + "a{30}", "(" * 5000, "a{99999999999}", "[", "(?P<"],
)
def test_what_may_freeze_or_is_none_is_refused(source: str) -> None:
    with pytest.raises(re.error):
        pattern(source)


def test_the_slowest_that_passes_is_quick() -> None:
    began = time.process_time()
    assert not pattern("a*a*a*b").search("a" * 60)
    assert time.process_time() - began < 1
