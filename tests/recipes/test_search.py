"""`lab search` and `lab code` from the outside: models that learn to call tools, and what is refused."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from lab import chat, weights
from lab.calls import Toolbox
from lab.runs import checkpoints, inspect, read_json
from lab.tools import Python, Search
from recipes import pocket
from recipes.lessons import exam
from tests.recipes.conftest import Here, Refused
from tests.recipes.taught import COLOURS, OWNERS, jsonl, report, rows

FEW = ["--batch-size", "4", "--iters", "2"]


@pytest.fixture
def labels(school: Path) -> Path:
    """A knowledge.jsonl: one thing known, one not, one unsure."""
    rows: list[dict[str, Any]] = [
        {"question": q, "answer": a, "about": q, "label": "known", "messages": [
            {"role": "user", "content": q}, {"role": "assistant", "content": f"{a.capitalize()}."}
        ]}
        for q, a in COLOURS.items()
    ]  # fmt: skip
    return jsonl(school.parent / "labels.jsonl", [*rows, dict(rows[0], label="unknown"), {"label": "unsure"}])


@pytest.fixture
def notes(here: Here, school: Path) -> tuple[Path, Path]:
    """(questions with what to search for, an index that holds the answers of all but the last two)."""
    folder = school.parent / "notes"
    folder.mkdir()
    for i, (question, who) in enumerate(OWNERS.items()):
        if i < 6:
            thing = question.removeprefix("Who has the ").removesuffix("?")
            (folder / f"{thing}.md").write_text(f"# {thing}\n\nThe {thing} is old. {who} has the {thing} at home.\n")
    data = jsonl(school.parent / "own.jsonl", [
        {"question": q, "answer": a, "query": q.removeprefix("Who has the ").removesuffix("?")} for q, a in OWNERS.items()
    ])  # fmt: skip
    assert here("index", folder, "--out", school.parent / "notes.db").code == 0
    return data, school.parent / "notes.db"


@pytest.mark.slow
def test_searches_in_ones_own_documents(here: Here, school: Path, notes: tuple[Path, Path]) -> None:
    data, index = notes
    flags = ["--data", data, "--index", index, "--name", "s", "--batch-size", "4", "--steps-per-eval", "100"]
    said = here("search", "--model", "taught", *flags, "--iters", "40", "--learning-rate", "0.01")
    assert said.code == 0, said.err
    assert read_json(school / "s" / "data.json")["conversations"] == 4
    assert "with notes.db (6 passages):" in said.out
    told = report(school / "s")
    assert {"called_asked", "copied_asked", "right_asked", "admitted_asked", "invented_asked"} <= told.keys()
    assert told["right_asked"] + told["admitted_asked"] + told["invented_asked"] == pytest.approx(1)
    assert told["called_asked"] >= 0.75  # four short lessons, seen forty times each
    # And so it does in a chat: the result that follows its call is the index's own.
    model = weights.load("s")
    with Search(index) as tool, Toolbox(model.tokenizer, [tool]) as tools:
        found = [chat.parts(reply) for reply in exam.replies(model, list(OWNERS), tools=tools)]
        calls = [(p[0]["text"], p[1]["text"]) for p in found if [x["type"] for x in p[:2]] == ["call", "result"]]
        assert len(calls) >= 4
        assert [r for _, r in calls] == [tool(q) for q, _ in calls]


def test_the_lessons_hold_what_the_index_says(school: Path, notes: tuple[Path, Path]) -> None:
    from recipes import search

    data, index = notes
    with Search(index) as tool:
        taught, scored = search.own(search.Config(data=str(data), index=str(index), seed=3), tool)
        assert len(taught) == len(scored) == 4
        assert not {one.question for one in scored} & {talk[0]["content"] for talk in taught}
        for talk in taught:
            call, result, reply = chat.parts(talk[1])
            assert result["text"] == tool(call["text"])
            answer = OWNERS[str(talk[0]["content"])]
            helped = re.search(rf"\b{answer}\b", result["text"]) is not None
            assert (reply["text"] == f"{answer}.") == helped
            assert ("not know" in reply["text"]) != helped


def test_what_search_refuses(refused: Refused, school: Path, notes: tuple[Path, Path], labels: Path) -> None:
    (data, index), taught = notes, ["--model", "taught"]
    refused("search", *taught, says="taught was never interrogated; run lab interrogate first, or give --labels FILE")
    refused("search", says="pocket-honest")  # it is not here
    refused("search", *taught, "--data", data, says="--data and --index belong together")
    refused("search", *taught, "--index", index, says="--data and --index belong together")
    refused("search", *taught, "--labels", "gone.jsonl", says="gone.jsonl: no such file")
    refused("search", *taught, "--data", data, "--index", "gone.db", says="gone.db: no such file")
    refused("search", *taught, "--data", data, "--index", data, says="own.jsonl: no index")
    refused("search", *taught, "--data", index, "--index", index, says=r"notes\.db")
    own = [*taught, "--data", data, "--index", index]
    refused("search", *own, "--max-seq-length", "5", says="a lesson does not fit: .*raise --max-seq-length")
    refused("search", *own, "--iters", "0", says="--iters 0: must be at least 1")
    unknown = jsonl(school.parent / "unknown.jsonl", [json.loads(labels.read_text().splitlines()[-2])])
    refused("search", *taught, "--labels", unknown, says="unknown.jsonl: nothing in it is known")
    refused("search", *taught, "--labels", jsonl(unknown, [{"label": "known"}]), says="row 1: no messages")
    refused("search", *taught, "--labels", jsonl(unknown, [{"a": 1}]), says="row 1: it has no")


def test_what_code_refuses(refused: Refused, school: Path, labels: Path) -> None:
    refused("code", says="pocket-search")  # it is not here
    refused("code", "--model", "taught", "--iters", "0", says="--iters 0")
    refused("code", "--model", "taught", "--labels", "gone.jsonl", says="gone.jsonl")
    refused("code", "--model", "taught", "--labels", jsonl(labels, [{"label": "known"}]), says="row 1: no messages")


@pytest.mark.slow
def test_the_pocket_world_is_searched(here: Here, school: Path, labels: Path) -> None:
    said = here("search", "--model", "taught", "--labels", labels, "--name", "s", *FEW)
    assert said.code == 0, said.err
    run = school / "s"
    with Search(run / "pocket.db") as tool:
        assert tool.count == len(pocket.entities())
        assert "Paris" in tool("France")
        stranger = pocket.fresh_person(1, "test")
        assert stranger.name not in tool(stranger.name)
    assert not (run / "empty.db").exists()
    told = report(run)
    for group in ("100x", "30x", "10x", "3x", "never", "pocket_absent", "empty_absent"):
        assert 0 <= told[f"called_{group}"] <= 1
        assert sum(told[f"{v}_{group}"] for v in ("right", "admitted", "invented")) == pytest.approx(1)
    assert "the index is empty" in said.out
    assert inspect(run).headline.startswith("never-seen right ")
    assert weights.load(run).chats
    asked = here("chat", "--model", "s", "--search", run / "pocket.db", "--max-tokens", "8", stdin=b"Who is Emma?\n")
    assert asked.code == 0, asked.err


@pytest.mark.slow
def test_the_pocket_world_is_computed(here: Here, school: Path) -> None:
    said = here("code", "--model", "taught", "--name", "c", *FEW)
    assert said.code == 0, said.err
    told = report(school / "c")
    kinds = ["counting", "sums", "problems", *(f"decimals_{pair.replace(' ', '_')}" for pair in pocket.PAIRS)]
    assert {f"{kind}_{way}" for kind in kinds for way in ("head", "code")} <= told.keys()
    assert all(0 <= told[f"{kind}_head"] <= 1 for kind in kinds)
    assert read_json(school / "c" / "before.json") == {f"{kind}_head": told[f"{kind}_head"] for kind in kinds}
    assert len(checkpoints(school / "c")) == 2
    assert [row["step"] for row in rows(school / "c") if "loss" in row] == [1, 2]
    before, after = (load_file(school / name / "model.safetensors") for name in ("taught", "c"))
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert same == {"model.embed_tokens.weight"}  # names stay what they were
    # What it learns on is real: the tool says to this just what the lesson shows.
    with Python() as tool:
        assert tool("max(9.11, 9.9)") == "9.9"
    assert not [name for name in os.listdir(school / "c") if name.endswith(".tmp")]
