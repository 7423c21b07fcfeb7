"""`lab eval`: real tiny models on problems with judges, figures, examples, rows on disk, what is refused, Ctrl-C."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lab.advantage import pass_at
from recipes.commands import evaluate
from recipes.commands.evaluate import spread
from tests.gguf_files import tiny_chat
from tests.recipes.conftest import Here, Refused, Start, until


def rows(path: Path, count: int, start: int = 1) -> Path:
    """Rows in GSM8K's shape."""
    told = [
        {
            "question": f"Ada has {n} apples and buys {n + 2} more. How many has she?",
            "answer": f"She has {n} + {n + 2} = <<{n}+{n + 2}={2 * n + 2}>>{2 * n + 2} apples.\n#### {2 * n + 2}",
        }
        for n in range(start, start + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
    return path


@pytest.fixture
def model(home: Path) -> Path:
    """A GGUF file: a small llama with random weights and a chat template."""
    return tiny_chat(home)


def test_gsm8k_rows_with_a_gguf_model(here: Here, model: Path, tmp_path: Path) -> None:
    """The command of the help."""
    said = here("eval", "--task", rows(tmp_path / "gsm8k.jsonl", 60), "--model", model, "-n", "2", "--max-tokens", "8")
    assert said.code == 0, said.err
    # A long path is folded within itself, what follows it at a space.
    unfolded = said.out.replace("\n", ""), " ".join(said.out.split())
    for words in ("gsm8k.jsonl", "held-out problems, 2 replies each", "pass@1", "pass@2", "mean reward", "replies that end",
                  "tokens a reply", "95 % intervals over problems"):  # fmt: skip
        assert any(words in text for text in unfolded), words
    assert said.out.count("\nwrong, ") == 3
    assert "replies" in said.err


ODD = """
def reward(completions, **more):
    return [float(len(text) % 2) for text in completions]
"""


def test_figures_are_those_of_the_rows_and_come_again(here: Here, model: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    data, out = rows(tmp_path / "test.jsonl", 7), tmp_path / "replies.jsonl"
    flags = ["--task", tmp_path / "odd.py", "--data", data, "--model", model, "--problems", "5", "-n", "4"]
    flags += ["--max-tokens", "120", "--json"]
    said = here("eval", *flags, "--out", out)
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    told = facts["models"][0]
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert (facts["problems"], told["replies"], len(found)) == (5, 20, 20)
    assert {(row["group"], row["k"]) for row in found} == {(g, k) for g in range(5) for k in range(4)}
    for row in found:
        assert row["model"] == told["model"]
        assert len(row["ids"]) == len(row["logp"]) == len(row["drawn"])
        assert row["reward"] == sum(row["parts"].values())
        assert row["stop"] == "end" or row["reward"] <= 0
    right = [sum(row["parts"]["reward"] for row in found if row["group"] == g) for g in range(5)]
    assert 0 < sum(right) < 20
    for k in ("1", "2", "4"):
        assert told["pass"][k]["mean"] == pytest.approx(sum(pass_at(int(k), 4, int(r)) for r in right) / 5)
    assert told["reward"]["mean"] == pytest.approx(sum(row["reward"] for row in found) / 20)
    assert told["tokens"]["mean"] == pytest.approx(sum(sum(row["drawn"]) for row in found) / 20)
    assert told["ends"]["mean"] == pytest.approx(sum(row["stop"] == "end" for row in found) / 20)
    assert json.loads(here("eval", *flags).out) == facts
    assert json.loads(here("eval", *flags, "--seed", "1").out) != facts
    table = here("eval", *flags[:-1])
    assert table.out.count("\nright, ") + table.out.count("\nwrong, ") == 3
    assert "\nright, " in table.out
    assert "\nwrong, " in table.out


SOME = """
def reward(completions, **more):
    return [None if i % 4 == 3 else float(i % 4) for i in range(len(completions))]
"""


def test_a_reward_of_ones_own_and_two_models(here: Here, model: Path, chat_model: Path, tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text(SOME)
    data = rows(tmp_path / "test.jsonl", 6)
    flags = ["eval", "--task", tmp_path / "some.py", "--data", data, "-n", "4", "--max-tokens", "4"]
    flags += ["--model", model, "--model", chat_model]
    said = here(*flags, "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert len({one["model"] for one in facts["models"]}) == 2
    for one in facts["models"]:
        assert one["unscored"] == 6
        assert one["pass"]["4"] == {"mean": None, "low": None, "high": None, "of": 0}  # three of four could be judged
        assert one["pass"]["1"]["of"] == 6
    assert facts["models"][1]["against_first"]["of"] == 6
    table = here(*flags, "--examples", "0")
    assert "against the first" in table.out
    assert "not judged" in table.out
    assert "wrong, " not in table.out


def test_a_pocket_task_and_greedy_replies(here: Here, chat_model: Path) -> None:
    said = here("eval", "--task", "counting", "--model", chat_model, "--problems", "3", "--temp", "0", "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert (facts["task"], facts["replies"], list(facts["models"][0]["pass"])) == ("counting", 1, ["1"])


def test_what_is_refused(refused: Refused, chat_model: Path, tmp_path: Path) -> None:
    task = rows(tmp_path / "test.jsonl", 5)
    flags = ["eval", "--task", task, "--model", chat_model]
    refused("eval", says="give a task")
    refused("eval", "--task", "sums", "--model", chat_model, says="no task sums; give .*counting.*reasoning_gym:NAME")
    refused(*flags, "-n", "0", says="-n 0: must be at least 1")
    refused(*flags, "--problems", "0", says="--problems 0")
    refused(*flags, "--temp", "-1", says="--temp: out of range")
    refused(*flags, "--out", task, says="is there already")
    refused(*flags, "--judge", "vibes", says="choose one of number")
    refused("eval", "--task", "counting", "--model", chat_model, "--judge", "number", says="brings its own judge")
    refused(*flags, "--model", "nobody-has-this", says="nobody-has-this")
    refused(*flags, "--search", tmp_path / "no.db", says="no such index")


def test_ctrl_c_prints_what_is_there(start: Start, model: Path, tmp_path: Path) -> None:
    """Interrupted once its first rows are on disk, a long measurement shows their figures."""
    task, out = rows(tmp_path / "test.jsonl", 4000), tmp_path / "replies.jsonl"
    process = start(
        "eval", "--task", task, "--model", model, "--problems", "4000", "-n", "8", "--max-tokens", "20", "--out", out
    )
    until(lambda: (out.exists() and out.stat().st_size) or process.poll() is not None, seconds=100)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=100)
    assert process.returncode == 130, complaint
    assert "Stopped; this is what there is so far." in said
    assert "pass@8" in said
    assert "Traceback" not in complaint
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert 0 < len(kept) < 32_000


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 200 samples of 60 problems whose pass rates are drawn from a known mean, about 95 % of intervals hold it."""
    import numpy as np

    r, held = np.random.default_rng(5), 0
    for _ in range(200):
        rates = r.beta(1, 2, size=60)  # mean 1/3
        one = spread((r.binomial(8, rates) / 8).tolist(), share=True)
        held += one["low"] <= 1 / 3 <= one["high"]
    assert 180 <= held <= 199


def test_intervals_of_shares_that_are_all_alike() -> None:
    nothing: dict[str, Any] = spread([0.0] * 20, share=True)
    assert (nothing["mean"], nothing["low"]) == (0.0, 0.0)
    assert nothing["high"] == pytest.approx(0.161, abs=0.001)  # Wilson's
    assert spread([], share=True)["mean"] is None
    assert evaluate.spread([2.0, 4.0])["mean"] == 3.0
