"""Problems of reasoning-gym with its own judges, in their process; needs the extra `tasks`."""

import math
from pathlib import Path
from typing import Any

import pytest

from lab.errors import UserError
from lab.parts import Message
from lab.rows import key_of
from lab.task_files import open_task


def said(text: str) -> Message:
    return Message(role="assistant", content=text)


def test_without_the_extra_reasoning_gym_says_how_to_install_it() -> None:
    try:
        import reasoning_gym  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="needs the extra `tasks`: uv sync --extra tasks"):
            open_task("reasoning_gym:chain_sum")
    with pytest.raises(UserError, match="leave out --judge"):
        open_task("reasoning_gym:chain_sum", judge="number")


@pytest.mark.slow
def test_reasoning_gym_items_by_seed_with_their_own_judge() -> None:
    pytest.importorskip("reasoning_gym")
    task = open_task("reasoning_gym:chain_sum,max_terms=2,max_digits=1")
    trained = [task.problem(seed) for seed in range(200)]
    held = [task.held_out(seed) for seed in range(50)]
    assert trained == [task.problem(seed) for seed in range(200)]
    assert not {p.key for p in trained} & {p.key for p in held}  # 180 sums in all: the same ones come again and again
    assert all(p.key == key_of(p.messages) for p in held)
    assert len({p.key for p in held}) < len(held)
    good = task.judge(trained[:20], [said(f"I add.\nAnswer: {p.answer}") for p in trained[:20]])
    assert all(s.parts == {"correct": 1.0} for s in good)
    assert not any(s.passed for s in task.judge(trained[:20], [said("Answer: 1000")] * 20))
    with pytest.raises(UserError, match="has no task chain_sums; did you mean chain_sum"):
        open_task("reasoning_gym:chain_sums")
    with pytest.raises(UserError, match="terms=2; give option=value out of min_terms"):
        open_task("reasoning_gym:chain_sum,terms=2")
    with pytest.raises(UserError, match="max_terms must be >="):
        open_task("reasoning_gym:chain_sum,min_terms=9")
    for name in ("gsm_symbolic", "countdown", "letter_counting"):
        other = open_task(f"reasoning_gym:{name}")
        problem = other.held_out(0)
        assert other.judge([problem], [said(problem.answer)])[0].passed


@pytest.mark.slow
def test_reasoning_gym_replies_that_hang_its_judge_are_wrong() -> None:
    pytest.importorskip("reasoning_gym")
    task: Any = open_task("reasoning_gym:countdown", limit=3.0)
    problems = [task.problem(seed) for seed in range(3)]
    numbers = [int(n) for n in str(problems[1].messages[0]["content"]).split(": ")[1].split(".")[0].split(", ")]
    bomb = "**".join(map(str, sorted(numbers, reverse=True) + [9] * 3))
    replies = [said(problems[0].answer), said(bomb), said(problems[2].answer)]
    assert [s.passed for s in task.judge(problems, replies)] == [True, False, True]
    assert math.isfinite(task.judge(problems[:1], replies[:1])[0].value)


@pytest.mark.slow
def test_what_a_reply_says_never_runs(tmp_path: Path) -> None:
    """It did: countdown, integrals and polynomials go through sympy's parser, boards and matrices through eval()."""
    pytest.importorskip("reasoning_gym")
    for name in ("countdown", "simple_integration", "polynomial_multiplication", "spiral_matrix", "n_queens"):
        task = open_task(f"reasoning_gym:{name}")
        problem, made = task.problem(1), tmp_path / name
        attack = f"__import__('pathlib').Path('{made}').touch()"
        assert task.judge([problem], [said(f"Answer: {attack}")])[0].parts == {"correct": 0.0}
        assert not made.exists(), name
        right = task.judge([problem], [said(f"Answer: {problem.answer}")])[0].passed
        assert right or name == "n_queens", name  # a board is of many lines
