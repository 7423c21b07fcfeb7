"""Duplicates: what counts as the same, and that MinHash in bands finds what true similarity says it should."""

import random

import numpy as np
import pytest

from lab.errors import UserError
from lab.near import Exact, Near, normal, shingles, words

pytest.importorskip("datasketch")
VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdgklmnprst"]


def text(r: random.Random, length: int) -> list[str]:
    return r.choices(VOCABULARY, k=length)


def changed(r: random.Random, told: list[str], count: int) -> list[str]:
    told = [*told]
    for i in r.sample(range(len(told)), count):
        told[i] = "zebra"
    return told


def similarity(a: list[str], b: list[str], n: int) -> float:
    one, two = shingles(a, n), shingles(b, n)
    return len(one & two) / len(one | two)


def test_the_same_text_in_other_clothes() -> None:
    seen = Exact()
    assert seen.find("The  Café is\nopen.", 0) is None
    assert seen.find("the cafe\u0301 is open. ", 1) == 0  # the accent as a character of its own
    assert seen.find("ＴＨＥ café is open.", 2) == 0
    assert seen.find("The cafe is open.", 3) is None
    assert seen.find("The cafe is open.", 9) == 3
    assert normal(" A\tB ") == "a b"


def test_words_have_no_punctuation_and_han_characters_are_words() -> None:
    assert words("Don't stop, 3.5 Café!") == ["don", "t", "stop", "3", "5", "café"]
    assert words("我们走 far") == ["我", "们", "走", "far"]
    assert shingles(["a", "b", "c"], 2) == {"a b", "b c"}
    assert shingles(["a"], 5) == {"a"}


def test_equal_hashes_estimate_the_share_of_common_shingles() -> None:
    r, near, gaps = random.Random(0), Near(2, 18, 6, 0.7), list[float]()
    for count in range(1, 41):
        one = text(r, 120)
        two = changed(r, one, count)
        estimate = float(np.mean(near.signature(one) == near.signature(two)))
        gaps.append(estimate - similarity(one, two, 2))
    assert abs(np.mean(gaps)) < 0.02
    assert np.max(np.abs(gaps)) < 0.2  # standard error sqrt(0.25 / 112) = 0.047 at most


@pytest.mark.parametrize(
    ("n", "bands", "rows", "verified", "count", "low", "high"),
    [
        (2, 18, 6, 0.7, 6, 0.96, 1.0),  # similarity 0.90
        (2, 18, 6, 0.7, 40, 0.0, 0.02),  # 0.40
        (5, 14, 8, None, 2, 0.96, 1.0),  # 0.84: 1 - (1 - 0.84^8)^14 = 0.98
        (5, 14, 8, None, 4, 0.50, 0.85),  # 0.71: 0.60
        (5, 14, 8, None, 20, 0.0, 0.03),  # 0.25
    ],
)
def test_how_many_near_copies_are_found(
    n: int, bands: int, rows: int, verified: float | None, count: int, low: float, high: float
) -> None:
    r, near = random.Random(1), Near(n, bands, rows, verified)
    originals = [text(r, 120) for _ in range(150)]
    assert [near.find(one, i) for i, one in enumerate(originals)] == [None] * len(originals)
    found = [near.find(changed(r, one, count), 1000 + i) for i, one in enumerate(originals)]
    hits = [hit for i, hit in enumerate(found) if hit and hit[0] == i]
    assert low <= len(hits) / len(originals) <= high
    if verified is not None:
        assert all(share >= verified for _, share in hits)


def test_the_nearest_is_named_and_the_first_stays() -> None:
    r, near = random.Random(2), Near(2, 18, 6, 0.7)
    one = text(r, 100)
    assert near.find(one, 5) is None
    assert near.find(one, 6) == (5, 1.0)
    other = changed(r, one, 3)
    hit = near.find(other, 7)
    assert hit
    assert hit[0] == 5
    assert abs(hit[1] - similarity(one, other, 2)) < 0.15


def test_texts_without_a_word_are_near_none() -> None:
    near = Near(2, 18, 6, 0.7)
    assert [near.find(words(said), i) for i, said in enumerate(["* * *", "- - -", "..."])] == [None, None, None]


def test_more_hashes_than_there_are() -> None:
    with pytest.raises(UserError, match="at most 112"):
        Near(2, 20, 6, None)
