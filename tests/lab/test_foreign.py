"""Model folders of other makers: the same numbers as mlx_lm's classes, ours or theirs; one line where they fail."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from lab import device, weights
from lab.errors import UserError
from lab.model import Shape, Transformer, new_cache
from lab.sample import Sampling
from lab.stream import Stream
from tests.conftest import Lab
from tests.lab.test_weights import edit


@pytest.mark.slow
@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("tie", [True, False])
def test_mlx_lm_computes_the_same(tokenizer, tmp_path: Path, qk_norm: bool, tie: bool) -> None:
    import mlx_lm
    from mlx_lm.models.cache import make_prompt_cache

    shape = Shape(tokenizer.vocab_size, 64, 2, 4, 2, 16, 96, qk_norm=qk_norm, tie_word_embeddings=tie)
    ours = Transformer(shape)
    ours.initialise(0)
    ours.load_weights([(k, v + 0.05) for k, v in device.flat(ours.parameters())])
    weights.save(tmp_path / "m", ours, tokenizer)
    theirs, their_tokenizer = mlx_lm.load(str(tmp_path / "m"))
    ids = mx.array([tokenizer.encode("Ada took a kite to the lake.")])
    assert mx.abs(ours(ids) - theirs(ids)).max() < 1e-4
    assert their_tokenizer.encode("Ada took", add_special_tokens=False) == tokenizer.encode("Ada took")
    assert their_tokenizer.eos_token_ids == set(tokenizer.ends)
    # Our class also takes mlx-lm's caches.
    cache = make_prompt_cache(theirs)
    assert mx.abs(ours(ids[:, :3], cache=cache) - theirs(ids[:, :3])).max() < 1e-4
    assert mx.abs(ours(ids[:, 3:], cache=cache) - theirs(ids)[:, 3:]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
def test_random_folders_of_other_makers_load_and_sample(tokenizer, tmp_path: Path, kind: str, cli: Lab) -> None:
    """What mlx-lm's own classes save: llama and qwen3 run in ours, gpt2 through mlx-lm's model."""
    import importlib

    configs = {
        "llama": {
            "hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 4,
            "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 5000.0, "tie_word_embeddings": False,
            "max_position_embeddings": 64,
        },
        "qwen3": {
            "hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 4,
            "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "head_dim": 24, "tie_word_embeddings": True,
            "max_position_embeddings": 64,
        },
        "gpt2": {"n_ctx": 64, "n_embd": 48, "n_head": 4, "n_layer": 2, "n_positions": 64, "layer_norm_epsilon": 1e-5},
    }  # fmt: skip
    config = {"model_type": kind, "vocab_size": tokenizer.vocab_size, "eos_token_id": tokenizer.end} | configs[kind]
    module = importlib.import_module(f"mlx_lm.models.{kind}")
    theirs = module.Model(module.ModelArgs.from_dict(config))
    folder = tmp_path / kind
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    weights.save_arrays(folder / "model.safetensors", dict(device.flat(theirs.parameters())))
    tokenizer.save(folder)
    model = weights.load(folder)
    assert isinstance(model.network, Transformer) == (kind != "gpt2")
    assert model.context == 64
    ids = mx.array([tokenizer.encode("Ada took a kite.")])
    assert mx.abs(model.network(ids) - theirs(ids)).max() < 1e-4
    cache = new_cache(model.network)
    model.network(ids, cache=cache)
    said = list(Stream(model.network, tokenizer, 64)(ids[0].tolist(), Sampling(max_tokens=12), seed=3))
    assert 1 <= len(said) <= 12
    done = cli("generate", "--model", folder, "-p", "Ada took", "--max-tokens", "5", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Ada took")


FOREIGN = {
    # SmolLM2-135M, scaled down: 9 heads, 3 for keys, tied, slow rotation.
    "smollm2": {
        "model_type": "llama", "hidden_size": 72, "num_hidden_layers": 3, "intermediate_size": 192,
        "num_attention_heads": 9, "num_key_value_heads": 3, "rms_norm_eps": 1e-5, "rope_theta": 100_000.0,
        "tie_word_embeddings": True, "max_position_embeddings": 512, "hidden_act": "silu", "attention_bias": False,
        "rope_scaling": None, "rope_interleaved": False,
    },
    "llama": {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 500_000.0,
        "tie_word_embeddings": False, "max_position_embeddings": 256,
    },
    "qwen3": {
        "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0, "tie_word_embeddings": True, "max_position_embeddings": 256, "use_sliding_window": False,
    },
    # Llama 3.1's stretched positions: mlx_lm's class.
    "llama3": {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 500_000.0,
        "tie_word_embeddings": False, "max_position_embeddings": 256,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
}  # fmt: skip


def of_another_maker(folder: Path, kind: str, tokenizer, shards: int = 1):
    """A random folder as the hub holds it, and mlx_lm's own class with those weights."""
    import importlib

    config = FOREIGN[kind] | {"vocab_size": tokenizer.vocab_size, "eos_token_id": tokenizer.end}
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    theirs = module.Model(module.ModelArgs.from_dict(config))
    key, arrays = mx.random.key(5), {}
    for name, value in device.flat(theirs.parameters()):
        key, draw = mx.random.split(key)
        arrays[name] = value + 0.1 * mx.random.normal(value.shape, key=draw)
    theirs.load_weights(list(arrays.items()))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(arrays)
    files = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    index = {name: files[i % shards] for i, name in enumerate(names)}
    for file in files:
        weights.save_arrays(folder / file, {n: arrays[n] for n in names if index[n] == file})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    tokenizer.save(folder)
    return theirs


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOREIGN)
def test_the_same_logits_as_mlx_lm(tokenizer, tmp_path: Path, kind: str) -> None:
    theirs = of_another_maker(tmp_path / "m", kind, tokenizer, shards=2)
    model = weights.load(tmp_path / "m")
    assert isinstance(model.network, Transformer) == (kind != "llama3")
    ids = mx.array([tokenizer.encode("Ada took a kite to the lake, and Bo took a drum to the hill. " * 4)])
    assert ids.size > 64
    assert mx.abs(model.network(ids) - theirs(ids)).max() < 1e-4


@pytest.mark.slow
def test_what_mlx_lm_cannot_open(tiny, tokenizer, tmp_path: Path) -> None:
    """Errors of every kind come out of a hundred architectures; olmo's ends the process."""
    folder = tmp_path / "model"
    weights.save(folder, tiny, tokenizer)
    gpt2 = {"model_type": "gpt2", "n_head": 0, "n_embd": 64, "n_layer": 2, "n_ctx": 9, "n_positions": 9}
    before = (folder / "config.json").read_text()
    for change in (
        gpt2 | {"layer_norm_epsilon": 1e-5}, {"model_type": "qwen2", "num_attention_heads": 0},
        {"model_type": "gemma", "head_dim": 0}, {"quantization_config": {"quant_method": "gptq"}}, {"model_type": "olmo"},
    ):  # fmt: skip
        edit(folder, **change)
        with pytest.raises(UserError, match=r"model_type \w+ does not load through mlx_lm: .") as error:
            weights.load(folder)
        assert "\n" not in str(error.value)
        (folder / "config.json").write_text(before)
    edit(folder, rope_scaling={"rope_type": "linear", "factor": 2.0})
    weights.load(folder)
    shutil.copy(folder / "model.safetensors", folder / "model_old.safetensors")
    with pytest.raises(UserError, match=r"model_old\.safetensors: is beside the model's weights and none of them"):
        weights.load(folder)


@pytest.mark.slow
def test_a_quantised_folder_is_unpacked_on_the_cpu(tokenizer, tmp_path: Path) -> None:
    from mlx_lm.utils import load_model, quantize_model, save_model

    from lab import convert

    of_another_maker(tmp_path / "m", "qwen3", tokenizer)
    (tmp_path / "q").mkdir()
    convert.quantise(tmp_path / "m", tmp_path / "q", 8, 32)
    plain, packed = weights.load(tmp_path / "m"), weights.load(tmp_path / "q")
    names = [name for name, _ in device.flat(packed.network.parameters())]
    if device.on_cpu():
        assert not any(name.endswith(".scales") for name in names)
        assert packed.network.model.embed_tokens.weight.dtype == mx.float32
    ids = mx.array([tokenizer.encode("Ada took a kite to the lake.")])
    assert mx.abs(plain.network(ids) - packed.network(ids)).max() < 0.3
    assert packed.tokenizer.fingerprint == tokenizer.fingerprint
    config = json.loads((tmp_path / "q" / "config.json").read_text())
    assert config.pop("quantization")
    packing = {"quant_method": "mxfp4"}
    (tmp_path / "r4").mkdir()
    network, _ = quantize_model(load_model(tmp_path / "m")[0], {}, 32, 4, mode="mxfp4")
    save_model(tmp_path / "r4", network)
    shutil.copytree(tmp_path / "q", tmp_path / "r4", ignore=lambda *_: ["model.safetensors"], dirs_exist_ok=True)
    (tmp_path / "r4" / "config.json").write_text(json.dumps(config | {"quantization_config": packing}))
    fours = weights.load(tmp_path / "r4")  # as of the hub: packed, and no word of mlx_lm's own
    if device.on_cpu():
        assert not any(name.endswith(".scales") for name, _ in device.flat(fours.network.parameters()))
    with pytest.raises(UserError, match="is quantised already"):
        convert.quantise(tmp_path / "q", tmp_path / "m", 4, 32)
    of_another_maker(tmp_path / "odd", "smollm2", tokenizer)
    (tmp_path / "r").mkdir()
    with pytest.raises(UserError, match="no row of its matrices divides into groups of 128"):
        convert.quantise(tmp_path / "odd", tmp_path / "r", 4, 128)
