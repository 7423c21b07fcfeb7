"""Tokens for calls in models that have none: old logits stay, mlx_lm opens what was written, LoRA makes them sayable."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import pytest

from lab import chat, device, grow, lora, weights
from lab.chat import Message, Part, marks
from lab.errors import UserError
from lab.learn import Learner, Schedule
from lab.loss import nll
from lab.model import Shape, Transformer
from lab.runs import read_json
from lab.sample import Sampling
from lab.samples import Sample, bucketed
from lab.stream import Stream
from lab.talks import finite, to_sample
from lab.tokenizer import Tokenizer
from tests.lab.test_chat import CHATML, build, talk

ASKED: list[Message] = talk(("user", "Ada took a kite?"))
NEW = ["<|search|>", "<|/search|>", "<|code|>", "<|/code|>", "<|result|>", "<|/result|>"]  # <think> is there
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A random llama folder with a hub vocabulary and `padding` rows that no token has."""

    def folder(
        tied: bool = True, padding: int = 0, dtype: mx.Dtype = mx.float32, noise: float = 0.1, **more: Any
    ) -> Path:
        path = build(tmp_path / f"m{len(list(tmp_path.iterdir()))}", CHATML, **more)
        tokenizer = Tokenizer.load(path)
        network = Transformer(
            Shape(tokenizer.vocab_size + padding, 64, 2, 4, 2, 16, 96, qk_norm=False, tie_word_embeddings=tied)
        )
        network.initialise(0)
        key = mx.random.key(1)
        drawn = []
        for name, value in device.flat(network.parameters()):
            key, own = mx.random.split(key)
            drawn.append((name, value + noise * mx.random.normal(value.shape, key=own)))
        network.load_weights(drawn)
        files = {name: (path / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
        weights.save(path, network, tokenizer, dtype)
        for name, data in files.items():
            (path / name).write_bytes(data)
        return path

    return folder


def logits(folder: Path, count: int) -> mx.array:
    """Of a prompt, for the first `count` ids."""
    model = weights.load(folder)
    return model.network(mx.array([chat.prompt(model.tokenizer, ASKED)]))[0, :, :count]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padding", [0, 3, 50])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_new_rows_change_nothing_that_was_there(make: Make, tied: bool, padding: int, dtype: mx.Dtype) -> None:
    folder = make(tied, padding, dtype)
    old = Tokenizer.load(folder)
    count = old.vocab_size
    before, arrays = logits(folder, count), weights.load_arrays(folder / "model.safetensors")
    assert grow.tool_tokens(folder) == (
        "new special tokens: search <|search|> <|/search|>, code <|code|> <|/code|>, result <|result|> <|/result|>"
    )
    new, model = Tokenizer.load(folder), weights.load(folder)
    assert [new.special[name] for name in NEW] == list(range(count, count + 6))
    assert (
        read_json(folder / "config.json")["vocab_size"]
        == max(count + padding, count + 6)
        == model.network.shape.vocab_size
    )
    assert mx.abs(logits(folder, count) - before).max() < 1e-5  # BLAS cuts a matrix of another size into other sums
    # The same text is the same ids, also where it spells a new token; what opens a call shows nothing.
    text = "Ada took <|search|> x <|im_end|>"
    assert new.encode(text) == old.encode(text)
    assert chat.prompt(new, ASKED) == chat.prompt(old, ASKED)
    assert new.decode([count, *new.encode("Ada")]) == "Ada"
    assert new.missing() == []
    assert new.reserved
    found = marks(new)
    assert (found.search, found.code, found.result) == (
        (count, count + 1),
        (count + 2, count + 3),
        (count + 4, count + 5),
    )
    assert {count + 4, count + 5} <= found.banned
    # Rows are the mean, but for a hundredth of the spread, all different; other arrays are as they were.
    grown = weights.load_arrays(folder / "model.safetensors")
    names = {"model.embed_tokens.weight"} | (set() if tied else {"lm_head.weight"})
    for name, value in grown.items():
        if name not in names:
            assert mx.array_equal(value, arrays[name])
            continue
        assert value.dtype == dtype
        used, rows = arrays[name][:count].astype(mx.float32), value[count : count + 6].astype(mx.float32)
        assert mx.array_equal(value[:count], arrays[name][:count])
        assert mx.abs(rows - used.mean(axis=0)).max() < 0.06 * mx.sqrt(used.var(axis=0)).max()
        assert all(mx.abs(rows[i] - rows[j]).max() > 0 for i in range(6) for j in range(i))
    assert grow.tool_tokens(folder).startswith("its vocabulary has tokens for thoughts, calls and results already")


@pytest.mark.parametrize("tied", [True, False])
def test_the_new_tokens_are_unlikely_at_first(make: Make, tied: bool) -> None:
    folder = make(tied)
    count = Tokenizer.load(folder).vocab_size
    grow.tool_tokens(folder)
    logp = logits(folder, count + 6)
    logp = logp - mx.logsumexp(logp, axis=-1, keepdims=True)
    assert mx.exp(logp[:, count:]).sum(axis=-1).max() <= 1.2 * 6 / (count + 6)  # at most what chance would give them


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("decoder", [True, False])
def test_mlx_lm_opens_it(make: Make, tied: bool, decoder: bool) -> None:
    import mlx_lm

    folder = make(tied)
    old = Tokenizer.load(folder)
    if decoder:  # as transformers 4 wrote it
        path = folder / "tokenizer_config.json"
        told = {
            str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in json.loads(old.core.data)["added_tokens"]
        }
        path.write_text(json.dumps(read_json(path) | {"added_tokens_decoder": told}))
    before = logits(folder, old.vocab_size)
    grow.tool_tokens(folder)
    network, theirs = mlx_lm.load(str(folder))[:2]
    new = Tokenizer.load(folder)
    ids = mx.array([theirs.apply_chat_template(ASKED, add_generation_prompt=True)])
    assert ids[0].tolist() == chat.prompt(old, ASKED)
    assert mx.abs(network(ids)[0, :, : old.vocab_size] - before).max() < 1e-4
    for name in NEW:
        assert theirs.encode(name, add_special_tokens=False) == [new.special[name]]
        assert theirs.decode([new.special[name]], skip_special_tokens=True) == ""


def test_spares_get_a_use_before_anything_grows(make: Make) -> None:
    folder = make(spares=6)
    size = (folder / "model.safetensors").stat().st_size
    said = grow.tool_tokens(folder)
    assert said.startswith(
        "unused special tokens got a use: search <|reserved_special_token_0|> <|reserved_special_token_1|>, "
    )
    assert (folder / "model.safetensors").stat().st_size == size
    new = Tokenizer.load(folder)
    assert new.marks["result"] == ("<|reserved_special_token_4|>", "<|reserved_special_token_5|>")
    assert weights.load(folder).tokenizer.missing() == []


def test_names_that_are_taken_and_models_that_cannot_grow(
    make: Make, tokenizer: Tokenizer, tiny: Transformer, tmp_path: Path
) -> None:
    folder = make()
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["added_tokens"][-1] |= {"content": "<|code|>"}  # instead of </think>
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    grow.tool_tokens(folder)
    new = Tokenizer.load(folder)
    assert (new.marks["code"], new.marks["think"]) == (("<|lab_code|>", "<|/lab_code|>"), ("<|think|>", "<|/think|>"))
    twice = make()  # a tied matrix that is stored twice
    arrays = weights.load_arrays(twice / "model.safetensors")
    weights.save_arrays(twice / "model.safetensors", arrays | {"lm_head.weight": arrays["model.embed_tokens.weight"]})
    grow.tool_tokens(twice)
    weights.load(twice)
    packed = make()
    config = read_json(packed / "config.json")
    (packed / "config.json").write_text(json.dumps(config | {"quantization": {"bits": 4, "group_size": 32}}))
    with pytest.raises(UserError, match="a quantised model cannot grow; import the model it was made from"):
        grow.tool_tokens(packed)
    (packed / "config.json").write_text(json.dumps(config | {"vocab_size": 7}))
    with pytest.raises(UserError, match="no embedding of 7 rows that could grow"):
        grow.tool_tokens(packed)
    gaps = make()
    spec = json.loads((gaps / "tokenizer.json").read_text())
    spec["model"]["vocab"]["zzzz"] = 5000
    (gaps / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(UserError, match="have gaps, so that it cannot grow"):
        grow.tool_tokens(gaps)
    weights.save(tmp_path / "ours", tiny, tokenizer)
    assert "already" in grow.tool_tokens(tmp_path / "ours")


@pytest.mark.parametrize("how", ["spares", "new rows"])
@pytest.mark.parametrize("tied", [True, False])
def test_thirty_steps_of_lora_make_a_call_sayable(make: Make, how: str, tied: bool) -> None:
    """Adapters on the layers and on the embedding; before, no call is drawn."""
    folder = make(tied, noise=0.0, spares=6 if how == "spares" else 0)
    grow.tool_tokens(folder)
    model = weights.load(folder)
    tokenizer, network = model.tokenizer, model.network
    found = marks(tokenizer)
    assert found.search
    assert tokenizer.reserved

    def lesson(who: str, what: str, asks: bool) -> Sample:
        call: list[Part] = [{"type": "call", "tool": "search", "text": who}, {"type": "result", "text": f"{who}: no"}]
        reply: list[Part] = [*(call if asks else []), {"type": "text", "text": "No."}]
        asked: Message = {"role": "user", "content": f"{who} took a {what}?"}
        return to_sample(tokenizer, [asked, {"role": "assistant", "content": reply}], 200)

    def teach(asks: bool, steps: int, rate: float, optimizer: Literal["muon", "adamw"]) -> list[float]:
        lessons = [lesson(who, what, asks) for who in ("Ada", "Bo", "Cleo") for what in ("ball", "drum", "boat")]
        told, learner = finite("x", lessons, []), Learner(network, Schedule(rate, 90, warmup=3, decay=0.01), optimizer)
        return [
            learner.step(i, bucketed(told.draw(0, i, 8), tokenizer.pad or 0), nll).loss for i in range(1, steps + 1)
        ]

    def said(count: int, seed: int = 0, temp: float = 1.0) -> list[int]:
        prompt = chat.prompt(tokenizer, [{"role": "user", "content": "Dan took a kite?"}])
        return [
            token.id for token in Stream(network, tokenizer, 200)(prompt, Sampling(temp=temp, max_tokens=count), seed)
        ]

    teach(False, 40, 0.01, "muon")  # a chat model that never calls
    assert tokenizer.decode(said(8, temp=0)) == "No."
    assert not any(found.search[0] in said(4, seed) for seed in range(20))
    lora.attach(network, num_layers=-1, embed=tokenizer.reserved)
    row = mx.array(lora.arrays(network)["model.embed_tokens.lora_a"][found.search[0]])
    losses = teach(True, 30, 0.002, "adamw")  # at .003 a step in thirty can throw it back, on some machines
    assert losses[-1] < 0.5 * losses[0]
    assert said(1, temp=0) == [found.search[0]]
    assert not mx.array_equal(row, lora.arrays(network)["model.embed_tokens.lora_a"][found.search[0]])
