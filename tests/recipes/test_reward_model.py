"""`lab reward-model` and `lab score`: the record, resume bit for bit, ensembles, adapters, what is told at the end."""

import json
import math
import shutil
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import reward, weights
from lab.pairwise import Ranked
from lab.rankings import Ranking, append, row_of
from lab.reward import RewardModel, Scorer
from lab.runs import read_json, read_lines
from lab.weights import Model, load_arrays
from recipes.preferences import Baseline, Judged, told
from recipes.reward_model import CHARTS
from tests.conftest import REPO, Lab
from tests.recipes.conftest import Here, Refused, same

WHO, WHERE = ("cow", "king", "robot", "pelican"), ("bank", "zoo", "library")
SAYS = (
    "The {w} went home.",
    "A {w} walked into the {p} with a clock.",
    "The {w} lost a sock, and now the sock is happy.",
)
FEW = ["--batch-size", "4", "--iters", "4", "--steps-per-eval", "2", "--replies", "16", "--max-tokens", "40"]


def jokes(path: Path, count: int = 36) -> Path:
    """Rankings of somebody who likes socks."""
    r, rows = Random(1), []
    for i in range(count):
        who, where = r.choice(WHO), r.choice(WHERE)
        texts = [text.format(w=who, p=where) for text in r.sample(SAYS, 3)]
        order = sorted(range(3), key=lambda k: ("sock" not in texts[k], "clock" not in texts[k]))
        prompt = f"Tell joke {i} about a {who} at the {where}."
        one = Ranking(
            prompt, texts, order, id=str(i), by="me", model="pocket-sft", split="test" if i % 4 == 0 else "train"
        )
        rows.append(row_of(one))
    append(path, rows)
    return path


@pytest.fixture
def small(home: Path, tmp_path: Path) -> Path:
    """The shipped assistant beside the runs of a test, and jokes.jsonl."""
    (home / "pocket-sft").symlink_to(REPO / "weights" / "pocket-sft")
    (home / "pocket-base").symlink_to(REPO / "weights" / "pocket-base")
    jokes(tmp_path / "jokes.jsonl")
    return home


def rows(run: Path, key: str = "loss") -> list[dict[str, Any]]:
    return [row for row in read_lines(run / "metrics.jsonl") if key in row and "event" not in row]


def events(run: Path, name: str) -> list[dict[str, Any]]:
    return [row for row in read_lines(run / "metrics.jsonl") if row.get("event") == name]


def train(here: Here, name: str, *more: str) -> None:
    said = here("reward-model", "--rankings", "jokes.jsonl", "--name", name, *FEW, *more)
    assert said.code == 0, said


# -- figures, without a model that would have to be trained ------------------------------------------------------------


class Spelled(nn.Module):
    """A body whose hidden state is what the last token says: its score is chosen by the test."""

    def __init__(self, values: Sequence[float]):
        super().__init__()
        self.table = mx.array(values)[:, None]

    def model(self, ids: mx.array) -> mx.array:
        return self.table[ids]


def judge(*members: Sequence[float], tokenizer: Any) -> RewardModel:
    scorers = [Scorer(Spelled(values), 0) for values in members]
    for scorer in scorers:
        scorer.head = mx.ones(1)
    return RewardModel(Model(scorers[0].network, tokenizer, {}, 99, Path("x")), scorers)


def ranked(*ends: int, start: int = 1) -> Ranked:
    """Replies that end with these tokens, best first, each a token longer than the one before."""
    tokens = [np.array([0] * (start + i) + [end], np.int32) for i, end in enumerate(ends)]
    return Ranked(tokens, list(combinations(range(len(ends)), 2)), start)


def test_accuracy_loss_and_calibration_are_those_of_the_pairs(tokenizer: Any) -> None:
    rm = judge([0.0, 1.0, 2.0, 4.0], tokenizer=tokenizer)
    found = Judged(rm, [ranked(3, 2, 1), ranked(1, 3), ranked(2, 2)])
    assert found.shares == [1.0, 0.0, 0.5]
    p = 1 / (1 + np.exp(-np.array([2.0, 3.0, 1.0])))
    np.testing.assert_allclose(found.p[0], p, atol=1e-6)
    want = np.mean([-np.log(p).mean(), np.log1p(np.exp(3.0)), math.log(2)])
    assert found.loss == pytest.approx(want, abs=1e-5)
    confidence, bins = found.bins()
    assert sorted(confidence.tolist()) == pytest.approx(sorted([*p, p[1], 0.5]))
    sure = next(one for one in bins if one.low == 0.9)
    assert (sure.count, sure.accuracy) == (2, 0.5)  # 3 -> 1 is right, and the reversed pair as sure and wrong


def test_members_are_averaged_and_their_disagreement_is_told(tokenizer: Any) -> None:
    rm = judge([0, 1, 2, 3], [0, 1, 2, -3], tokenizer=tokenizer)
    found = Judged(rm, [ranked(3, 1)])
    p = np.mean([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(4))])
    assert found.p[0].tolist() == pytest.approx([p])
    assert found.disagreement == pytest.approx(np.mean([3, 0]))
    figures, lines, _ = told(rm, [ranked(3, 1)] * 3, Baseline([ranked(1, 2)], [ranked(1, 2)] * 3), 0.8)
    assert figures["disagreement"] == found.disagreement
    assert any("members differ by" in line for line in lines)
    assert any("ceiling by the judge's noise 0.800" in line for line in lines)


def test_length_alone_finds_what_length_tells_and_nothing_else() -> None:
    shorter = [ranked(1, 2, 3) for _ in range(20)]  # the best is the shortest
    assert Baseline(shorter, shorter).shares == [1.0] * 20
    r = np.random.default_rng(0)
    blind = [
        Ranked(one.rows, [(a, b) if r.random() < 0.5 else (b, a) for a, b in one.pairs], 1) for one in shorter * 20
    ]
    assert np.mean(Baseline(blind[:200], blind[200:]).shares) == pytest.approx(0.5, abs=0.08)
    longer = [Ranked([np.append(np.zeros(7, np.int32), row) for row in one.rows], one.pairs, 8) for one in shorter]
    assert Baseline(shorter, longer).shares == [1.0] * 20  # the prompt's length is no part of it
    middle = []  # neither the longest nor the shortest: a square is enough
    for _ in range(30):
        one = ranked(1, 1, 1, 1, 1)
        middle.append(Ranked(one.rows, [(2, 0), (2, 1), (2, 3), (2, 4)], 1))
    assert np.mean(Baseline(middle, middle).shares) == 1.0


# -- the recipe --------------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_model_that_scores_and_its_record(here: Here, small: Path, tmp_path: Path) -> None:
    said = here("reward-model", "--rankings", "jokes.jsonl", "--name", "rm", "--batch-size", "9", "--iters", "16",
                "--steps-per-eval", "8", "--replies", "24", "--max-tokens", "60")  # fmt: skip
    assert said.code == 0, said
    assert "ranked  27 prompts, 81 pairs; held out 9, 27; by me (of pocket-sft)" in said.out
    assert "pair accuracy" in said.out
    run = small / "rm"
    looks = rows(run, "held_accuracy")
    assert [row["step"] for row in looks] == [0, 8, 16]
    assert looks[-1]["held_accuracy"] > 0.9  # socks are easy to like
    assert looks[-1]["val_loss"] < 0.5 * looks[0]["val_loss"]
    assert {"train_accuracy", "length_accuracy", "val_loss", "calibration_error", "error_by_chance"} <= looks[0].keys()
    assert [row["step"] for row in rows(run)] == list(range(1, 17))
    drawn = {key for chart in CHARTS for key in chart["keys"]}  # type: ignore[attr-defined]
    assert drawn - {"ceiling", "disagreement"} <= {key for row in read_lines(run / "metrics.jsonl") for key in row}
    (end,) = events(run, "report")
    assert end["held_accuracy_low"] <= end["held_accuracy"] <= end["held_accuracy_high"]
    assert (end["pairs"], end["members"]) == (27, 1)
    bins = events(run, "calibration")
    assert sum(one["count"] for one in bins) == 27
    assert read_json(run / "status.json")["headline"].startswith("pair accuracy ")

    rm = reward.load("rm")
    policy = read_json(run / "policy.json")["replies"]
    scores = rm.scores([rm.encode(prompt, text) for prompt, text in policy])
    assert scores.mean() == pytest.approx(0, abs=1e-3)
    assert scores.std() == pytest.approx(1, abs=1e-3)
    assert rm.about == {"policy": "pocket-sft"}
    same(run / "reward.safetensors", run / "checkpoints/000016/reward.safetensors")
    shutil.rmtree(run / "checkpoints")  # a copy of the folder alone scores the same
    rows_ = [rm.encode("Tell joke 1 about a cow at the zoo.", text.format(w="cow", p="zoo")) for text in SAYS]
    np.testing.assert_allclose(reward.load(str(run)).scores(rows_), rm.scores(rows_), atol=2e-5)
    assert np.argmax(rm.scores(rows_)) == 2
    assert weights.load("rm").chats  # it is still the language model it was trained from
    assert here("generate", "--model", "rm", "-p", "Hi!", "-m", "3").code == 0


def test_it_resumes_bit_for_bit_members_too(here: Here, small: Path) -> None:
    flags = ["--ensemble", "2", "--save-every", "1", "--keep", "9"]
    train(here, "whole", *flags)
    train(here, "cut", *flags)
    for step in (2, 3, 4):  # as a kill after step 1 leaves it
        shutil.rmtree(small / "cut" / "checkpoints" / f"{step:06d}")
    said = here("reward-model", "--name", "cut", "--resume")
    assert said.code == 0, said
    files = ["model.safetensors", "reward.safetensors", "member-1/model.safetensors",
             "checkpoints/000004/optimizer.safetensors", "checkpoints/000004/member-1/optimizer.safetensors"]  # fmt: skip
    for name in files:
        same(small / "whole" / name, small / "cut" / name)
    assert (small / "whole" / "reward.json").read_text() == (small / "cut" / "reward.json").read_text()
    keys = ("step", "loss", "val_loss", "held_accuracy", "disagreement")
    both = [[{k: row.get(k) for k in keys} for row in rows(small / name)] for name in ("whole", "cut")]
    assert both[0] == both[1]
    assert both[0][-1]["disagreement"] > 0
    rm = reward.load("whole")
    assert len(rm.members) == 2
    some = [rm.encode("Hi", text) for text in ("one", "two")]
    raw = rm.raw(some)
    assert not np.allclose(raw[0], raw[1], atol=1e-3)
    one, other = (load_arrays(small / "whole" / f) for f in ("model.safetensors", "member-1/model.safetensors"))
    assert any(not np.array_equal(np.array(one[k]), np.array(other[k])) for k in one)


def test_changed_rankings_are_not_gone_on_with(here: Here, refused: Refused, small: Path, tmp_path: Path) -> None:
    train(here, "rm", "--save-every", "2")
    shutil.rmtree(small / "rm" / "checkpoints" / "000004")
    append(tmp_path / "jokes.jsonl", [row_of(Ranking("More.", ["x", "y"], [0, 1], id="more"))])
    said = here("reward-model", "--name", "rm", "--resume")
    assert (said.code, "the rankings have changed since this run began" in said.err) == (2, True)


def test_adapters_and_pairs_of_other_programs(here: Here, small: Path, tmp_path: Path) -> None:
    r = Random(2)
    pairs = [
        {
            "prompt": f"Who {i}?",
            "chosen": [{"role": "assistant", "content": f"The {r.choice(WHO)}."}],
            "rejected": "No.",
        }
        for i in range(30)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs) + '{"prompt": "torn\n')
    said = here("reward-model", "--rankings", "pairs.jsonl", "--fine-tune-type", "lora", "--name", "l",
                "--learning-rate", "1e-2", "--ensemble", "2", *FEW)  # fmt: skip
    assert said.code == 0, said
    assert "left out 1 rows: broken JSON" in said.out
    run = small / "l"
    assert {f.name for f in run.glob("*.safetensors")} == {"adapters.safetensors", "reward.safetensors"}
    assert (run / "member-1" / "adapters.safetensors").exists()
    assert read_json(run / "adapter_config.json")["model"] == "pocket-sft"
    rm = reward.load("l")
    better, worse = (rm.encode("Who 1?", text) for text in ("The cow.", "No."))
    each = rm.each([better, worse])
    assert each.shape == (2, 2)
    assert (each[:, 0] > each[:, 1]).all()


def test_a_base_model_stays_one(here: Here, small: Path, tmp_path: Path) -> None:
    train(here, "b", "--model", "pocket-base")
    rm = reward.load("b")
    assert not rm.model.chats
    assert read_json(small / "b" / "run.json")["parent"] == "pocket-base"


def test_refusals(refused: Refused, small: Path, tmp_path: Path) -> None:
    refused("reward-model", says="no rankings yet .*make some with `lab rank`")
    refused("reward-model", "--rankings", "none.jsonl", says="no such file")
    refused("reward-model", "--rankings", "jokes.jsonl", "--ensemble", "0", says="--ensemble 0: give 1 to 16")
    refused("reward-model", "--rankings", "jokes.jsonl", "--replies", "2", says="--replies 2: must be at least 8")
    refused(
        "reward-model", "--rankings", "jokes.jsonl", "--max-seq-length", "5", says="too few rankings: 0 to train on"
    )
    refused("reward-model", "--rankings", "jokes.jsonl", "--model", "nobody", says="nobody: no such folder")
    (tmp_path / "one.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    refused("reward-model", "--rankings", "one.jsonl", says="too few rankings: 1 to train on, 0 held out")
    refused("score", says="give a file of rows")
    refused("score", "jokes.jsonl", says="no reward model yet; make one with `lab rank`")
    refused("score", "jokes.jsonl", "--model", "pocket-sft", says="pocket-sft: is no reward model")


# -- score -------------------------------------------------------------------------------------------------------------


def test_score(here: Here, refused: Refused, small: Path, tmp_path: Path) -> None:
    train(here, "rm", "--ensemble", "2")
    prompt = "Tell a dry joke about a cow at the bank."
    lines = [{"prompt": prompt, "reply": text.format(w="cow", p="bank"), "mark": i} for i, text in enumerate(SAYS)]
    lines.append(
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": "No."}], "mark": 3}
    )  # type: ignore[dict-item]
    file = tmp_path / "replies.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"text": "x"}\n')
    said = here("score", "replies.jsonl", "--out", "scored.jsonl", "--against", "mark")
    assert said.code == 0, said
    assert 'left out: 1 x no "reply"' in said.out
    assert "correlation with mark: " in said.out
    found = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)
    rm = reward.load("rm")
    for row in found:
        text = row.get("reply") or row["messages"][-1]["content"]
        each = rm.each([rm.encode(prompt, text)])
        assert row["score"] == pytest.approx(float(each.mean()), abs=2e-4)
        assert row["spread"] == pytest.approx(float(each.std()), abs=2e-4)
    assert {row["mark"] for row in found} == {0, 1, 2, 3}
    shown = json.loads(here("score", "--model", "rm", "-", "--json", "--against", "gold", stdin=file.read_bytes()).out)
    assert (shown["replies"], shown["members"], shown["of"]) == (4, 2, 4)
    assert -1 <= shown["low"] <= shown["correlation"] <= shown["high"] <= 1
    ranked_ = json.loads(here("score", "--model", "rm", tmp_path / "jokes.jsonl", "--json").out)
    assert ranked_["replies"] == 36 * 3
    refused("score", "replies.jsonl", "--out", "scored.jsonl", says="is there already")
    refused("score", "replies.jsonl", "--against", "nothing", says="fewer than four rows hold such a number")
    refused("score", "-", stdin=b"{}\n", says='no reply to score: 1 x no "reply"')


@pytest.mark.slow
def test_in_processes_of_their_own(cli: Lab, small: Path, tmp_path: Path) -> None:
    done = cli("reward-model", "--rankings", tmp_path / "jokes.jsonl", *FEW)
    assert done.returncode == 0, done.stderr
    done = cli("score", "-", stdin='{"prompt": "Tell one.", "reply": "The cow went home."}\n')
    assert done.returncode == 0, done.stderr
    assert "The cow went home." in done.stdout
