"""What the recipes are said to show, measured over seeds: `make claims` runs the chain and writes docs/claims.json.

    python -m tests.claims                 run what is missing or stale, over two seeds (hours; goes on where it was cut)
    python -m tests.claims --fresh         run everything again
    python -m tests.claims --only sft      one of them (those before it must be there)
    python -m tests.claims --list          figures, spread and verdicts; what is stale, since which file

A claim's record: the command, the figures of each seed, CPU time, git revision, and a hash of every file the figures depend
on. Where one of these has changed since, the figures are stale: they are listed, and measured again by who changed them. Runs
lie in weights/.claims-SEED.
"""

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.claims.table import CLAIMS, FACTS, Claim

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "claims.json"


def hashes(claim: Claim) -> dict[str, str]:
    """File -> sha256 (16 digits) of what the claim's figures depend on; of Python what it does, not what it says."""
    paths = sorted({path for pattern in claim.depends for path in ROOT.glob(pattern) if path.is_file()})
    return {str(path.relative_to(ROOT)): digest(path.suffix, path.read_bytes()) for path in paths}


def digest(suffix: str, content: bytes) -> str:
    """Of code without its comments and docstrings: figures that are written into these make no figure stale."""
    if suffix == ".py":
        tree = ast.parse(content)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [x for x in body if not _words(x)]  # type: ignore[attr-defined]
        content = ast.dump(tree).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _words(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def changed(claim: Claim, row: dict[str, Any]) -> list[str]:
    """Files that are not what they were when the row was measured."""
    now, then = hashes(claim), row["files"]
    return sorted(path for path in now.keys() | then.keys() if now.get(path) != then.get(path))


def record() -> dict[str, Any]:
    """docs/claims.json; {} where there is none."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def keep(name: str, row: dict[str, Any]) -> None:
    """Put one claim's row into docs/claims.json: two processes may measure at once."""
    rows = record() | {name: row}
    beside = RECORD.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
    os.replace(beside, RECORD)


def measure(claim: Claim, seed: int, fresh: bool) -> dict[str, float]:
    """Run the claim's command for one seed, or find that it has run; its figures. Each seed has a home of its own, because
    one home trains one model at a time, and one BLAS thread, because the seeds run side by side."""
    home = ROOT / "weights" / f".claims-{seed}"
    home.mkdir(parents=True, exist_ok=True)
    base, folder = home / "pocket-base", home / claim.run(seed)
    if not base.exists():
        base.symlink_to(ROOT / "weights" / "pocket-base")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if FACTS in claim.more and not (ROOT / FACTS).exists():
        index = ["index", "pocket", "--strangers", "300", "--out", FACTS]
        subprocess.run([sys.executable, "-m", "recipes", *index], check=True, cwd=ROOT)
    if not done(folder):
        command = [sys.executable, "-m", "recipes", *claim.command(seed)]
        command += ["--resume"] if (folder / "checkpoints").exists() else []
        print("$ lab", *command[3:], flush=True)
        own = {"LAB_HOME": str(home), "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | own)
    figures: dict[str, float] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row.get("event") in ("report", "way"):
            prefix = f"{row['way']}_" if row["event"] == "way" else ""
            figures |= {
                f"{prefix}{k}": v for k, v in row.items() if isinstance(v, int | float) and k not in ("step", "t")
            }
    return figures


def done(folder: Path) -> bool:
    """Whether a run has ended as it should."""
    status = folder / "status.json"
    return status.exists() and json.loads(status.read_text()).get("state") == "done"


def show(claim: Claim, row: dict[str, Any] | None) -> bool:
    """Print a claim; whether all it must show is shown."""
    print(f"\n{claim.name}: {' '.join(['lab', *claim.command(0)])}")
    if row is None:
        print("  not measured")
        return False
    if stale := changed(claim, row):
        print(f"  STALE: {', '.join(stale[:3])}{' ...' if len(stale) > 3 else ''} changed since {row['revision']}")
    print("  CPU minutes " + ", ".join(f"{s / 60:.1f}" for s in row["figures"].get("cpu_s", [])))
    good = True
    for key, sign, bound in claim.must:
        values = valued(row["figures"], key)
        shown = bool(values) and all(v >= bound if sign == ">=" else v <= bound for v in values)
        good &= shown
        print(
            f"  {'shown    ' if shown else 'NOT SHOWN'} {key} {' / '.join(f'{v:.3f}' for v in values)} ({sign} {bound})"
        )
    return good


def valued(figures: dict[str, list[float]], key: str) -> list[float]:
    """A figure of each seed, or the difference of two; [] where one is missing."""
    one, _, other = key.partition(" - ")
    if one not in figures or (other and other not in figures):
        return []
    return [a - b for a, b in zip(figures[one], figures[other], strict=True)] if other else figures[one]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=[claim.name for claim in CLAIMS])
    parser.add_argument("--fresh", action="store_true", help="run again what was measured already")
    parser.add_argument("--list", action="store_true", help="run nothing")
    args = parser.parse_args()
    chosen = [claim for claim in CLAIMS if not args.only or claim.name in args.only]
    for claim in chosen:
        row = record().get(claim.name)
        if not args.list and (row is None or args.fresh or changed(claim, row)):
            files, again = hashes(claim), args.fresh or row is not None
            with ThreadPoolExecutor(len(args.seeds)) as pool:
                found = list(pool.map(lambda seed, c=claim, f=again: measure(c, seed, f), args.seeds))
            revision = subprocess.run(
                ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
            )
            figures = {k: [round(f[k], 4) for f in found] for k in found[0] if all(k in f for f in found)}
            row = {"command": ["lab", *claim.command(0)], "seeds": args.seeds, "figures": figures}
            row |= {"revision": revision.stdout.strip(), "files": files}
            keep(claim.name, row)
        show(claim, row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
