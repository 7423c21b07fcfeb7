"""`lab runs NAME`: what people noted stands beside what was measured."""

from pathlib import Path

from lab.runs import add_note
from tests.conftest import Lab
from tests.tui.conftest import make_run


def test_notes_are_shown_with_their_step(home: Path, cli: Lab) -> None:
    folder = make_run("mine", 3)
    add_note("mine", 2, "lower [b]rate\x1b[31m")
    with open(folder / "notes.jsonl", "a") as file:
        file.write('{"step": 3, "text": 7}\n{"torn')
    shown = cli("runs", "mine")
    assert shown.returncode == 0
    assert "step 2: lower [b]rate␛[31m" in shown.stdout
    assert "step 3: 7" in shown.stdout
