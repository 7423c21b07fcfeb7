"""Many rows at once: every row is what it would be alone, whoever shares the batch."""

import mlx.core as mx
import numpy as np
import pytest

from lab.batch import GROWTH, Batch, Reply, Request, sample
from lab.errors import UserError
from lab.loss import cross_entropy
from lab.sample import Sampling
from lab.stream import Stream

NONE: frozenset[int] = frozenset()
HOT = Sampling(temp=1.0, max_tokens=24)


def prompts(tokenizer) -> list[list[int]]:
    texts = (
        "Ada took",
        "Bo took a kite to the lake, and they",
        "C",
        "Dan went to the park. Bo",
        "Ada",
        "Bo took the " * 9,
    )
    return [tokenizer.encode(t) for t in texts]


def run(network, requests, sampling=HOT, ends=NONE, **options) -> dict[tuple[int, int], Reply]:
    return {(r.request, r.member): r for r in sample(network, requests, sampling, ends, **options)}


def same(one: Reply, other: Reply) -> None:
    """DESIGN's rule: ids equal, log-probabilities within 2e-5."""
    assert one.ids.tolist() == other.ids.tolist()
    assert np.abs(one.logp - other.logp).max(initial=0) <= 2e-5
    assert one.stop == other.stop


@pytest.mark.parametrize("options", [{}, {"temp": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}, {"temp": 0.0},
                                     {"repetition_penalty": 1.5, "repetition_context": 8}])  # fmt: skip
def test_a_row_in_a_batch_equals_the_row_alone(tiny, tokenizer, options) -> None:
    sampling = Sampling(**{"temp": 1.0, "max_tokens": 24} | options)
    asked = [Request(p, (7 + i,)) for i, p in enumerate(prompts(tokenizer))]
    together = run(tiny, asked, sampling, tokenizer.ends, rows=4)
    assert len(together) == len(asked)
    for i, request in enumerate(asked):
        same(together[i, 0], run(tiny, [request], sampling, tokenizer.ends)[0, 0])


def test_a_row_in_a_batch_equals_the_conversation(tiny, tokenizer) -> None:
    asked = [Request(p, (3,)) for p in prompts(tokenizer)]
    for (i, _), reply in run(tiny, asked, ends=tokenizer.ends, rows=3).items():
        told = list(Stream(tiny, tokenizer, 512)(asked[i].ids, HOT, 3))
        assert [t.id for t in told] == reply.ids.tolist()
        assert np.allclose([t.logp for t in told], reply.logp, atol=2e-5)


def test_logp_is_what_a_full_forward_pass_gives(tiny, tokenizer) -> None:
    """What the trainer will compute on the same ids (DESIGN: within 2e-5 in fp32)."""
    asked = [Request(p, (1, 2)) for p in prompts(tokenizer)]
    for (i, _), reply in run(tiny, asked, rows=5).items():
        ids = mx.array([[*asked[i].ids, *reply.ids.tolist()]])
        logp = -np.array(cross_entropy(tiny(ids[:, :-1]), ids[:, 1:]))[0, len(asked[i].ids) - 1 :]
        assert np.abs(logp - reply.logp).max() <= 2e-5


def test_members_of_a_group_differ_and_share_one_prefill(tiny, tokenizer) -> None:
    prompt = prompts(tokenizer)[1]
    batch = Batch(tiny, HOT, NONE, rows=5)
    batch.add(Request(prompt, tuple(range(16))))
    replies = []
    while batch.busy:
        replies += batch.step()
    assert batch.prefilled == len(prompt)
    assert sorted(r.member for r in replies) == list(range(16))
    assert len({tuple(r.ids) for r in replies}) > 12
    for reply in replies[::5]:
        same(reply, run(tiny, [Request(prompt, (reply.member,))])[0, 0])


def test_draws_follow_the_distribution(tiny, tokenizer) -> None:
    prompt = tokenizer.encode("Ada")
    want = np.array(mx.softmax(tiny(mx.array([prompt]))[0, -1]))
    replies = run(tiny, [Request(prompt, tuple(range(2000)), max_tokens=1)], rows=500)
    share = np.bincount([int(r.ids[0]) for r in replies.values()], minlength=len(want)) / 2000
    assert 0.5 * np.abs(share - want).sum() < 1.5 * 0.5 * np.sqrt(want * (1 - want) / 2000 * 2 / np.pi).sum()
    assert all(np.exp(r.logp[0]) == pytest.approx(want[r.ids[0]], rel=1e-4) for r in replies.values())


def test_finished_rows_leave_and_waiting_ones_come(tiny, tokenizer) -> None:
    asked = [Request(p, (i,), 4 + 9 * (i % 3)) for i, p in enumerate(prompts(tokenizer) * 4)]
    batch, widths, watched = Batch(tiny, HOT, NONE, rows=8), [], {}
    for request in asked:
        batch.add(request)
    while batch.busy:
        watched |= {r.request: r for r in batch.step()}
        widths.append(len(batch.slots) if batch.live else 0)  # rows of the forward pass that this step ended with
    assert [len(watched[i].ids) for i in range(24)] == [4 + 9 * (i % 3) for i in range(24)]
    assert max(widths) <= 8
    live = sum(len(r.ids) - 1 for r in watched.values())
    assert sum(widths) <= 1.3 * live  # slots computed against tokens needed


def test_slots_grow_while_one_of_them_is_empty(tiny) -> None:
    """One row of eight ends early; no other waits, and an eighth is too little to drop before the slots are full."""
    asked = [Request([5, 6, 7 + i], (i,), 5 if i == 3 else 3 * GROWTH) for i in range(8)]
    replies = run(tiny, asked, rows=8)
    assert [len(replies[i, 0].ids) for i in range(8)] == [5 if i == 3 else 3 * GROWTH for i in range(8)]
    same(replies[7, 0], run(tiny, asked[7:])[0, 0])


def test_the_terminal_token_is_kept(tiny, tokenizer) -> None:
    free = run(tiny, [Request(prompts(tokenizer)[0], (5,))])[0, 0]
    end = frozenset([int(free.ids[6])])
    first = free.ids.tolist().index(int(free.ids[6]))
    ended = run(tiny, [Request(prompts(tokenizer)[0], (5,))], ends=end)[0, 0]
    assert ended.stop == "end"
    assert ended.ids.tolist() == free.ids[: first + 1].tolist()
    assert free.stop == "length"


def test_forced_tokens_are_put_in_and_marked(tiny, tokenizer) -> None:
    """What a tool's result will be: ids put in after a trigger, then the row goes on as if it had said them."""
    prompt, result = prompts(tokenizer)[0], tokenizer.encode(" to the hill.")

    def after(request: int, ids) -> list[int]:
        return result if len(ids) == 3 else []

    asked = [Request(prompt, (1,)), Request(prompts(tokenizer)[3], (2,)), Request(prompt, (3,))]
    replies = run(tiny, asked, after=after, rows=2)
    for (i, _), reply in replies.items():
        assert reply.ids[3 : 3 + len(result)].tolist() == result
        assert reply.forced.tolist() == [3 <= t < 3 + len(result) for t in range(len(reply.ids))]
        assert (reply.logp[reply.forced] == 0).all()
        ids = mx.array([[*asked[i].ids, *reply.ids.tolist()]])
        logp = -np.array(cross_entropy(tiny(ids[:, :-1]), ids[:, 1:]))[0, len(asked[i].ids) - 1 :]
        assert np.abs(logp - reply.logp)[~reply.forced].max() <= 2e-5


def test_a_forced_end_ends_nothing(tiny, tokenizer) -> None:
    end = tokenizer.end
    reply = run(
        tiny, [Request([5], (1,))], ends=tokenizer.ends, after=lambda r, ids: [end, 7] if len(ids) == 2 else []
    )[0, 0]
    assert reply.ids[2:4].tolist() == [end, 7]
    assert reply.forced[2:4].all()
    assert len(reply.ids) > 4


def test_a_row_may_be_cancelled_by_what_it_says(tiny, tokenizer) -> None:
    batch = Batch(tiny, HOT, NONE, rows=3)
    batch.after = lambda request, ids: batch.cancel(1) or [] if len(ids) == 5 and request == 0 else []
    for seed in range(3):
        batch.add(Request([5], (seed,)))
    replies = []
    while batch.busy:
        replies += batch.step()
    assert sorted((r.request, r.stop) for r in replies) == [(0, "length"), (1, "cancelled"), (2, "length")]


def test_alternatives_are_the_models_own(tiny, tokenizer) -> None:
    prompt = prompts(tokenizer)[0]
    reply = run(tiny, [Request(prompt, (1,))], Sampling(temp=0.5, max_tokens=5), top=4)[0, 0]
    assert reply.top.shape == (5, 4, 2)
    p = np.array(mx.softmax(tiny(mx.array([[*prompt, *reply.ids[:2].tolist()]]))[0, -1]))
    best = np.argsort(-p)[:4]
    assert reply.top[2, :, 0].astype(int).tolist() == best.tolist()
    assert np.allclose(reply.top[2, :, 1], p[best], atol=1e-5)
    told = list(Stream(tiny, tokenizer, 512)(prompt, Sampling(temp=0.5, max_tokens=5), 1, top=4))
    assert [i for i, _ in told[2].top] == best.tolist()
    assert told[2].p == pytest.approx(p[told[2].id], abs=1e-5)


def test_cancel_ends_a_request_wherever_it_is(tiny, tokenizer) -> None:
    batch = Batch(tiny, HOT, NONE, rows=2)
    for i, prompt in enumerate(prompts(tokenizer)):
        batch.add(Request(prompt, (i, 100 + i)))
    replies = batch.step() + batch.step()
    for request in (0, 5):
        batch.cancel(request)
    while batch.busy:
        replies += batch.step()
    stops = {(r.request, r.member): r.stop for r in replies}
    assert len(stops) == 12
    assert {key for key, stop in stops.items() if stop == "cancelled"} == {(r, m) for r in (0, 5) for m in (0, 1)}
    survivor = next(r for r in replies if (r.request, r.member) == (3, 0))
    same(survivor, run(tiny, [Request(prompts(tokenizer)[3], (3,))])[0, 0])


def test_no_prompt_and_no_room(tiny, tokenizer) -> None:
    with pytest.raises(UserError, match="prompt 2 is empty"):
        list(sample(tiny, [Request([5]), Request([])], HOT, NONE))
    for bad in (Request([5], max_tokens=0), Request([5], (-1,))):
        with pytest.raises(UserError, match="prompt 1: give"):
            list(sample(tiny, [bad], HOT, NONE))
    long, fits = [5] * 40, [5] * 30
    replies = run(tiny, [Request(long), Request(fits)], context=40)
    assert (replies[0, 0].stop, len(replies[0, 0].ids)) == ("context", 0)
    assert (replies[1, 0].stop, len(replies[1, 0].ids)) == ("context", 10)


def test_closing_the_iterator_stops_the_work(tiny, tokenizer) -> None:
    told = sample(tiny, [Request(p, (0,)) for p in prompts(tokenizer)], HOT, NONE, rows=1)
    first = next(told)
    told.close()
    assert first.request == 0
    assert list(told) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_bigcode", "gemma3_text"])
def test_models_of_mlx_lm_sample_too(tmp_path, tokenizer, kind) -> None:
    """Plain caches share a batch; sliding windows run one row at a time. Both equal a full forward pass."""
    import importlib

    from lab.batch import batchable

    module = importlib.import_module(f"mlx_lm.models.{kind}")
    common = {"model_type": kind, "vocab_size": tokenizer.vocab_size}
    configs = {
        "llama": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 2,
                  "rms_norm_eps": 1e-5, "tie_word_embeddings": True},
        "gpt2": {"n_ctx": 256, "n_embd": 32, "n_head": 2, "n_layer": 2, "n_positions": 256, "layer_norm_epsilon": 1e-5},
        "gpt_bigcode": {"n_embd": 32, "n_layer": 2, "n_inner": 64, "n_head": 2, "n_positions": 256,
                        "layer_norm_epsilon": 1e-5},
        "gemma3_text": {"hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 48, "num_attention_heads": 2,
                        "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8, "sliding_window_pattern": 2},
    }  # fmt: skip
    mx.random.seed(0)
    network = module.Model(module.ModelArgs.from_dict(common | configs[kind]))
    mx.eval(network.parameters())
    assert batchable(network) == (kind in ("llama", "gpt2"))
    asked = [Request(p, (i,)) for i, p in enumerate(prompts(tokenizer))]
    for (i, _), reply in run(network, asked, rows=4).items():
        ids = mx.array([[*asked[i].ids, *reply.ids.tolist()]])
        logp = -np.array(cross_entropy(network(ids[:, :-1]), ids[:, 1:]))[0, len(asked[i].ids) - 1 :]
        assert np.abs(logp - reply.logp).max() <= 2e-5
