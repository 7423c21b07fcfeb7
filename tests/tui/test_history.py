"""Columns of a metrics file that is being written, torn, cut back, replaced, broken."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tui.conftest import make_run
from tui.data.history import History
from tui.data.tail import CHUNK, Tail


def write(path: Path, rows: list[Any], mode: str = "w") -> None:
    with open(path, mode, encoding="utf-8") as file:
        for row in rows:
            file.write((row if isinstance(row, str) else json.dumps(row)) + "\n")


def everything(tail: Tail) -> tuple[list[dict[str, Any]], bool]:
    rows, anew = tail.poll()
    while tail.behind:
        more, again = tail.poll()
        rows, anew = rows + more, anew or again
    return rows, anew


def test_a_thinned_record_counts_the_tokens_of_the_steps_it_leaves_out(tmp_path: Path) -> None:
    """As `lab ship` keeps one: every tenth row, and the events; and where a step's events and figures are several rows."""
    whole = [{"step": k, "t": float(k), "loss": 1.0, "tokens": 100} for k in range(1, 61)]
    events = [{"step": k, "t": float(k), "event": "gap", "gap": 1.0} for k in (10, 60)]
    end = [{"step": 60, "t": 61.0, "event": "report", "tokens": 6000}]
    ends = {}
    for name, rows in (("all", whole), ("thin", [r for r in whole if r["step"] in (1, *range(10, 61, 10))])):
        (tmp_path / name).mkdir()
        rows = sorted(
            [*events, *rows], key=lambda r: (r["step"], "event" not in r)
        )  # the event first, as RLHF writes it
        write(tmp_path / name / "metrics.jsonl", [*rows, *end])
        history = History(tmp_path / name)
        while history.poll() and history.behind:
            pass
        x, _ = history.column("loss", "tokens")
        ends[name] = x[-1]
        assert history.place(60, "tokens") == x[-1]  # not where its event stands
        assert history.place(60, "time") == history.column("loss", "time")[0][-1]
        assert history.place(10, "tokens") == 1000
    assert ends == {"all": 6000, "thin": 6000}
    dull = [{"step": k, "t": float(k), "loss": 1.0, "tokens": n} for k, n in enumerate((100, 0, 0, 0, 100, 100), 1)]
    write(tmp_path / "metrics.jsonl", dull)  # steps of reinforcement that taught nothing are known to have none
    history = History(tmp_path)
    history.poll()
    assert history.column("loss", "tokens")[0].tolist() == [100, 100, 100, 100, 200, 300]


def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    tail = Tail(path)
    assert tail.poll() == ([], False)
    path.write_bytes(b'{"step": 1}\n{"st')
    assert tail.poll() == ([{"step": 1}], False)
    assert tail.poll() == ([], False)
    with open(path, "ab") as file:
        file.write(b'ep": 2}\n')
    assert tail.poll() == ([{"step": 2}], False)


def test_a_cut_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, [{"step": i} for i in range(9)])
    tail = Tail(path)
    assert len(everything(tail)[0]) == 9
    write(path, [{"step": i} for i in range(4)])
    rows, anew = everything(tail)
    assert (len(rows), anew) == (4, True)


def test_a_file_cut_and_grown_past_the_old_place_between_two_looks_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, [{"step": i} for i in range(9)])
    tail = Tail(path)
    everything(tail)
    with open(path, "r+b") as file:  # the same inode, as --resume does it
        file.truncate(path.stat().st_size // 3 // 12 * 12)
    write(path, [{"step": 100 + i} for i in range(20)], "a")
    rows, anew = everything(tail)
    assert anew
    assert rows == [json.loads(line) for line in path.read_text().splitlines()]


def test_a_replaced_file_and_a_deleted_one(tmp_path: Path) -> None:
    path, other = tmp_path / "m.jsonl", tmp_path / "n.jsonl"
    write(path, [{"step": 1}])
    tail = Tail(path)
    everything(tail)
    write(other, [{"step": 7}, {"step": 8}])
    other.replace(path)
    assert everything(tail) == ([{"step": 7}, {"step": 8}], True)
    path.unlink()
    assert everything(tail) == ([], True)
    assert everything(tail) == ([], False)
    write(path, [{"step": 9}])
    assert everything(tail) == ([{"step": 9}], False)


def test_what_is_no_row_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(
        b'{"step": 1}\n[1]\nnull\n{broken\n\xff\xfe\n\n{"step": 2, "x": NaN}\n' + b"[" * 100_000 + b'\n{"step": 3}\n'
    )
    assert [row["step"] for row in everything(Tail(path))[0]] == [1, 2, 3]


def test_a_line_without_an_end_is_not_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with open(path, "wb") as file:
        file.truncate(40 << 20)
    tail = Tail(path)
    assert everything(tail)[0] == []
    assert len(tail._rest) <= (16 << 20) + CHUNK


def test_random_writers_and_readers_agree(tmp_path: Path) -> None:
    """Whatever is appended, cut and read in whatever order: in the end the rows are those of the file."""
    path = tmp_path / "m.jsonl"
    path.touch()
    for seed in range(60):
        r = random.Random(seed)
        tail, rows = Tail(path), list[dict[str, Any]]()
        for n in range(60):
            if r.random() < 0.15:
                size = path.stat().st_size
                with open(path, "r+b") as file:
                    file.truncate(r.randint(0, size))
                text = path.read_bytes()
                with open(path, "r+b") as file:
                    file.truncate(text.rfind(b"\n") + 1)
            with open(path, "ab") as file:
                for _ in range(r.randint(0, 3)):
                    file.write(json.dumps({"step": n, "v": r.random()}).encode() + b"\n")
            if r.random() < 0.6:
                new, anew = tail.poll()
                rows = ([] if anew else rows) + new
        new, anew = everything(tail)
        rows = ([] if anew else rows) + new
        assert everything(tail) == ([], False)
        assert rows == [json.loads(line) for line in path.read_text().splitlines()], seed


def test_columns_of_a_real_run(home: Path) -> None:
    history = History(make_run("a", steps=40))
    assert history.poll()
    assert not history.poll()
    steps, loss = history.column("loss")
    assert steps.tolist() == list(range(1, 41))
    assert loss[0] == 7.0
    assert history.column("bits_per_byte")[0].tolist() == [10, 20, 30, 40]
    tokens, _ = history.column("loss", "tokens")
    assert tokens[0] == 2048
    assert tokens[-1] == 40 * 2048
    seconds, _ = history.column("loss", "time")
    assert (np.diff(seconds) >= 0).all()
    assert [e["step"] for e in history.events if e["event"] == "checkpoint"][-1] == 40
    assert history.keys()[-1] == "bits_per_byte"
    assert history.column("no such figure")[1].size == 0
    assert history.latest["loss"] == loss[-1]


def test_null_is_nan_and_words_are_no_figures(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", [
        {"step": 1, "t": 5.0, "loss": 1.5}, {"step": 2, "t": 6.0, "loss": None}, {"step": 3, "t": "soon", "loss": "high"},
        {"step": None, "loss": 2.5, "new": [1]}, {"step": 2, "t": 7.0, "loss": 10**400},
    ])  # fmt: skip
    history = History(tmp_path)
    history.poll()
    x, y = history.column("loss")
    assert x.tolist() == [1, 2, 3, 3, 3]  # never falls
    assert [None if math.isnan(v) else v for v in y] == [1.5, None, None, 2.5, None]
    assert math.isnan(history.column("new")[1][0])
    (tmp_path / "words").mkdir()
    write(tmp_path / "words" / "metrics.jsonl", [{"step": 1, "t": 5.0, "lr": "3.4"}, {"step": 2, "t": 5.0, "lr": "1"}])
    words = History(tmp_path / "words")
    words.poll()
    assert np.isnan(words.column("lr")[1]).all()


def test_time_leaves_out_pauses_and_the_night_between_stop_and_resume(tmp_path: Path) -> None:
    rows: list[Any] = [{"step": s, "t": 100.0 + s, "loss": 1.0} for s in range(1, 4)]
    rows += [{"step": 3, "t": 103.0, "event": "control", "cmd": "pause"}]
    rows += [{"step": 3, "t": 1103.0, "event": "control", "cmd": "checkpoint"}]
    rows += [{"step": 3, "t": 2103.0, "event": "control", "cmd": "resume"}, {"step": 4, "t": 2104.0, "loss": 1.0}]
    rows += [{"step": 4, "t": 90_000.0, "event": "resume"}, {"step": 5, "t": 90_001.0, "loss": 1.0}]
    write(tmp_path / "metrics.jsonl", rows)
    history = History(tmp_path)
    history.poll()
    assert history.column("loss", "time")[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_clock_set_back_stops_no_time_axis(tmp_path: Path) -> None:
    """By the user, or by the network's time: in the middle of a bite, between two of them, and over a resume."""
    history = History(tmp_path)
    for start in (1000.0, 400.0, 500.0):
        rows: list[Any] = [{"step": s, "t": start + 10 * s, "loss": 1.0} for s in range(3)]
        write(tmp_path / "metrics.jsonl", [*rows, *({**row, "t": row["t"] - 200} for row in rows)], "a")
        history.poll()
    write(
        tmp_path / "metrics.jsonl", [{"step": 3, "t": 5.0, "event": "resume"}, {"step": 4, "t": 15.0, "loss": 1}], "a"
    )
    history.poll()
    steps = np.diff(history.column("loss", "time")[0]).tolist()
    bite = [10, 10, 0, 10, 10]
    assert steps == [*bite, 0, *bite, 280, *bite, 10]


def test_what_cannot_be_read_is_not_behind(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    history = History(tmp_path)
    assert not history.poll()
    assert history.behind == 0


def test_figures_without_an_end_are_no_numbers(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", [
        {"step": 1, "t": 5.0, "tokens": 9, "loss": 1.5}, '{"step": 2, "t": 6.0, "tokens": 1e999, "loss": -Infinity}',
        {"step": 1e308, "t": 7.0, "tokens": -5, "loss": 1e305}, {"step": 3, "t": 8.0, "tokens": 1, "loss": 2.5},
    ])  # fmt: skip
    history = History(tmp_path)
    history.poll()
    assert [None if math.isnan(v) else v for v in history.column("loss")[1]] == [1.5, None, None, 2.5]
    assert history.column("loss")[0].tolist() == [1, 2, 2, 3]
    assert history.column("loss", "tokens")[0].tolist() == [9, 9, 9, 11]  # step 2's are not known: as many as step 3's


def test_a_run_cut_back_by_resume_has_no_gap_and_no_double(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [{"step": s, "t": float(s), "loss": 1.0} for s in range(50)])
    history = History(tmp_path)
    history.poll()
    before = history.generation
    lines = path.read_bytes().splitlines(keepends=True)
    with open(path, "r+b") as file:
        file.truncate(sum(map(len, lines[:30])))
    write(path, [{"step": s, "t": float(s), "loss": 2.0} for s in range(30, 80)], "a")
    assert history.poll()
    assert history.generation == before + 1
    x, y = history.column("loss")
    assert x.tolist() == list(range(80))
    assert y.tolist() == [1.0] * 30 + [2.0] * 50


def test_keys_that_come_and_go_keep_their_order(tmp_path: Path) -> None:
    rows = [
        {"step": s, "loss": s} | ({"eval": -s} if s % 3 == 0 else {}) | ({"late": 1} if s > 50 else {})
        for s in range(99)
    ]
    write(tmp_path / "metrics.jsonl", rows)
    history = History(tmp_path)
    history.poll()
    assert history.column("loss")[1].tolist() == list(range(99))
    assert history.column("eval")[0].tolist() == list(range(0, 99, 3))
    assert history.column("late")[0].tolist() == list(range(51, 99))


@pytest.mark.slow
def test_a_million_rows(tmp_path: Path) -> None:
    with open(tmp_path / "metrics.jsonl", "w") as file:
        for s in range(1_000_000):
            file.write(f'{{"step": {s}, "t": {s / 10}, "loss": {7 - s * 1e-6}, "grad_norm": 0.5, "tokens": 2048}}\n')
    history, looks = History(tmp_path), 0
    while True:
        history.poll(0.02)
        looks += 1
        if not history.behind:
            break
    x, y = history.column("loss")
    assert (len(x), x[-1], y[0]) == (1_000_000, 999_999, 7.0)
    assert looks > 10  # in many small bites
