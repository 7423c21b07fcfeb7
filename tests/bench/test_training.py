"""The training benches run end to end in seconds and tell the truth about small models."""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.data import Tokens
from tests.bench import grpo_peers, pretrain_torch, step_flops


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


def test_a_step_of_grpo_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    told = grpo_peers.main(["--sides", "lab", *flags(prompts=2, group=2, steps=2), "--max-tokens", "4"])["lab"]
    assert 0 < told["rollout_cpu"] < told["step_cpu"]
    assert told["tokens_cpu"] == pytest.approx(2 * 2 * 4 / told["rollout_cpu"])
    assert "2 replies of 4 each" in capsys.readouterr().out


def test_the_first_step_of_grpo_is_not_counted() -> None:
    rows = [{"tokens": 100, "rollout": [t, 2 * t], "step": [3 * t, 4 * t]} for t in (9.0, 1.0, 2.0, 5.0)]
    told = grpo_peers.figures({"rows": rows})
    assert (told["rollout_cpu"], told["rollout_wall"], told["step_cpu"], told["step_wall"]) == (2, 4, 6, 8)
    assert (told["tokens_cpu"], told["tokens_wall"]) == (50, 25)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"logp": [-1.0, -2.1]}, "another network"),
        ({"parameters": 11}, "another network"),
        ({"rows": [{"tokens": 15}] * 2}, "not what was asked"),
        ({"rows": [{"tokens": 16}]}, "not what was asked"),
        ({"moved": 0.0}, "weights moved"),
    ],
)
def test_sides_that_do_other_work_are_refused(other: dict[str, Any], says: str) -> None:
    asked = argparse.Namespace(prompts=2, group=2, max_tokens=4, steps=2, rate=1e-5)
    told = {"logp": [-1.0, -2.0], "parameters": 10, "rows": [{"tokens": 16}] * 2, "moved": 1e-5}
    grpo_peers.check({"lab": told, "peer": told}, asked)
    with pytest.raises(SystemExit, match=says):
        grpo_peers.check({"lab": told, "peer": told | other}, asked)


def test_the_peer_in_torch_sees_no_padding_and_remembers_what_it_read() -> None:
    torch = pytest.importorskip("torch")
    from tests.bench import grpo_torch

    shape = {
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "rope_theta": 1e4, "rms_norm_eps": 1e-6,
        "num_hidden_layers": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    arrays = {"model.embed_tokens.weight": torch.randn(20, 16), "model.norm.weight": torch.ones(16)}
    for i in range(2):
        for name, rows, width in (
            ("self_attn.q_proj", 16, 16), ("self_attn.k_proj", 8, 16), ("self_attn.v_proj", 8, 16),
            ("self_attn.o_proj", 16, 16), ("mlp.gate_proj", 24, 16), ("mlp.up_proj", 24, 16), ("mlp.down_proj", 16, 24),
        ):  # fmt: skip
            arrays[f"model.layers.{i}.{name}.weight"] = torch.randn(rows, width) / width**0.5
        for name in ("input_layernorm", "post_attention_layernorm"):
            arrays[f"model.layers.{i}.{name}.weight"] = torch.ones(16)
    network = grpo_torch.Network(shape, arrays, 12)
    short, long = [3, 1, 4, 1], [5, 9, 2, 6, 5, 3, 5]
    together = grpo_torch.logprobs(network, *grpo_torch.padded([short, long]), 3)
    for row, ids in zip(together, (short, long), strict=True):
        assert torch.allclose(row, grpo_torch.logprobs(network, *grpo_torch.padded([ids]), 3)[0], atol=1e-5)
    torch.manual_seed(1)
    drawn = grpo_torch.rollout(network, [short, long], 3, 5)
    torch.manual_seed(1)  # the same draws without keys and values kept, every prompt read three times
    ids, real = grpo_torch.padded([short] * 3 + [long] * 3)
    for _ in range(5):
        logits = network(ids, grpo_torch.places(real), grpo_torch.causal(real), slice(-1, None))[:, -1]
        ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)], 1)
        real = torch.nn.functional.pad(real, (0, 1), value=True)
    assert torch.equal(drawn, ids[:, -5:])
