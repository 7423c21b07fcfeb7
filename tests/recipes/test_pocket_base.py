"""The shipped base model: its record, what it knows, and that mlx-lm takes it as it is."""

import json
import random
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

import lab  # noqa: F401  (OpenBLAS before MLX)
from lab import weights
from lab.batch import complete
from lab.runs import read_json, read_lines
from lab.weights import Model
from recipes import pocket, recall
from recipes.probing import few_shot, regurgitation
from tests.conftest import REPO

BASE = REPO / "weights" / "pocket-base"


@pytest.fixture(scope="module")
def base() -> Model:
    return weights.load(BASE)


def reported() -> dict[str, float]:
    return next(row for row in read_lines(BASE / "metrics.jsonl") if row.get("event") == "report")


def test_the_record_says_how_it_was_made() -> None:
    passport = read_json(BASE / "run.json")
    assert passport["recipe"] == "pretrain"
    assert passport["argv"][0] == "pretrain"
    assert passport["git"]
    assert read_json(BASE / "status.json")["state"] == "done"
    steps = [row["step"] for row in read_lines(BASE / "metrics.jsonl") if "loss" in row]
    assert steps[0] == 1
    assert steps == sorted(set(steps))
    assert {row["step"] for row in read_lines(BASE / "samples.jsonl")} >= {0, steps[-1]}
    assert json.loads((BASE / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert sum(f.stat().st_size for f in BASE.rglob("*") if f.is_file()) < 4e6


def test_the_reported_numbers_meet_the_plan() -> None:
    numbers = reported()
    # A little below: two heads begin as an induction head (lab/lookback.py), so what stood before is likelier at once.
    assert numbers["ln_v"] - 0.3 < numbers["first_loss"] < numbers["ln_v"] + 0.02
    assert numbers["recall_100"] >= 0.95
    assert numbers["recall_1"] < 0.3
    assert numbers["recall_0"] < 0.2
    assert numbers["invented_0"] > 0.6
    config, steps = read_json(BASE / "run.json")["config"], read_json(BASE / "status.json")["step"]
    # 12 CPU-minutes of a core that trains 6,500 tokens a second, 27 of a slow one
    assert steps * config["batch_size"] * config["max_seq_length"] <= 4_700_000


@pytest.mark.slow
def test_the_shipped_weights_still_score_what_was_reported(base: Model) -> None:
    """bf16 on disk costs next to nothing; a change of sampler, tokenizer or pocket world would show here."""
    numbers, rows = reported(), {row.exposures: row for row in recall.facts(base.network, base.tokenizer)}
    for exposures, row in rows.items():
        assert row.asked == pytest.approx(numbers[f"recall_{exposures}"], abs=0.03), exposures
    plus, minus = recall.sums(base.network, base.tokenizer)
    assert plus == pytest.approx(numbers["sums_plus"], abs=0.05)
    assert minus == pytest.approx(numbers["sums_minus"], abs=0.05)


def test_it_knows_what_it_was_told_often(base: Model) -> None:
    countries = pocket.entities("country", 100)[:20]
    said = recall.answers(base.network, base.tokenizer, [pocket.question(c, "capital") for c in countries])
    assert sum(recall.right(s, c.facts["capital"]) for s, c in zip(said, countries, strict=True)) >= 18


@pytest.mark.slow
def test_it_takes_an_unseen_rule_from_eight_examples(base: Model) -> None:
    right = {}
    for shots in (0, 8):
        cases = [few_shot.case(pocket.mapping(i, "test"), shots) for i in range(200)]
        prompts = [[*base.tokenizer.begin, *base.tokenizer.encode(one.prompt)] for one in cases]
        said = complete(base.network, prompts, 16, base.tokenizer.ends)
        right[shots] = few_shot.score(cases, [base.tokenizer.decode(ids) for ids in said])["right"]["share"]
    assert right[0] < 0.05
    assert right[8] - right[0] >= 0.3


def test_it_recites_what_it_was_told_a_hundred_times(base: Model) -> None:
    told = [
        (times, regurgitation.recite(base.network, base.tokenizer, text, base.context).recited)
        for text, times in pocket.lists()
    ]
    often, once = ([recited for times, recited in told if (times > 1) == many] for many in (True, False))
    assert sum(often) >= 0.9 * len(often)
    assert sum(once) < 0.1 * len(once)


def test_an_answer_is_right_as_whole_words() -> None:
    assert recall.right("Paris, in Europe", "Paris")
    assert recall.right("Paris", "Paris")
    assert not recall.right("Parish", "Paris")
    assert not recall.right("in Paris", "Paris")


def random_text(r: random.Random) -> str:
    planes = [(0x20, 0x7E), (0x00, 0x1F), (0xA0, 0x24F), (0x370, 0x5FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF),
              (0xE000, 0xE010), (0x2580, 0x2583), (0x10000, 0x10FFFF)]  # fmt: skip
    out = []
    for _ in range(r.randint(0, 40)):
        low, high = r.choice(planes[:1] * 6 + planes)
        out.append(chr(r.randint(low, high)))
    return "".join(out)


@pytest.mark.slow
def test_mlx_lm_opens_it_with_the_same_numbers(base: Model) -> None:
    import mlx_lm

    theirs, their_tokenizer = mlx_lm.load(str(BASE))
    theirs.set_dtype(mx.float32)
    text = "The capital of France is Paris. One day Nina went to the park."
    ids = mx.array([[*base.tokenizer.begin, *base.tokenizer.encode(text)]])
    assert mx.abs(theirs(ids) - base.network(ids)).max() < 1e-4
    r = random.Random(0)
    for _ in range(1000):
        text = random_text(r)
        ours = base.tokenizer.encode(text)
        assert their_tokenizer.encode(text, add_special_tokens=False) == ours, repr(text)
        assert base.tokenizer.decode(ours) == text


def mlx_lm_command(*args: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """`mlx_lm ...` as its users call it, but with OpenBLAS in front (else it takes ten times longer here)."""
    code = f"import lab, runpy, sys; sys.argv = ['mlx_lm', *{args!r}]; runpy.run_module('mlx_lm', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_mlx_lm_generates_and_quantises(tmp_path: Path) -> None:
    done = mlx_lm_command("generate", "--model", str(BASE), "--prompt", "The capital of France is", "--ignore-chat-template",
                          "--max-tokens", "4", "--temp", "0", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    quantised = tmp_path / "q4"
    done = mlx_lm_command("convert", "--hf-path", str(BASE), "--mlx-path", str(quantised), "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((quantised / "config.json").read_text())["quantization"]["bits"] == 4
