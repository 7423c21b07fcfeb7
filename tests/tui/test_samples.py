"""Samples and logs as they grow, whatever a model babbles and however torn the files are."""

import json
from pathlib import Path

from rich.cells import cell_len

from tests.tui.conftest import make_run
from tui.data.history import History
from tui.data.logs import FIRST, TextTail, event_words
from tui.data.reader import Reader
from tui.data.samples import LONGEST, Samples, at_or_before, folded, shorter


def write(folder: Path, name: str, *rows: object) -> None:
    with open(folder / name, "a", encoding="utf-8") as file:
        file.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def test_samples_of_a_real_run(home: Path) -> None:
    samples = Samples(make_run("a", 30))
    assert samples.poll()
    assert samples.prompts == ["One day"]
    assert [(s.step, s.text) for s in samples.of("One day")] == [(i, f" there was a step {i}.") for i in (10, 20, 30)]
    assert not samples.poll()
    assert not samples.once


def test_babble_torn_lines_and_wrong_types(tmp_path: Path) -> None:
    write(tmp_path, "samples.jsonl", {"step": 1, "prompt": "a", "text": "x\x1b[2J\x00\x9b31m\u202e"}, "{ torn", [1, 2],
          {"step": "1", "prompt": "a", "text": "no step"}, {"step": 2, "prompt": 7, "text": "no prompt"},
          {"step": 3, "prompt": "a", "text": None}, {"step": 4, "prompt": "a", "text": "y" * 9000})  # fmt: skip
    samples = Samples(tmp_path)
    samples.poll()
    assert [s.step for s in samples.all] == [1, 2, 4]
    assert samples.all[0].text.startswith("x␛[2J␀�31m")
    assert samples.prompts == ["a", ""]
    assert len(samples.of("a")[1].text) == LONGEST + 2
    (tmp_path / "samples.jsonl").write_text('{"step": 9, "prompt": "b", "text": "anew"}\n')
    samples.poll()
    assert samples.prompts == ["b"]


def test_many_prompts_asked_once_are_one_list(tmp_path: Path) -> None:
    write(tmp_path, "samples.jsonl", *({"step": i, "prompt": f"p{i}", "text": "t"} for i in range(9)))
    samples = Samples(tmp_path)
    samples.poll()
    assert samples.once
    assert len(samples.of(None)) == 9


def test_the_sample_at_or_before_a_step(home: Path) -> None:
    samples = Samples(make_run("a", 30))
    samples.poll()
    found = samples.of("One day")
    assert [at_or_before(found, step) for step in (0, 10, 19.5, 20, 1e9)] == [None, 0, 0, 1, 2]


def test_folding_keeps_within_the_rows() -> None:
    text = "a long line that goes on and on and on\n\n\nsecond\n" + "語" * 40
    for width in (8, 20, 28):
        for rows in (1, 2, 4, 7):
            cut, more = folded(text, width, rows)
            used = sum(max(1, -(-cell_len(line) // width)) for line in cut.split("\n"))
            assert used <= rows
            assert more == cut.endswith(" …")
    assert folded("short", 20, 3) == ("short", False)
    assert folded("", 20, 3) == ("", False)
    assert folded("a\n\n\nb", 20, 3) == ("a\nb", False)
    assert shorter("Question: What is 23 plus 45? Answer:", 16) == "…lus 45? Answer:"
    assert shorter("a\nb", 16) == "a b"


def test_a_log_is_followed_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    tail = TextTail(path)
    assert tail.poll() == ([], False)
    path.write_bytes(b"one\n\x1b[31mtwo\n 10%\r 20%\r done\nhalf")
    assert tail.poll() == (["one", "␛[31mtwo", " done"], True)
    with open(path, "ab") as file:
        file.write(b" a line\n\xff\n")
    assert tail.poll() == (["half a line", "�"], False)
    path.write_text("new\n")  # cut back, begun anew
    assert tail.poll() == (["new"], True)
    path.unlink()
    assert tail.poll() == ([], True)


def test_of_a_huge_old_log_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"line {i}\n" for i in range(60_000)))
    lines, anew = TextTail(path).poll()
    assert anew
    assert lines[-1] == "line 59999"
    assert lines[0].startswith("line ")  # no half line in front
    assert sum(map(len, lines)) <= FIRST


def test_events_and_notes_in_words() -> None:
    def said(**row: object) -> str:
        return event_words({"t": 5.0, "step": 7} | row)[3]

    assert said(event="checkpoint") == "checkpoint saved"
    assert said(event="control", cmd="stop") == "asked to stop and save"
    assert said(event="probe", probe="few-shot", x=1) == "probe few-shot"
    assert said(event="report", a=0.83912, b=1, c=2, d=3, e=4, f={}) == "report: a 0.8391, b 1, c 2, d 3, …"
    assert said(text="mine\x07") == "mine␇"
    assert event_words({"event": 3, "t": "x", "step": None})[:3] == (0.0, 0.0, "3")


def test_the_reader_reads_the_shown_run_first_and_in_bites(home: Path) -> None:
    a, b = make_run("a", 30), make_run("b", 30)
    write(a, "notes.jsonl", {"step": 3, "t": 1.0, "text": "mine"})
    kept: dict[Path, History] = {}
    reader = Reader(lambda folder: kept.setdefault(folder, History(folder)))
    assert not reader.poll()
    assert reader.behind == 0
    reader.attach([a, b])
    assert reader.poll(0)  # no time at all: a bite of the first
    assert (kept[a].rows > 0, b in kept) == (True, False)
    while reader.poll():
        pass
    assert kept[a].rows == kept[b].rows > 30
    assert reader.behind == 0
    assert [n["text"] for n in reader.notes] == ["mine"]
    assert reader.samples is not None
    assert len(reader.samples.all) == 3
    samples = reader.samples
    reader.attach([a])
    assert reader.samples is samples
    reader.attach([b, a])
    assert reader.samples is not samples
    assert reader.notes == []
    before = reader.revision
    write(b, "metrics.jsonl", {"step": 31, "t": 2.0, "loss": 1.0})
    reader.poll()
    assert reader.revision != before
