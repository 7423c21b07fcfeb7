"""The training benches run end to end in seconds and tell the truth about small models."""

import math
from pathlib import Path

import numpy as np
import pytest

from lab.data import Tokens
from tests.bench import pretrain_torch, step_flops


def flags(**values: float | str) -> list[str]:
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def test_the_race_runs_alone_and_ends_with_its_budget(text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = flags(vocab=384, width=64, layers=1, ffn=96, length=32, rows=4, looks=3, minutes=0.02)
    found = pretrain_torch.main(["--data", str(text_file), "--no-torch", "--shares", "1", "0.5", *small])
    whole, half = found["sides"]
    assert [side["budget"] for side in (whole, half)] == pytest.approx([1.2, 0.6])
    for side in (whole, half):
        rows = side["rows"]
        assert [row["steps"] for row in rows] == sorted({row["steps"] for row in rows})
        assert side["budget"] <= rows[-1]["cpu"] < side["budget"] + 1  # at most a step over
        assert rows[-1]["bpb"] < rows[0]["bpb"] < math.log2(384)
    assert "lab 0.5" in capsys.readouterr().out


def test_time_to_a_goal_is_the_first_look_that_reaches_it() -> None:
    rows = [{"cpu": t, "bpb": b} for t, b in ((1, 3.0), (2, 2.0), (3, 2.1), (4, 1.5))]
    assert pretrain_torch.needed(rows, 2.05) == 2
    assert pretrain_torch.needed(rows, 1.0) is None


def test_the_share_of_a_small_step_is_a_share() -> None:
    (row,) = step_flops.main(flags(width=64, layers=1, heads=2, ffn=96, vocab=256, repeats=2, batches="4x16"))
    assert 0 < row["share"] < 1
    # six a matmul weight and token, 12 * width * length a token for attention
    assert row["step_gflop"] == pytest.approx(64 * (6 * (4 * 64**2 + 3 * 64 * 96 + 256 * 64) + 12 * 64 * 16) / 1e9)
    assert row["muon_gflop"] == pytest.approx(5 * (4 * 6 * 64**3 + 3 * (4 * 64**2 * 96 + 2 * 64**3)) / 1e9)


def test_the_peer_sees_the_same_rows() -> None:
    pytest.importorskip("torch")
    from tests.bench import gpt_torch

    ids = np.arange(1000, dtype=np.uint16)
    theirs = gpt_torch.batches(ids, seed=3, rows=7, length=32)
    for step in range(1, 12):  # two passes and a half of 31 windows
        assert np.array_equal(next(theirs).numpy(), Tokens(ids, 0, 0).batch(3, step, 7, 32))


def test_the_peer_warms_up_and_ends_at_a_tenth() -> None:
    pytest.importorskip("torch")
    from tests.bench.gpt_torch import rate

    assert rate(1.0, 0.05) == pytest.approx(0.5)
    assert rate(1.0, 0.1) == pytest.approx(1.0)
    assert rate(1.0, 1.0) == pytest.approx(0.1)
