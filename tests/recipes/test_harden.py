"""Rounds of a policy and a reward model: what is found, where it is ranked, that what is done stays; and shipping of both."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab import episodes, rankings, reward, weights
from lab.letters import LETTERS
from lab.rankings import Ranking, key_of, row_of
from lab.run import Run
from lab.runs import inspect, read_json, read_lines, root
from recipes import gold_judge, harden, taste
from recipes.cli import main
from recipes.harden import Config, Found, overrated, put_last, worst
from recipes.pocket.jokes import joke_prompts
from tests.recipes.conftest import Here, Refused
from tests.recipes.test_rlhf import FEW, judge

SAYS = (
    "The {w} went home.",
    "A {w} walked into the zoo with a clock.",
    "The {w} lost a sock, and now the sock is happy.",
)
RM = ["--batch-size", "8", "--iters", "2", "--replies", "8", "--max-tokens", "40", "--steps-per-eval", "2"]


def ranked(path: Path, count: int = 160, prompts: Sequence[str] = ()) -> Path:
    """Rankings of jokes, of so many prompts to train on (or of these) and a dozen held-out ones."""
    rows = []
    for side in ("train", "test"):
        some = [prompt.replace(":", ".") for prompt in joke_prompts(side)]  # type: ignore[arg-type]
        some = some[:12] if side == "test" else list(prompts) or some[:count]
        for i, prompt in enumerate(some):
            texts = [text.format(w="cow") for text in SAYS]
            one = Ranking(prompt, texts, [2, 1, 0], id=f"{side}{i}", by="gold", split=side)  # type: ignore[arg-type]
            rows.append(row_of(one))
    rankings.append(path, rows)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stages in this process, with little to do in each; what was asked for."""
    asked: list[list[str]] = []

    def stage(record: Run, name: str, flags: Sequence[str], says: str) -> bool:
        folder = root() / name
        if read_json(folder / "status.json").get("state") != "done":
            asked.append([*flags])
            few = [*FEW, "--batch-size", "8"] if flags[0] == "rlhf" else RM
            assert main([*flags, *few, "--name", name]) == 0
        return read_json(folder / "status.json").get("state") == "done"

    monkeypatch.setattr(harden, "stage", stage)
    return asked


def record_of(name: str, call: Callable[[Run], Any]) -> Any:
    with Run("harden", {}, name, False) as record:
        record.print = lambda text: None
        return call(record)


def policy(folder: Path, said: Sequence[tuple[str, str, float, float | None]], middle: float | None = 1.0) -> Path:
    """A run of a policy with these replies: prompt, text, proxy, gold."""
    folder.mkdir()
    first = {"step": 0, "held_reward": 0.0, "held_kl": 0.0}
    first |= {"held_gold": middle, "held_gold_std": 2.0} if middle is not None else {}
    (folder / "metrics.jsonl").write_text(json.dumps(first) + "\n")
    rows = [{"messages": [{"role": "user", "content": prompt}], "said": text, "reward": proxy, "stop": "end",
             "notes": {} if gold is None else {"gold": gold}} for prompt, text, proxy, gold in said]  # fmt: skip
    rows.append(rows[0] | {"said": "cut", "stop": "length"})
    rows.append(rows[0] | {"said": "held out", "held_out": True})
    (folder / "episodes").mkdir()
    (folder / "episodes" / "000001.jsonl").write_text("".join(map(episodes.line, rows)))
    return folder


def test_what_is_overrated(tmp_path: Path) -> None:
    run = policy(tmp_path / "p", [
        ("a", "liked and bad", 2.0, -1.0), ("a", "liked more and as bad", 3.0, -1.0), ("b", "liked and good", 3.0, 1.5),
        ("c", "not liked", -0.5, -9.0), ("d", "worst of all", 1.0, -9.0), ("e", "worst of all", 1.0, -9.0),
    ])  # fmt: skip
    assert overrated(run) == [
        Found("d", "worst of all", 1.0, -9.0),  # 1 + 10 / 2
        Found("a", "liked more and as bad", 3.0, -1.0),  # 3 + 2 / 2
    ]
    blind = policy(tmp_path / "q", [("a", "x", 1.0, None), ("b", "y", 2.0, None), ("c", "z", -1.0, None)], None)
    assert [one.text for one in overrated(blind)] == ["y", "x"]


def test_a_text_goes_behind_all_others_of_its_prompt(home: Path, tmp_path: Path) -> None:
    before = ranked(tmp_path / "jokes.jsonl", 4)
    was = rankings.read_file(before)
    assert worst(was[0], "new").pairs[-3:] != was[0].pairs[-3:]
    assert {pair for pair in worst(was[0], "new").pairs if 3 in pair} == {(2, 3), (1, 3), (0, 3)}
    assert worst(was[0], was[0].options[2]) is was[0]
    held = next(one for one in was if one.split == "test")
    run = policy(home / "p", [
        (str(was[0].prompt), "the the the", 2.0, -3.0), (str(held.prompt), "of a held-out prompt", 2.0, -3.0),
        ("never ranked", "of another", 2.0, -3.0),
    ])  # fmt: skip
    copy = tmp_path / "rankings-1.jsonl"
    bad = record_of("h", lambda record: put_last(Config(), record, before, run, copy))
    assert [one.text for one in bad] == ["the the the"]
    found = rankings.read_file(copy)
    assert [one.options for one in found[1:]] == [one.options for one in was[1:]]
    assert (found[0].options[-1], found[0].order) == ("the the the", [2, 1, 0, 3])
    assert [row_of(one) for one in rankings.read_file(before)] == [row_of(one) for one in was]
    full = was[0].__class__(was[0].prompt, list(LETTERS), list(range(9)), id="full", split="train")
    rankings.append(tmp_path / "full.jsonl", [row_of(full)])
    assert record_of("i", lambda record: put_last(Config(), record, tmp_path / "full.jsonl", run, tmp_path / "f")) == []


def test_a_person_names_the_bad_ones(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ranked(tmp_path / "jokes.jsonl", 3)
    prompts = [str(one.prompt) for one in rankings.read_file(before)[:3]]
    run = policy(home / "p", [(prompt, f"text {i}", 1.0 + i, None) for i, prompt in enumerate(prompts)], None)
    monkeypatch.setattr("builtins.input", lambda _: "3, 1 9 x")
    bad = record_of("h", lambda record: put_last(Config(data="own"), record, before, run, tmp_path / "copy.jsonl"))
    assert [one.text for one in bad] == ["text 0", "text 2"]  # 1 is the one with the highest score


def test_rounds_are_runs_and_what_is_done_stays(
    here: Here, small: Path, tmp_path: Path, quick: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(small / "taste")
    monkeypatch.setattr(taste, "EVERY", 50)  # prompts, so that all of them are ranked
    asked = taste.sides(weights.load("pocket-sft"), None)[0]
    ranked(tmp_path / "jokes.jsonl", prompts=[str(taste.prompt_of(one)) for one in asked])
    monkeypatch.setattr(gold_judge, "scores", lambda prompt, said: np.array([float(len(text) % 7) for text in said]))
    flags = ["--reward", "taste", "--rankings", "jokes.jsonl", "--rounds", "2", "--iters", "2", "--name", "h"]
    said = here("harden", *flags)
    assert said.code == 0, said
    assert [one[0] for one in quick] == ["rlhf", "reward-model"] * 2
    assert quick[2][quick[2].index("--reward") + 1] == "h-1-reward"  # the second policy meets the hardened one
    assert "the hardened reward model: h-2-reward" in said.out
    rows = [row for row in read_lines(small / "h" / "metrics.jsonl") if "event" not in row]
    assert [row["round"] for row in rows] == [1, 2]
    assert all({"proxy", "gold", "kl", "found", "held_accuracy"} <= row.keys() for row in rows)
    assert rows[0]["found"] > 0
    assert rows[0]["text_proxy"] > 0
    one, two = (rankings.read_file(small / "h" / f"rankings-{at}.jsonl") for at in (1, 2))
    new = [{key_of(r.prompt): len(r.options) - 3 for r in some if len(r.options) > 3} for some in (one, two)]
    assert len(new[0]) == rows[0]["found"]
    assert sum(new[1].values()) == rows[0]["found"] + rows[1]["found"]  # the second file has those of the first
    assert inspect(small / "h").state == "done"

    shutil.rmtree(small / "h-2-reward")  # as a kill in the last stage leaves it
    made = (small / "h" / "rankings-2.jsonl").read_bytes()
    said = here("harden", "--name", "h", "--resume")
    assert said.code == 0, said
    assert [row[0] for row in quick[4:]] == ["reward-model"]
    assert (small / "h" / "rankings-2.jsonl").read_bytes() == made
    assert [r["round"] for r in read_lines(small / "h" / "metrics.jsonl") if "round" in r and "event" not in r] == [
        1,
        2,
    ]


def test_harden_refuses(refused: Refused, small: Path, tmp_path: Path) -> None:
    judge(small / "taste")
    ranked(tmp_path / "jokes.jsonl", 3)
    refused("harden", "--reward", "taste", "--rankings", "none.jsonl", says="no such file; make one with `lab rank`")
    refused("harden", "--reward", "pocket-sft", "--rankings", "jokes.jsonl", says="is no reward model")
    refused(
        "harden",
        "--reward",
        "taste",
        "--rankings",
        "jokes.jsonl",
        "--rounds",
        "0",
        says="--rounds 0: must be at least 1",
    )
    refused(
        "harden", "--reward", "taste", "--rankings", "jokes.jsonl", "--data", "x.jsonl", says="name a model with --gold"
    )


@pytest.mark.slow
def test_a_stage_that_fails_is_told_in_a_line(here: Here, small: Path, tmp_path: Path) -> None:
    """A process of its own; what it says last is what people read."""
    judge(small / "taste")
    ranked(tmp_path / "jokes.jsonl", 3)
    said = here("harden", "--reward", "taste", "--rankings", "jokes.jsonl", "--model", "pocket-base", "--name", "h")
    assert said.code == 2, said
    assert "h-1-policy: " in said.err
    assert "has no chat template" in said.err
    assert "--name h --resume" in said.err
    assert len(said.err.splitlines()) == 1


def test_a_reward_model_and_a_best_checkpoint_are_shipped(
    here: Here, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked(tmp_path / "jokes.jsonl", 30)
    shutil.copytree(small / "pocket-sft", small / "mine")
    monkeypatch.setattr(
        sys, "argv", ["lab", "reward-model", "--model", "mine"]
    )  # what a run writes down of how it began
    said = here("reward-model", "--model", "mine", "--rankings", "jokes.jsonl", "--name", "rm", "--ensemble", "2", *RM)
    assert said.code == 0, said
    assert here("ship", "rm", "--to", "given", "--dtype", "float32", "--parent", "pocket-sft").code == 0
    passport = read_json(small / "given" / "run.json")
    assert passport["config"]["rankings"] == "jokes.jsonl"
    argv = passport["argv"]  # a command that can be typed where it was shipped to
    assert argv[argv.index("--model") + 1] == passport["config"]["model"] == passport["parent"] == "pocket-sft"
    assert str(tmp_path) not in json.dumps(passport)
    ours, theirs = reward.load("rm"), reward.load("given")
    texts = [ours.encode("Tell a joke.", text) for text in SAYS]
    np.testing.assert_allclose(theirs.each(texts), ours.each(texts), atol=1e-5)
    assert not (small / "given" / "checkpoints").exists()

    clock = iter(range(10_000))
    monkeypatch.setattr(gold_judge, "scores", lambda prompt, said: np.array([-float(next(clock))]))  # the first is best
    assert here("rlhf", "--reward", "given", "--iters", "2", "--name", "r", *FEW).code == 0
    assert (small / "r" / "best").read_text() == "000000\n"
    said = here("ship", "r", "--to", "best", "--dtype", "float32")
    assert "(weights of step 0, the best)" in said.out
    assert here("ship", "r@last", "--to", "end", "--dtype", "float32").code == 0
    was, best, end = (weights.load(name).network.parameters() for name in ("pocket-sft", "best", "end"))
    layer = "norm"
    assert np.array_equal(np.array(was["model"][layer]["weight"]), np.array(best["model"][layer]["weight"]))
    assert not np.array_equal(np.array(best["model"][layer]["weight"]), np.array(end["model"][layer]["weight"]))
    assert read_json(small / "best" / "run.json")["weights_step"] == 0
    looks = [row for row in read_lines(small / "best" / "metrics.jsonl") if "held_kl" in row and "event" not in row]
    assert [row["step"] for row in looks] == [0, 2]  # the record tells what came behind
