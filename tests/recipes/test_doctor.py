"""`lab doctor` on this machine: facts that are true, checks, a report without names or private paths, exit codes."""

import dataclasses
import getpass
import json
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from lab import check
from lab.check import Result
from lab.model import SIZES
from recipes import evidence, machine
from recipes.advice import advise
from tests.conftest import REPO, Lab
from tests.recipes.conftest import Here, Refused


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """All facts, gathered once."""
    from recipes.commands.doctor import STAGES

    found: dict[str, Any] = {}
    for _, gather in STAGES:
        gather(found)
    return found


def without_checks(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"checks": None}


# -- the command -----------------------------------------------------------------------------------------------------


def test_doctor_checks_reports_and_remembers(cli: Lab, tmp_path: Path) -> None:
    """One real process: tables, every check, the report in a file, the record for others."""
    report = tmp_path / "r.md"
    done = cli("doctor", "--check", "--report", report, COLUMNS="80")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.replace(str(report), "r.md").splitlines()
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []
    for title in ("system", "device", "products", "training", "memory", "disk", "terminal", "compile", "What fits"):
        assert re.search(rf"^{title} ", done.stdout, re.M), title
    names = {each.name for each in check.chosen()}
    assert len(re.findall(r"^(ok|FAIL|-)  ", done.stdout, re.M)) == len(names)
    assert "FAIL" not in done.stdout
    assert check.passed("forward", "gradients", "update", "storage", "sampler") is True
    assert all(f"| {name} |" in report.read_text() for name in names)


def test_doctor_says_what_it_did_not_do(here: Here, tmp_path: Path) -> None:
    said = here("doctor", "--json", "--report", "r.md")
    assert said.code == 0
    assert all(line.endswith(" ...") for line in said.err.splitlines())  # what a slow machine tells of its progress
    facts = json.loads(said.out)
    assert (facts["ok"], facts["checks"]) == (True, None)
    assert [row["size"] for row in facts["sizes"]] == list(SIZES)
    report = (tmp_path / "r.md").read_text()
    assert report.startswith(evidence.TITLE)
    assert "`lab doctor --check` has not been run on this machine with these versions" in report
    assert "| pass |" not in report
    assert "Runs\nNone." in report


def test_a_failed_check_of_this_machine_is_broken_until_it_passes(here: Here, tmp_path: Path) -> None:
    check.record([Result("forward", "logits against float64", False, 0.5, 1e-5, "2^-24", 0.1)])
    (tmp_path / "lab-doctor.md").write_text(evidence.TITLE + "\nold news")
    said = here("doctor", "--report")
    assert said.code == 1
    assert "broken  failed here: forward" in said.out
    assert "lab doctor --check --report" in said.out
    report = (tmp_path / "lab-doctor.md").read_text()
    assert "| forward | logits against float64 | **FAIL** | 5.00e-01 | 1.00e-05 | 2^-24 | 0.10 |" in report
    assert "old news" not in report


def test_an_installation_without_mlx_is_named_not_traced(cli: Lab, tmp_path: Path) -> None:
    """The case that a doctor is for: MLX is there and does not load."""
    broken, report = tmp_path / "site" / "mlx", tmp_path / "r.md"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libmlx.so: cannot open shared object file')")
    done = cli("doctor", "--check", "--report", report, PYTHONPATH=str(broken.parent))
    assert (done.returncode, done.stderr) == (1, "")
    assert "broken  MLX does not load: libmlx.so" in done.stdout
    assert (
        "MLX does not load: libmlx.so: cannot open shared object file: `rm -rf .venv && ./setup.sh`"
        in report.read_text()
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["out.md"], "lab doctor --report out.md"),
        (["--report", "none/out.md"], "folder that is not there"),
        (["--report", "."], "is a folder"),
        (["--report", "/dev/fd/out.md"], "--report /dev/fd/out.md cannot be written"),
        (["--report", "-", "--json"], "both want standard output"),
        (["--chekc"], "did you mean --check"),
    ],
)
def test_doctor_refuses(refused: Refused, args: list[str], says: str) -> None:
    refused("doctor", *args, says=says)


def test_a_report_replaces_only_a_report(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("mine")
    refused("doctor", "--report", "notes.md", says="no report of `lab doctor`")
    assert (tmp_path / "notes.md").read_text() == "mine"


# -- the report ------------------------------------------------------------------------------------------------------


def test_the_report_names_nobody_and_no_private_place(
    facts: dict[str, Any], tiny_run: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "annabel"
    private.mkdir()
    monkeypatch.setenv("HOME", str(private))
    monkeypatch.setenv("USER", "annabel")
    monkeypatch.setenv("LOGNAME", "annabel")
    shutil.copytree(tiny_run, home / "crashed")
    config = json.loads((home / "crashed" / "run.json").read_text())
    config["config"]["data"] = "/Volumes/My Disk/Secret Client/letters.txt"
    (home / "crashed" / "run.json").write_text(json.dumps(config))
    (home / "crashed" / "status.json").write_text(
        json.dumps({"state": "failed", "step": 3, "total": 6, "error": f"{private}/books/a.txt: cut"})
    )
    (home / "crashed" / "log.txt").write_text(
        "early line\n" * 30
        + f"annabel@{socket.gethostname()}: /Volumes/My Disk/Secret Client/letters.txt: broken\n"
        + f'  File "{REPO}/lab/run.py", line 3\n  File "/opt/secret/lib/python3.11/x.py"\n'
        + f"{home}/crashed/model.safetensors and {private}/books and https://example.org/a/b\n"
        + "```\n"
    )
    text = evidence.report(without_checks(facts), advise(facts))
    for secret in (
        "annabel",
        "Secret",
        "My Disk",
        "/opt",
        str(home),
        str(tmp_path),
        str(REPO),
        str(Path.home().parent),
    ):
        assert secret not in text, secret
    log = text.split("crashed/log.txt:")[1]
    assert "USER@HOST: …/letters.txt: broken" in log
    assert '"./lab/run.py", line 3' in log
    assert "…/x.py" in log
    assert "$LAB_HOME/crashed/model.safetensors and ~/books and https://example.org/a/b" in log
    assert log.count("early line") < 20
    assert log.count("```") == 2
    assert "| crashed | pretrain | failed | 3/6 |  | ~/books/a.txt: cut |" in text
    assert "| tiny | pretrain | done | 6/6 |" in text


def test_a_run_named_after_its_user_is_not_named(
    facts: dict[str, Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "annabel")
    run = tiny_run.rename(tiny_run.with_name("annabel-1"))
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"state": "running"}))  # it died: nobody holds its lock
    told = without_checks(facts) | {"work": machine.work(), "mlx_error": "annabel's libmlx.so is broken"}
    text = evidence.report(told, advise(told))
    assert "annabel" not in text
    assert "run USER-1 died at step 6 of 6" in text
    assert "The last lines of USER-1/log.txt" in text


def test_a_user_without_a_home_is_no_trouble(here: Here, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME and no entry in passwd, as in some containers: Python then leaves ~ as it is."""
    monkeypatch.setenv("HOME", "~")
    with pytest.raises(RuntimeError):
        Path.home()
    said = here("doctor", "--report", "r.md")
    assert said.code == 0
    assert all(line.endswith(" ...") for line in said.err.splitlines())  # what a slow machine tells of its progress
    assert re.search(rf"^disk .* in {re.escape(str(home))}$", said.out, re.M)
    assert evidence.hide("~/a and /home/b/c") == "~/a and …/c"


def test_the_home_folder_is_a_whole_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert evidence.tilde("/home/ann/x, /home/anna/x") == "~/x, /home/anna/x"


def test_names_inside_words_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "lab")
    monkeypatch.setenv("LOGNAME", "lab")
    assert getpass.getuser() == "lab"
    assert evidence.free("labels of lab") == "labels of USER"
    assert evidence.hide("loss 1/2, 3 / 4, a/b/c, -/+") == "loss 1/2, 3 / 4, a/b/c, -/+"


# -- the facts -------------------------------------------------------------------------------------------------------


def test_the_facts_are_of_this_machine(facts: dict[str, Any]) -> None:
    import mlx.core as mx
    import numpy as np

    assert facts["packages"]["mlx"] == mx.__version__
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["unmet"] == []
    assert 1 <= facts["system"]["cores"] <= (os.cpu_count() or 1)
    assert 0 < facts["memory"]["available"] <= facts["memory"]["total"]
    assert facts["memory"]["memory_limit"] == mx.get_memory_limit()
    assert facts["disk"]["free"] == pytest.approx(shutil.disk_usage(REPO).free, rel=0.2)
    products, training = facts["products"]["float32"], facts["training"]
    assert 0 < training["gflops"] < products * 1.5  # a step is no faster than its products, but for noise
    for row in facts["sizes"]:
        assert row["parameters"] == machine.shape(row["size"]).parameters
        assert row["hours"] * 3600 * row["tokens_per_second"] == pytest.approx(20 * row["parameters"])


def test_looking_leaves_mlx_limits_as_they_were() -> None:
    import mlx.core as mx

    mx.set_cache_limit(123 << 20)
    assert machine.mlx_memory()["cache_limit"] == 123 << 20
    assert mx.set_cache_limit(123 << 20) == 123 << 20


def test_what_fits_follows_the_memory() -> None:
    def fits(available: float, total: float) -> list[str]:
        return [row["fits"] for row in machine.sizes(100, 100, 0.4, int(available), int(total))]

    assert fits(64e9, 64e9) == ["yes"] * 5
    assert fits(1e9, 4e9) == ["yes", "yes", "tight", "tight", "no"]
    speeds = [row["tokens_per_second"] for row in machine.sizes(100, 1000, 0.4, 1, 1)]
    assert speeds[3] > speeds[2]  # bf16, ten times as fast here, begins above 30M parameters


PMSET = """System-wide power settings:
Currently in use:
 standby              1
 Sleep On Power Button 1
 lowpowermode         1
 sleep                1 (sleep prevented by caffeinate)
"""
THERM = "Note: No thermal warning level has been recorded\nCPU_Speed_Limit \t= 64\n"
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            300000.
Pages inactive:                           20000.
Pages speculative:                         3000.
Pages throttled:                              0.
Pages wired down:                        100000.
Pages purgeable:                            400.
"""


def test_what_macos_says_is_read() -> None:
    """The texts are written after Apple's manual pages; no Mac was at hand."""
    battery = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t80%; discharging"
    assert machine.power(PMSET, THERM, battery) == {"low_power_mode": True, "speed_limit": 64, "battery": True}
    plugged = "Now drawing from 'AC Power'"
    assert machine.power(PMSET.replace("mode         1", "mode         0"), "", plugged) == {
        "low_power_mode": False,
        "battery": False,
    }
    assert machine.power("", "", "") == {}
    assert machine.free_on_mac(VM_STAT) == {"available": 33_400 * 16_384}
    assert machine.free_on_mac("no such thing") == {}


def test_cached_files_are_free_memory_of_a_container() -> None:
    stat = "anon 700\nfile 5000\nactive_file 1000\ninactive_file 4000\n"
    assert machine.used("6000\n", stat) == 2000
    assert machine.used("6000\n", "") == 6000
    assert machine.used("", "") == 0


def test_a_running_training_is_seen(here: Here, tiny_run: Path) -> None:
    from lab.runs import lock

    assert machine.work()["live"] == []
    status = json.loads((tiny_run / "status.json").read_text())
    (tiny_run / "status.json").write_text(json.dumps(status | {"state": "running", "step": 4}))
    assert [run["name"] for run in machine.work()["died"]] == ["tiny"]  # nobody holds its lock
    handles = [lock(tiny_run / "lock", ""), lock(tiny_run.parent / ".device.lock", "")]
    try:
        found = machine.work()
        assert [(run["name"], run["step"]) for run in found["live"]] == [("tiny", 4)]
        assert found["device_taken"] is True
    finally:
        for handle in handles:
            os.close(handle)


# -- advice ----------------------------------------------------------------------------------------------------------


def test_nothing_wrong_gives_no_advice(facts: dict[str, Any]) -> None:
    calm = without_checks(facts) | {"terminal": {"is_terminal": False}, "work": {}, "blas": {}}
    assert advise(calm) == []
    assert advise({}) == []


GOOD_SCREEN = {"is_terminal": True, "columns": 80, "lines": 24, "colours": "256", "encoding": "utf-8", "program": ""}


@pytest.mark.parametrize(
    ("facts", "broken", "command"),
    [
        ({"mlx_error": "no"}, True, "rm -rf .venv && ./setup.sh"),
        ({"unmet": ["numpy is 1.0, the lab needs >=2.1"]}, True, "rm -rf .venv && ./setup.sh"),
        ({"system": {"os": "macOS 15.1", "architecture": "x86_64"}}, True, "rm -rf .venv && arch -arm64 ./setup.sh"),
        (
            {"tracker": True, "packages": {"mlx": "0.32.4"}},
            True,
            "uv pip uninstall mlx-tracker && uv pip install --reinstall mlx==0.32.4",
        ),
        (
            {"packages": {"mlx": "0.32.4", "mlx-cuda-13": "0.32.4"}, "device": {"kind": "cpu"}},
            False,
            "uv pip uninstall mlx-cpu && uv pip install --no-deps --reinstall mlx-cuda-13==0.32.4",
        ),
        ({"blas": {"slow": True}, "products": {"float32": 2.5}}, False, "sudo apt-get install libopenblas0-pthread"),
        ({"blas": {"library": "x"}, "products": {"float32": 9.0}}, False, "top"),
        ({"disk": {"folder": "/x", "free": 5e7, "writable": True}}, True, "du -sh '/x'/*"),
        ({"disk": {"folder": "/x", "free": 9e11, "writable": False}}, True, "export LAB_HOME=~/lab-weights"),
        ({"memory": {"available": 1e8}}, False, "top"),
        ({"power": {"low_power_mode": True}}, False, "sudo pmset -a lowpowermode 0"),
        ({"power": {"speed_limit": 50}}, False, "pmset -g therm"),
        ({"power": {"battery": True}}, False, "caffeinate -is lab pretrain"),
        (
            {"work": {"died": [{"name": "a", "recipe": "pretrain", "step": 1, "total": 2, "resumable": True}]}},
            False,
            "lab pretrain --name a --resume",
        ),
        ({"terminal": GOOD_SCREEN | {"encoding": "ascii"}}, False, "export LANG=C.UTF-8"),
        ({"terminal": GOOD_SCREEN | {"colours": "none"}}, False, "export TERM=xterm-256color"),
        ({"terminal": GOOD_SCREEN | {"columns": 60}}, False, "printf '\\e[8;24;80t'"),
        ({"terminal": GOOD_SCREEN | {"program": "Apple_Terminal"}}, False, "brew install --cask ghostty"),
        ({"device": {"kind": "gpu"}, "checks": None}, False, "lab doctor --check"),
    ],
)
def test_each_trouble_has_its_command(facts: dict[str, Any], broken: bool, command: str) -> None:
    (only,) = advise(facts)
    assert (only.broken, only.command) == (broken, command)
    assert only.text
    assert "\n" not in only.text


def test_no_colours_by_choice_and_a_compiler_that_fails_are_no_trouble() -> None:
    assert advise({"terminal": GOOD_SCREEN | {"colours": "none", "no_color": True}}) == []
    failed = dataclasses.asdict(Result("compiled", "", False, 1.0, 0.1, "", 0.0))
    assert advise({"device": {"kind": "gpu"}, "checks": {"t": 0, "results": [failed]}}) == []


def test_what_is_broken_comes_first() -> None:
    found = advise({"memory": {"available": 1e8}, "disk": {"folder": "/x", "free": 9e11, "writable": False}})
    assert [each.broken for each in found] == [True, False]
