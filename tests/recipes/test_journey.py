"""`lab journey`: its table against the recipes and the window's road, what it does again and why, and a walk that is killed."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.runs import LIVE, inspect, read_json, read_lines, root
from recipes import cli, flags
from recipes.journey import Config, part_of, road_of
from recipes.stages import STAGES, Road, fingerprint, judge
from recipes.walking import Reckoned, table_minutes
from tests.conftest import REPO, stories
from tests.recipes.conftest import Here, Refused, Start, steps, until
from tui.data import road as window

PRESETS = ("pocket", "laptop", "model=owner/name")
ALL = tuple(stage.name for stage in STAGES if stage.asked)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_stage_is_a_command_that_its_recipe_understands(preset: str) -> None:
    for stage in Road("mine", preset, also=ALL).stages:
        module, _ = (cli.RECIPES | cli.COMMANDS)[stage.command]
        args = Road("mine", preset, also=ALL).arguments(stage)
        kind = flags.config(module)
        cli.parse(stage.command, type("module", (), {"Config": kind, "__doc__": ""}), args[1:])
        assert not stage.out or args[-2] == stage.to


@pytest.mark.parametrize("preset", PRESETS)
def test_a_stage_reads_only_what_earlier_ones_leave(preset: str) -> None:
    seen = set[str]()
    for stage in Road("mine", preset, also=ALL).stages:
        known = {stage.name for stage in STAGES} - {s.name for s in Road("mine", preset, also=ALL).stages}
        assert {stage.model, *(other for _, other in stage.reads)} - {""} <= seen | known
        seen.add(stage.name)


def test_the_journey_walks_the_windows_road_in_its_order() -> None:
    order = {recipe.replace("_", "-"): i for i, stage in enumerate(window.STAGES) for recipe in stage.recipes}
    walked = [
        order[stage.command]
        for stage in STAGES
        if stage.command in cli.RECIPES and stage.name not in ("think", "selfplay")
    ]
    assert walked == sorted(walked)
    assert {stage.command for stage in STAGES if stage.command in cli.RECIPES} <= order.keys()


def test_what_ships_stands_in_for_what_is_not_there(small: Path) -> None:
    road = Road("mine")
    assert road.arguments(road.find("sft"))[:3] == ["sft", "--model", "pocket-base"]
    assert road.arguments(road.find("search"))[:3] == ["search", "--model", "mine-interrogate"]  # not in this root
    assert road.missing(road.find("interrogate")) == ""
    assert road.missing(road.find("search")) == "interrogate"
    (small / "mine-pretrain").mkdir()
    assert road.arguments(road.find("sft"))[2] == "mine-pretrain"
    assert Road("mine", "model=owner/name").arguments(road.find("sft"))[2] == "owner/name"


def finished(name: str, weights: bytes = b"w") -> Path:
    """A run that has ended, as far as a journey looks."""
    folder = root() / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text('{"recipe": "pretrain"}')
    (folder / "status.json").write_text('{"state": "done", "step": 9, "total": 9}')
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_a_stage_is_made_again_when_what_it_was_made_of_has_changed() -> None:
    road = Road("mine")
    sft, base = road.find("sft"), finished("mine-pretrain")
    assert judge(road, sft, {}).state == "new"
    kept = {"state": "done", "made_of": road.made_of(sft)}
    assert judge(road, sft, kept) == ("again", "its output is gone")
    run = finished("mine-sft")
    assert judge(road, sft, kept) == ("done", "")
    (base / "model.safetensors").write_bytes(b"other")
    assert judge(road, sft, kept) == ("again", "the model it starts from changed")
    (base / "model.safetensors").write_bytes(b"w")
    assert judge(Road("mine", seed=1), sft, kept) == ("again", "its command changed")
    (run / "status.json").write_text('{"state": "running", "step": 4, "total": 9}')
    assert judge(road, sft, kept) == ("resume", "died at step 4 of 9")
    with pytest.raises(UserError, match="no journey made it"):
        judge(road, sft, {})


def test_a_file_of_ones_own_counts_as_an_input(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one")
    road = Road("mine", flags={"pretrain": ["--data", str(text)]})
    first = road.find("pretrain")
    finished("mine-pretrain")
    kept = {"state": "done", "made_of": road.made_of(first)}
    assert judge(road, first, kept).state == "done"
    text.write_text("two")
    assert judge(road, first, kept) == ("again", f"{text} changed")
    assert fingerprint(tmp_path) != fingerprint(text)


def test_a_journey_that_goes_on_remembers_how_it_began(home: Path) -> None:
    told = {"preset": "laptop", "seed": 3, "flags": {"sft": ["--iters", "5"]}}
    road = road_of(Config(), told)
    assert (road.preset, road.seed, road.flags) == ("laptop", 3, {"sft": ["--iters", "5"]})
    assert road_of(Config(seed=4, preset="pocket"), told).seed == 4
    assert [s.name for s in part_of(Road("mine"), Config(to="probes"))] == ["pretrain", "probes"]


def test_refusals(refused: Refused, tmp_path: Path, home: Path) -> None:
    refused("journey", "--preset", "huge", says="--preset huge: choose pocket, laptop, or model=ID")
    refused("journey", "--from", "nowhere", says="no stage nowhere on this road; there are pretrain, probes")
    refused("journey", "--from", "sft", "--to", "probes", says="--to probes comes before --from sft")
    refused("journey", "--from", "code", says="code needs mine-search, which is not there: begin with --from search")
    refused("journey", "--name", "../x", says="--name")
    bad = tmp_path / "bad.yaml"
    bad.write_text("sft: 3")
    refused("journey", "--flags", bad, says="write stages and flags")
    bad.write_text("nothing: {iters: 3}")
    refused("journey", "--flags", bad, says="no stage nothing")


def test_the_plan_of_a_journey_writes_nothing(here: Here, home: Path) -> None:
    said = here("journey", "--dry-run", "--from", "selfplay", "--name", "other")
    assert said.code == 0, said
    assert [line.split()[0] for line in said.out.splitlines() if " to do" in line] == ["selfplay"]
    assert "lab selfplay --seed 0 --name other-selfplay" in said.out
    assert "\nmemory  " in said.out
    assert "\ntime    about " in said.out
    assert not list(home.iterdir())


def test_the_table_knows_how_many_steps_a_stage_takes() -> None:
    """Its minutes are those of so many steps: who changes the steps measures the minutes."""
    for stage in STAGES:
        path = REPO / "recipes" / f"{'reinforce' if stage.name in ('grpo', 'rlhf') else stage.command}.py"
        told = re.search(r"^ITERS = (\d+)", path.read_text(), re.M) if path.is_file() else None
        assert not told or stage.steps == int(told[1]), stage.name


@pytest.mark.parametrize(
    ("iters", "minutes"),
    [([], 6.5), (["--iters", "70"], 0.65), (["--learning-rate", "1"], 6.5), (["--iters", "x"], 6.5)],
)
def test_a_shorter_stage_is_reckoned_shorter(iters: list[str], minutes: float) -> None:
    road = Road("mine", flags={"interrogate": iters})
    assert table_minutes(road, road.find("interrogate")) == pytest.approx(minutes)
    assert Reckoned(road, pace=2.0).seconds(road.find("interrogate")) == pytest.approx(120 * minutes)
    assert Reckoned(road, 2.0, road.find("interrogate"), 5.0).seconds(road.find("interrogate")) == 5.0


@pytest.mark.slow
def test_a_journey_goes_on_after_kill_9_of_the_stage_of_itself_and_after_ctrl_c(
    start: Start, home: Path, tmp_path: Path
) -> None:
    """Four stages; the first is killed, in the third the journey is killed and its stage lives on, in the fourth it is
    stopped."""
    (tmp_path / "stories.txt").write_text("\n\n".join(stories(300)))
    rows = [{"prompt": f"Tell me story {i}.", "completion": text} for i, text in enumerate(stories(40))]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny = {
        "layers": 1,
        "width": 64,
        "heads": 2,
        "vocab-size": 384,
        "max-seq-length": 64,
        "context": 512,
        "batch-size": 4,
    }
    play = {"imitation-iters": 400, "iters": 4, "games": 8, "batch-size": 8, "width": 16}
    flags_of = {
        "pretrain": tiny | {"data": str(tmp_path / "stories.txt"), "iters": 120, "save-every": 5},
        "probes": {"only": "windows", "quick": True},
        "sft": {"data": str(tmp_path / "talks.jsonl"), "iters": 80, "batch-size": 4, "save-every": 5},
        "selfplay": play,
    }
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(flags_of))  # JSON is YAML
    base, talker = home / "mine-pretrain", home / "mine-sft"

    one = start("journey", "--flags", file, "--to", "sft")
    until(lambda: 10 <= steps(base) < 110, 120)
    os.kill(read_json(base / "status.json")["pid"], signal.SIGKILL)
    out, err = one.communicate(timeout=90)
    assert one.returncode == 2
    assert "pretrain failed: it was killed (signal 9)" in err
    assert "Traceback" not in out + err
    stood = steps(base)

    two = start("journey", "--to", "sft")  # knows how it began
    until(lambda: 10 <= steps(talker) < 70, 120)
    two.kill()
    two.wait(10)
    assert inspect(talker).state in LIVE  # the stage does not die with its journey
    kept = read_json(home / ".journeys" / "mine" / "journey.json")["stages"]
    assert kept["pretrain"]["state"] == "done"
    assert kept["probes"]["state"] == "done"
    resumed = [row for row in read_lines(base / "metrics.jsonl") if row.get("event") == "resume"]
    assert resumed
    assert resumed[0]["step"] <= stood

    three = start("journey", "--to", "sft")
    out, err = three.communicate(timeout=120)
    assert three.returncode == 0, err
    assert "waiting for it to end" in out
    assert "pretrain: there already" in out
    assert inspect(talker).state == "done"
    assert [line.split()[0] for line in out.splitlines() if "mine-" in line and line.startswith(" ")] == [
        "pretrain",
        "probes",
        "sft",
    ]

    four = start("journey", "--from", "selfplay", "--to", "selfplay")
    until(lambda: 5 <= steps(home / "mine-selfplay") < 350, 120)
    four.send_signal(signal.SIGINT)
    out, err = four.communicate(timeout=90)
    assert four.returncode == 130
    assert "Stopped in stage 1 of 1, selfplay at step" in out
    assert "Go on: lab journey --name mine" in out
    assert inspect(home / "mine-selfplay").state == "stopped"
