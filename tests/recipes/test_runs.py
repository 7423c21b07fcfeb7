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


def test_nothing_that_a_run_holds_reaches_the_terminal_as_a_command(home: Path, cli: Lab) -> None:
    folder = make_run("mine", 3, headline="\x1b[2J", size="\x1b]0;x\x07")
    with open(folder / "samples.jsonl", "a") as file:
        file.write('{"step": 3, "prompt": "One\\u001b[31m", "text": " day\\u001b[2J\\u009b1m [b]"}\n')
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "a\\u001b[31m": 1}\n')
    for args in (("runs",), ("runs", "mine")):
        shown = cli(*args)
        assert shown.returncode == 0
        assert not set(shown.stdout) & {"\x1b", "\x07", "\x9b"}
    assert "One␛[31m day␛[2J�1m [b]" in shown.stdout
