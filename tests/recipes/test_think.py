"""`lab think`, `lab context` and `lab probe-knowledge` from the outside: their figures, their resume, what they refuse."""

import json
import shutil
from pathlib import Path

import pytest

from lab import weights
from lab.runs import checkpoints, inspect, read_json
from recipes import think
from recipes.commands import probe_knowledge
from tests.conftest import REPO
from tests.recipes.conftest import Here, Refused
from tests.recipes.taught import COLOURS, OWNERS, jsonl, rows, timeless

ASKED = [{"question": q, "known": q in COLOURS} for q in (*COLOURS, *OWNERS)]


@pytest.mark.slow
def test_two_ways_and_a_resume_in_the_midst_of_the_second(here: Here, school: Path) -> None:
    flags = ["--ways", "answer", "code", "--iters", "2", "--save-every", "1", "--keep", "9"]
    said = here("think", "--model", "taught", "--name", "whole", *flags)
    assert said.code == 0, said.err
    run = school / "whole"
    assert [c.name for c in checkpoints(run)] == [f"{n:06d}" for n in range(5)]
    ways = [row for row in rows(run) if row.get("event") == "way"]
    assert [row["way"] for row in ways] == ["answer", "code"]
    for row in ways:
        shares = [row[f"problems_{n}"] for n in (3, 4, 5)]
        assert row["problems"] == pytest.approx(sum(shares) / 3)
        assert 0 <= min(*shares, row["counting"]) <= max(*shares, row["counting"]) <= 1
        assert row["tokens_of_reply"] > 1
        assert row["tokens"] == 2 * think.TOKENS
        assert think.WORDS[row["way"]] in said.out
    # Each way begins with the same weights, so the same first problem lies as far from it: a way of its own each time.
    firsts = [row for row in rows(run) if "loss" in row and row["step"] in (1, 3)]
    assert firsts[0]["learning_rate"] == firsts[1]["learning_rate"]
    assert weights.load("whole").chats
    shutil.copytree(run, school / "cut")
    shutil.rmtree(checkpoints(school / "cut")[-1])
    again = here("think", "--name", "cut", "--resume")
    assert (again.code, again.err) == (0, ""), again.err
    assert timeless(run) == timeless(school / "cut")
    assert (run / "model.safetensors").read_bytes() == (school / "cut" / "model.safetensors").read_bytes()
    assert said.out.splitlines()[-2:] == again.out.splitlines()[-2:]  # the table, of both ways
    assert inspect(school / "cut").state == "done"


def test_the_lessons_of_all_ways_are_the_same_problems(school: Path) -> None:
    model = weights.load("taught")
    config = think.Config(model="taught")
    asked = {}
    for way in think.WAYS:
        made = think.lesson(config, model, way, 3)
        size = [len(sample.ids) for sample in made]
        assert sum(size) >= think.TOKENS > sum(size[:-1])
        prompts = []
        for sample in made:
            prompts.append(model.tokenizer.decode(sample.ids[: int(sample.weight.argmax())].tolist()))
        asked[way] = prompts
    few = min(map(len, asked.values()))
    assert few > 5
    assert len({tuple(prompts[:few]) for prompts in asked.values()}) == 1
    assert (
        think.lesson(config, model, "steps", 4)[0].ids.tolist()
        != think.lesson(config, model, "steps", 3)[0].ids.tolist()
    )


def test_what_think_refuses(refused: Refused, school: Path) -> None:
    for flags, says in (
        (["--ways", "answer", "nosuch"], "--ways 'nosuch': choose of 'answer', 'answer x3'"), (["--ways"], "--ways"),
        (["--iters", "0"], "--iters 0"), (["--fine-tune-type", "lora"], "--fine-tune-type lora: .*leave it out"),
        (["--model", "nosuch"], "nosuch"), (["--max-seq-length", "8"], "a lesson does not fit: .*raise --max-seq-length"),
    ):  # fmt: skip
        refused("think", "--model", "taught", *flags, says=says)


@pytest.mark.slow
def test_context_beside_weights(here: Here, school: Path) -> None:
    said = here("context", "--model", "pocket-base", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["model"] == "pocket-base"
    table = {row["told"]: row for row in found["rows"]}
    assert list(table) == [100, 30, 10, 3, 1, 0]
    for row in found["rows"]:
        assert 0 < row["questions"] <= 150
        for way in ("weights", "context", "among"):
            assert 0 <= row[f"{way}_low"] <= row[way] <= row[f"{way}_high"] <= 1
    assert table[100]["weights"] > 0.6  # it is a base model, asked in the form it was trained in
    assert table[0]["weights"] < 0.25
    said = here("context", "--model", REPO / "weights" / "pocket-search", "--json")
    row = json.loads(said.out)["rows"][-1]
    assert row["context"] > row["weights"] + 0.6  # before its eyes stands what nobody ever told it


def test_what_context_and_probe_knowledge_refuse(refused: Refused, school: Path, chat_model: Path) -> None:
    refused("context", "--model", "nosuch", says="nosuch")
    refused("context", "--seed", "x", says="--seed x: give a whole number")
    probe = ["probe-knowledge", "--model", "taught"]
    refused("probe-knowledge", "--model", "nosuch", says="nosuch")
    refused(*probe, "--against", "nosuch", says="nosuch")
    refused(*probe, "--seed", "-1", says="--seed -1: must lie between 0")
    refused("probe-knowledge", "--model", chat_model, says="chatty did not grow up in the pocket world.*--data FILE")
    refused(*probe, "--data", "gone.jsonl", says="gone.jsonl")
    file = school.parent / "asked.jsonl"
    for row, says in (
        ({"question": "x"}, r"asked\.jsonl, row 17: write"), ({"question": " ", "known": True}, "row 17: write"),
        ({"question": "x", "known": "yes"}, "row 17: write"), ([1], "row 17: write"), ("{x\n", "row 17: broken JSON"),
    ):  # fmt: skip
        refused(*probe, "--data", jsonl(file, [*ASKED, row]), says=says)
    refused(*probe, "--data", jsonl(file, ASKED[1:]), says="7 known names or questions; give at least 8")
    refused(*probe, "--data", jsonl(file, ASKED[:-1]), says="7 unknown names or questions")
    both = [row | {"name": f"n{i % 9}"} for i, row in enumerate(ASKED + ASKED)]
    refused(*probe, "--data", jsonl(file, both), says="is both known and unknown")
    long = [*ASKED, {"question": "word " * 3000, "known": True}]
    refused(
        *probe, "--data", jsonl(file, long), says=r"a question has \d+ tokens, taught reads at most \d+; shorten it"
    )


def test_ones_own_questions_are_probed_before_and_after(here: Here, school: Path) -> None:
    asked = [dict(row, question=f"{row['question']} {again}") for row in ASKED for again in ("Say!", "Now!")]
    file = jsonl(school.parent / "asked.jsonl", [row | {"name": row["question"][:-5]} for row in asked])
    assert len(probe_knowledge.own(file)) == 32
    said = here("probe-knowledge", "--model", "pocket-base", "--against", "taught", "--data", file, "--json")
    assert said.code == 0, said.err
    before, after = (json.loads(line) for line in said.out.splitlines())
    assert (before["model"], after["model"]) == ("pocket-base", "taught")
    for told in (before, after):
        assert told["names"] == 8  # half of them are held out, each asked twice
        assert told["questions"] == 16
        for part in (told["neuron"], told["probe"], told["spelling"], *told["shuffled"].values()):
            assert 0 <= part["low"] <= part["auroc"] <= part["high"] <= 1
    assert "same_neuron" in after
    table = here("probe-knowledge", "--model", "taught", "--data", file)
    assert table.code == 0, table.err
    assert "probe on the spelling alone" in table.out


@pytest.mark.slow
def test_the_base_model_tells_whom_it_was_told_of(here: Here, school: Path) -> None:
    said = here("probe-knowledge", "--model", "pocket-base", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["told"] == "pocket world"
    assert told["names"] > 100
    for part in (told["neuron"], told["probe"], told["spelling"]):
        assert 0 <= part["low"] <= part["auroc"] <= part["high"] <= 1
    # There is no such neuron: what is best on half of the names does little better on the others than chance.
    assert 0.35 < told["neuron"]["auroc"] < 0.75
    assert abs(told["shuffled"]["probe"]["auroc"] - 0.5) < 0.1
    assert read_json(school / "pocket-base" / "run.json")["recipe"] == "pretrain"
