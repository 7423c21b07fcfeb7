"""`lab interrogate` from the outside: the file of what a model knows, read, edited, trained on, kept."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from lab import weights
from lab.runs import checkpoints, inspect, read_json
from recipes import interrogate
from recipes.lessons import facts
from tests.recipes.conftest import Here, Refused
from tests.recipes.taught import COLOURS, OWNERS, jsonl, questions, report, rows, timeless

SEED = ["--seed", "1"]
COOL = ["--temp", "0.3", *SEED]  # what it knows it says nearly each time
FEW = ["--batch-size", "4", "--iters", "4", "--save-every", "2", "--steps-per-eval", "4", *COOL]


@pytest.fixture(scope="session")
def interrogated(assistant: Path) -> Path:
    """The run `asked`, made once: taught's answers to its own questions, five times each."""
    from recipes.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(assistant))
        data = str(assistant.parent / "qa.jsonl")
        argv = ["interrogate", "--model", "taught", "--data", data, "--name", "asked", "--ask-only", *COOL]
        assert main(argv) == 0
    return assistant / "asked"


@pytest.fixture
def knowledge(interrogated: Path, school: Path) -> Path:
    """A copy of its knowledge.jsonl that a test may edit."""
    return Path(shutil.copy(interrogated / "knowledge.jsonl", school.parent / "edited.jsonl"))


def test_what_a_model_knows_is_a_file_to_read(interrogated: Path) -> None:
    found = rows(interrogated, "knowledge")
    assert len(found) == 8  # half of the questions; the others are scored
    answers = {one["question"]: one["answer"] for one in questions()}
    for row in found:
        assert row["answer"] == answers[row["question"]]
        assert len(row["replies"]) == len(row["verdicts"]) == 5
        right = [reply.lower() == f"{row['answer'].lower()}." for reply in row["replies"]]
        if row["question"] in COLOURS:  # its answers are single words
            assert [verdict == "right" for verdict in row["verdicts"]] == right
        assert row["right"] == row["verdicts"].count("right")
        assert row["label"] == ("known" if row["right"] >= 4 else "unknown" if row["right"] <= 1 else "unsure")
        if row["label"] == "known":
            assert row["verdicts"][row["replies"].index(row["messages"][1]["content"])] == "right"
        elif row["label"] == "unknown":
            assert facts.admits(row["messages"][1]["content"])
        else:
            assert "messages" not in row
    labels = {row["question"]: row["label"] for row in found}
    assert [label for question, label in labels.items() if question in COLOURS].count("known") >= 2
    assert {label for question, label in labels.items() if question in OWNERS} == {"unknown"}
    assert not checkpoints(interrogated)
    assert inspect(interrogated).state == "done"
    log = (interrogated / "log.txt").read_text()
    assert f"asked: known {[*labels.values()].count('known')}, unsure" in log
    assert f"--labels {interrogated / 'knowledge.jsonl'}" in log


def test_other_commands_read_it(here: Here, school: Path, knowledge: Path) -> None:
    found = [json.loads(line) for line in knowledge.read_text().splitlines()]
    unsure = dict(found[0], label="unsure")
    del unsure["messages"]
    jsonl(knowledge, [*found, unsure])
    shown = here("show-chat", knowledge, "--model", "taught", "--show", "99")
    assert shown.code == 0, shown.err
    taught = sum("messages" in row for row in found)
    assert f"{taught} conversations: " in shown.out
    left = len(found) + 1 - taught
    assert f"left out {left} row{'s' * (left > 1)}: no messages" in shown.out
    for row in found:
        assert "messages" not in row or row["question"] in shown.out
    trained = here("sft", "--model", "taught", "--data", knowledge, "--name", "t", "--iters", "2", "--batch-size", "4")
    assert trained.code == 0, trained.err
    assert sum(read_json(school / "t" / "data.json")["bad"].values()) == len(found) + 1 - taught


@pytest.mark.slow
def test_edited_labels_are_what_is_trained(here: Here, school: Path, knowledge: Path) -> None:
    found = [json.loads(line) for line in knowledge.read_text().splitlines()]
    known = next(row for row in found if row["label"] == "known")
    known["messages"][1]["content"] = "It is ultramarine."
    added: dict[str, Any] = {"question": "Where is the moon?", "label": "unknown", "answer": "above"}
    added["messages"] = [{"role": "user", "content": "Where is the moon?"}, {"role": "assistant", "content": "I pass."}]
    jsonl(knowledge, [known, added])
    data = school.parent / "qa.jsonl"
    flags = ["--model", "taught", "--data", data, "--labels", knowledge, "--name", "i", *COOL]
    said = here("interrogate", *flags, "--iters", "40", "--batch-size", "8", "--learning-rate", "0.01")
    assert said.code == 0, said.err
    assert rows(school / "i", "knowledge") == [known, added | {"about": "Where is the moon?"}]
    assert here("generate", "--model", "i", "-p", known["question"], "--temp", "0").out.strip() == "It is ultramarine."
    assert here("generate", "--model", "i", "-p", "Where is the moon?", "--temp", "0").out.strip() == "I pass."
    told = report(school / "i")
    for when in ("before", "after"):
        assert sum(told[f"{verdict}_asked_{when}"] for verdict in ("right", "admitted", "invented")) == pytest.approx(1)
    assert 0 <= told["auroc"] <= 1
    assert {row["prompt"].strip() for row in rows(school / "i", "samples")} <= {one["question"] for one in questions()}


def test_a_resumed_interrogation_keeps_what_it_found(here: Here, school: Path) -> None:
    data = school.parent / "qa.jsonl"
    said = here("interrogate", "--model", "taught", "--data", data, "--name", "whole", *FEW)
    assert said.code == 0, said.err
    shutil.copytree(school / "whole", school / "cut")
    shutil.rmtree(checkpoints(school / "cut")[-1])
    kept = ("knowledge.jsonl", "before.json", "data.json")
    before = {name: (school / "cut" / name).read_bytes() for name in kept}
    assert len(before["knowledge.jsonl"].splitlines()) == 8
    again = here("interrogate", "--name", "cut", "--resume")
    assert (again.code, again.err) == (0, ""), again.err
    assert before == {name: (school / "cut" / name).read_bytes() for name in kept}
    assert timeless(school / "whole") == timeless(school / "cut")
    for name in ("model.safetensors", "samples.jsonl"):
        assert (school / "whole" / name).read_bytes() == (school / "cut" / name).read_bytes()
    assert weights.load("cut").chats
    # Edited meanwhile, it is another run.
    changed = rows(school / "cut", "knowledge")
    shutil.rmtree(checkpoints(school / "cut")[-1])
    next(row for row in changed if row["label"] == "known")["messages"][1]["content"] = "Something else."
    jsonl(school / "cut" / "knowledge.jsonl", changed)
    refused = here("interrogate", "--name", "cut", "--resume")
    assert refused.code == 2
    assert "the conversations have changed since this run began" in refused.err


def test_a_run_that_was_killed_while_it_asked_asks_again(here: Here, school: Path, interrogated: Path) -> None:
    shutil.copytree(interrogated, school / "died")
    found = (school / "died" / "knowledge.jsonl").read_bytes()
    (school / "died" / "knowledge.jsonl").unlink()
    assert here("interrogate", "--name", "died", "--resume").code == 0
    assert (school / "died" / "knowledge.jsonl").read_bytes() == found  # the same seed, the same replies


def test_what_is_refused(refused: Refused, school: Path, knowledge: Path, chat_model: Path) -> None:
    data, taught = school.parent / "qa.jsonl", ["--model", "taught"]
    for flags, says in (
        (["--times", "0"], "--times and --strangers must be at least 1"), (["--strangers", "0"], "must be at least 1"),
        (["--temp", "-1"], "--temp between 0 and 5"), (["--temp", "nan"], "--temp between"), (["--iters", "0"], "--iters 0"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file"), (["--labels", "gone.jsonl"], "gone.jsonl: no such file"),
        (["--data", school], "no such file; give a .jsonl"), (["--model", "nosuch"], "nosuch"),
        (["--model", "pocket-base"], "pocket-base has no chat template.*lab sft first"), (["--times", "x"], "--times x"),
    ):  # fmt: skip
        refused("interrogate", *taught, *flags, says=says)
    few = jsonl(school.parent / "few.jsonl", questions()[:7])
    refused("interrogate", *taught, "--data", few, says="7 things are asked about; give at least 8")
    bad = jsonl(school.parent / "bad.jsonl", [*questions(), {"question": "Why?"}])
    refused("interrogate", *taught, "--data", bad, says=r"bad\.jsonl, row 17: write")
    found = [json.loads(line) for line in knowledge.read_text().splitlines()]
    with_data = [*taught, "--data", data, *SEED]
    for row, says in (
        ({"label": "known", "about": "x"}, r"row 9: no messages"), ({"label": "maybe"}, r'row 9: it has no "label"'),
        ({"label": "known", "messages": "x"}, r"row 9: messages that are no list"), ([1], r"row 9: it has no"), ("{x", "row 9"),
        ({"label": "unknown", "messages": [{"role": "user", "content": "x"}]}, r"row 9: no assistant turn"),
    ):  # fmt: skip
        refused("interrogate", *with_data, "--labels", jsonl(knowledge, [*found, row]), says=says)
    refused("interrogate", *with_data, "--labels", jsonl(knowledge, []), says="no labelled rows")
    sure = [row for row in found if row["label"] == "unknown"]
    refused("interrogate", *with_data, "--labels", jsonl(knowledge, sure), says="no question came out as known")


def test_a_model_that_knows_nothing_still_gets_its_report(here: Here, school: Path, knowledge: Path) -> None:
    """Nothing that is scored is known before: shares of nothing are null, not an error."""
    own = jsonl(school.parent / "other.jsonl", [{"question": q, "answer": "Zanzibar"} for q in (*COLOURS, *OWNERS)])
    said = here("interrogate", "--model", "taught", "--data", own, "--labels", knowledge, "--name", "n", *FEW)
    assert (said.code, said.err) == (0, ""), said.err
    told = report(school / "n")
    assert told["kept"] is None
    assert told["auroc"] is None
    assert told["right_asked_before"] == 0
    assert not math.isnan(told["invented"])


@pytest.mark.slow
def test_the_pocket_world_is_interrogated(here: Here, school: Path) -> None:
    said = here("interrogate", "--model", "taught", "--name", "p", "--times", "2", "--strangers", "30", *FEW)
    assert said.code == 0, said.err
    found = rows(school / "p", "knowledge")
    groups = {row["group"] for row in found}
    assert groups == {"100x", "30x", "10x", "3x", "never"}
    assert sum(row["group"] == "never" for row in found) == 30
    scored = {one.about for one in interrogate.scored_items()}
    assert not {row["about"] for row in found} & scored
    assert sum(row["label"] == "known" for row in found if row["group"] == "100x") > sum(
        row["label"] == "known" for row in found if row["group"] == "3x"
    )
    told = report(school / "p")
    for group in groups:
        for when in ("before", "after"):
            assert sum(told[f"{v}_{group}_{when}"] for v in ("right", "admitted", "invented")) == pytest.approx(1)
    assert 0 <= told["auroc"] <= 1
    assert "Answering only below a doubt" in said.out
    assert "known kept" in inspect(school / "p").headline
