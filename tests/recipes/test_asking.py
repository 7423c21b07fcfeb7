"""`lab interrogate` while it asks: stopped, gone on with, and with a judge that reads the replies."""

import json
import signal
import time
from pathlib import Path

import pytest

from lab import match, weights
from lab.judge import Claim, Judge
from lab.runs import inspect, read_json, read_lines
from recipes import asking
from tests.recipes.conftest import Here, Start, until
from tests.recipes.taught import COLOURS, jsonl, questions, rows


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_asked_and_resume_asks_the_rest(here: Here, start: Start, school: Path) -> None:
    """The same rows as of a run that nobody stopped; what was asked is not asked again."""
    many = [{"question": f"{q} {i}", "answer": a} for i in range(150) for q, a in COLOURS.items()]
    data = jsonl(school.parent / "many.jsonl", many)
    flags = ["interrogate", "--model", "taught", "--data", str(data), "--ask-only"]
    assert here(*flags, "--name", "whole").code == 0
    process = start(*flags, "--name", "cut")
    file = school / "cut" / asking.FILE
    until(lambda: file.exists() and file.stat().st_size, 300)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=300)
    assert time.monotonic() - began < 60  # a second or two where nothing else runs
    assert process.returncode == 0
    kept = list(read_lines(file))
    assert 0 < len(kept) < 600
    assert len(kept) % 64 == 0
    line = f"Stopped: {len(kept)} of 600 questions are asked, and kept. Go on: lab interrogate --name cut --resume"
    assert out.splitlines()[-1] == line
    assert "Traceback" not in err
    assert not (school / "cut" / "knowledge.jsonl").exists()
    assert inspect(school / "cut").state == "stopped"
    with open(file, "a") as torn:
        torn.write('{"question": "Wh')  # as a power cut leaves it
    assert here("interrogate", "--name", "cut", "--resume").code == 0
    assert (school / "cut" / "knowledge.jsonl").read_bytes() == (school / "whole" / "knowledge.jsonl").read_bytes()
    assert not file.exists()
    assert inspect(school / "cut").state == "done"


@pytest.mark.slow
def test_a_judge_reads_what_does_not_hold_the_answer(here: Here, school: Path, chat_model: Path) -> None:
    """A real one, if small and without any sense: what it calls right is right, and what holds the answer is not asked."""
    data = jsonl(school.parent / "other.jsonl", [one | {"answer": one["answer"] + " now"} for one in questions()])
    said = here("interrogate", "--model", "taught", "--data", data, "--judge", chat_model, "--ask-only", "--name", "j")
    assert said.code == 0, said.err
    judge = Judge(weights.load(str(chat_model)), calibrated=True)
    found = {"right": 0, "invented": 0}
    for row in rows(school / "j", "knowledge"):
        claims = [Claim(row["question"], reply, [row["answer"]]) for reply in row["replies"]]
        for claim, verdict, p in zip(claims, row["verdicts"], judge.verdicts(claims), strict=True):
            if verdict != "admitted":
                right = match.matches(claim.reply, claim.answers) or (p is not None and p.p > 0.5)
                assert (verdict == "right") == right
                found[verdict] += 1
    assert judge.asked == 0  # every verdict was kept
    assert found["right"] + found["invented"] > 20
    assert read_json(school / "j" / "run.json")["config"]["judge"] == str(chat_model)


def test_files_of_a_run_are_kept_in_full(here: Here, school: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was started with names of files beside it goes on from anywhere."""
    known = [
        {"question": q, "about": q, "label": "known", "messages": [
            {"role": "user", "content": q}, {"role": "assistant", "content": f"{a.capitalize()}."}
        ]}
        for q, a in COLOURS.items()
    ]  # fmt: skip
    here_now = Path.cwd()
    jsonl(here_now / "labels.jsonl", known)
    owners = questions()[8:]
    jsonl(here_now / "own.jsonl", [one | {"query": one["question"].split()[-1].rstrip("?")} for one in owners])
    (here_now / "notes.txt").write_text("\n\n".join(f"{one['question']} {one['answer']}." for one in owners))
    assert here("index", "notes.txt", "--out", "notes.db").code == 0
    files = ["--data", "own.jsonl", "--index", "notes.db", "--labels", "labels.jsonl"]
    said = here("search", "--model", "taught", *files, "--name", "s", "--iters", "2", "--batch-size", "4")
    assert said.code == 0, said.err
    config = read_json(school / "s" / "run.json")["config"]
    for name, file in (("data", "own.jsonl"), ("index", "notes.db"), ("labels", "labels.jsonl")):
        assert config[name] == str((here_now / file).resolve())
    passport = read_json(school / "s" / "run.json")
    passport["config"]["iters"] = 3
    (school / "s" / "run.json").write_text(json.dumps(passport))
    monkeypatch.chdir(school)
    again = here("search", "--name", "s", "--resume")
    assert again.code == 0, again.err
    assert inspect(school / "s").step == 3
    monkeypatch.chdir(here_now)
    assert here("search", "--name", "s", "--resume", *files).code == 0  # the same files, named as before
