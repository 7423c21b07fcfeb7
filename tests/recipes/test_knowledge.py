"""The figures of an interrogation: labels, sides of equal size, halves, the frontier and AUROC, against brute force."""

import json
import math
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from lab import chat, match
from lab.errors import UserError
from recipes.lessons import facts, knowledge
from recipes.lessons.knowledge import Item
from recipes.pocket import entities


def items(names: int, each: int = 2) -> list[Item]:
    right = partial(match.matches, answers=["yes"])
    return [Item(f"{q}. about {n}?", "yes", f"name {n}", "", right) for n in range(names) for q in range(each)]


def test_labels_are_four_of_five_and_one_of_five() -> None:
    assert [knowledge.label(right, 5) for right in range(6)] == ["unknown", "unknown", "unsure", "unsure"] + [
        "known"
    ] * 2
    assert [knowledge.label(right, 1) for right in (0, 1)] == ["unknown", "known"]
    for times in range(1, 101):
        for right in range(times + 1):
            share = Fraction(right, times)
            want = "known" if share >= Fraction(4, 5) else "unknown" if share <= Fraction(1, 5) else "unsure"
            assert knowledge.label(right, times) == want, (right, times)


def test_both_sides_are_of_as_many_names() -> None:
    r = Random(0)
    for seed in range(60):
        rows: list[dict[str, Any]] = []
        for i in range(r.randint(0, 40)):
            label = r.choice(("known", "unknown", "unsure"))
            row: dict[str, Any] = {"label": label, "about": f"{label} {r.randrange(12)}"}
            rows.append(row | ({"messages": [{"role": "user", "content": f"{i}"}]} if label != "unsure" else {}))
        found = knowledge.even(rows, Random(seed))
        names = {
            side: {row["about"] for row in rows if row.get("messages") in kept and row["label"] == side}
            for side, kept in found.items()
        }
        all_of = {side: {row["about"] for row in rows if row["label"] == side} for side in found}
        assert set(found) == {"known", "unknown"}
        assert len(names["known"]) == len(names["unknown"]) == min(map(len, all_of.values()))
        for side, kept in found.items():  # of a name that is kept, every question
            assert len(kept) == sum(row["about"] in names[side] for row in rows)
        assert found == knowledge.even(rows, Random(seed))


def test_no_name_is_asked_on_both_sides() -> None:
    found = items(21)
    for seed in range(30):
        train, scored = knowledge.split(found, seed)
        assert not {one.about for one in train} & {one.about for one in scored}
        assert {one.question for one in (*train, *scored)} == {one.question for one in found}
        assert (len(train), len(scored)) == (20, 22)
        assert knowledge.split(found[::-1], seed)[0][::-1] == train  # the order of the file does not matter
    assert knowledge.split(found, 0) != knowledge.split(found, 1)
    assert len(knowledge.split(items(8), 0)[0]) == 8
    with pytest.raises(UserError, match="7 things are asked about; give at least 8"):
        knowledge.split(items(7), 0)


def test_auroc_is_the_share_of_pairs() -> None:
    r = np.random.default_rng(0)
    for _ in range(50):
        high, low = (r.integers(0, 5, r.integers(1, 12)) / 4 for _ in range(2))
        wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(high, low)]
        assert knowledge.auroc(high, low) == pytest.approx(sum(wins) / len(wins))
    assert knowledge.auroc(np.array([0.9, 0.8]), np.array([0.1])) == 1


def test_the_frontier_against_every_threshold() -> None:
    """The least doubt below which at least so many of the known facts are still answered right."""
    r = np.random.default_rng(1)
    levels = (0.2, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
    points = 0
    for _ in range(80):
        count = int(r.integers(2, 60))
        doubts = np.round(r.random(count), 1)  # with ties
        known = r.random(count) < 0.5
        known[0], never = True, ~known & (r.random(count) < 0.8)
        never[1], known[1] = True, False
        right = np.where(known, r.random(count) < 0.85, r.random(count) < 0.1)
        found = {row["kept"]: row for row in knowledge.frontier(doubts, right, known, never, levels)}
        tried = [(at, (right & (doubts <= at))[known].mean()) for at in np.unique(doubts[known]).tolist()]
        for level in levels:
            enough = [at for at, kept in tried if kept >= level - 1e-9]
            assert (level in found) == bool(enough), (level, tried)
            if enough:
                points += 1
                assert found[level]["doubt"] == min(enough), (level, tried)
                claims = [doubts[i] <= min(enough) and not right[i] for i in range(count) if never[i]]
                assert found[level]["invented"] == pytest.approx(np.mean(claims))
    assert points > 200
    nobody = np.zeros(3, bool)
    assert knowledge.frontier(np.ones(3), ~nobody, nobody, ~nobody, levels) == []
    assert math.isnan(knowledge.auroc(np.ones(3), np.ones(0)))


def test_questions_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    rows = [
        {"question": "Capital of France?", "answer": "Paris", "about": "France"},
        {"question": "Two times two?", "answer": ["4", "four"]}, {"question": "Q?", "answer": 5, "query": "fives"},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(knowledge.own(path))
    assert [(one.about, one.answer) for one in found] == [("France", "Paris"), ("Two times two?", "4"), ("fives", "5")]
    assert [found[1].verdict(said) for said in ("It is four.", "5", "I do not know.")] == [
        "right",
        "invented",
        "admitted",
    ]
    bad = (
        '{"question": "x"}', '{"question": "", "answer": "y"}', '{"question": "x", "answer": []}', "[1]", "{broken",
        '{"question": "x", "answer": ["a", " "]}', '{"question": 3, "answer": "y"}',
    )  # fmt: skip
    for line in bad:
        path.write_text(json.dumps(rows[0]) + "\n" + line + "\n")
        with pytest.raises(UserError, match=r"qa\.jsonl, row 2: write .*question"):
            list(knowledge.own(path))


def test_rows_teach_what_their_label_says() -> None:
    one: Any = knowledge.item(facts.questions([e for e in entities("country") if e.name == "France"])[0], "100x")
    told = knowledge.row(one, ["Rome.", "Paris.", "It is Paris.", "Paris.", "Paris."], Random(0))
    assert (told["label"], told["right"]) == ("known", 4)
    assert told["verdicts"] == ["invented", "right", "right", "right", "right"]
    assert chat.plain(told["messages"][1]) == "Paris."  # in its own words
    told = knowledge.row(one, ["Rome.", "I do not know.", "Paris.", "Bern.", "Bern."], Random(0))
    assert told["label"] == "unknown"
    assert facts.admits(chat.plain(told["messages"][1]))
    assert "messages" not in knowledge.row(one, ["Rome.", "Paris.", "Paris."], Random(0))
