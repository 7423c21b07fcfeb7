"""What is somebody else's stays: files that a command would have written into, and hours before a mistake is told."""

import json
from pathlib import Path

import pytest

from lab import rankings
from lab.errors import UserError
from recipes.bestof import Pool
from tests.conftest import REPO
from tests.recipes.conftest import Here, Refused


def mine(path: Path) -> str:
    text = "".join(json.dumps({"messages": [{"role": "user", "content": f"hi {i}"}]}) + "\n" for i in range(3))
    path.write_text(text)
    return text


def test_rankings_are_not_added_to_conversations(tmp_path: Path) -> None:
    text = mine(tmp_path / "talks.jsonl")
    with pytest.raises(UserError, match=r"talks.jsonl, line 1: no ranking, so none are added"):
        rankings.Writer(tmp_path / "talks.jsonl")
    assert (tmp_path / "talks.jsonl").read_text() == text
    for name, rows in {
        "ours": [{"id": "a", "prompt": "p", "options": ["x", "y"], "order": [0, 1]}, {"id": "b", "undo": "a"}],
        "pairs": [{"prompt": "p", "chosen": "x", "rejected": "y"}],
        "cut": ['{"id": "a", "options": ["x", '],
        "empty": [],
    }.items():
        (tmp_path / name).write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        with rankings.Writer(tmp_path / name) as writer:
            writer.append([{"id": "c", "options": []}])
    for name, content in {"diary.md": "My diary\nline two\n", "pretty.json": '{\n  "id": 1\n}\n'}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match="no ranking"):
            rankings.Writer(tmp_path / name)
        assert (tmp_path / name).read_text() == content


def test_replies_of_a_pool_are_not_added_to_conversations(tmp_path: Path) -> None:
    mine(tmp_path / "talks.jsonl")
    pool = Pool("m", None, 4, 4, 1.0, 16, 0, tmp_path / "talks.jsonl")
    with pytest.raises(UserError, match=r"talks.jsonl, line 1: no ranking, .* name a new one"):
        pool.read()


def test_a_report_of_ones_own_is_not_replaced(here: Here, refused: Refused, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "report.md").write_text("MINE\n")
    refused("report", "--out", folder, says="report.md is there, and no card of lab report; name another folder")
    assert (folder / "report.md").read_text() == "MINE\n"
    (tmp_path / "empty.json").write_text("{}")
    refused("report", "--record", "empty.json", says="empty.json: no record is in it")
    refused("report", "--name", "nope", says="--name nope: no run of such a journey")


def test_a_wrong_flag_of_a_late_stage_is_told_before_the_first(refused: Refused, home: Path, tmp_path: Path) -> None:
    (tmp_path / "j.yaml").write_text("pretrain: {iters: 2}\nsft: {itres: 2}\n")
    refused("journey", "--flags", "j.yaml", says="--flags, sft: unknown flag --itres; did you mean --iters")
    refused("journey", "--flags", "j.yaml", "--dry-run", says="sft: unknown flag --itres")
    refused("journey", "--seed", "-1", says="--seed -1: must lie between 0 and")


def test_a_model_that_writes_no_text_is_not_asked(refused: Refused, home: Path) -> None:
    (home / "pocket-play").symlink_to(REPO / "weights" / "pocket-play")
    refused(
        "context",
        "--model",
        "pocket-play",
        says="pocket-play: made by lab selfplay, it writes no text; lab play is for it",
    )


def test_what_a_command_cannot_ask(refused: Refused, home: Path, tmp_path: Path) -> None:
    refused("decimals", "--questions", "0", says="--questions 0: ask at least 1 of each kind")
    refused("index", "pocket", "--strangers", "-5", "--out", "x.db", says="--strangers -5: give 0 to 10,000")
    refused("judge", "nofile", says="nofile: no such file; name a .jsonl or .parquet")
    refused("judge", str(tmp_path), says="is a folder; name a .jsonl or .parquet")
