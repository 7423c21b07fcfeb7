"""`lab report`: figures come from the record, a shipped model or a journey and nowhere else; verdicts follow the bounds."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recipes import cli, curves, flags, record
from recipes.card import ROWS
from recipes.findings import Sources, findings
from recipes.record import RECORD, changed, digest, flat, hashes, numbers
from tests.claims.table import CLAIMS, Claim
from tests.conftest import REPO
from tests.recipes.conftest import Here, Refused


def row(**figures: list[float]) -> dict[str, object]:
    return {"seeds": [0, 1], "figures": figures, "files": {}, "revision": "x", "command": ["lab"]}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A record of two claims, one shown and one not."""
    path = tmp_path / "claims.json"
    rows = {
        "interrogate": row(
            invented_never_before=[0.9, 0.92], invented=[0.2, 0.22], kept=[0.85, 0.7], right_never_after=[0.0, 0.0]
        ),
        "selfplay": row(teacher_score_before=[-0.1, -0.2], teacher_score_after=[0.6, 0.5]),
    }
    path.write_text(json.dumps(rows))
    return path


def test_verdicts_follow_the_bounds_for_every_seed(kept: Path) -> None:
    found = {one.claim: one for one in findings(kept)}
    taught = found['Interrogation teaches "I do not know"']
    assert (taught.verdict, taught.why) == ("not shown", "kept 0.85 / 0.70, must be >= 0.8")
    assert (taught.before, taught.after, taught.afters, taught.seeds) == ("91 %", "21 %", ("20 %", "22 %"), 2)
    played = found["RL passes its teacher"]
    assert (played.verdict, played.before, played.after) == ("shown", "-0.15", "0.55")
    assert found["Move 37: what nobody showed it"].verdict == "not measured"  # a figure is missing
    assert found["RLHF helps"].verdict == "not measured"
    assert found["RLHF helps"].command == "lab rlhf"


def test_figures_of_two_sources_are_compared_seed_by_seed(tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    both, one = {"late.held_pass": [0.9, 0.7]}, {"late.held_pass": [0.72]}
    path.write_text(
        json.dumps({"grpo": {"figures": both, "seeds": [0, 1]}, "grpo-long": {"figures": one, "seeds": [1]}})
    )
    sources = Sources(path)
    assert sources.value("grpo-long", "late.held_pass - grpo:late.held_pass").values == [pytest.approx(0.02)]
    assert sources.value("grpo-long", "grpo:late.held_pass").values == [0.9, 0.7]


def test_what_no_claim_tells_a_shipped_model_tells_for_one_seed(kept: Path, small: Path) -> None:
    sources = Sources(kept)
    told = json.loads((REPO / "weights/pocket-base/metrics.jsonl").read_text().splitlines()[-1])
    assert sources.value("pretrain", "recall_100").values == [told["recall_100"]]
    assert sources.value("pretrain", "ln_v - first_loss").values == [pytest.approx(told["ln_v"] - told["first_loss"])]
    assert sources.value("pretrain", "log.bytes_a_token").values[0] > 1
    (small / "pocket-base").unlink()
    assert Sources(kept).value("pretrain", "recall_100").values == []


def test_a_journey_reads_its_own_runs_and_nothing_else(kept: Path, home: Path) -> None:
    for name, right in (("one", 0.5), ("two", 0.7)):
        folder = home / f"{name}-think"
        folder.mkdir()
        (folder / "status.json").write_text('{"state": "done"}')
        ways = (("answer", 0.05), ("steps", right), ("after", 0.04))
        rows = [{"step": 9, "event": "way", "way": way, "problems": value} for way, value in ways]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {one.claim: one for one in findings(kept, ("one", "two"))}
    think = found["Models need tokens to think"]
    assert (think.verdict, think.befores, think.afters) == ("shown", ("5 %", "5 %"), ("50 %", "70 %"))
    assert found["RL passes its teacher"].verdict == "not measured"  # the record is not theirs


def test_stale_is_what_has_changed_in_what_it_does(tmp_path: Path) -> None:
    code = tmp_path / "a.py"
    code.write_text('"""Words."""\nx = 1  # one\n')
    (tmp_path / "b.bin").write_bytes(b"b")
    row = {"files": hashes(["*"], tmp_path)}
    code.write_text('"""Other words."""\n\nx = 1\n')
    assert changed(row, root=tmp_path) == []
    code.write_text("x = 2\n")
    (tmp_path / "b.bin").unlink()
    assert changed(row, root=tmp_path) == ["a.py", "b.bin"]
    (tmp_path / "c.py").write_text("")
    assert changed(row, ["*.py"], tmp_path) == ["a.py", "b.bin", "c.py"]
    assert digest(".py", b"x = 1") != digest(".py", b"x = 2")


def test_the_committed_record_and_the_card_speak_of_the_same_claims() -> None:
    names = {claim.name for claim in CLAIMS}
    assert {one.source for one in ROWS} <= names
    assert record.claims().keys() <= names
    for claim in CLAIMS:  # what a claim depends on is there
        assert len(hashes(claim.depends)) >= len(claim.depends), claim.name
    for one in ROWS:  # a figure of a measured claim is called as the card calls it
        if one.source in record.claims():
            figures = record.claims()[one.source]["figures"]
            for key in (one.before, one.after):
                assert not key or ":" in key.partition(" - ")[0] or key in figures, (one.claim, key)


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.name for claim in CLAIMS])
def test_every_claims_command_is_understood(claim: Claim) -> None:
    for name, *args in (claim.command(1), *(words for _, words in claim.first(1))):
        kind = flags.config((cli.RECIPES | cli.COMMANDS)[name][0])
        cli.parse(name, type("module", (), {"Config": kind, "__doc__": ""}), args)
        assert "SEED" not in " ".join(args)


def test_figures_are_named_by_event_probe_and_place() -> None:
    rows = [
        {"step": 0, "t": 1.0, "bits_per_byte": 4.0, "val_loss": 3},
        {"step": 1, "event": "probe", "probe": "few-shot", "shots_8": {"right": 0.5}},
        {"step": 2, "t": 2.0, "bits_per_byte": 0.5},
        {"step": 2, "event": "report", "ends": 1, "ok": True, "held_pass": 0.9},
        *({"step": step, "held_pass": step / 10} for step in (0, 3, 4, 5)),
    ]
    told = numbers(rows)
    assert told["few-shot.shots_8.right"] == 0.5
    assert (told["first.bits_per_byte"], told["last.bits_per_byte"], told["ends"]) == (4.0, 0.5, 1.0)
    assert told["late.held_pass"] == pytest.approx(0.4)  # of the last three looks
    assert "ok" not in told
    assert "t" not in told
    assert flat({"rows": [{"told": 3, "right": 0.1}]}) == {"rows.3.told": 3.0, "rows.3.right": 0.1}


def test_the_card_in_the_terminal_as_json_and_on_disk(here: Here, kept: Path, small: Path, tmp_path: Path) -> None:
    said = here("report", "--record", kept)
    assert said.code == 0
    assert all(one.claim in said.out for one in ROWS)
    assert "must be >= 0.8" in said.out
    lines = [json.loads(line) for line in here("report", "--record", kept, "--json").out.splitlines()]
    assert lines == [json.loads(json.dumps(asdict(one))) for one in findings(kept)]
    out = tmp_path / "card"
    done = here("report", "--record", kept, "--out", out)
    assert done.code == 0, done
    text = (out / "report.md").read_text()
    assert text.count("\n| ") == len(ROWS) + 1
    for one in findings(kept):
        assert one.claim in text
    assert all(path.is_file() for path in map(Path, done.out.splitlines()))
    assert f"]({next(out.glob('card-recall.*')).name})" in text


def test_refusals(refused: Refused, tmp_path: Path) -> None:
    refused("report", "--record", tmp_path / "none.json", says="no such file; `make claims` writes")
    (tmp_path / "file").write_text("x")
    refused("report", "--out", tmp_path / "file", says="--out .*: cannot be written")


def test_pictures_are_of_the_newest_run_of_their_kind(home: Path, tmp_path: Path) -> None:
    assert curves.charts() == []
    shutil.copytree(REPO / "weights/pocket-base", home / "pocket-base")
    chart = curves.charts()[0]
    report = json.loads((home / "pocket-base/metrics.jsonl").read_text().splitlines()[-1])
    assert chart.lines["right when asked"][-1] == (2.0, report["recall_100"])  # log10 of 100
    found = curves.draw(tmp_path)
    assert [picture.title for picture in found] == [chart.title]
    if found[0].path.suffix == ".svg":
        root = ElementTree.fromstring(found[0].path.read_text())
        assert len([e for e in root.iter() if e.tag.endswith("polyline")]) == 3


def test_ways_to_learn_are_drawn_by_the_tokens_they_took(home: Path) -> None:
    """Only runs that began as the same model are compared; figures of no step (events) and steps without a look are none."""

    def run(name: str, recipe: str, model: str, rows: list[dict[str, object]]) -> None:
        (home / name).mkdir()
        (home / name / "run.json").write_text(
            json.dumps({"recipe": recipe, "config": {"model": model}, "created": 1.0})
        )
        (home / name / "status.json").write_text(json.dumps({"state": "done", "step": 2, "total": 2}))
        (home / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    looks: list[dict[str, object]] = [{"step": 0, "held_pass": 0.1}, {"step": 1}, {"step": 2, "held_pass": 0.6}]
    run("a", "grpo", "start", [row | {"sampled": 500} if row["step"] else row for row in looks])
    assert curves.ways() is None, "one way is no comparison"
    run("b", "demonstrate", "other", [row | {"seen": 9} for row in looks])
    assert curves.ways() is None
    run("c", "rejection", "start", [*looks, {"event": "report", "held_pass": 0.9, "sampled": 7}])
    chart = curves.ways()
    assert chart is not None
    assert chart.lines == {
        "GRPO": [(0.0, 0.1), (1.0, 0.6)],
        "the right ones kept, and imitated": [(0.0, 0.1), (0.0, 0.6)],
    }


def test_the_record_that_is_committed_is_read() -> None:
    assert RECORD.is_file()
    assert any(one.verdict == "shown" for one in findings())
