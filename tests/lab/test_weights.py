"""Model folders: what we write opens elsewhere with the same numbers, what others write opens here."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from lab import device, weights
from lab.errors import UserError
from lab.model import Shape, Transformer, new_cache
from lab.runs import find
from lab.sample import Sampling
from lab.stream import Stream
from tests.conftest import Lab
from tests.hub_server import Hub, hub  # noqa: F401


@pytest.fixture
def folder(tiny, tokenizer, tmp_path: Path) -> Path:
    path = tmp_path / "model"
    weights.save(path, tiny, tokenizer)
    return path


def test_save_and_load_are_exact(folder: Path, tiny, tokenizer) -> None:
    model = weights.load(folder)
    for (name, a), (_, b) in zip(device.flat(tiny.parameters()), device.flat(model.network.parameters()), strict=True):
        assert mx.array_equal(a, b), name
    assert model.network.shape == tiny.shape
    assert model.tokenizer.fingerprint == tokenizer.fingerprint
    assert not model.chats


def test_bf16_on_disk_is_computed_in_fp32_on_the_cpu(tiny, tokenizer, tmp_path: Path) -> None:
    weights.save(tmp_path / "half", tiny, tokenizer, mx.bfloat16)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert weights.load_arrays(tmp_path / "half" / "model.safetensors")["model.norm.weight"].dtype == mx.bfloat16
    assert weights.load(tmp_path / "half").network.model.norm.weight.dtype == mx.float32
    assert weights.load(tmp_path / "half", "bfloat16").network.model.norm.weight.dtype == mx.bfloat16


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


def edit(folder: Path, **values) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: shutil.rmtree(f), "no such folder"),
        (lambda f: (f / "config.json").unlink(), "no model folder"),
        (lambda f: (f / "config.json").write_text("{"), "broken JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "no model_type"),
        (lambda f: (f / "model.safetensors").unlink(), r"no model\*.safetensors"),
        (lambda f: cut(f / "model.safetensors", 5000), "the file is cut"),
        (lambda f: cut(f / "model.safetensors", 4), "the file is cut"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!"),
            "header is broken",
        ),
        (lambda f: edit(f, intermediate_size=100), "do not match: .*config.json says"),
        (lambda f: edit(f, num_hidden_layers=3), "do not match: .*is missing"),
        (lambda f: edit(f, num_hidden_layers=1), "do not match: .*no place"),
        (lambda f: edit(f, model_type="nosuch"), "does not load through mlx_lm"),
        (lambda f: (f / "tokenizer.model").unlink() or (f / "tokenizer.json").unlink(), "tokenizer"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(folder: Path, harm, said: str) -> None:
    harm(folder)
    with pytest.raises(UserError, match=said) as error:
        weights.load(folder)
    assert "\n" not in str(error.value)


def test_half_a_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights.save_arrays(path, {"a": mx.ones((4, 4))})
    before = path.read_bytes()
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="nowhere"):
        weights.save_arrays(tmp_path / "nowhere" / "model.safetensors", {"a": mx.zeros((4, 4))})
    assert path.read_bytes() == before
    assert np.array(weights.load_arrays(path)["a"]).sum() == 16


def test_names_of_runs_and_checkpoints(home: Path) -> None:
    (home / "mine" / "checkpoints" / "000400").mkdir(parents=True)
    (home / "mine" / "config.json").write_text("{}")
    assert find("mine") == (home / "mine", home / "mine")
    assert find("mine@400")[1] == home / "mine" / "checkpoints" / "000400"
    with pytest.raises(UserError, match="there are: 400"):
        find("mine@500")
    with pytest.raises(UserError, match="did you mean mine"):
        find("mime")


@pytest.mark.parametrize(("says", "own", "tied"), [(None, True, False), (None, False, True), (True, "same", True)])
def test_tied_or_not_is_what_the_weights_say(
    tokenizer, tmp_path: Path, says: bool | None, own: bool | str, tied: bool
) -> None:
    """transformers leaves tie_word_embeddings out of a llama config where it is its default, false."""
    ours = Transformer(
        Shape(tokenizer.vocab_size, 64, 2, 4, 2, 16, 96, qk_norm=False, tie_word_embeddings=own is not True)
    )
    ours.initialise(0)
    ours.load_weights([(k, v + 0.05 * mx.random.normal(v.shape)) for k, v in device.flat(ours.parameters())])
    folder = tmp_path / "m"
    weights.save(folder, ours, tokenizer)
    config = json.loads((folder / "config.json").read_text())
    del config["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps(config | ({} if says is None else {"tie_word_embeddings": says})))
    arrays = weights.load_arrays(folder / "model.safetensors")
    if own == "same":
        weights.save_arrays(
            folder / "model.safetensors", arrays | {"lm_head.weight": arrays["model.embed_tokens.weight"]}
        )
    model = weights.load(folder)
    assert model.network.shape.tie_word_embeddings == tied
    ids = mx.array([[1, 2, 3]])
    assert mx.array_equal(model.network(ids), ours(ids))


def test_a_tied_model_with_another_output_matrix_is_refused(folder: Path) -> None:
    arrays = weights.load_arrays(folder / "model.safetensors")
    other = arrays["model.embed_tokens.weight"] + 1
    weights.save_arrays(folder / "model.safetensors", arrays | {"lm_head.weight": other})
    with pytest.raises(UserError, match=r"ties lm_head.weight .* differ; set tie_word_embeddings to false"):
        weights.load(folder)


# -- models of other makers ----------------------------------------------------------------------------------------

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


def test_a_missing_shard_is_named(folder: Path) -> None:
    arrays = weights.load_arrays(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {}
    for i, name in enumerate(sorted(arrays)):
        index[name] = f"model-{i % 3 + 1:05d}-of-00003.safetensors"
    for file in set(index.values()):
        weights.save_arrays(folder / file, {n: arrays[n] for n in arrays if index[n] == file})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    whole = weights.load(folder)
    assert mx.array_equal(
        dict(device.flat(whole.network.parameters()))["model.norm.weight"], arrays["model.norm.weight"]
    )
    cut(folder / "model-00003-of-00003.safetensors", 300)
    with pytest.raises(UserError, match=r"model-00003-of-00003\.safetensors: .* the file is cut"):
        weights.load(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00003\.safetensors is missing \(1 of its weight files are\)"):
        weights.load(folder)


@pytest.mark.parametrize(("vocabulary", "fits"), [(200, False), (384, True), (420, True), (1000, False)])
def test_a_tokenizer_that_is_another_models(tiny, tokenizer, tmp_path: Path, vocabulary: int, fits: bool) -> None:
    from dataclasses import replace

    other = Transformer(replace(tiny.shape, vocab_size=vocabulary))
    weights.save(tmp_path / "m", other, tokenizer)
    if fits:  # rows without a token are padding
        assert weights.load(tmp_path / "m").tokenizer.vocab_size == 384
        return
    with pytest.raises(
        UserError, match=f"the tokenizer has 384 ids, the model (only )?{vocabulary}; they do not belong"
    ):
        weights.load(tmp_path / "m")


@pytest.mark.slow
def test_a_quantised_folder_is_unpacked_on_the_cpu(tokenizer, tmp_path: Path) -> None:
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
    with pytest.raises(UserError, match="is quantised already"):
        convert.quantise(tmp_path / "q", tmp_path / "m", 4, 32)
    of_another_maker(tmp_path / "odd", "smollm2", tokenizer)
    (tmp_path / "r").mkdir()
    with pytest.raises(UserError, match="no row of its matrices divides into groups of 128"):
        convert.quantise(tmp_path / "odd", tmp_path / "r", 4, 128)


@pytest.mark.slow
def test_a_model_of_the_hub_by_its_name(hub: Hub, folder: Path, tiny, tmp_path: Path) -> None:  # noqa: F811
    hub.add_folder("owner/name", folder)
    model = weights.load("owner/name")
    assert model.name == model.tokenizer.name == "owner/name"
    ids = mx.array([[1, 2, 3]])
    assert mx.array_equal(model.network(ids), tiny(ids))
    hub.stop()
    assert weights.load("owner/name").name == "owner/name"
    for name, says in (("owner/none", "no network"), ("owner/none/x.gguf", "no network"), ("a/b/c", "no such folder")):
        with pytest.raises(UserError, match=says) as error:
            weights.load(name)
        assert "\n" not in str(error.value)
    hub.start()
    config = json.loads((folder / "config.json").read_text())
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    hub.add("owner/noweights", {"config.json": files["config.json"]})
    hub.add("owner/badjson", files | {"config.json": b"{"})
    hub.add("owner/cut", files | {"model.safetensors": files["model.safetensors"][:5000]})
    hub.add("owner/odd", files | {"config.json": json.dumps(config | {"intermediate_size": 100}).encode()})
    hub.add("owner/notokens", {k: v for k, v in files.items() if "tokenizer" not in k})
    hub.add("owner/gated", files, gated=True)
    for name, says in (
        ("owner/noweights", "no safetensors in it"),
        ("owner/badjson", "config.json: broken JSON"),
        ("owner/cut", "has 5000 bytes, its header asks for"),
        ("owner/odd", "do not match"),
        ("owner/notokens", "holds neither tokenizer.json nor"),
        ("owner/gated", "accept its licence"),
    ):
        with pytest.raises(UserError, match=says) as error:
            weights.load(name)
        assert "\n" not in str(error.value)
