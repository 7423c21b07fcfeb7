"""Whether a change leaves the figures alone: `python -m tests.claims.same REV`.

Training is the same bit for bit on one machine. So each claim that is stale since REV (where its files were those it was
measured with) is begun twice, with the code of REV and with that of now: two steps from the shipped models and the whole exam
(what trains nothing, all of it). Where the weights and all figures come out equal bit for bit, the claim's record takes the new
hashes and says so ("same"); else it stays stale, and what differs is told. Two steps do not reach what happens late in a run
(a price that adapts, a last look): a change of such things is to be measured again.

    python -m tests.claims.same 6887486                   all that are stale; an hour of two slow cores
    python -m tests.claims.same 6887486 --only sft grpo
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from recipes import findings, record
from recipes.record import ROOT
from tests.claims.__main__ import call, commit, git, keep
from tests.claims.table import CLAIMS, FACTS, Claim

SEED = 0
SHIPPED = {
    "pretrain": "pocket-base", "sft": "pocket-sft", "interrogate": "pocket-honest", "search": "pocket-search",
    "code": "pocket-code", "demonstrate": "pocket-demonstrate", "grpo": "pocket-reason", "reward-model": "pocket-reward",
    "reward-model-few": "pocket-reward", "rlhf": "pocket-rlhf", "always": "pocket-search",
}  # fmt: skip
BRIEF = {
    "selfplay": ["--imitation-iters", "2", "--iters", "2"],
    "harden": ["--rounds", "1", "--iters", "2"],
    "probes": [],
}
TIMES = ("cpu_s", "cpu_time", "tok_s", "seconds")  # figures of the machine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", metavar="REV")
    parser.add_argument("--only", nargs="+", choices=[claim.name for claim in CLAIMS])
    args = parser.parse_args()
    stale = [c for c in CLAIMS if (row := record.claims().get(c.name)) and record.changed(row, c.depends)]
    stale = [c for c in stale if not args.only or c.name in args.only]
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        then = Path(folder) / "then"
        git("worktree", "add", "--detach", str(then), args.revision)
        try:
            for claim in stale:
                differing += not same(claim, then, Path(folder), args.revision)
        finally:
            git("worktree", "remove", "--force", str(then))
    return min(1, differing)


def same(claim: Claim, then: Path, folder: Path, revision: str) -> bool:
    """Whether the claim's beginning is what it was; if so its record takes the hashes of now."""
    row = record.claims()[claim.name]
    if other := record.changed(row, claim.depends, then):
        print(
            f"{claim.name}: {other[0]} was another at {revision} than when it was measured; measure it again",
            flush=True,
        )
        return False
    files = record.hashes(claim.depends)
    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(lambda root: outcome(claim, root, folder / f"{root.name}-{claim.name}"), (then, ROOT))
    odd = sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))
    for key in odd[:5]:
        print(f"{claim.name}: {key} {a.get(key)} -> {b.get(key)}", flush=True)
    if odd:
        return False
    keep(claim.name, row | {"files": files, "same": {"as": revision, "at": commit(), "values": len(a)}})
    print(f"{claim.name}: the same, {len(a)} values", flush=True)
    return True


def outcome(claim: Claim, root: Path, home: Path) -> dict[str, Any]:
    """What the beginning of a claim gives, with the code of `root`: figures, and a hash of each file of weights."""
    home.mkdir()
    for name, shipped in SHIPPED.items():
        (home / f"{name}-seed-{SEED}").symlink_to(ROOT / "weights" / shipped)
        if not (home / shipped).exists():  # two claims may stand for one
            (home / shipped).symlink_to(ROOT / "weights" / shipped)
    if FACTS in claim.more and not (root / FACTS).exists():
        call(["index", "pocket", "--strangers", "300", "--out", FACTS], home, root=root)
    made = [
        one for other in CLAIMS for one in other.first(SEED) if f"HOME/{one[0]}" in claim.more
    ]  # also what another made
    for out, words in {out: words for out, words in made}.items():
        call([*words, "--out", str(home / out)], home, root=root)
    words = claim.command(SEED)
    if claim.json:
        found = record.flat(json.loads(call(words, home, root=root)))
    else:
        if "--iters" in words:
            at = words.index("--iters")
            words = [*words[:at], *words[at + 2 :]]
        words[words.index("--name") + 1] = "run"
        call([*words, *BRIEF.get(claim.name, ["--iters", "2"])], home, root=root)
        found = findings.of_run(home / "run")
    found = {k: v for k, v in found.items() if re.fullmatch(claim.keep or ".*", k)}
    told = {k: str(v) for k, v in found.items() if not any(k == t or k.endswith((f".{t}", f"_{t}")) for t in TIMES)}
    for file in sorted(home.glob("run*/*.safetensors")):
        told[file.relative_to(home).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return told


if __name__ == "__main__":
    sys.exit(main())
