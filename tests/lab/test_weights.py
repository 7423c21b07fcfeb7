"""Model folders: what we write opens elsewhere with the same numbers, what others write opens here."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from lab import device, weights
from lab.errors import UserError
from lab.model import Shape, Transformer
from lab.runs import find
from lab.tokenizer import Tokenizer
from tests.gguf_files import byte_level
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
        (lambda f: edit(f, max_position_embeddings=float("inf")), "config.json: a number is no number"),
        (lambda f: edit(f, vocab_size=float("inf")), "config.json: a number is no number"),
        (lambda f: edit(f, num_attention_heads=0, head_dim=None), "config.json: a number is no number"),
        (lambda f: edit(f, rope_parameters=[1]), "config.json: a number is no number"),
        (lambda f: edit(f, rope_parameters="x"), "config.json: a number is no number"),
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


def test_left_over_weights_do_not_count(folder: Path) -> None:
    arrays = weights.load_arrays(folder / "model.safetensors")
    old = {name: mx.zeros_like(value) for name, value in arrays.items()}

    def norm() -> float:
        return device.number(weights.load(folder).network.model.norm.weight.sum())

    want = norm()
    assert want != 0
    weights.save_arrays(folder / "model_old.safetensors", old)
    assert norm() == want
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(arrays, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert norm() == want
    index["weight_map"]["model.norm.weight"] = "model_old.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model_old\.safetensors: holds .*, as another file of the model does"):
        weights.load(folder)


def test_ids_that_a_tokenizer_lacks_are_not_written(tiny, chat_tokenizer, tmp_path: Path) -> None:
    weights.save_config(tmp_path, tiny, chat_tokenizer)
    for name in ("config.json", "generation_config.json"):
        told = {k: v for k, v in json.loads((tmp_path / name).read_text()).items() if k.endswith("_token_id")}
        assert told == {"eos_token_id": 2 if name == "config.json" else [0, 2]}


@pytest.fixture
def chat_tokenizer() -> Tokenizer:
    """One that names neither BOS nor padding, and knows the word None."""
    spec = json.loads(byte_level().to_str())
    spec["model"]["vocab"]["None"] = len(spec["model"]["vocab"])
    config = {"bos_token": None, "pad_token": None, "eos_token": "<|im_end|>"}
    files = {"tokenizer.json": spec, "tokenizer_config.json": config}
    return Tokenizer.from_files({name: json.dumps(value).encode() for name, value in files.items()}, "m", "m")


def test_positions_that_are_not_ours(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    theirs = {"rope_type": "default", "rope_theta": 1e6}
    assert weights.shape_from(config | {"rope_parameters": theirs})
    assert weights.shape_from(config | {"rope_parameters": {"full_attention": theirs}}) is None
    assert weights.shape_from(config | {"rope_parameters": theirs | {"partial_rotary_factor": 0.5}}) is None
    assert weights.shape_from(config | {"partial_rotary_factor": 0.5}) is None


def test_the_context_of_a_model_with_a_config_for_its_text(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config | {"text_config": {"max_position_embeddings": 77}}))
    assert weights.load(folder).context == 77


@pytest.mark.parametrize(("vocabulary", "fits"), [(200, False), (384, True), (450, True), (460, False), (1000, False)])
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
