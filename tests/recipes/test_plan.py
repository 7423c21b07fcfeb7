"""`lab plan`: what it says before a run is started, what it refuses, and whether it comes true."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.runs import lock, read_json
from recipes import cli, estimate, flags
from recipes.commands.plan import _disk
from recipes.estimate import MARGIN, PROCESS, band, step_seconds
from recipes.think import WAYS
from tests.conftest import REPO, TINY, Lab
from tests.recipes.conftest import Here, Refused, Said

GB = 10**9


def rows(said: "Said | subprocess.CompletedProcess[str]") -> dict[str, dict[str, Any]]:
    """The JSON objects it printed, by event."""
    out = said.out if isinstance(said, Said) else said.stdout
    code, err = (said.code, said.err) if isinstance(said, Said) else (said.returncode, said.stderr)
    assert code == 0, err
    return {row["event"]: row for row in map(json.loads, out.splitlines())}


def test_bands_and_their_bounds() -> None:
    """16 GB, of which a Mac means 11.5 for the GPU, 8 free now."""
    free, room = 8 * GB, 11_500_000_000
    assert band(6 * GB, 1.0, free, room)[0] == "SAFE"
    assert band(6 * GB, MARGIN, free, room)[0] == "TIGHT"  # 8.1 in the worse case
    assert band(8 * GB, 1.0, free, room)[0] == "SAFE"
    assert band(8 * GB + 1, 1.0, free, room)[0] == "TIGHT"
    assert band(10_350_000_000, 1.0, free, room)[0] == "TIGHT"
    assert band(10_350_000_001, 1.0, free, room)[0] == "OUT OF MEMORY RISK"
    assert "--batch-size" in band(20 * GB, 1.0, free, room)[1]


def test_flags_are_read_without_the_recipe() -> None:
    """Names, types, defaults and help come from the source; MLX is not loaded for them, nor for a refusal."""
    code = (
        "import sys; from recipes import flags; from recipes.cli import main; "
        "found = flags.flags('recipes.pretrain'), flags.flags('recipes.probes'); "
        "code = main(['plan', 'pretrain', '--iters', 'many']); "
        "print(code, [m for m in sys.modules if m.split('.')[0] == 'mlx'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
    assert "--iters many: give a whole number" in done.stderr
    found = {flag.name: flag for flag in flags.flags("recipes.pretrain")}
    assert found["size"].choices == ["pocket", "5m", "20m", "60m", "125m"]
    assert (found["iters"].type, found["iters"].default, found["iters"].main) == ("int", None, True)
    assert (found["tie"].type, found["tie"].default, found["tie"].main) == ("bool", False, False)
    assert found["batch_size"].help == "Windows a forward pass."
    assert not {"name", "resume"} & set(found)
    only = {flag.name: flag for flag in flags.flags("recipes.probes")}["only"]
    assert (only.many, only.default, only.type) == (True, [], "str")


def test_flags_agree_with_the_recipe_itself() -> None:
    """Also where Config needs more of its module than its text: then the module is imported."""
    import dataclasses

    from recipes import pretrain, probes, sft
    from recipes.commands import generate

    for module in (pretrain, probes, sft, generate):
        fields = {f.name: f for f in dataclasses.fields(module.Config) if f.name not in ("name", "resume")}
        told = {flag.name: flag for flag in flags.flags(module.__name__)}
        assert list(told) == list(fields)
        for name, flag in told.items():
            default = fields[name].default
            assert flag.default == (list(default) if isinstance(default, tuple) else default)
            assert flag.help.endswith("."), name


def test_recipes_for_people_and_programs(here: Here) -> None:
    listed = here("plan")
    assert listed.code == 0
    assert "pretrain" in listed.out
    assert "probes" in listed.out
    told = [json.loads(line) for line in here("plan", "--json").out.splitlines()]
    assert [row["recipe"] for row in told] == list(cli.RECIPES)
    assert {"name", "flag", "type", "default", "choices", "help", "many", "main"} == set(told[0]["flags"][0])
    shown = here("plan", "pretrain", "--help")
    assert shown.code == 0
    assert "lab plan pretrain --size 20m --batch-size 32" in shown.out


def test_refusals(refused: Refused, home: Path) -> None:
    (home / "mine").mkdir()
    refused("plan", "pretrian", says="no recipe pretrian; did you mean pretrain?")
    refused("plan", "--iters", "5", says="--iters: name the recipe first: lab plan pretrain --iters 5")
    refused("plan", "pretrain", "--itres", "5", says="unknown flag --itres; did you mean --iters?")
    refused("plan", "pretrain", "--iters", "0", says="--iters 0: must be at least 1")
    refused("plan", "pretrain", "--data", "/nowhere.txt", says="/nowhere.txt: no such file or folder")
    refused("plan", "pretrain", "--name", "mine", says="--name mine: is there already")
    refused("plan", "pretrain", "--name", "pocket-x", says="shipped models")
    refused("plan", "probes", "--model", "nobody", says="nobody: no such folder")
    refused("plan", "pretrain", "--name", "none", "--resume", says="none")


def test_the_plan_of_a_small_run(here: Here, home: Path, text_file: Path) -> None:
    said = rows(here("plan", "pretrain", "--data", text_file, *TINY, "--iters", "20", "--keep", "2", "--json"))
    plan = said["plan"]
    # V=384 + D=64: 2 * 384 * 64 embeddings, one block of 4 * 64 * 64 attention, 3 * 64 * 192, norms 2 * 64 + 2 * 32 + 64.
    assert plan["parameters"] == 2 * 384 * 64 + 4 * 64 * 64 + 3 * 64 * 192 + 2 * 64 + 2 * 32 + 64
    assert (plan["steps"], plan["tokens"], plan["about"]) == (20, 20 * 4 * 32, "")
    assert plan["command"] == f"lab pretrain --data {text_file} {' '.join(TINY)} --iters 20 --keep 2"
    assert plan["memory"]["band"] == "SAFE"
    assert plan["memory"]["need"] > PROCESS
    assert plan["disk"]["checkpoints"] == 2
    assert plan["disk"]["need"] == 3 * plan["disk"]["checkpoint"] + 4 * plan["parameters"]
    assert said["memory"]["measured"] is True
    assert "steps measured here" in said["time"]["said"]
    assert 0 < said["time"]["seconds"] < 60
    assert said["time"]["tok_s"] == pytest.approx(4 * 32 / said["time"]["step"])
    assert not [p for p in home.iterdir() if p.name != ".cache"]  # nothing was written
    words = here("plan", "pretrain", "--data", text_file, *TINY, "--iters", "20").out
    for head in ("model", "text", "run ", "memory", "disk", "device", "command", "time"):
        assert any(line.startswith(head) for line in words.splitlines()), head


def test_a_run_tells_the_plans_after_it(here: Here, home: Path, text_file: Path) -> None:
    """What the run found out is exact in the next plan: tokens, checkpoint sizes; its speed stands in for a measurement."""
    args = ["--data", str(text_file), *TINY]
    guess = rows(here("plan", "pretrain", *args, "--json"))["plan"]
    assert "from the 0.0 MB of" in guess["about"]
    assert here("pretrain", *args, "--iters", "12", "--name", "first").code == 0
    said = rows(here("plan", "pretrain", *args, "--json"))
    plan, told = said["plan"], read_json(home / "first" / "data.json")
    assert plan["about"] == ""
    assert plan["facts"]["text"].startswith(f"{told['tokens']:,} tokens")
    assert 1 < guess["steps"] / plan["steps"] < 3  # the same few sentences: more bytes fit into a token than usual
    real = sum(f.stat().st_size for f in (home / "first" / "checkpoints" / "000012").glob("*.safetensors"))
    assert plan["disk"]["checkpoint"] == pytest.approx(real, rel=0.06)  # safetensors' headers are not counted
    assert said["time"]["said"] == "as first went"
    assert "step" not in said  # nothing was measured
    # Other sizes are other steps; another seed, rate or length of the run is not.
    assert "measured" in rows(here("plan", "pretrain", *args, "--batch-size", "8", "--json"))["time"]["said"]
    same = here("plan", "pretrain", *args, "--seed", "4", "--learning-rate", "0.01", "--iters", "100", "--json")
    assert rows(same)["time"]["said"] == "as first went"


def test_the_size_of_the_pocket_world(here: Here) -> None:
    """Reckoned, not generated; an estimate on the safe side of a tenth."""
    from recipes import pocket, rehearsal

    documents = pocket.corpus(0, scale=0.0)
    for kind, size in rehearsal.TOLD.items():
        assert sum(len(d.text) for d in documents if d.kind == kind) == pytest.approx(size, rel=0.02)
    plan = rows(here("plan", "pretrain", "--size", "125m", "--batch-size", "4096", "--json"))["plan"]
    assert plan["about"] == "from the 12.0 MB of the pocket world"


def test_what_is_left_of_a_run(here: Here, text_file: Path) -> None:
    args = ["--data", str(text_file), *TINY, "--iters", "12", "--save-every", "5"]
    assert here("pretrain", *args, "--name", "half").code == 0
    plan = rows(here("plan", "pretrain", "--name", "half", "--resume", "--json"))["plan"]
    assert (plan["steps"], plan["first"]) == (0, 12)
    other = here("plan", "pretrain", "--name", "half", "--resume", "--batch-size", "8")  # as the run refuses it
    assert other.code == 2
    assert "--batch-size cannot change on --resume" in other.err
    assert other.err.count("\n") == 1


def test_the_time_of_a_run_that_goes_on_is_that_of_what_is_left(here: Here, home: Path, text_file: Path) -> None:
    """Measured where there is no run like it: the steps that are done cost nothing again."""
    args = ["--data", str(text_file), *TINY, "--iters", "12", "--save-every", "4"]
    assert here("pretrain", *args, "--name", "half").code == 0
    shutil.rmtree(home / "half" / "checkpoints" / "000012")
    status = read_json(home / "half" / "status.json")
    (home / "half" / "status.json").write_text(json.dumps(status | {"state": "stopped", "step": 8}))
    said = rows(here("plan", "pretrain", "--name", "half", "--resume", "--json"))
    assert (said["plan"]["steps"], said["plan"]["first"]) == (4, 8)
    assert "measured here" in said["time"]["said"]
    assert said["time"]["parts"]["steps"] == pytest.approx(4 * said["time"]["step"])


def test_a_shipped_or_foreign_run_is_no_measure(here: Here, home: Path, text_file: Path) -> None:
    args = ["--data", str(text_file), *TINY, "--iters", "12"]
    assert here("pretrain", *args, "--name", "mine").code == 0
    log = home / "mine" / "log.txt"
    log.write_text(log.read_text().replace("device  ", "device  Apple M9 "))
    assert "measured here" in rows(here("plan", "pretrain", *args, "--json"))["time"]["said"]


def test_while_another_training_holds_the_device(here: Here, home: Path, text_file: Path) -> None:
    held = lock(home / ".device.lock", "")
    try:
        said = rows(here("plan", "pretrain", "--data", text_file, *TINY, "--iters", "5", "--json"))
    finally:
        os.close(held)
    assert said["plan"]["waits"] == "another training trains now: this one waits for it"
    assert said["time"]["seconds"] is None
    assert "holds the device" in said["time"]["said"]


def test_nothing_is_downloaded_and_nothing_too_big_is_tried(here: Here) -> None:
    start = time.monotonic()
    said = rows(here("plan", "pretrain", "--data", "nobody/nothing", "--json"))
    assert said["plan"]["facts"]["text"] == "nobody/nothing is not on this computer: the run downloads it first"
    assert said["time"]["seconds"] is None
    big = rows(here("plan", "pretrain", "--size", "125m", "--batch-size", "4096", "--iters", "5", "--json"))
    assert big["plan"]["memory"]["band"] == "OUT OF MEMORY RISK"
    assert big["time"] == {"event": "time", "seconds": None, "said": "not tried, because it may not fit"}
    assert time.monotonic() - start < 20


def test_probes_say_what_they_probe(here: Here) -> None:
    said = rows(here("plan", "probes", "--model", REPO / "weights" / "pocket-base", "--only", "few-shot", "--json"))
    assert said["plan"]["parameters"] == 1_508_736
    assert said["plan"]["facts"]["probes"] == "few-shot"
    assert said["plan"]["memory"]["band"] in ("SAFE", "TIGHT")
    assert said["time"]["seconds"] is None
    broken = here("plan", "probes", "--model", "nobody/nothing", "--json")
    assert "the run downloads it first" in rows(broken)["plan"]["facts"]["model"]


def test_the_plan_of_a_tuning_comes_true(here: Here, home: Path, text_file: Path, tmp_path: Path) -> None:
    """Steps and checkpoints to the byte, tokens by the first steps; then the run's own pace stands in for a measurement,
    for these conversations and no others."""
    assert here("pretrain", "--data", text_file, *TINY, "--iters", "4", "--name", "base").code == 0
    talks = tmp_path / "talks.jsonl"
    pairs = [{"prompt": f"What is {i}?", "completion": "A number. " * (1 + i % 4)} for i in range(60)]
    talks.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    args = ["--model", "base", "--data", str(talks), "--batch-size", "8"]
    said = rows(here("plan", "sft", *args, "--json"))
    plan = said["plan"]
    assert plan["steps"] == -(-2 * 57 // 8)  # every 20th is held out, two passes over the others
    assert "all" in plan["facts"]["model"]
    assert plan["facts"]["talks"].startswith("57 conversations; 8 a step, ")
    assert plan["memory"]["band"] == "SAFE"
    assert said["memory"]["measured"] is True
    assert "steps measured here" in said["time"]["said"]
    assert {"steps", "looks", "samples", "start"} == set(said["time"]["parts"])
    assert not (home / "sft-1").exists()
    assert here("sft", *args, "--name", "tuned").code == 0
    told = [json.loads(line) for line in (home / "tuned" / "metrics.jsonl").read_text().splitlines()]
    report = next(row for row in told if row.get("event") == "report")
    assert report["step"] == plan["steps"]
    assert plan["tokens"] == pytest.approx(report["tokens"], rel=0.1)
    real = sum(f.stat().st_size for f in (home / "tuned" / "checkpoints" / "000015").glob("*.safetensors"))
    assert plan["disk"]["checkpoint"] == pytest.approx(real, rel=0.06)
    assert rows(here("plan", "sft", *args, "--seed", "3", "--json"))["time"]["said"] == "as tuned went"
    other = tmp_path / "other.jsonl"
    other.write_text(talks.read_text())
    told_other = rows(here("plan", "sft", "--model", "base", "--data", other, "--batch-size", "8", "--json"))
    assert "measured here" in told_other["time"]["said"]  # other conversations are of other lengths
    lora = rows(here("plan", "sft", *args, "--fine-tune-type", "lora", "--lora-rank", "2", "--json"))
    assert lora["plan"]["parameters"] == plan["parameters"]
    assert lora["plan"]["disk"]["checkpoint"] < plan["disk"]["checkpoint"] / 2
    assert "lora" in lora["plan"]["facts"]["model"]
    assert "measured here" in lora["time"]["said"]


def test_a_tuning_of_nothing_is_refused(here: Here, refused: Refused, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"messages": []}\n')
    base = REPO / "weights" / "pocket-base"
    refused("plan", "sft", "--model", base, "--data", empty, says="no conversation to train on: 1 x empty conversation")
    refused("plan", "sft", "--model", "nobody", says="nobody: no such folder")
    refused("plan", "sft", "--batch-size", "0", says="--batch-size 0: must be at least 1")
    far = rows(here("plan", "sft", "--model", "nobody/nothing", "--json"))["plan"]
    assert far["facts"]["model"] == "nobody/nothing is not on this computer: the run downloads it first"


def test_a_recipe_without_a_plan_says_so(home: Path) -> None:
    """What a chapter that has no plan function yet gets: no memory, no time, and the reason."""
    assert estimate.memory(None)["why"] == "the recipe does not say before it starts"
    assert estimate.memory(None)["band"] is None
    assert _disk(estimate.Plan(checkpoint=None))["need"] is None  # and not "no checkpoints"
    assert _disk(estimate.Plan())["need"] == 0


def test_a_flag_whose_default_is_a_path_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from dataclasses import dataclass\nfrom pathlib import Path\n\n@dataclass\nclass Config:\n"
    (tmp_path / "odd_recipe.py").write_text(source + '    where: Path = Path("x")\n    """A place."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert [(f.default, f.help) for f in flags.flags("odd_recipe")] == [("x", "A place.")]


def test_slow_steps_are_reckoned_from_few_rows() -> None:
    """An update of 8 ms and 4 ms a row: measured whole where ten fit, drawn on where memory is short."""
    tried: list[int] = []

    def work(seconds: float) -> None:
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass

    def step(rows: int) -> None:
        tried.append(rows)
        work(0.008 + 0.004 * rows)

    def gradient(rows: int) -> None:
        work(0.004 * rows)

    seconds, how = step_seconds(step, gradient, 8, whole=True)
    assert how == "10 steps measured here"
    assert seconds == pytest.approx(0.04, rel=0.25)
    tried.clear()
    seconds, how = step_seconds(step, gradient, 8, whole=False)
    assert max(tried) == 1
    assert "from the gradient of 2 of 8 windows" in how
    assert seconds == pytest.approx(0.04, rel=0.35)


@pytest.mark.slow
def test_the_time_comes_true(cli: Lab, text_file: Path) -> None:
    """A run of some ten seconds takes what the plan says. Wide: other programs run beside a test."""
    args = ["--data", text_file, "--layers", "2", "--width", "128", "--vocab-size", "384", "--iters", "70"]
    told = rows(cli("plan", "pretrain", *args, "--json"))["time"]["seconds"]
    start = time.monotonic()
    done = cli("pretrain", *args, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 0.5 < told / (time.monotonic() - start) < 1.5


@pytest.mark.slow
def test_the_plan_of_an_interrogation_comes_true(here: Here, school: Path) -> None:
    """What it asks, its steps, tokens and checkpoints; of one that only asks, no step; of one that goes on, no asking."""
    args = ["--model", "taught", "--data", str(school.parent / "qa.jsonl"), "--seed", "1", "--temp", "0.3"]
    more = ["--batch-size", "4", "--iters", "4", "--save-every", "2"]
    said = rows(here("plan", "interrogate", *args, *more, "--json"))
    plan = said["plan"]
    assert plan["facts"]["asks"] == "8 questions, 5 replies each"
    assert (plan["steps"], plan["disk"]["checkpoints"]) == (4, 3)
    assert {"asking", "steps", "samples", "exam", "start"} == set(said["time"]["parts"])  # too few to hold any out
    only = rows(here("plan", "interrogate", *args, "--ask-only", "--json"))
    assert (only["plan"]["steps"], only["plan"]["disk"]["need"]) == (0, 0)
    assert {"asking", "start"} == set(only["time"]["parts"])
    judged = here("plan", "interrogate", *args, "--judge", "nobody", "--ask-only").out
    assert "nobody; the time it takes is not reckoned" in judged
    assert here("interrogate", *args, *more, "--name", "i").code == 0
    told = [json.loads(line) for line in (school / "i" / "metrics.jsonl").read_text().splitlines()]
    report = next(row for row in told if row.get("event") == "report")
    assert report["step"] == plan["steps"]
    assert plan["tokens"] == pytest.approx(report["tokens"], rel=0.3)  # which it knows is a guess
    real = sum(f.stat().st_size for f in (school / "i" / "checkpoints" / "000004").glob("*.safetensors"))
    assert plan["disk"]["checkpoint"] == pytest.approx(real, rel=0.06)
    half = json.loads((school / "i" / "run.json").read_text())
    half["config"]["iters"] = 6
    (school / "i" / "run.json").write_text(json.dumps(half))
    left = rows(here("plan", "interrogate", "--name", "i", "--resume", "--json"))
    assert (left["plan"]["steps"], left["plan"]["first"]) == (2, 4)
    assert "asks" not in left["plan"]["facts"]
    assert "asking" not in left["time"].get("parts", {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "steps", "parts"),
    [
        ("search", 20, {"steps", "looks", "samples", "exam", "start"}),
        ("code", 20, {"asking", "steps", "looks", "samples", "exam", "start"}),
        ("think", 20 * sum(times for _, times in WAYS.values()), {"steps", "exam", "start"}),
        ("interrogate", 20, {"asking", "steps", "looks", "samples", "exam", "start"}),
    ],
)
def test_the_pocket_recipes_rehearse_their_own_lessons(
    here: Here, home: Path, recipe: str, steps: int, parts: set[str]
) -> None:
    """Of the shipped models, with the lessons that a run draws."""
    made_from = {"search": "pocket-honest", "code": "pocket-search"}.get(recipe, "pocket-sft")
    flags = ["--model", str(REPO / "weights" / made_from), "--iters", "20"]
    flags += ["--labels", str(REPO / "weights" / "pocket-honest" / "knowledge.jsonl")] if recipe == "search" else []
    said = rows(here("plan", recipe, *flags, "--json"))
    plan = said["plan"]
    assert plan["steps"] == steps
    assert "generated, fresh in every step" in plan["facts"]["talks"]
    assert plan["memory"]["band"] in ("SAFE", "TIGHT")
    assert plan["disk"]["need"] > 1e6
    assert "steps measured here" in said["time"]["said"]
    assert set(said["time"]["parts"]) == parts
    assert all(seconds > 0 for seconds in said["time"]["parts"].values())
    assert not [p for p in home.iterdir() if p.name != ".cache"]  # nothing was written


def test_questions_of_ones_own_are_no_data_set_of_the_hub(refused: Refused, home: Path) -> None:
    model = REPO / "weights" / "pocket-sft"
    refused("plan", "interrogate", "--model", model, "--data", "nobody/nothing", says="nobody/nothing: no such file")
    refused("plan", "search", "--model", model, "--data", "a/b", "--index", "c.db", says="a/b: no such file")
