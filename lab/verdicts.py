"""Verdicts that a judge gave before, in one SQLite file, by a hash of the model and of the prompt's ids."""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lab import device
from lab.errors import UserError
from lab.weights import Model


class Verdict(NamedTuple):
    """p(yes) of yes and no alone, and how much probability both had together: where that is low, the judge did not
    understand how it is to answer, and its p means little."""

    p: float
    mass: float


def fingerprint(model: Model) -> bytes:
    """A key of what a model computes: its config, and of every array name, kind, the sum of its bits (exact, so that one
    changed weight changes it) and some of its values. 0.2 s for 135M weights."""
    found = hashlib.blake2b(json.dumps(model.config, sort_keys=True, default=str).encode(), digest_size=16)
    kinds = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}
    for name, value in sorted(device.flat(model.network.parameters())):
        bits = mx.view(value.reshape(-1), kinds[value.dtype.size])
        some = bits[:: max(1, bits.size // 64)].astype(mx.uint64)
        found.update(f"{name} {value.shape} {value.dtype}".encode())
        found.update(np.array(mx.concatenate([bits.astype(mx.uint32).sum()[None].astype(mx.uint64), some])).tobytes())
    return found.digest()


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=60)  # another process may be writing
    db.execute("CREATE TABLE IF NOT EXISTS verdicts (key BLOB PRIMARY KEY, p REAL, mass REAL) WITHOUT ROWID")
    return db


def known(path: Path, keys: Sequence[bytes]) -> dict[bytes, Verdict]:
    """Those of the keys that were judged before."""
    found: dict[bytes, Verdict] = {}
    try:
        with closing(_open(path)) as db:
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                marks = ",".join("?" * len(some))
                rows = db.execute(f"SELECT key, p, mass FROM verdicts WHERE key IN ({marks})", some)
                found |= {key: Verdict(p, mass) for key, p, mass in rows}
    except sqlite3.Error as error:
        raise UserError(f"{path}: the kept verdicts cannot be read ({error}); delete the file") from error
    return found


def keep(path: Path, fresh: dict[bytes, Verdict]) -> None:
    """Add verdicts; another process may do so at the same time."""
    try:
        with closing(_open(path)) as db, db:
            db.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", [(k, *v) for k, v in fresh.items()])
    except sqlite3.Error as error:
        raise UserError(f"{path}: verdicts cannot be kept ({error}); free some space, or delete the file") from error
