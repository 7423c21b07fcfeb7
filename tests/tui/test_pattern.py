"""The patterns of the filters: what `re` finds, and never longer than the text takes."""

import random
import re
import time

import pytest

from tui.data.pattern import Pattern


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("loss", "train/loss"), ("^loss$", "loss"), ("^loss$", "loss2"), ("a|b|", ""), ("(ab)*c", "ababc"),
        ("x{2,3}y", "xy"), ("x{2,3}y", "xxxxy"), ("x{,2}$", "xx"), ("a{,}b", "b"), ("[^a-c]\\d", "a1d2"), ("[]x]", "]"),
        ("\\.", "a.b"), ("\\x41\\u00e9", "Aé"), ("a{", "a{"), ("(?:a|b)+?c", "abc"), ("", ""), ("()*x", "x"),
        ("(a*)*$", "aaab"), (".", "\n"), ("日+", "日本"), ("^$", ""), ("(^a|b$)", "cb"), ("a^b", "ab"),
        ("(" * 40 + "a" + ")" * 40, "a"), ("[)(]+x", ")(x"), ("\\(a\\)", "(a)"),
    ],
)  # fmt: skip
def test_it_finds_what_re_finds(source: str, text: str) -> None:
    assert Pattern(source).search(text) == bool(re.search(source, text))


def test_random_patterns_find_what_re_finds() -> None:
    """Small alphabets, so that patterns and texts meet often."""
    r = random.Random(1)

    def made(depth: int) -> str:
        kind = r.randrange(7) if depth else 0
        if kind <= 1:
            return r.choice(["a", "b", ".", "[ab]", "[^a]", "\\w", "c"])
        if kind == 2:
            return f"({made(depth - 1)}|{made(depth - 1)})"
        if kind == 3:
            return f"({made(depth - 1)}){r.choice(['*', '+', '?', '{2}', '{1,3}', '{0,2}', '+?'])}"
        if kind == 4:
            return r.choice(["^", "$", ""]) + made(depth - 1)
        return made(depth - 1) + made(depth - 1)

    found = 0
    for _ in range(1500):
        source, text = made(4), "".join(r.choice("abcd") for _ in range(r.randrange(8)))
        expected = bool(re.search(source, text))
        assert Pattern(source).search(text) == expected, (source, text)
        found += expected
    assert 300 < found < 1400  # both answers are tried


@pytest.mark.parametrize("source", ["(a+)+$", "^(a|a)*$", "(a|aa)+b", "a?" * 40 + "a" * 40 + "b", "(.*)(.*)(.*)(.*)x"])
def test_no_pattern_takes_longer_than_the_text(source: str) -> None:
    """`re` takes hours for the first of these."""
    began = time.process_time()
    assert not Pattern(source).search("a" * 500 + "!")
    assert time.process_time() - began < 1


def test_letters_of_either_case() -> None:
    assert Pattern("LoSS[a-z]", ignore_case=True).search("lossX")
    assert Pattern("(?i)loss").search("LOSS")
    assert not Pattern("loss").search("LOSS")


@pytest.mark.parametrize(
    "source", ["(", "*a", "[", "a**", "(?=a)b", "(a)\\1", "\\bx", "a++", "(?P<n>a)", "a{9999}", "(" * 5000]
)
def test_what_is_none_or_needs_more_is_said(source: str) -> None:
    with pytest.raises(re.error):
        Pattern(source)


def test_many_steps_are_forgotten_and_found_again() -> None:
    pattern = Pattern(".*[a-m].{6}z")
    r = random.Random(2)
    for _ in range(300):
        text = "".join(chr(r.randrange(97, 400)) for _ in range(120))
        assert pattern.search(text) == bool(re.search(".*[a-m].{6}z", text))
