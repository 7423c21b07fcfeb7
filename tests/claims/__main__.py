"""What the recipes are said to show, measured over seeds: `make claims` runs the chain and writes docs/claims.json.

    python -m tests.claims                 run what is missing or stale, over two seeds (hours; goes on where it was cut)
    python -m tests.claims --fresh         run everything again
    python -m tests.claims --only sft      one of them (those before it must be there)
    python -m tests.claims --list          figures, spread and verdicts; what is stale, since which file
    python -m tests.claims.same REV        after a change that should alter no figure: proves it, and nothing is stale

A claim's record: the command, the figures of each seed, CPU time, git revision, and a hash of every file the figures depend
on. Where one of these has changed since, the figures are stale: they are listed, and measured again by who changed them. Runs
lie in weights/.claims-SEED. `lab report` makes the report card of it.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.runs import inspect
from recipes import findings, record
from recipes.record import RECORD, ROOT
from tests.claims.table import CLAIMS, FACTS, Claim


def keep(name: str, row: dict[str, Any]) -> None:
    """Put one claim's row into docs/claims.json: two processes may measure at once."""
    rows = record.claims() | {name: row}
    beside = RECORD.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
    os.replace(beside, RECORD)


def home_of(seed: int) -> Path:
    """The weights root of a seed: one home trains one model at a time, and the seeds run side by side."""
    home = ROOT / "weights" / f".claims-{seed}"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "pocket-base").exists():
        (home / "pocket-base").symlink_to(ROOT / "weights" / "pocket-base")
    return home


def measure(claim: Claim, seed: int, fresh: bool) -> dict[str, float]:
    """Run the claim's command for one seed, or find that it has run; its figures."""
    home = home_of(seed)
    folder = home / claim.run(seed)
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if FACTS in claim.more and not (ROOT / FACTS).exists():
        call(["index", "pocket", "--strangers", "300", "--out", FACTS], home)
    for out, command in claim.first(seed):
        if fresh:
            (home / out).unlink(missing_ok=True)
        call([*command, "--out", str(home / out)], home)  # it goes on with what is there
    if claim.json:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures = record.flat(json.loads(call(claim.command(seed), home)))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return figures | {"cpu_s": after.ru_utime - before.ru_utime}
    if inspect(folder).state != "done":
        resume = ["--resume"] if (folder / "checkpoints").exists() else []
        call([*claim.command(seed), *resume], home, show=True)
        if (state := inspect(folder).state) != "done":
            raise SystemExit(f"{folder}: {state}; the same command goes on with it")
    return findings.of_run(folder)


def call(args: list[str], home: Path, show: bool = False, root: Path = ROOT) -> str:
    """Run `lab ARGS` on one BLAS thread, with the code of `root`; what it prints, unless it is shown."""
    print("$ lab", *args, flush=True)
    own = {"LAB_HOME": str(home), "OPENBLAS_NUM_THREADS": "1"}
    args = [word.replace("HOME/", f"{home}/") for word in args]
    done = subprocess.run([sys.executable, "-m", "recipes", *args], check=True, cwd=root, env=os.environ | own, text=True,
                          stdout=None if show else subprocess.PIPE)  # fmt: skip
    return done.stdout or ""


def changed(claim: Claim, row: dict[str, Any]) -> list[str]:
    """What the row's figures depend on and is another now: files, and the command itself."""
    now = ["lab", *claim.command(row["seeds"][0])]
    return [*(["its command"] if row["command"] != now else []), *record.changed(row, claim.depends)]


def show(claim: Claim, row: dict[str, Any] | None) -> bool:
    """Print a claim; whether all it must show is shown."""
    print(f"\n{claim.name}: {' '.join(['lab', *claim.command(0)])}")
    if row is None:
        print("  not measured")
        return False
    if stale := changed(claim, row):
        print(f"  STALE: {', '.join(stale[:3])}{' ...' if len(stale) > 3 else ''} changed since {row['revision']}")
    if same := row.get("same"):
        print(
            f"  measured at {row['revision']}; begun again at {same['at']}: the same bit for bit (tests/claims/same.py)"
        )
    print("  CPU minutes " + ", ".join(f"{s / 60:.1f}" for s in row["figures"].get("cpu_s", [])))
    good = True
    for bound in claim.must:
        key, sign, limit = bound
        shown = record.holds(row["figures"], bound)
        good &= shown
        values = " / ".join(f"{v:.3f}" for v in record.valued(row["figures"], key))
        print(f"  {'shown    ' if shown else 'NOT SHOWN'} {key} {values} ({sign} {limit})")
    return good


def git(*words: str) -> str:
    """What git says about this checkout."""
    done = subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit() -> str:
    """The commit that is measured, "-dirty" where files differ from it: not the record itself, which each claim changes, nor
    what is told of it."""
    other = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!*.md")
    return git("describe", "--always") + ("-dirty" if other else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=[claim.name for claim in CLAIMS])
    parser.add_argument("--fresh", action="store_true", help="run again what was measured already")
    parser.add_argument("--list", action="store_true", help="run nothing")
    args = parser.parse_args()
    chosen = [claim for claim in CLAIMS if not args.only or claim.name in args.only]
    for claim in chosen:
        row = record.claims().get(claim.name)
        if not args.list and (row is None or args.fresh or changed(claim, row)):
            files, again = record.hashes(claim.depends), args.fresh or row is not None
            with ThreadPoolExecutor(len(args.seeds)) as pool:
                found = list(pool.map(lambda seed, c=claim, f=again: measure(c, seed, f), args.seeds))
            kept = [k for k in found[0] if all(k in f for f in found) and re.fullmatch(claim.keep or ".*", k)]
            figures = {k: [round(f[k], 4) for f in found] for k in kept}
            row = {"command": ["lab", *claim.command(args.seeds[0])], "seeds": args.seeds, "figures": figures}
            row |= {"revision": commit(), "files": files}
            keep(claim.name, row)
        show(claim, row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
