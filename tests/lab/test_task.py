"""Tasks that users bring: rows of files, a Python file in a process of its own, reasoning-gym."""

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lab.errors import UserError
from lab.parts import Message, Part
from lab.rows import Rows
from lab.task import Problem, Score, Task
from lab.task_files import open_task


def said(text: str) -> Message:
    return Message(role="assistant", content=text)


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def sums(count: int, start: int = 0) -> list[Any]:
    return [{"prompt": f"{n} + {n + 1} = ?", "answer": 2 * n + 1} for n in range(start, start + count)]


def gsm8k(count: int) -> list[Any]:
    """Rows in GSM8K's shape."""
    return [
        {
            "question": f"Ada has {n} apples and buys {n + 2} more. How many has she?",
            "answer": f"She has {n} + {n + 2} = <<{n}+{n + 2}={2 * n + 2}>>{2 * n + 2} apples.\n#### {2 * n + 2}",
        }
        for n in range(1, count + 1)
    ]


def all_held_out(task: Task) -> list[Problem]:
    found: list[Problem] = []
    while True:
        try:
            found.append(task.held_out(len(found)))
        except LookupError:
            return found


def test_rows_are_drawn_in_passes_and_none_is_on_both_sides(tmp_path: Path) -> None:
    path = write(tmp_path / "sums.jsonl", [*sums(60), *sums(60)])  # every prompt twice
    task = open_task(str(path))
    held = all_held_out(task)
    drawn = [task.problem(seed).key for seed in range(2 * (120 - 2 * len(held)))]
    first, second = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
    assert set(Counter(first).values()) == {2}  # each row once a pass
    assert Counter(first) == Counter(second)
    assert first != second
    assert len({p.key for p in held}) == len(held) == 60 - len(set(first))
    assert 1 <= len(held) <= 15
    assert not {p.key for p in held} & set(first)
    again = open_task(str(path))
    assert [again.problem(seed) for seed in (0, 7, 1000, 10**12)] == [
        task.problem(seed) for seed in (0, 7, 1000, 10**12)
    ]
    assert all_held_out(again) == held


def test_gsm8k_rows_as_they_are(tmp_path: Path) -> None:
    task = open_task(str(write(tmp_path / "gsm8k.jsonl", gsm8k(40))))
    problem = task.problem(3)
    assert problem.answer.isdigit()
    assert "####" not in str(problem.messages)
    assert str(problem.more["solution"]).endswith(f"#### {problem.answer}")
    right, wrong, result = task.judge([problem] * 3, [
        said(f"So she has {problem.answer} apples."), said(f"#### {int(problem.answer) + 1}"),
        Message(role="assistant", content=[Part(type="result", text=f"#### {problem.answer}")]),
    ])  # fmt: skip
    assert (right.parts, wrong.parts, result.parts) == ({"correct": 1.0}, {"correct": 0.0}, {"correct": 0.0})
    assert right.passed
    assert not wrong.passed


def test_sides_are_told_by_the_names_of_files(tmp_path: Path) -> None:
    write(tmp_path / "set" / "train.jsonl", [*sums(20), *sums(3, 50)])
    write(tmp_path / "set" / "test.jsonl", sums(5, 50))
    task = open_task(str(tmp_path / "set"))
    assert {p.answer for p in all_held_out(task)} == {str(2 * n + 1) for n in range(50, 55)}
    assert {task.problem(s).answer for s in range(20)} == {str(2 * n + 1) for n in range(20)}  # not what test holds too
    write(tmp_path / "set" / "valid" / "a.jsonl", sums(4, 90))
    task = open_task(str(tmp_path / "set"))
    assert {p.answer for p in all_held_out(task)} == {str(2 * n + 1) for n in range(90, 94)}
    only = open_task(str(tmp_path / "set" / "test.jsonl"))
    assert len(all_held_out(only)) == 5
    with pytest.raises(UserError, match=r"every prompt is held out; give a train\.jsonl"):
        only.problem(0)


def test_how_an_answer_is_judged_is_told_by_the_reference_or_named(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "answer": 0.5}, {"prompt": "b", "answer": "3/4"}, {"prompt": "c", "answer": "B"},
        {"prompt": "d", "answer": "Paris"}, {"prompt": "e", "answer": "72", "judge": "exact"},
        {"prompt": "f", "answer": "40", "judge": "countdown", "numbers": [25, 5, 2]},
        {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "g"}], "answer": "1,000"},
    ]  # fmt: skip
    task = open_task(str(write(tmp_path / "test.jsonl", rows)))
    found = {str(p.messages[-1]["content"]): p for p in all_held_out(task)}
    kinds = {name: p.more["judge"] for name, p in found.items()}
    assert kinds == {
        "a": "number",
        "b": "fraction",
        "c": "choice",
        "d": "exact",
        "e": "exact",
        "f": "countdown",
        "g": "number",
    }
    good = {"a": "1/2", "b": "6/8", "c": "(B)", "d": "paris.", "e": "72", "f": "(25-5)*2", "g": "1000"}
    bad = {"a": "0.51", "b": "8/6", "c": "C", "d": "Rome", "e": "72.0", "f": "40", "g": "100"}
    assert all(s.passed for s in task.judge(list(found.values()), [said(good[name]) for name in found]))
    assert not any(s.passed for s in task.judge(list(found.values()), [said(bad[name]) for name in found]))
    forced = open_task(str(write(tmp_path / "words.jsonl", sums(20))), judge="exact")
    assert forced.problem(0).more["judge"] == "exact"


def test_bad_rows_are_counted_with_the_first_place(tmp_path: Path) -> None:
    rows = [
        *sums(20), "{broken", [1], {"answer": "1"}, {"prompt": " ", "answer": "1"}, {"prompt": "x", "answer": ""},
        {"prompt": "x"}, {"prompt": "x", "answer": True}, {"prompt": 5, "answer": "1"},
        {"prompt": "x", "answer": "a", "judge": "number"},
        {"prompt": "x", "answer": "1", "judge": "vibes"}, {"prompt": "x", "answer": "F", "judge": "choice"},
        {"prompt": "x", "answer": "4", "judge": "countdown"}, {"prompt": "\ud800", "answer": "1"},
        {"prompt": [{"role": "assistant", "content": "hi"}], "answer": "1"},
    ]  # fmt: skip
    task = open_task(str(write(tmp_path / "rows.jsonl", rows)))
    assert isinstance(task, Rows)
    assert sum(task.bad.values()) == len(rows) - 20
    assert any(reason.startswith("broken JSON (first rows.jsonl:21") for reason in task.bad)
    assert any("rows.jsonl:30: vibes; use number" in reason for reason in task.bad)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "no problem in it; give rows"),
        (["{"], r"no problem in it: 1 x broken JSON \(first rows.jsonl:1"),
        ([{"text": "a"}], "no prompt and no question"),
        (
            [{"prompt": "a", "answer": 1}] * 5,
            r"one prompt, so none can be held out; give more, or call the file test\.jsonl",
        ),
    ],
)
def test_files_without_problems_say_what_to_do(tmp_path: Path, rows: list[Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        open_task(str(write(tmp_path / "rows.jsonl", rows)))


def test_what_cannot_be_opened_is_answered_with_what_can(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no task sum; give sums, jokes, a \.jsonl .*reasoning_gym:NAME, or a \.py"):
        open_task("sum", also=("sums", "jokes"))
    with pytest.raises(UserError, match="no such file"):
        open_task(str(tmp_path / "none.py"))
    with pytest.raises(UserError, match="no such file"):
        open_task(str(tmp_path / "none.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.jsonl and no \.parquet"):
        open_task(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="judge vibes: choose one of number"):
        open_task(str(write(tmp_path / "rows.jsonl", sums(20))), judge="vibes")
    with pytest.raises(UserError, match="--data is for"):
        open_task(str(tmp_path / "rows.jsonl"), data="x")


# -- a Python file -----------------------------------------------------------------------------------------------------


def file_task(folder: Path, code: str, limit: float = 10.0, rows: list[Any] | None = None) -> Any:
    path = folder / "my_task.py"
    path.write_text(code, encoding="utf-8")
    data = write(folder / "rows.jsonl", rows or sums(20))
    return open_task(str(path), data=str(data), limit=limit)


def scores(task: Any, *replies: str) -> list[Score]:
    return list(task.judge([task.problem(i) for i in range(len(replies))], [said(r) for r in replies]))


def test_reward_is_called_as_trl_and_mlx_lm_lora_call_it(tmp_path: Path) -> None:
    code = (
        "import json\nprint('this goes to stderr')\n"
        "def reward(prompts, completions, answers, level=None, **more):\n"
        "    print('and this')\n"
        "    with open(__file__ + '.seen', 'w') as file:\n"
        "        json.dump([prompts, completions, answers, level, sorted(more)], file)\n"
        "    return [None if not c else float('nan') if c == 'nan' else float(c) for c in completions]\n"
    )
    rows = [r | {"level": i} for i, r in enumerate(sums(20))]
    task = file_task(tmp_path, code, rows=rows)
    found = scores(task, "0.25", "", "nan", "-3")
    assert [s.parts for s in found] == [{"reward": 0.25}, None, None, {"reward": -3.0}]
    prompts, completions, answers, level, more = json.loads((tmp_path / "my_task.py.seen").read_text())
    problems = [task.problem(i) for i in range(4)]
    assert prompts == [p.messages[0]["content"] for p in problems]
    assert completions == ["0.25", "", "nan", "-3"]
    assert answers == [2 * int(p.split()[0]) + 1 for p in prompts]  # as they stand in the rows
    assert level == [int(p.split()[0]) for p in prompts]
    assert more == ["answer", "replies"]
    task.close()


def test_reward_gets_messages_where_prompts_are_messages(tmp_path: Path) -> None:
    code = (
        "def reward(prompts, completions):\n"
        "    return [len(p) + len(c[0]['content']) for p, c in zip(prompts, completions)]\n"
    )
    rows = [{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": str(n)}]} for n in range(20)]
    task = file_task(tmp_path, code, rows=rows)
    assert [s.value for s in scores(task, "abc", "")] == [5.0, 2.0]
    task.close()


def test_reward_may_give_an_array(tmp_path: Path) -> None:
    task = file_task(
        tmp_path, "import numpy as np\ndef reward(completions, **k):\n    return np.arange(len(completions)) / 2\n"
    )
    assert [s.value for s in scores(task, "a", "b", "c")] == [0.0, 0.5, 1.0]
    task.close()


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("def reward(:\n", r"my_task.py:1: SyntaxError"),
        ("import nothing_of_that_name\n", r"my_task.py:1: ModuleNotFoundError"),
        ("x = 1\n", r"neither `def reward\(prompts, completions, answers\)` nor `task`"),
        ("raise SystemExit(3)\n", r"my_task.py:1: SystemExit: 3"),
        ("import os\nos._exit(3)\n", r"ended with exit code 3 while opening it ran; mend the file"),
        ("def reward(prompts, colour):\n    return []\n", "reward asks for colour, which no row"),
        ("class task:\n    pass\n", "its task has no problem, no held_out, no judge"),
    ],
)
def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path, code: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        file_task(tmp_path, code)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("    raise ValueError('no')", r"my_task.py:2: ValueError: no"),
        ("    x = 1\n    return [float(c[99]) for c in completions]", r"my_task.py:3: IndexError"),
        ("    pass", r"reward gave nothing \(None\); return a list of 2 values"),
        ("    return [1.0]", "gave 1 values for 2 replies"),
        ("    return 1.0", "reward gave a float; return a list"),
        ("    return [None] * 2", "gave None or NaN for all 2 replies"),
        ("    return [float('nan')] * 2", "gave None or NaN for all 2 replies"),
        ("    return ['1', 2]", "reward gave a str for reply 1; give a number, or None"),
        ("    exit(1)", "my_task.py:2: SystemExit"),
        ("    import os; os._exit(9)", "ended with exit code 9 while reward ran"),
        ("    input()", "my_task.py:2: EOFError"),
        ("    def f(): return f()\n    return f()", "my_task.py:2: RecursionError"),
        ("    while True: pass", r"my_task.py:2: reward takes over 0.5 s for 2 replies; make it quicker"),
        (
            "    import time\n    while True:\n        try: time.sleep(9)\n        except BaseException: pass",
            r"takes over 0.5 s",
        ),
    ],
)
def test_a_reward_that_fails_is_one_line_and_the_next_call_works(tmp_path: Path, body: str, complaint: str) -> None:
    code = f"def reward(prompts, completions):\n{body}\n"
    guard = (
        "def reward(prompts, completions):\n"
        "    return [1, 2] if completions[0] == 'fine' else broken(prompts, completions)\n"
    )
    task = file_task(tmp_path, code.replace("def reward", "def broken") + guard, limit=0.5)
    began = time.monotonic()
    with pytest.raises(UserError, match=complaint) as caught:
        scores(task, "a", "b")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 5
    task._limit = 10.0
    assert [s.value for s in scores(task, "fine", "b")] == [1.0, 2.0]
    task.close()


def test_a_hang_that_no_python_can_stop_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """The regular expression holds the interpreter's lock, so only the parent can end it."""
    code = (
        "import re, subprocess\ndef reward(completions, **k):\n"
        "    open(__file__ + '.pid', 'w').write(str(subprocess.Popen(['sleep', '60']).pid))\n"
        "    return [bool(re.match('(a*)*b', 'a' * 40))]\n"
    )
    task = file_task(tmp_path, code, limit=0.5)
    with pytest.raises(UserError, match=r"my_task.py: reward takes over 0.5 s"):
        scores(task, "a")
    started = int((tmp_path / "my_task.py.pid").read_text())
    for _ in range(50):
        try:
            os.kill(started, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{started}/stat").exists() and Path(f"/proc/{started}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("what the file started lives on")


TASK = """
from dataclasses import dataclass
from lab.task import Problem, Score, asked

@dataclass
class Doubling:
    name: str = "doubling"
    def problem(self, seed):
        return Problem(f"t{seed}", asked(f"Twice {seed}?"), str(2 * seed), {"seed": seed})
    def held_out(self, seed):
        if seed > 2:
            raise LookupError("no more")
        return Problem(f"h{seed}", asked(f"Twice {-seed}?"), str(-2 * seed))
    def judge(self, problems, replies):
        return [Score({"correct": float(p.answer in r["content"]), "short": -0.1}, {"length": len(r["content"])})
                if r["content"] else Score(None) for p, r in zip(problems, replies)]

task = Doubling
"""


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "double.py").write_text(TASK)
    task = open_task(str(tmp_path / "double.py"))
    assert task.problem(21) == Problem("t21", ({"role": "user", "content": "Twice 21?"},), "42", {"seed": 21})
    assert len(all_held_out(task)) == 3
    one, other = task.judge([task.problem(21)] * 2, [said("42"), said("")])
    assert one.parts == {"correct": 1.0, "short": -0.1}
    assert one.notes == {"length": 2.0}
    assert other.parts is None
    with pytest.raises(UserError, match="could not judge one of 2 replies"):
        task.judge([task.problem(1)] * 2, [said("")] * 2)
    with pytest.raises(UserError, match="leave out --data"):
        open_task(str(tmp_path / "double.py"), data="x.jsonl")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('return Problem(f"t', "return ('', '') #"), r"problem\(1\) gave tuple; return lab.task.Problem"),
        (('{"seed": seed}', '{"seed": {1}}'), r"problem\(1\) holds what is no JSON"),
        (('{"seed": seed}', '{"seed": 1 // 0}'), r"double.py:9: ZeroDivisionError"),
        (('asked(f"Twice {seed}?")', "({'role': 'robot', 'content': ''},)"), "role 'robot'"),
    ],
)
def test_a_task_that_is_wrong_says_where(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    assert change[0] in TASK
    (tmp_path / "double.py").write_text(TASK.replace(*change))
    with pytest.raises(UserError, match=complaint):
        open_task(str(tmp_path / "double.py")).problem(1)


def test_a_reward_file_needs_rows(tmp_path: Path) -> None:
    (tmp_path / "r.py").write_text("def reward(completions, **k):\n    return [0] * len(completions)\n")
    with pytest.raises(UserError, match="give their rows with --data"):
        open_task(str(tmp_path / "r.py"))
    with pytest.raises(UserError, match="is the judge; leave out --judge"):
        open_task(str(tmp_path / "r.py"), data=str(write(tmp_path / "rows.jsonl", sums(20))), judge="number")
