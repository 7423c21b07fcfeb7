"""The stages of the road and the tree of models, from real run folders; and the quick look into a run's figures."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from lab.run import Run
from lab.runs import Info, inspect, lock, read_lines, runs
from tests.conftest import REPO, counted_calls
from tests.tui.conftest import make_run
from tui.data import glance, road
from tui.data.road import Card, cards, lineage

ALL = {"pretrain", "probes", "sft", "interrogate", "search", "grpo", "reward_model", "rlhf"}


def states(found: Iterable[Card]) -> dict[str, str]:
    return {card.stage.key: card.state for card in found}


def one(found: Iterable[Card], key: str) -> Card:
    return next(card for card in found if card.stage.key == key)


def test_with_no_runs_at_all(home: Path) -> None:
    found = cards(runs())
    assert [card.number for card in found] == list(range(1, 11))
    assert states(found)["pretrain"] == "ready"
    assert one(found, "probes").why == "needs a base model: press r on pretrain"
    # What this version cannot do is decided by the recipes that lie in the folder, not by a list.
    for card in found[4:]:
        there = any((REPO / "recipes" / f"{name}.py").exists() for name in card.stage.recipes)
        assert (card.state == "later") == (not there)


def test_later_chapters_open_by_themselves(home: Path) -> None:
    found = cards(runs(), ALL.__contains__)
    assert states(found) == {
        "data": "ready", "tokenizer": "ready", "pretrain": "ready", "probes": "waiting", "sft": "waiting",
        "honesty": "waiting", "search": "waiting", "reasoning": "waiting", "reward-model": "waiting", "rlhf": "waiting",
    }  # fmt: skip
    assert one(found, "rlhf").why == "needs a reward model: press r on reward model"
    assert one(found, "honesty").why == "needs an assistant: press r on sft"
    assert (
        one(cards(runs(), {"rlhf"}.__contains__), "rlhf").why == "needs a reward model: which this version cannot make"
    )
    make_run("base", steps=3)
    found = cards(runs(), ALL.__contains__)
    assert states(found)["pretrain"] == "done"
    assert states(found)["sft"] == states(found)["probes"] == "ready"
    assert states(found)["honesty"] == "waiting"
    make_run("talks", steps=3, recipe="sft", parent="base")
    found = cards(runs(), ALL.__contains__)
    assert states(found)["honesty"] == states(found)["reasoning"] == "ready"
    assert states(found)["rlhf"] == "waiting"  # an assistant is no reward model
    assert one(found, "reward-model").why == "needs rankings: press 6 and make some"
    (home / "rankings.jsonl").write_text("{}\n")
    assert states(cards(runs(), ALL.__contains__))["reward-model"] == "ready"
    parent = road.best_parent(one(found, "search"), runs())
    assert parent is not None
    assert parent.name == "talks"
    make_run("rated", steps=3, recipe="reward-model", parent="talks")
    found = cards(runs(), ALL.__contains__)
    assert states(found)["reward-model"] == "done"
    assert states(found)["rlhf"] == "ready"


def test_live_failed_and_died_runs(home: Path) -> None:
    old = make_run("old", steps=3)
    status = json.loads((old / "status.json").read_text())
    run = json.loads((old / "run.json").read_text())

    def change(name: str, state: str, later: float) -> Path:
        folder = make_run(name, steps=3)
        (folder / "status.json").write_text(json.dumps(status | {"state": state, "error": "out of memory"}))
        (folder / "run.json").write_text(json.dumps(run | {"created": run["created"] + later}))
        return folder

    change("bad", "failed", 10)
    card = one(cards(runs()), "pretrain")
    assert (card.state, card.run and card.run.name, card.trouble and card.trouble.name) == ("done", "old", "bad")
    gone = change("gone", "running", 20)  # nobody holds its lock
    card = one(cards(runs()), "pretrain")
    assert (card.state, card.trouble and card.trouble.name) == ("done", "gone")
    held = lock(gone / "lock", "")
    card = one(cards(runs()), "pretrain")
    assert (card.state, card.run and card.run.name) == ("running", "gone")
    for state, shown in (("paused", "paused"), ("queued", "queued"), ("saving", "running")):
        (gone / "status.json").write_text(json.dumps(status | {"state": state}))
        assert one(cards(runs()), "pretrain").state == shown
    (gone / "status.json").write_text(json.dumps(status | {"state": "running"}))
    late = change("late", "queued", 30)
    waits = lock(late / "lock", "")
    card = one(cards(runs()), "pretrain")  # one that waits does not hide the one that it waits for
    assert (card.state, card.run and card.run.name) == ("running", "gone")
    os.close(waits)
    shutil.rmtree(late)
    os.close(held)
    (old / "status.json").write_text(json.dumps(status | {"state": "stopped"}))
    assert one(cards(runs()), "pretrain").state == "died"


def test_a_stage_starts_from_a_finished_model(home: Path) -> None:
    make_run("whole", steps=3)
    cut = make_run("cut-off", steps=3)
    status = json.loads((cut / "status.json").read_text())
    (cut / "status.json").write_text(json.dumps(status | {"state": "stopped"}))
    card = one(cards(runs(), ALL.__contains__), "sft")
    parent = road.best_parent(card, runs())
    assert (runs()[0].name, parent and parent.name) == ("cut-off", "whole")
    shutil.rmtree(home / "whole")
    parent = road.best_parent(card, runs())
    assert parent is not None  # better than nothing
    assert parent.name == "cut-off"


def test_stages_go_on_from_the_best_that_is_there(home: Path) -> None:
    """base <- sft <- honest <- search <- code <- reason: each from the one before where it is there."""
    has = (ALL | {"code"}).__contains__

    def start(key: str) -> tuple[str, str | None]:
        card = one(cards(runs(), has), key)
        parent = road.best_parent(card, runs())
        return card.recipe, parent and parent.name

    make_run("base", steps=3)
    assert start("sft") == ("sft", "base")
    make_run("talks", steps=3, recipe="sft", parent="base")
    assert start("sft") == ("sft", "base")  # not one assistant from another
    assert start("honesty") == ("interrogate", "talks")
    assert start("search") == ("search", "talks")
    make_run("honest", steps=3, recipe="interrogate", parent="talks")
    assert start("honesty") == ("interrogate", "talks")
    assert start("search") == ("search", "honest")
    assert start("reasoning") == ("grpo", "honest")
    make_run("finds", steps=3, recipe="search", parent="honest")
    card = one(cards(runs(), has), "search")
    assert (card.state, card.run and card.run.name) == ("done", "finds")
    assert start("search") == ("code", "finds")
    make_run("counts", steps=3, recipe="code", parent="finds")
    assert start("search") == ("code", "finds")  # what was run last, anew
    assert start("reasoning") == ("grpo", "counts")
    make_run("newer", steps=3, recipe="sft", parent="base")
    assert start("reasoning") == ("grpo", "counts")
    assert [f"{leaf.branch}{leaf.name}" for leaf in lineage(runs())] == [
        "base", "├─ talks", "│  └─ honest", "│     └─ finds", "│        └─ counts", "└─ newer",
    ]  # fmt: skip


def test_the_figures_of_tuned_models(home: Path) -> None:
    """The names are those that the recipes report."""
    with Run("sft", {}, "talks", False, "base") as record:
        record.log(0, val_loss=3.7)
        record.log(50, loss=0.3, val_loss=0.31)
        record.event("report", right_100=0.62, ends=1.0)
    card = one(cards(runs(), ALL.__contains__), "sft")
    assert glance.seen(card).figures == (("held out", "3.70", "0.31"), ("told 100×, right", "", "62 %"))
    with Run("interrogate", {}, "honest", False, "talks") as record:
        record.event("report", invented_never_before=0.97, invented_never_after=0.12, right_100x_before=0.9,
                     right_100x_after=0.84)  # fmt: skip
    card = one(cards(runs(), ALL.__contains__), "honesty")
    assert glance.seen(card).figures == (("invented", "97", "12 %"), ("told 100×, right", "90", "84 %"))


def test_the_figures_of_what_learnt_from_rewards(home: Path) -> None:
    """What is held out, and no loss of a policy gradient, which says nothing."""
    with Run("grpo", {}, "solves", False, "talks") as record:
        record.log(0, held_pass=0.13, held_length=13.8)
        record.log(9, loss=-0.001, reward=0.9, held_pass=0.88, held_length=62.4)
    card = one(cards(runs(), ALL.__contains__), "reasoning")
    assert glance.seen(card).figures == (("right, held out", "13", "88 %"), ("tokens", "13.80", "62.40"))
    with Run("reward-model", {}, "taste", False, "solves") as record:
        record.log(0, held_accuracy=0.45, val_loss=0.74)
        record.log(9, loss=0.4, held_accuracy=0.79, val_loss=0.43)
    card = one(cards(runs(), ALL.__contains__), "reward-model")
    assert glance.seen(card).figures == (("pairs told", "45", "79 %"), ("held out", "0.74", "0.43"))
    with Run("rlhf", {}, "pleases", False, "solves") as record:
        record.log(0, held_reward=-0.18, held_gold=-0.49)
        record.log(9, loss=-0.001, reward=1.72, held_reward=1.7, held_gold=-0.001)
    card = one(cards(runs(), ALL.__contains__), "rlhf")
    assert glance.seen(card).figures == (("proxy", "-0.18", "1.70"), ("gold", "-0.49", "0.00"))


def test_a_training_loss_is_not_called_held_out(home: Path) -> None:
    make_run("talks", steps=12, recipe="sft")
    card = one(cards(runs(), ALL.__contains__), "sft")
    assert [label for label, _, _ in glance.seen(card).figures] == ["loss"]


def info(name: str, parent: str | None = None, created: float = 0.0, recipe: str = "sft") -> Info:
    return Info(name, Path("/weights") / name, recipe, "done", 1, 1, "", parent, created, {})


def drawn(infos: list[Info]) -> list[str]:
    return [
        f"{leaf.branch}{leaf.name}{' (' + leaf.note + ')' if leaf.note else ''}"
        for leaf in lineage(infos, lambda _: True)
    ]


def test_the_tree_of_models() -> None:
    assert drawn([]) == []
    family = [
        info("base", None, 1), info("chat", "base", 2), info("honest", "chat@400", 3), info("other", "base", 4),
        info("reason", "/weights/honest", 5), info("tuned", "HuggingFaceTB/SmolLM2-135M", 6), info("lost", "deleted-run", 7),
    ]  # fmt: skip
    assert drawn(family[::-1]) == [
        "base",
        "├─ chat",
        "│  └─ honest (from step 400)",
        "│     └─ reason",
        "└─ other",
        "HuggingFaceTB/SmolLM2-135M (from elsewhere)",
        "└─ tuned",
        "deleted-run (gone)",
        "└─ lost",
    ]
    # A circle and a model that names itself are somebody's handiwork: each model once, no end of time.
    circle = [info("a", "b", 1), info("b", "a", 2), info("self", "self", 3), info("c", "a", 4)]
    assert sorted(leaf.name for leaf in lineage(circle, lambda _: True)) == ["a", "b", "c", "self"]
    odd = [info("odd", 7, 1)]  # type: ignore[arg-type]
    assert drawn(odd) == ["odd"]


def test_a_glance_reads_slices_of_a_long_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with open(path, "w") as file:
        file.write('{"step": 0, "t": 1.0, "bits_per_byte": 5.0}\n')
        for step in range(1, 60_001):
            more = ', "bits_per_byte": 2.5' if step % 100 == 0 else ""
            file.write(f'{{"step": {step}, "t": {step}.5, "loss": {8 - step / 10_000:.4f}, "tok_s": 5000{more}}}\n')
        file.write('{"step": 60000, "t": 60001.0, "event": "report", "bits_per_byte_final": 1.25}\n{"step": 60')
    with counted_calls() as calls:
        look = glance.glance(path)
    assert calls.count < 100_000  # 50,822, some ten a row: the whole file would take twelve times as many
    assert (look.first["loss"], look.last["loss"]) == (7.9999, 2.0)
    assert look.value(["report.bits_per_byte_final", "bits_per_byte"]) == 1.25
    assert look.value(["nothing", "bits_per_byte"], first=True) == 5.0
    assert look.value(["report.nothing"]) is None
    bars = look.bars(["loss"])
    assert bars == sorted(bars, reverse=True)
    assert 7.9 < bars[0] <= 8 and 2.0 <= bars[-1] < 2.1  # noqa: PT018
    # Quarters of the run are all there.
    assert all(any(low < value <= low + 1.5 for value in bars) for low in (2.0, 3.5, 5.0, 6.5))


def test_a_glance_at_broken_files(tmp_path: Path) -> None:
    assert glance.glance(tmp_path / "none.jsonl").last == {}
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'\xff\xfe{}\n[1]\n"x"\n{"step": 1, "loss": "high", "x": true}\n{"step": 2, "loss": null}\n{"loss": 3}'
    )
    look = glance.glance(path)
    assert look.last == {"loss": 3.0}
    assert glance.last_rows(tmp_path, 5)[-1][1].startswith("step 0  loss 3.000")


def test_cards_show_the_figures_of_real_runs(home: Path) -> None:
    (home / "pocket-base").symlink_to(REPO / "weights" / "pocket-base")
    found = cards(runs())
    seen = glance.seen(one(found, "pretrain"))
    rows = list(read_lines(REPO / "weights" / "pocket-base" / "metrics.jsonl"))
    first = next(row["bits_per_byte"] for row in rows if "bits_per_byte" in row)
    told = next(row for row in rows if row.get("event") == "report")
    assert seen.figures == (
        ("bits a byte", f"{first:.2f}", f"{told['bits_per_byte_final']:.2f}"),
        ("facts told 100×", "", f"{told['recall_100']:.0%}".replace("%", " %")),
    )
    assert len(seen.bars) > 20
    assert glance.seen(one(found, "data")).words[:3] == (
        "the pocket world",
        "114,588 documents",
        "12.0 MB, 4.4M tokens",
    )
    assert glance.seen(one(found, "tokenizer")).words == (
        "byte-pair, 2,560 pieces",
        "2.71 bytes a token",
        "round trip ✔",
    )
    with Run("probes", {"model": "pocket-base"}, "probes-1", False, "pocket-base") as record:
        record.event("probe", probe="few-shot", shots_0_right_share=0.0, shots_1_right_share=0.44,
                     shots_4_right_share=0.51, shots_8_right_share=0.52)  # fmt: skip
        record.event("probe", probe="assistant", bare_kinds_talk_share=0.13, turns_1_kinds_talk_share=0.93)
    card = one(cards(runs()), "probes")
    seen = glance.seen(card)
    assert seen.figures == (("few-shot", "0", "52 %"), ("assistant", "13", "93 %"))
    assert seen.bars == (0.0, 0.44, 0.51, 0.52)


@pytest.mark.parametrize("broken", ["{", "[]", '{"config": 3}', '{"config": {"data": 7}}'])
def test_broken_records_break_nothing(home: Path, broken: str) -> None:
    folder = make_run("a", steps=3)
    (folder / "run.json").write_text(broken)
    (folder / "data.json").write_text('{"tokens": "many"}')
    info = inspect(folder)
    assert glance.data_words(folder)
    for card in cards([info]):
        glance.seen(card)
    assert lineage([info])[0].name == "a"
