"""`lab sft` from the outside: rows good and bad, adapters, kills, and that a resumed run is the same run."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from lab import chat, lora, weights
from lab.runs import checkpoints, inspect, read_json
from recipes import tuning
from recipes.lessons import ask, exam
from tests.recipes.conftest import Here, Refused, Start, until
from tests.recipes.taught import COLOURS, QUICK, jsonl, report, rows, timeless

ROWS: list[Any] = [
    {"messages": ask("What colour is the moon?", "White.")},
    {"prompt": "What colour is the sun?", "completion": "Yellow."},
    {"text": "The sun is yellow. The moon is white."},
    {"messages": [{"role": "system", "content": "Be short."}, *ask("Hi!", "Hi."), *ask("How are you?", "Well.")]},
    {"messages": [{"role": "user", "content": "Hi!"}, *ask("Hi?", "Hi.")]},
    {"messages": [{"role": "user", "content": "Nobody answers."}]}, {"messages": []}, "{broken",
    {"messages": ask("Say nothing.", " ")}, {"messages": [{"role": "wizard", "content": "Abracadabra"}]},
    {"messages": [{"role": "user", "content": [{"type": "dance", "text": "x"}]}, {"role": "assistant", "content": "Hm."}]},
    {"instruction": "Say hi"}, {"text": "word " * 100_000}, {"messages": ask("word " * 3000, "Long.")},
]  # fmt: skip
BAD = {
    "role order": 5, "no assistant turn": 6, "empty conversation": 7, "broken JSON": 8, "empty assistant turn": 9,
    "unknown role, part or tool": 10, "no messages, no prompt with completion, no text": 12, "over 400,000 characters": 13,
    "longer than 512 tokens": 14,
}  # fmt: skip


def test_bad_rows_are_counted_and_named_and_the_others_trained(here: Here, school: Path) -> None:
    file = jsonl(school.parent / "rows.jsonl", ROWS)
    said = here("sft", "--data", file, "--name", "t", *QUICK)
    assert (said.code, said.err) == (0, ""), said.err
    run, log = school / "t", (school / "t" / "log.txt").read_text()
    told = read_json(run / "data.json")
    assert told["conversations"] == 3  # four good rows, one of them held out
    for text in (log, said.out, "\n".join(told["bad"])):
        for reason, line in BAD.items():
            assert f"{reason} (first rows.jsonl:{line}" in text, reason
    assert {key.split(" (")[0]: count for key, count in told["bad"].items()} == dict.fromkeys(BAD, 1) | {
        "unknown role, part or tool": 2  # the first is named
    }
    metrics = [row for row in rows(run) if "loss" in row]
    assert [row["step"] for row in metrics] == [1, 2, 3]
    assert all(np.isfinite(row["loss"]) and row["tokens"] for row in metrics)
    # The folder opens as a model that chats, here and from the command line.
    model = weights.load(run)
    assert model.chats
    assert model.tokenizer.chat_template == chat.OURS
    assert here("generate", "--model", "t", "-p", "Hi!", "-m", "4").code == 0
    assert inspect(run).state == "done"
    # What is begun from a model whose own training has not ended says so.
    assert tuning.named(model) == "t"
    (run / "status.json").write_text(json.dumps(read_json(run / "status.json") | {"state": "stopped", "step": 2}))
    assert tuning.named(model) == "t (stopped, step 2 of 3)"


@pytest.mark.parametrize("number", [5, 6, 7, 8, 9, 10, 11, 12, 13, 14])
def test_strict_makes_a_bad_row_an_error(refused: Refused, school: Path, number: int) -> None:
    file = jsonl(school.parent / "rows.jsonl", [ROWS[0], ROWS[1], ROWS[number - 1]])
    reason = next(reason for reason, line in BAD.items() if line in (number, number - (number == 11)))
    refused(
        "sft",
        "--data",
        file,
        "--strict",
        *QUICK,
        says=rf"rows\.jsonl:3: {reason}.*; mend the row, or leave out --strict",
    )


def test_what_is_refused(refused: Refused, school: Path) -> None:
    talks = school.parent / "talks.jsonl"
    for flags, says in (
        (["--iters", "0"], "--iters 0: must be at least 1"), (["--batch-size", "-1"], "--batch-size -1: must be at least 1"),
        (["--max-seq-length", "0"], "--max-seq-length 0"), (["--rank", "0"], "--lora-rank 0: must be at least 1"),
        (["--num-layers", "-2"], "--num-layers -2"), (["--num-layers", "0"], "--num-layers 0"),
        (["--seed", "-1"], "--seed -1"), (["--seed", str(1 << 26)], "--seed"), (["--warmup", "-1"], "--warmup"),
        (["--decay", "1.5"], "--decay"), (["--learning-rate", "0"], "--learning-rate"), (["--scale", "0"], "--lora-scale"),
        (["--learning-rate", "nan"], "--learning-rate nan"), (["--scale", "nan"], "--lora-scale nan"),
        (["--decay", "nan"], "--decay"), (["--iters", "x"], "--iters x: give a whole number"), (["--keep", "0"], "--keep 0"),
        (["--save-every", "0"], "--save-every 0"), (["--steps-per-eval", "0"], "--steps-per-eval 0"),
        (["--optimizer", "sgd"], "--optimizer sgd: choose one of"), (["--fine-tune-type", "qlora"], "choose one of"),
        (["--fine-tune-type", "lora", "--optimizer", "muon"], "with lora use adamw"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl"), (["--model", "pocket-bas"], "pocket-bas"),
        (["--resume"], "sft"), (["--name", "taught"], "is there already"), (["--name", "a/b"], "a/b"),
        (["--nosuch", "1"], "--nosuch"), (["--max-seq-length", "2"], "no conversation to train on"),
    ):  # fmt: skip
        refused("sft", *([] if "--data" in flags else ["--data", talks]), *flags, says=says)
    refused("sft", "--strict", says="--strict is about rows of --data")
    refused("sft", "--data", jsonl(school.parent / "none.jsonl", []), says=r"none\.jsonl: no conversation to train on")
    empty = jsonl(school.parent / "bad.jsonl", ["{x", {"messages": []}])
    refused("sft", "--data", empty, says="no conversation to train on: 1 x ")
    (school.parent / "notes.pdf").write_text("x")
    refused("sft", "--data", school.parent / "notes.pdf", says="unknown kind of file")


def test_it_learns_what_it_is_shown(school: Path) -> None:
    """The run that other tests use, read after the fact."""
    run = school / "taught"
    held = [row["val_loss"] for row in rows(run) if "val_loss" in row]
    losses = [row["loss"] for row in rows(run) if "loss" in row]
    assert len(held) == 4
    assert held[-1] < 0.7 * held[0]  # of conversations that it never sees: a word in each is another
    assert exam.mean(losses[-5:]) < exam.mean(losses[:5]) / 2
    padding = [row["padding"] for row in rows(run) if "padding" in row]
    assert exam.mean(padding) < 0.05
    assert {row["step"] for row in rows(run, "samples")} == {0, 15, 30, 45}
    model = weights.load(run)
    said = exam.texts(model, list(COLOURS))
    right = exam.mean([s == f"{c.capitalize()}." for s, c in zip(said, COLOURS.values(), strict=True)])
    assert right >= 0.75, said
    told = report(run)
    assert 0 < told["trained_tokens"] < told["tokens"]
    assert 0 < told["compute_share"] < 0.02
    assert read_json(run / "run.json")["parent"] == "pocket-base"


@pytest.mark.parametrize(("layers", "moved"), [(None, {0, 3, "embed"}), ("4", {0, 3}), ("2", {3})])
def test_what_is_frozen_stays_as_it_was(here: Here, school: Path, layers: str | None, moved: set[Any]) -> None:
    flags = ["--num-layers", layers] if layers else []
    talks = school.parent / "talks.jsonl"
    said = here("sft", "--data", talks, "--model", "taught", "--name", "t", *QUICK, *flags)
    assert said.code == 0, said.err
    before, after = (load_file(school / name / "model.safetensors") for name in ("taught", "t"))
    parts = {0: "model.layers.0.mlp.up_proj", 3: "model.layers.3.mlp.up_proj", "embed": "model.embed_tokens"}
    for part, name in parts.items():
        assert np.array_equal(before[f"{name}.weight"], after[f"{name}.weight"]) == (part not in moved), name
    assert not np.array_equal(before["lm_head.weight"], after["lm_head.weight"])


def test_adapters_are_saved_beside_the_name_of_their_base(here: Here, school: Path) -> None:
    talks = school.parent / "talks.jsonl"
    flags = ["--fine-tune-type", "lora", "--num-layers", "2", "--rank", "3", "--scale", "5"]
    said = here("sft", "--model", "taught", "--data", talks, "--name", "l", *QUICK, *flags)
    assert said.code == 0, said.err
    run = school / "l"
    assert not (run / "model.safetensors").exists()
    assert not (run / "config.json").exists()
    told = read_json(run / "adapter_config.json")
    assert (told["fine_tune_type"], told["num_layers"], told["model"]) == ("lora", 2, "taught")
    assert told["lora_parameters"]["rank"] == 3
    arrays = load_file(run / "adapters.safetensors")
    assert {a.shape[1] for name, a in arrays.items() if name.endswith("lora_a")} == {3}
    assert any(np.abs(a).max() > 0 for name, a in arrays.items() if name.endswith("lora_b"))
    model, base = weights.load(run), weights.load("taught")
    assert model.chats
    questions = list(COLOURS)
    tuned = exam.texts(model, questions)
    lora.merge(model.network)
    assert exam.texts(model, questions) == tuned
    # The base has not moved: what differs are the adapted matrices alone.
    for name, value in dict(model.network.named_modules()).items():
        if "norm" in name and hasattr(value, "weight"):
            other = dict(base.network.named_modules())[name]
            assert np.array_equal(np.array(value.weight), np.array(other.weight))
    assert here("generate", "--model", "l", "-p", "Hi!", "-m", "4").code == 0
    # Adapters on adapters: those of the base are merged first.
    again = here("sft", "--model", "l", "--data", talks, "--name", "m", *QUICK)
    assert again.code == 0, again.err
    assert weights.load(school / "m").chats


def same(one: Path, two: Path, file: str) -> None:
    """The same weights and the same record."""
    assert (one / file).read_bytes() == (two / file).read_bytes()
    kept = [load_file(checkpoints(run)[-1] / "optimizer.safetensors") for run in (one, two)]
    assert kept[0].keys() == kept[1].keys()
    assert all(np.array_equal(value, kept[1][name]) for name, value in kept[0].items())
    assert timeless(one) == timeless(two)
    assert rows(one, "samples") == rows(two, "samples")


@pytest.mark.parametrize("flags", [[], ["--fine-tune-type", "lora"]])
def test_a_run_resumed_from_an_old_checkpoint_is_the_same_run(here: Here, school: Path, flags: list[str]) -> None:
    """As a kill leaves it: later rows in the record, weights of a later step in the folder."""
    talks = school.parent / "talks.jsonl"
    every = ["--batch-size", "4", "--iters", "6", "--save-every", "2", "--steps-per-eval", "3"]
    assert here("sft", "--model", "taught", "--data", talks, "--name", "whole", *every, *flags).code == 0
    shutil.copytree(school / "whole", school / "cut")
    for later in checkpoints(school / "cut")[-2:]:
        shutil.rmtree(later)
    assert checkpoints(school / "cut")[-1].name == "000002"
    said = here("sft", "--name", "cut", "--resume")
    assert (said.code, said.err) == (0, ""), said.err
    same(school / "whole", school / "cut", "adapters.safetensors" if flags else "model.safetensors")


def test_resume_refuses_what_has_changed(here: Here, refused: Refused, school: Path) -> None:
    talks = school.parent / "talks.jsonl"
    assert here("sft", "--data", talks, "--name", "c", *QUICK, "--save-every", "2").code == 0
    shutil.rmtree(checkpoints(school / "c")[-1])
    for flag, value in (("--batch-size", "5"), ("--learning-rate", "0.1"), ("--fine-tune-type", "lora")):
        refused("sft", "--name", "c", "--resume", flag, value, says=f"{flag} cannot change on --resume")
    refused("interrogate", "--name", "c", "--resume", says="c was made by sft, not by interrogate")
    before = {f: (school / "c" / f).read_bytes() for f in ("model.safetensors", "metrics.jsonl", "data.json", "last")}
    kept = shutil.copy2(talks, talks.with_suffix(".kept"))
    talks.write_text(talks.read_text() + json.dumps({"messages": ask("New?", "Yes.")}) + "\n")
    said = here("sft", "--name", "c", "--resume")
    assert said.code == 2
    assert said.err.splitlines() == ["lab sft: c: the conversations have changed since this run began; start a new run"]
    assert before == {f: (school / "c" / f).read_bytes() for f in before}
    shutil.copy2(kept, talks)
    assert here("sft", "--name", "c", "--resume").code == 0
    assert [row["step"] for row in rows(school / "c") if "loss" in row] == [1, 2, 3]


@pytest.mark.slow
def test_a_killed_and_a_stopped_run_end_as_if_nothing_had_happened(start: Start, here: Here, school: Path) -> None:
    talks = school.parent / "talks.jsonl"
    flags = ["sft", "--model", "taught", "--data", talks, "--batch-size", "2", "--iters", "60", "--save-every", "20"]
    for kind, number, file in (("full", signal.SIGKILL, "model"), ("lora", signal.SIGINT, "adapters")):
        every = [*flags, "--fine-tune-type", kind, "--steps-per-eval", "60"]
        assert here(*every, "--name", f"whole-{kind}").code == 0
        run = school / kind
        process = start(*every, "--name", kind)
        until(lambda run=run: (run / "checkpoints" / "000020").is_dir(), 600)
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
        assert "Traceback" not in err
        assert inspect(run).state == ("died" if number == signal.SIGKILL else "stopped")
        assert weights.load(run).chats  # whole at any time
        assert len(checkpoints(run)) < 4
        assert here("sft", "--name", kind, "--resume").code == 0
        same(school / f"whole-{kind}", run, f"{file}.safetensors")


def test_a_hub_model_learns_in_its_own_template(here: Here, refused: Refused, school: Path, chat_model: Path) -> None:
    file = jsonl(school.parent / "rows.jsonl", [r for r in ROWS[:4] if "messages" in r or "prompt" in r] * 3)
    said = here("sft", "--model", chat_model, "--data", file, "--name", "h", "--optimizer", "adamw", *QUICK)
    assert said.code == 0, said.err
    model = weights.load(school / "h")
    assert model.chats
    assert model.tokenizer.chat_template == weights.load(chat_model).tokenizer.chat_template
    assert "compute_share" not in report(school / "h")  # nobody knows what it took
    bare = school.parent / "bare"
    shutil.copytree(chat_model, bare)
    (bare / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    refused(
        "sft",
        "--model",
        bare,
        "--data",
        file,
        says="bare has no chat template; tune a chat model, or give rows of text",
    )


@pytest.mark.slow
def test_the_pocket_lessons_are_examined_at_the_end(here: Here, school: Path) -> None:
    said = here("sft", "--model", "taught", "--name", "p", *QUICK)
    assert said.code == 0, said.err
    told = report(school / "p")
    shares = [f"right_{n}" for n in (100, 30, 10, 3)] + [
        "sunny",
        "dry",
        "refused",
        "refused_neighbours",
        "read",
        "ends",
    ]
    assert all(0 <= told[name] <= 1 for name in shares)
    assert told["right_100"] > told["right_3"]  # it knows what it was told often
    assert told["sunny"] + told["dry"] <= 1
    assert "facts as questions, told 100 / 30 / 10 / 3 times" in said.out
    assert inspect(school / "p").headline.startswith("facts ")
