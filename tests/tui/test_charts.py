"""Which figures share a chart, what is marked, the table: for our recipes' runs, others' and broken ones."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.tui.conftest import make_run
from tui.data.charts import (
    Panel,
    few,
    happened,
    has_curves,
    label,
    matching,
    panels,
    si,
    smoothed,
    step_at,
    table,
)
from tui.data.history import History

PRETRAIN = ["loss", "grad_norm", "learning_rate", "tokens", "tok_s", "mem_active", "mem_peak", "mem_process"]


def history(tmp_path: Path, *rows: dict[str, Any]) -> History:
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    found = History(tmp_path)
    while found.poll(1) or found.behind:
        pass
    return found


def test_a_recipe_names_its_charts_and_what_it_forgot_comes_behind() -> None:
    said = {
        "charts": [
            {"title": "reward", "keys": ["reward", "reward/format"]},
            {"title": "KL", "keys": ["kl"], "log": True},
        ]
    }
    found = panels(said, ["reward", "kl", "tokens", "conversations", "entropy", "mem_peak"])
    assert found[:2] == [Panel("reward", ("reward", "reward/format")), Panel("KL", ("kl",), log=True)]
    assert [p.keys for p in found[2:]] == [("entropy",), ("mem_peak",)]


@pytest.mark.parametrize(
    "broken",
    [
        {}, {"charts": None}, {"charts": {"loss": 1}}, {"charts": [3, "loss", {"title": "x"}, {"keys": "loss"}]},
        {"charts": [{"keys": []}, {"keys": [None, 4]}]},
    ],
)  # fmt: skip
def test_without_usable_names_figures_are_grouped(broken: dict[str, Any]) -> None:
    found = panels(broken, ["bits_per_byte", *PRETRAIN])
    assert [p.keys for p in found] == [
        ("bits_per_byte", "loss"), ("grad_norm",), ("learning_rate",), ("tok_s",), ("mem_active", "mem_peak", "mem_process"),
    ]  # fmt: skip
    assert found[0].title == "loss"


def test_other_peoples_figures_find_a_place() -> None:
    keys = ["train/loss", "train/lr", "eval/accuracy", "eval/f1", "wer", "train/loss_ema"]
    found = panels({}, keys)
    assert found[0] == Panel("train/loss", ("train/loss", "train/loss_ema"))
    assert Panel("eval", ("eval/accuracy", "eval/f1")) in found
    assert Panel("wer", ("wer",)) in found
    assert {key for p in found for key in p.keys} == set(keys)
    under_rl = panels({}, ["loss", "reward", "reward/format", "kl"])
    assert under_rl[0].keys == ("reward",)
    assert panels({}, []) == [Panel("loss", ("loss",))]
    many = panels({}, [f"layers/{i}" for i in range(20)])
    assert max(len(p.keys) for p in many) <= 6


def test_signs_in_foreign_names_are_harmless() -> None:
    assert label("a\x1b[31mb") == "a␛[31mb"
    assert panels({"charts": [{"title": "\x1b]0;x\x07", "keys": ["a"]}]}, [])[0].title == "␛]0;x␇"
    assert label("bits_per_byte") == "bits/byte"


def test_a_filter_finds_figures_by_name_label_and_title() -> None:
    every = panels({}, PRETRAIN)
    assert [p.keys for p in matching("mem_p", every)[0]] == [("mem_peak", "mem_process")]
    assert [p.keys for p in matching("norm|tok/s", every)[0]] == [("grad_norm",), ("tok_s",)]
    assert [p.keys for p in matching("MEMORY", every)[0]] == [("mem_active", "mem_peak", "mem_process")]
    assert matching("", every) == (every, "")
    assert matching("nothing such", every) == ([], "no figure is called nothing such")
    found, wrong = matching("(", every)
    assert found == every
    assert "no regular expression" in wrong
    # a pattern for which `re` would take hours, and hold every thread of the window meanwhile
    assert "repeated group" in matching("(a+)+$", panels({}, ["loss", "a" * 60 + "!"]))[1]


def test_what_is_exact_or_rare_is_not_averaged() -> None:
    assert smoothed("loss", 1000, 1000)
    assert not smoothed("bits_per_byte", 10, 1000)
    assert not smoothed("learning_rate", 1000, 1000)
    assert not smoothed("mem_process", 1000, 1000)
    assert few(["mem_active", "mem_peak", "mem_cache", "mem_process"]) == ["mem_process", "mem_peak"]
    assert few(["a", "b", "c"]) == ["a", "b"]
    assert has_curves(["mem_peak", "loss"])
    assert not has_curves(["mem_peak", "tok_s"])


def test_marks_are_what_happened_and_what_can_be_gone_back_to() -> None:
    events = [
        {"step": 0, "event": "checkpoint"}, {"step": 200, "event": "checkpoint"}, {"step": 200, "event": "resume"},
        {"step": 210, "event": "control", "cmd": "pause"}, {"step": 210, "event": "control", "cmd": "resume"},
        {"step": 300, "event": "report", "x": 1.0}, {"step": 2, "event": "probe", "probe": "few-shot"},
        {"step": "many", "event": "report"}, {"step": 7, "event": ["odd"]},
    ]  # fmt: skip
    notes = [{"step": 250, "text": "lower\nrate \x1b[0m"}, {"step": None, "text": "x"}, {"step": 1, "text": 5}]
    found = [(h.step, h.kind, h.label) for h in happened(events, notes, [200])]
    assert found == [
        (2, "eval", "few-shot"), (200, "checkpoint", ""), (200, "resume", ""), (210, "note", "asked to pause"),
        (250, "note", "lower rate ␛[0m"), (300, "eval", "report"),
    ]  # fmt: skip


def test_the_table_of_a_real_run(home: Path) -> None:
    run = History(make_run("a", 30))
    run.poll(1)
    rows = {row.key: row for row in table(run)}
    loss = rows["loss"]
    assert (loss.first, loss.low_at, loss.high_at, loss.count, loss.bad) == (7.0, 30, 1, 30, 0)
    assert loss.last == loss.low == pytest.approx(7 / 30**0.3)
    assert rows["bits_per_byte"].count == 3
    assert rows["bits_per_byte"].low_at == 30


def test_the_table_says_what_was_no_number_and_what_reports_said(tmp_path: Path) -> None:
    run = history(
        tmp_path, {"step": 1, "t": 1, "loss": 3.0, "odd": None}, {"step": 2, "t": 2, "loss": None, "odd": "x"},
        {"step": 3, "t": 3, "loss": 2.0, "odd": None}, {"step": 3, "t": 3, "event": "checkpoint"},
        {"step": 3, "t": 3, "event": "report", "bits": 0.8, "ok": True, "by_kind": {"a": 1}},
    )  # fmt: skip
    rows = {row.key: row for row in table(run)}
    assert (rows["loss"].first, rows["loss"].last, rows["loss"].bad) == (3.0, 2.0, 1)
    assert rows["odd"].bad == 3
    assert math.isnan(rows["odd"].low)
    assert (rows["report bits"].last, rows["report bits"].low_at) == (0.8, 3)
    assert set(rows) == {"loss", "odd", "report bits"}


def test_a_place_on_any_axis_is_a_step(tmp_path: Path) -> None:
    rows = [{"step": s, "t": 100 + 10 * s, "loss": 1.0, "tokens": 50} for s in range(1, 101)]
    run = history(tmp_path, *rows)
    for axis in ("step", "time", "tokens"):
        x = run.place(40, axis)  # type: ignore[arg-type]
        assert x is not None
        assert step_at(run, x, axis) == 40  # type: ignore[arg-type]
        assert step_at(run, x + 1e-6, axis) == pytest.approx(40, abs=1e-3)  # type: ignore[arg-type]
    assert step_at(run, 1e9, "time") == 100
    assert step_at(History(tmp_path / "none"), 4.0, "step") is None


def test_numbers_are_short() -> None:
    said = {
        0.0: "0",
        2048.0: "2048",
        0.83912: "0.8391",
        123456.0: "123.5k",
        1.5e7: "15M",
        3.2e-5: "3.2e-5",
        -2.5: "-2.5",
    }
    assert {value: si(value) for value in said} == said
    assert si(math.nan) == "nan"
