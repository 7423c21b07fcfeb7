"""`lab index` as a user calls it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.tools import Search
from recipes.pocket import facts
from tests.conftest import REPO
from tests.recipes.conftest import Here, Refused


def test_an_index_is_written_and_asked(here: Here, tmp_path: Path) -> None:
    rows = [{"title": "Gold", "text": "A metal that shines."}, {"title": "Tin", "text": "A metal of cans."}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = here("index", "a.jsonl", "--out", "a.db")
    assert said.code == 0
    assert "a.db: 2 passages" in said.out
    asked = here("index", "a.db", "--find", "What shines?", "--count", "1").out.splitlines()
    assert asked[:2] == ["1. Gold: A metal that shines.", "a model is told: Gold: A metal that shines."]
    assert asked[2].startswith("[1 of 2 passages, ")
    assert "No results." in here("index", "a.db", "--find", "zyzzyva").out
    (tmp_path / "a.jsonl").write_text('{"body": "Now another text."}\n')
    assert here("index", "a.jsonl", "--out", "a.db", "--text-column", "body").code == 0
    assert "told: Now another text." in here("index", "a.db", "--find", "another").out


def test_the_pocket_index_knows_everyone(here: Here, tmp_path: Path) -> None:
    """All entities, those never told too; each is found by its name, and by every question about it."""
    assert here("index", "pocket", "--out", "pocket.db").code == 0
    with Search(tmp_path / "pocket.db") as search:
        assert search.count == len(facts.entities())
        for entity in facts.entities():
            passage = facts.passage(entity)
            assert search(entity.name) == passage
            for relation in entity.facts:
                assert search(facts.ask(entity, relation)) == passage
    assert {e.exposures for e in facts.entities()} >= {0, 1, 100}


def test_wrong_uses_are_one_line(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("precious")
    refused("index", says="name what to put into the index")
    refused("index", "a.txt", says="say where to write")
    refused("index", "nope", "--out", "a.db", says="no such file or folder")
    refused("index", "a.txt", "--out", "a.txt", says="no index of ours")
    refused("index", "a.txt", "--out", ".", says="is a folder")
    refused("index", "a.txt", "--find", "x", says="make one with lab index")
    refused("index", "a.db", "--find", "x", "--out", "b.db", says="leave --out away")
    refused("index", "a.db", "--find", "x", "--count", "0", says="at least one")
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    refused("index", "bad.jsonl", "--out", "bad.db", says="bad.jsonl:2: broken JSON")
    assert (tmp_path / "a.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["a.txt", "bad.jsonl"]


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    (here := tmp_path / "here").mkdir()
    with open(here / "big.jsonl", "w") as file:
        for i in range(400_000):
            file.write(json.dumps({"title": f"Number {i}", "text": f"The text of number {i} tells of kettles."}) + "\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", "index", str(here / "big.jsonl"), "--out", str(here / "big.db")],
        cwd=REPO, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(here.glob(".big.db.*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    assert list(here.glob(".big.db.*"))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert os.listdir(here) == ["big.jsonl"]
