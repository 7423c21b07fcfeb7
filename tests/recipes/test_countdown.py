"""The countdown task: what is right, what is noted, what is held out, and both commands that ask it."""

from pathlib import Path
from random import Random

import pytest

from lab import episodes
from lab.parts import Message, Part
from lab.runs import read_json, read_lines
from lab.task import Problem
from recipes import reinforce
from recipes.lessons import solve
from recipes.tasks import held_out, load_task
from tests.recipes.conftest import Here

TASK = load_task("countdown")
ONE = Problem(
    "k", ({"role": "user", "content": "Make 14 out of 2, 3 and 4, each used once."},), "14", {"numbers": [2, 3, 4]}
)


def reply(text: str, thought: str = "") -> Message:
    said: list[Part] = [{"type": "think", "text": thought}] if thought else []
    return Message(role="assistant", content=[*said, {"type": "text", "text": text}])


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("2 + 3 * 4.", 1), ("4 * 3 + 2", 1), ("(3 * 4) + 2 = 14.", 1), ("14", 0), ("2 * 3 + 4.", 0), ("3 * 4 + 2 = 15", 0),
        ("3 * 4 + 2 + 0", 0), ("7 * 2.", 0), ("4 ** 2 - 2", 0), ("", 0), ("It may be 3 * 4 + 2", 0),
    ],
)  # fmt: skip
def test_any_expression_that_is_worth_it_is_right(text: str, right: float) -> None:
    assert TASK.judge([ONE], [reply(text)])[0].parts == {"correct": right}


def test_the_answer_of_a_thought_is_none() -> None:
    assert not TASK.judge([ONE], [reply("I do not know.", "2 + 3 * 4 = 14. Yes.")])[0].passed


def test_how_it_went_about_it_is_noted() -> None:
    ways = {
        "direct": reply("2 + 3 * 4."),
        "straight": reply("2 + 3 * 4.", "2 + 3 * 4 = 14. Yes."),
        "retry": reply("2 * 3 + 4.", "2 * 3 + 4 = 10. No. 4 * 2 + 3 = 11. No."),
    }
    scores = TASK.judge([ONE] * 3, list(ways.values()))
    for way, score in zip(ways, scores, strict=True):
        assert [name for name in solve.WAYS if score.notes[f"style {name}"]] == [way]
    assert [score.notes["retries"] for score in scores] == [0, 0, 2]
    told = reinforce.noted(scores, [5, 9, 20])
    assert told["retries"] == pytest.approx(2 / 3)
    assert (told["right straight"], told["right retry"], told["length retry"]) == (1, 0, 20)


def test_what_is_held_out_no_lesson_shows() -> None:
    """In whatever order the numbers are given."""
    shown = set()
    for seed in range(3000):
        question = solve.countdown_lesson(Random(seed), 0.3)[0]["content"]
        target, *numbers = [int(word) for word in str(question).replace(",", " ").split() if word.isdecimal()]
        shown.add(solve.countdown_key(numbers, target))
    kept = held_out(TASK, 60)
    assert len({one.key for one in kept}) == 60
    assert not shown & {one.key for one in kept}
    assert shown >= {TASK.problem(seed).key for seed in range(5)}


def test_lessons_are_right() -> None:
    for seed in range(300):
        question, answer = solve.countdown_lesson(Random(seed), 0.5)
        target, *numbers = [
            int(word) for word in str(question["content"]).replace(",", " ").split() if word.isdecimal()
        ]
        assert TASK.judge([Problem("k", (question,), str(target), {"numbers": numbers})], [answer])[0].passed


def test_eval_and_grpo_ask_it(here: Here, small: Path) -> None:
    said = here(
        "eval", "--task", "countdown", "--model", "pocket-sft", "--problems", "3", "-n", "2", "--max-tokens", "8"
    )
    assert said.code == 0, said
    assert "countdown" in said.out
    said = here("grpo", "--task", "countdown", "--model", "pocket-sft", "--iters", "1", "--batch-size", "2",
                "--group-size", "2", "--examine", "2", "--max-tokens", "8", "--name", "c")  # fmt: skip
    assert said.code == 0, said
    run = small / "c"
    row = next(row for row in read_lines(run / "metrics.jsonl") if "loss" in row)
    assert {"retries", "held_retries", "thinks", *(f"style {way}" for way in solve.WAYS)} <= row.keys()
    charts = read_json(run / "run.json")["charts"]
    assert any("held_retries" in chart["keys"] for chart in charts)
    assert all("retries" in one["notes"] for one in episodes.read(run, 1))
