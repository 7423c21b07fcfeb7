"""What to mend on this machine, from the facts that recipes/machine.py gathered: each point with the exact command."""

from dataclasses import dataclass

from recipes.machine import Facts

GOOD_CORE = 15.0  # GFLOP/s in fp32 that one core with a tuned BLAS passes easily: 83 to 103 were measured on Zen 4
AGAIN = "rm -rf .venv && ./setup.sh"  # setup.sh leaves alone what it has made
HARMLESS = ("compiled",)  # mx.compile then stays off, nothing else
GB = 1e9


@dataclass(frozen=True)
class Advice:
    """`broken`: the lab does not work until this is mended; else it works, but worse than it could."""

    broken: bool
    text: str
    command: str


def advise(facts: Facts) -> list[Advice]:
    """Points in order of weight; empty when nothing is wrong. Sections of facts that are missing give no advice."""
    found = [*_installation(facts), *_speed(facts), *_room(facts), *_power(facts), *_work(facts), *_screen(facts)]
    return sorted(found, key=lambda each: not each.broken)


def _installation(facts: Facts) -> list[Advice]:
    found, system, packages = [], facts.get("system", {}), facts.get("packages", {})
    if error := facts.get("mlx_error"):
        found.append(Advice(True, f"MLX does not load: {error}", AGAIN))
    if unmet := facts.get("unmet"):
        found.append(Advice(True, "; ".join(unmet), AGAIN))
    if system.get("rosetta") or (system.get("os", "").startswith("macOS") and system.get("architecture") == "x86_64"):
        text = "this Python runs as an Intel program, and MLX needs Apple silicon's own"
        found.append(Advice(True, text, "rm -rf .venv && arch -arm64 ./setup.sh"))
    if facts.get("tracker"):
        text = "mlx-tracker is installed: its files overwrite those of MLX"
        mend = f"uv pip uninstall mlx-tracker && uv pip install --reinstall mlx=={packages.get('mlx')}"
        found.append(Advice(True, text, mend))
    cuda = next((name for name in packages if name.startswith("mlx-cuda")), None)
    on_cpu = facts.get("device", {}).get("kind") == "cpu"
    if cuda and on_cpu:
        version = packages.get("mlx")
        text = f"{cuda} is installed, but MLX computes on the CPU: the files of mlx-cpu lie over it"
        mend = f"uv pip uninstall mlx-cpu && uv pip install --no-deps --reinstall {cuda}=={version}"
        found.append(Advice(False, text, mend))
    elif on_cpu and system.get("nvidia_driver"):
        text = "there is an NVIDIA card, but MLX computes on the CPU"
        mend = (
            "uv sync --extra cuda13 && uv pip uninstall mlx-cpu && "
            f"uv pip install --no-deps --reinstall mlx-cuda-13=={packages.get('mlx')}"
        )
        found.append(Advice(False, text, mend))
    results = (facts.get("checks") or {}).get("results", [])
    failed = [row["name"] for row in results if row["ok"] is False and row["name"] not in HARMLESS]
    if failed:
        text = f"failed here: {', '.join(failed)}; what the lab computes on this machine cannot be trusted"
        found.append(Advice(True, f"{text}. Send the report", "lab doctor --check --report"))
    elif facts.get("checks") is None and facts.get("device", {}).get("kind") == "gpu":
        found.append(Advice(False, "nobody has checked this accelerator's numbers yet", "lab doctor --check"))
    return found


def _speed(facts: Facts) -> list[Advice]:
    blas, products = facts.get("blas", {}), facts.get("products", {})
    speed = products.get("cpu") or products.get("float32")
    if blas.get("slow"):
        text = (
            f"OpenBLAS is missing: {speed:.1f} GFLOP/s, 83 to 103 were measured with it"
            if speed
            else "OpenBLAS is missing"
        )
        return [
            Advice(
                False,
                f"{text}; training and sampling run about 10x slower",
                "sudo apt-get install libopenblas0-pthread",
            )
        ]
    if blas and speed and speed < GOOD_CORE:
        text = f"matrix products reach {speed:.0f} GFLOP/s, {GOOD_CORE:.0f} or more is usual: another program may use the cores"
        return [Advice(False, text, "top")]
    return []


def _room(facts: Facts) -> list[Advice]:
    found, disk, memory = [], facts.get("disk", {}), facts.get("memory", {})
    if disk and not disk["writable"]:
        found.append(Advice(True, f"{disk['folder']} cannot be written", "export LAB_HOME=~/lab-weights"))
    elif disk and disk["free"] < GB:
        text = f"{disk['free'] / GB:.1f} GB left on the disk; a checkpoint of 125m takes 1.5 GB"
        found.append(Advice(disk["free"] < 0.1 * GB, text, f"du -sh '{disk['folder']}'/*"))
    if memory.get("available", GB) < 0.5 * GB:
        text = f"{memory['available'] / GB:.1f} GB of memory are free; close other programs"
        found.append(Advice(False, text, "top"))
    return found


def _power(facts: Facts) -> list[Advice]:
    found, power = [], facts.get("power", {})
    if power.get("low_power_mode"):
        found.append(Advice(False, "low power mode is on: everything is slower", "sudo pmset -a lowpowermode 0"))
    if power.get("speed_limit", 100) < 100:
        text = f"the processor is hot and runs at {power['speed_limit']} %; let it cool"
        found.append(Advice(False, text, "pmset -g therm"))
    if power.get("battery"):
        text = "it runs from the battery and may fall asleep in a long training; plug it in, and start it with"
        found.append(Advice(False, text, "caffeinate -is lab pretrain"))
    return found


def _work(facts: Facts) -> list[Advice]:
    work = facts.get("work", {})
    found = []
    for run in work.get("died", [])[:3]:
        if run["resumable"]:
            text = f"run {run['name']} died at step {run['step']} of {run['total']}; go on with it"
            found.append(Advice(False, text, f"lab {run['recipe']} --name {run['name']} --resume"))
    return found


def _screen(facts: Facts) -> list[Advice]:
    screen = facts.get("terminal", {})
    if not screen.get("is_terminal"):
        return []  # a pipe or a file shows everything
    found = []
    if screen["encoding"] not in ("utf-8", "utf8"):
        text = f"the terminal's encoding is {screen['encoding'] or 'unknown'}: signs beyond ASCII become ?"
        found.append(Advice(False, text, "export LANG=C.UTF-8"))
    if screen["colours"] in ("none", "standard") and not screen.get("no_color"):
        what = "no colours" if screen["colours"] == "none" else "16 colours"
        found.append(Advice(False, f"the terminal shows {what}; many more are usual", "export TERM=xterm-256color"))
    if screen["columns"] < 80 or screen["lines"] < 24:
        text = f"the window has {screen['columns']} x {screen['lines']} characters; make it 80 x 24 or larger"
        found.append(Advice(False, text, "printf '\\e[8;24;80t'"))
    if screen["program"] == "Apple_Terminal":
        text = "Terminal.app leaves gaps in charts and has 256 colours only on older systems; Ghostty, kitty, iTerm2 do better"
        found.append(Advice(False, text, "brew install --cask ghostty"))
    return found
