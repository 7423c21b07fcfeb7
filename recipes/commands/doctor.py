"""Look at this machine: what it is, how fast it is, what fits, what to mend; and check that it computes right.

--check runs the numeric checks: the device against float64, pairs that must agree, and an accelerator against the CPU
of the same process. What it finds is remembered for this machine and these versions. Exit code 1: something is broken.

Expected on one core of an AMD server: 2.5 s of processor time, with --check 4 s. An accelerator compiles kernels first.

Examples:
  lab doctor                        facts, measured speeds, advice
  lab doctor --check                the numeric checks too
  lab doctor --check --report       and one Markdown file to send, lab-doctor.md (no names, no private paths)
  lab doctor --report -             that text on standard output
  lab doctor --json                 for programs
"""

import dataclasses
import json
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, Positional

from lab.display import busy
from lab.errors import UserError, expand
from lab.runs import write_atomic
from recipes import evidence, machine
from recipes.advice import Advice, advise
from recipes.machine import Facts

FILE = "lab-doctor.md"
FITS = {"yes": "green", "tight": "yellow", "no": "red"}


@dataclass(frozen=True)
class Config:
    file: Positional[str] = ""
    """Where --report writes; - is standard output."""
    check: Annotated[bool, FlagCreatePairsOff] = False
    """Run the numeric checks and remember what they found."""
    report: Annotated[bool, FlagCreatePairsOff] = False
    """Write one Markdown file with everything, to paste into an issue."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print one JSON object instead of tables."""


def run(config: Config) -> int:
    target = _target(config)
    quiet = config.json or (config.report and config.file == "-")
    out = Console(quiet=quiet, highlight=False)
    facts: Facts = {}
    for title, gather in STAGES:
        with busy(title):
            gather(facts)
    _show(out, facts, config.check)
    if config.check and "mlx_error" not in facts:
        facts["checks"] = _check(out)
    advice = advise(facts)
    _say_advice(out, advice)
    if config.json:
        print(
            json.dumps(
                {**facts, "advice": [dataclasses.asdict(a) for a in advice], "ok": not _broken(advice)}, indent=1
            )
        )
    if target == "-":
        print(evidence.report(facts, advice), end="")
    elif target:
        write_atomic(Path(target), evidence.report(facts, advice))
        out.print(f"\nReport: {target}", markup=False, soft_wrap=True)
    return int(_broken(advice))


def _broken(advice: list[Advice]) -> bool:
    return any(each.broken for each in advice)


def _target(config: Config) -> str:
    """Where the report goes ('' for nowhere); refused before anything is measured."""
    if not config.report:
        if config.file:
            raise UserError(f"too much: {config.file}; a file goes with --report (lab doctor --report {config.file})")
        return ""
    if config.file == "-":
        if config.json:
            raise UserError("--report - and --json both want standard output; give the report a file")
        return "-"
    path = expand(config.file or FILE)
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that is not there"
        raise UserError(f"--report {path} {what}; name a file such as {FILE}")
    try:
        if path.exists() and not path.read_bytes().startswith(evidence.TITLE.encode()):
            raise UserError(f"{path} is there and no report of `lab doctor`; name another file")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UserError(f"--report {path} cannot be written ({error.strerror}); name a file elsewhere") from error
    return str(path)


# -- gathering -------------------------------------------------------------------------------------------------------


def _plain_facts(facts: Facts) -> None:
    facts["lab"] = {"version": machine.version(), "git": machine.revision()}
    facts["system"] = machine.system()
    facts["packages"] = machine.packages()
    facts["unmet"] = machine.unmet()
    if machine.version("mlx-tracker"):
        facts["tracker"] = True
    facts["disk"] = machine.disk()
    facts["terminal"] = machine.terminal()
    facts["work"] = machine.work()
    facts["memory"] = machine.memory()
    if machine.MAC:
        facts["power"] = machine.power(*(machine.said("pmset", "-g", *more) for more in ((), ("therm",), ("batt",))))
    try:
        from lab import check, device
    except (ImportError, OSError) as error:  # a broken installation is just what a doctor is asked about
        facts["mlx_error"] = " ".join(str(error).split())[:300]
        return
    facts["device"] = {"name": device.name(), "kind": "cpu" if device.on_cpu() else "gpu"}
    facts["blas"] = machine.blas()
    facts["memory"] |= machine.mlx_memory()
    facts["compile"] = {"checked": check.passed("compiled"), "g++": shutil.which("g++") is not None}
    found = check.recorded()
    facts["checks"] = {"t": found[0], "results": [dataclasses.asdict(r) for r in found[1]]} if found else None


def _products(facts: Facts) -> None:
    if "mlx_error" in facts:
        return
    if facts["device"]["kind"] == "cpu":
        facts["products"] = {"float32": machine.products()}
        return
    from lab import check_exact

    dtypes = ("float32", "bfloat16", "float16")
    facts["products"] = {dtype: machine.products(dtype, 4096) for dtype in dtypes} | {"cpu": machine.products(cpu=True)}
    facts["device"]["fp32_rounded_to"] = "TF32" if check_exact.unit() == check_exact.TF32 else "fp32"


def _training(facts: Facts) -> None:
    if "mlx_error" in facts:
        return
    on_cpu = facts["device"]["kind"] == "cpu"
    step = machine.training("pocket" if on_cpu else "5m")  # a small one leaves an accelerator idle
    products, memory = facts["products"], facts["memory"]
    half = products["float32"] if on_cpu else products["bfloat16"]
    share = step["gflops"] / products["float32"]
    facts["training"] = step | {"share": share}
    room = memory.get("max_recommended_working_set_size", memory.get("container", memory["total"]))
    available = min(memory.get("available", room), room)
    facts["sizes"] = machine.sizes(products["float32"], half, share, available, room)


STAGES: tuple[tuple[str, Callable[[Facts], None]], ...] = (
    ("reading the machine", _plain_facts),
    ("measuring matrix products", _products),
    ("measuring a training step", _training),
)


def _check(out: Console) -> Facts:
    """Run the checks, a line each, and remember the results. A folder that cannot be written is said, no more."""
    from lab import check

    chosen, results = check.chosen(), []
    out.print("\nChecks: the largest error of how much is allowed")
    screen = out if out.is_terminal and not out.quiet else Console(stderr=True)  # one screen, or lines run into the bar
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=len(chosen))
        for each in chosen:
            bar.update(task, description=each.name)
            results.append(check.perform(each))
            out.print(_verdict(results[-1]), soft_wrap=True)
            if results[-1].ok is not True:
                _print(out, "     ", f"{each.name}: {results[-1].why}", "")
            bar.advance(task)
    try:
        check.record(results)
    except OSError as error:
        print(f"not remembered: {error.filename or ''} {error.strerror or error}", file=sys.stderr)
    return {"t": time.time(), "results": [dataclasses.asdict(each) for each in results]}


# -- showing ---------------------------------------------------------------------------------------------------------


def _verdict(result: Any) -> Text:
    """One check as a line of at most 80 characters."""
    mark, style = {True: ("ok", "green"), False: ("FAIL", "bold red"), None: ("-", "dim")}[result.ok]
    if result.error is None or result.tolerance is None:
        numbers = "not here" if result.ok is None else "no number"
    elif result.error == 0:
        numbers = "exact"
    else:
        numbers = f"{result.error:.1e} of {result.tolerance:.1e}"
    line = Text.assemble(
        (f"{mark:<4} ", style), f"{numbers:<18}  ", (result.compares, "" if result.ok is False else "dim")
    )
    return line


def _print(out: Console, head: str, text: str, style: str) -> None:
    """A heading and a text wrapped beside it. (A rich grid would fill every line with blanks.)"""
    lines = textwrap.wrap(text, max(20, out.width - len(head)), break_on_hyphens=False) or [""]
    out.print(Text.assemble((head, style), f"\n{' ' * len(head)}".join(lines)), soft_wrap=True)


def _show(out: Console, facts: Facts, checking: bool) -> None:
    for title, text in _lines(facts, checking):
        _print(out, f"{title:<10}", text, "bold cyan")
    if sizes := facts.get("sizes"):
        _show_sizes(out, sizes, facts["device"]["kind"])


def _lines(facts: Facts, checking: bool) -> Iterator[tuple[str, str]]:
    """The facts in words; what older checks found only where none are about to run."""
    system, versions = facts["system"], facts["packages"]
    yield "system", system["os"]
    yield "", f"{system['processor']}, {system['architecture']}, {system['cores']} cores, load {system['load']:.1f}"
    if "device" in facts:
        rounding = " (fp32 products are rounded to TF32; MLX_ENABLE_TF32=0 makes them exact)"
        yield "device", facts["device"]["name"] + (rounding if facts["device"].get("fp32_rounded_to") == "TF32" else "")
    yield "lab", f"{facts['lab']['version'] or 'not installed'}, git {facts['lab']['git'] or 'unknown'}"
    yield "packages", ", ".join(f"{name}=={version}" for name, version in versions.items())
    if products := facts.get("products"):
        blas = facts["blas"]
        names = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "cpu": "on the CPU fp32"}
        speeds = ", ".join(f"{names[k]} {v:,.0f} GFLOP/s" for k, v in products.items())
        detail = [blas.get("version", blas["library"])]
        detail += [f"{blas['kernels']} kernels"] if "kernels" in blas else []
        detail += [f"{blas['threads']} thread{'s' * (blas['threads'] != 1)}"] if blas.get("threads") else []
        yield "products", f"{speeds} ({', '.join(detail)})"
    if training := facts.get("training"):
        share = f"{training['gflops']:,.0f} GFLOP/s, {training['share']:.0%} of the products'"
        yield "training", f"{training['tokens_per_second']:,.0f} tokens/s at size {training['size']}: {share}"
    yield "memory", _memory(facts["memory"])
    disk = facts["disk"]
    yield "disk", f"{disk['free'] / 1e9:,.1f} GB free of {disk['total'] / 1e9:,.0f} in {evidence.tilde(disk['folder'])}"
    yield "terminal", _terminal(facts["terminal"])
    if power := facts.get("power"):
        yield "power", ", ".join(f"{key.replace('_', ' ')} {_yes(value)}" for key, value in power.items())
    if "compile" in facts:
        yield "compile", _compile(facts)
    yield "runs", _runs(facts["work"])
    if "device" in facts and not checking:
        yield "checks", _checks(facts["checks"])


def _yes(value: Any) -> str:
    return str(value) if not isinstance(value, bool) else "on" if value else "off"


def _memory(memory: Facts) -> str:
    def gb(key: str) -> str:
        return f"{memory[key] / 1e9:,.1f} GB" if memory[key] >= 5e8 else f"{memory[key] / 1e6:,.0f} MB"

    parts = [gb("total")]
    parts += [f"{gb('container')} for this container"] if "container" in memory else []
    parts += [f"{gb('available')} free"] if "available" in memory else []
    if "max_recommended_working_set_size" in memory:
        parts.append(f"recommended working set {gb('max_recommended_working_set_size')}")
        parts += [f"wired at most {gb('wired_limit')}"] if "wired_limit" in memory else []
    if "memory_limit" in memory:
        parts.append(f"MLX's limit {gb('memory_limit')}, its cache's {gb('cache_limit')}")
    return ", ".join(parts)


def _terminal(screen: Facts) -> str:
    if not screen["is_terminal"]:
        return f"none (a pipe or a file), {screen['encoding']}"
    name = ", ".join(filter(None, (screen["program"], screen["term"], "ssh" if screen.get("ssh") else "")))
    colours = "256 colours" if screen["colours"] == "256" else screen["colours"].replace("standard", "16 colours")
    return f"{screen['columns']} x {screen['lines']}, {colours}, {screen['encoding'] or 'unknown encoding'} ({name})"


def _compile(facts: Facts) -> str:
    if facts["device"]["kind"] == "cpu":
        compiler = "g++ is there" if facts["compile"]["g++"] else "there is no g++"
        return f"mx.compile is never used on the CPU ({compiler})"
    checked = {True: "passed here", False: "FAILED here", None: "not checked here"}[facts["compile"]["checked"]]
    return f"mx.compile is off; {checked}"


def _runs(work: Facts) -> str:
    live = ", ".join(f"{run['name']} is {run['state']} ({run['step']}/{run['total']})" for run in work["live"])
    if not live and work["device_taken"]:
        live = "another process holds the accelerator"
    return f"{live or 'no training runs now'}; {work['runs']} in the weights folder"


def _checks(checks: Facts | None) -> str:
    if checks is None:
        return "not run here with these versions (lab doctor --check)"
    said = [row["ok"] for row in checks["results"]]
    failed = f"{said.count(False)} FAILED, " if False in said else ""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(checks["t"]))
    return f"{failed}{said.count(True)} of {len(said) - said.count(None)} passed on {when}"


def _show_sizes(out: Console, sizes: list[Facts], kind: str) -> None:
    rows, length = machine.STEP
    table = Table(box=None, header_style="bold", pad_edge=False)
    dtype = ", fp32" if kind == "cpu" else ""
    out.print(f"\nWhat fits at {rows} x {length} tokens a step{dtype} (speeds and hours are estimates)")
    for column in ("size", "parameters", "memory", "fits", "tokens/s", "hours for 20 tokens a parameter"):
        table.add_column(column, justify="left" if column in ("size", "fits") else "right")
    for row in sizes:
        fits = Text(row["fits"], style=FITS[row["fits"]])
        cells = (f"{row['parameters']:,}", f"{row['memory'] / 1e9:.2f} GB", fits, f"{row['tokens_per_second']:,.0f}")
        table.add_row(row["size"], *cells, f"{row['hours']:,.{0 if row['hours'] >= 100 else 1}f}")
    out.print(table)
    minutes = machine.POCKET_PASS / sizes[0]["tokens_per_second"] / 60
    out.print(f"One pass over the pocket world (lab pretrain) takes about {max(1, round(minutes))} minutes here.")


def _say_advice(out: Console, advice: list[Advice]) -> None:
    out.print()
    if not advice:
        out.print(Text("Nothing to mend.", style="green"))
    for each in advice:
        _print(out, *(("broken  ", each.text, "bold red") if each.broken else ("advice  ", each.text, "bold yellow")))
        out.print(Text(f"        {each.command}", style="bold"), soft_wrap=True)
