"""The report of `lab doctor --report`: one Markdown text about one machine, made to be pasted into a public issue.

No host name, no user name, no path but those inside the clone, the weights folder or ~.
"""

import contextlib
import getpass
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

from lab import runs
from lab.runs import Info
from recipes.advice import Advice
from recipes.machine import Facts

TITLE = "# lab doctor: report of one machine"
LOG_LINES, LINE = 20, 200
# An absolute path with at least one folder in it; not the middle of a word, an address or a path that is hidden already.
PATH = re.compile(r"(?<![\w~$.:/…])/(?:[^\s/'\"`,;|<>()]+/)+([^\s/'\"`,;|<>()]*)")


def hide(text: str) -> str:
    """Paths: the clone becomes `.`, the weights folder $LAB_HOME, the home folder ~; of any other the last part stays."""
    clone = Path(runs.__file__).resolve().parent.parent
    for path, name in ((runs.root(), "$LAB_HOME"), (runs.root().resolve(), "$LAB_HOME"), (clone, ".")):
        text = _named(text, str(path), name)
    return PATH.sub(r"…/\1", tilde(text))


def tilde(text: str) -> str:
    """The home folder as ~."""
    return _named(text, os.path.expanduser("~"), "~")


def _named(text: str, path: str, name: str) -> str:
    if len(path) < 2:  # a home of / hides nothing, and a user without one has ~
        return text
    return re.sub(rf"{re.escape(path)}(?![\w-])", lambda _: name, text)


def free(text: str) -> str:
    """Text that somebody else wrote (log lines, errors): also without the names of the user and of the machine."""
    text = hide(text)
    names = {socket.gethostname(): "HOST", socket.gethostname().split(".")[0]: "HOST"}
    for variable in ("USER", "LOGNAME"):
        names[os.environ.get(variable, "")] = "USER"
    with contextlib.suppress(OSError, KeyError):  # a container may know no such user
        names[getpass.getuser()] = "USER"
    for name in sorted(filter(None, names), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", names[name], text)
    return text


def report(facts: Facts, advice: list[Advice]) -> str:
    """Facts, checks, advice, runs, and the last lines of the newest log."""
    device = facts.get("device", {}).get("name", "MLX does not load")
    system = facts["system"]
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    parts = [
        TITLE,
        f"This is the evidence for one machine: **{device}**, {system['processor']}, {system['os']}; made by "
        f"`lab doctor --report` at {when} UTC. Everything was measured or read there by this revision of the lab "
        f"(git {facts['lab']['git'] or 'unknown'}); what is not here was not run.",
        "## Facts\n" + "\n".join(_facts(facts)),
        "## Checks\n" + _checks(facts.get("checks")),
        "## Advice\n" + ("\n".join(_point(each) for each in advice) or "Nothing to mend."),
        "## Runs\n" + _runs(),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(facts: Facts) -> list[str]:
    """Each number and word of the facts, one line a section."""
    rows = ["| what | value |", "|---|---|"]
    for section, value in facts.items():
        if section in ("checks", "sizes", "work", "unmet"):
            continue
        if section in ("memory", "disk"):
            value = {
                k: f"{v / 1e9:,.2f} GB" if isinstance(v, int) and not isinstance(v, bool) else v
                for k, v in value.items()
            }
        rows.append(f"| {section} | {_cell(value)} |")
    if table := facts.get("sizes"):
        rows += ["", "What fits (speeds and hours are estimates from the measurements above):", ""]
        rows += [
            "| size | parameters | memory, GB | fits | tokens/s | hours for 20 tokens a parameter |",
            "|---|---|---|---|---|---|",
        ]
        rows += [
            f"| {row['size']} | {row['parameters']:,} | {row['memory'] / 1e9:.2f} | {row['fits']} | "
            f"{row['tokens_per_second']:,.0f} | {row['hours']:,.1f} |"
            for row in table
        ]
    return rows


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, bool) or not isinstance(value, int):
        return free(str(value)).replace("|", "\\|")
    return f"{value:,}"


def _checks(checks: Facts | None) -> str:
    if checks is None:
        return "`lab doctor --check` has not been run on this machine with these versions, so there are none."
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(checks["t"]))
    rows = [
        f"Run at {when} UTC.",
        "",
        "| check | compares | result | error | allowed | why that much | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in checks["results"]:
        verdict = {True: "pass", False: "**FAIL**", None: "not here"}[row["ok"]]
        error, most = (f"{row[key]:.2e}" if row[key] is not None else "-" for key in ("error", "tolerance"))
        why = free(row["why"]).replace("|", "\\|")
        rows.append(
            f"| {row['name']} | {row['compares']} | {verdict} | {error} | {most} | {why} | {row['seconds']:.2f} |"
        )
    return "\n".join(rows)


def _point(each: Advice) -> str:
    return f"- {'**broken** ' if each.broken else ''}{free(each.text)}: `{free(each.command)}`"


def _runs() -> str:
    found = runs.runs()
    if not found:
        return "None."
    rows = ["| run | recipe | state | step | result | error |", "|---|---|---|---|---|---|"]
    for info in found:
        cells = (
            info.name,
            info.recipe,
            info.state,
            f"{info.step}/{info.total}",
            info.headline,
            str(info.status.get("error", "")),
        )
        rows.append(
            "| " + " | ".join(free(cell)[:LINE].replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )
    return "\n".join(rows) + _last_log(found)


def _last_log(found: list[Info]) -> str:
    """The end of the log that tells most: of the newest run that failed or died, else of the newest."""
    trouble = [info for info in found if info.state in ("failed", "died")]
    for info in (trouble or found)[:1]:
        try:
            lines = (info.folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            continue
        text = "\n".join(free(_unplaced(info, line))[:LINE].replace("```", "'''") for line in lines)
        return f"\n\nThe last lines of {free(info.name)}/log.txt:\n\n```\n{text}\n```"
    return ""


def _unplaced(info: Info, line: str) -> str:
    """The line with only the last part of the path to the training text, which may hold spaces."""
    config = runs.read_json(info.folder / "run.json").get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return line.replace(data, f"…/{Path(data).name}") if isinstance(data, str) and os.sep in data else line
