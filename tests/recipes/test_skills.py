"""lab skills: the matrix of a lineage, its order, and what counts as lost."""

import json
from pathlib import Path

import pytest

from recipes.cli import main
from recipes.commands import skills
from tests.conftest import REPO


def test_what_is_lost_is_told_against_the_best_before() -> None:
    rows = [
        ("a", {"known": 0.9, "jokes": 1.0}),
        ("b", {"known": 0.7, "jokes": 0.2}),
        ("c", {"known": 0.8, "jokes": 0.1}),
    ]
    assert skills.lost(rows) == {"known": pytest.approx(0.1)}
    assert skills.lost(rows[:1]) == {"known": 0.0}


def test_bad_input_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["skills", "--model", "nowhere"]) == 2
    assert main(["skills", "--model", "nowhere", "--count", "1"]) == 2
    assert "ask at least 2" in capsys.readouterr().err


def test_a_lineage_is_asked_from_its_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pocket-base", "pocket-sft", "pocket-honest"):
        (tmp_path / name).symlink_to(REPO / "weights" / name)
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    assert main(["skills", "--model", "pocket-honest", "--count", "10", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in told["stages"]] == ["pocket-sft", "pocket-honest"]  # a base model answers nothing
    first, last = told["stages"]
    assert first["known"] >= 0.8
    assert first["declines"] >= 0.8
    assert first["admits"] <= 0.1 < last["admits"]  # what the interrogation taught
    assert told["worst"] == max(told["lost"].values())
