"""Adapters: beginnings, gradients, merging, mlx-lm's form in both directions, run folders, bases that are gone."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from lab import convert, device, lora, models, weights
from lab.errors import UserError
from lab.learn import Learner, Schedule
from lab.loss import Batch, nll
from lab.model import Shape, Transformer
from lab.run import Run
from lab.tokenizer import Tokenizer
from tests.gguf_files import byte_level, byte_level_meta, meta_of, network_of, write_plain
from tests.gguf_files import theirs as theirs_of
from tests.hub_server import Hub, hub  # noqa: F401

LINEAR = [
    "mlp.down_proj", "mlp.gate_proj", "mlp.up_proj",
    "self_attn.k_proj", "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj",
]  # fmt: skip


def batch(vocab: int, rows: int = 4, seed: int = 0) -> Batch:
    return Batch(np.random.default_rng(seed).integers(0, vocab, (rows, 17)).astype(np.int32))


def apart(a: mx.array, b: mx.array) -> float:
    return device.number(mx.abs(a.astype(mx.float32) - b.astype(mx.float32)).max())


def shake(network: Transformer, seed: int = 5, by: float = 0.02) -> None:
    """Adapters as after some training: lora_b away from zero."""
    key = mx.random.key(seed)
    for name, value in lora.arrays(network).items():
        key, own = mx.random.split(key)
        network.load_weights([(name, value + by * mx.random.normal(value.shape, key=own))], strict=False)


@pytest.fixture
def base(tiny: Transformer, tokenizer: Tokenizer, home: Path) -> Path:
    """A model folder `base` in the weights root."""
    weights.save(home / "base", tiny, tokenizer)
    return home / "base"


def adapted(base: Path, folder: Path, **options: object) -> Transformer:
    """Adapters for the base, written to `folder` as a run would; the network they sit on."""
    model = weights.load(base)
    config = lora.attach(model.network, **options)  # type: ignore[arg-type]
    shake(model.network)
    folder.mkdir(exist_ok=True)
    weights.write_json(folder / "adapter_config.json", config | {"model": base.name})
    weights.save_arrays(folder / "adapters.safetensors", lora.arrays(model.network))
    return model.network


def test_attached_adapters_change_nothing_and_only_they_learn(tiny: Transformer) -> None:
    ids = mx.array(batch(tiny.shape.vocab_size).ids)
    before = tiny(ids)
    frozen = {k: mx.array(v) for k, v in device.flat(tiny.parameters())}
    config = lora.attach(tiny, rank=3, scale=7.0)
    assert mx.array_equal(before, tiny(ids))
    assert config == {
        "fine_tune_type": "lora", "num_layers": 2,
        "lora_parameters": {"rank": 3, "scale": 7.0, "dropout": 0.0, "keys": LINEAR},
    }  # fmt: skip
    trained = dict(device.flat(tiny.trainable_parameters()))
    assert trained.keys() == lora.arrays(tiny).keys()
    assert len(trained) == 2 * 2 * len(LINEAR)
    assert trained["model.layers.1.mlp.down_proj.lora_a"].shape == (96, 3)
    learner = Learner(tiny, Schedule(0.01, 30, warmup=1, decay=0.01), "adamw")
    losses = [learner.step(i + 1, [batch(tiny.shape.vocab_size)], nll).loss for i in range(20)]
    assert losses[-1] < losses[0] - 0.3
    after = {k.replace(".linear.", "."): v for k, v in device.flat(tiny.parameters())}
    assert all(mx.array_equal(after[k], v) for k, v in frozen.items())


def test_only_the_last_layers_and_the_keys_that_are_named(tiny: Transformer) -> None:
    lora.attach(tiny, num_layers=1, keys=["self_attn.q_proj", "model.embed_tokens"])
    assert sorted(lora.adapters(tiny)) == ["model.embed_tokens", "model.layers.1.self_attn.q_proj"]
    lora.attach(tiny, num_layers=-1, keys=["mlp.up_proj"])
    assert sorted(lora.adapters(tiny)) == ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"]
    with pytest.raises(UserError, match=r"called self_attn\.w_proj"):
        lora.attach(tiny, keys=["self_attn.w_proj", "mlp.up_proj"])


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_are_learned_through_the_embedding(tied: bool) -> None:
    """The layers cannot make a token likely whose row in a frozen output matrix is zero; adapters on the matrix can."""
    shape = Shape(64, 32, 1, 2, 2, 16, 64, tie_word_embeddings=tied)
    network = Transformer(shape)
    network.initialise(0)
    outer = "model.embed_tokens" if tied else "lm_head"
    matrix = mx.array(dict(device.flat(network.parameters()))[f"{outer}.weight"])
    matrix[:] = mx.random.normal(matrix.shape, key=mx.random.key(1))
    matrix[60] = 0
    network.load_weights([(f"{outer}.weight", matrix), ("model.norm.weight", mx.ones(32))], strict=False)
    ids = batch(60, rows=8).ids
    ids[:, 1::2] = 60
    config = lora.attach(network, embed=True)
    want = ["model.embed_tokens"] if tied else ["lm_head", "model.embed_tokens"]
    assert config["lora_parameters"]["keys"][len(LINEAR) :] == want
    learner = Learner(network, Schedule(0.01, 60, warmup=1, decay=0.01), "adamw")
    odd = Batch(ids, np.tile(np.arange(17) % 2, (8, 1)).astype(np.float32))
    first, *_, last = [learner.step(i + 1, [odd], nll).loss for i in range(40)]
    assert first > 3
    assert last < 0.3


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_merged_equals_attached(tiny: Transformer, dtype: mx.Dtype) -> None:
    tiny.set_dtype(dtype)
    ids = mx.array(batch(tiny.shape.vocab_size).ids)
    lora.attach(tiny, embed=True)
    assert all(value.dtype == mx.float32 for value in lora.arrays(tiny).values())
    shake(tiny)
    plain, names = tiny(ids), set(dict(device.flat(Transformer(tiny.shape).parameters())))
    assert plain.dtype == dtype
    lora.merge(tiny)
    assert set(dict(device.flat(tiny.parameters()))) == names
    assert set(dict(device.flat(tiny.trainable_parameters()))) == names
    largest = device.number(mx.abs(plain.astype(mx.float32)).max())
    assert apart(plain, tiny(ids)) < (1e-5 if dtype == mx.float32 else 0.05) * max(1.0, largest)


def test_adapters_for_mlx_lm_open_there(base: Path, home: Path) -> None:
    """`mlx_lm.load(base, adapter_path=...)` computes what we do, the embedding's adapter included."""
    from mlx_lm import load

    network = adapted(base, home / "mine", rank=4, num_layers=1, embed=True)
    theirs = load(str(base), adapter_path=str(home / "mine"))[0]
    ids = mx.array(batch(network.shape.vocab_size).ids)
    assert apart(network(ids), weights.load(base).network(ids)) > 0.1
    assert apart(network(ids), theirs(ids)) < 1e-4


@pytest.mark.parametrize("keys", [None, ["self_attn.q_proj", "model.embed_tokens"]])
def test_adapters_from_mlx_lm_open_here(base: Path, home: Path, keys: list[str] | None) -> None:
    """As its trainer writes them: a config with more in it, keys left out, no tokenizer."""
    from mlx.utils import tree_flatten
    from mlx_lm import load
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import save_config

    theirs = load(str(base))[0]
    theirs.freeze()
    parameters = {"rank": 8, "dropout": 0.0, "scale": 20.0} | ({"keys": keys} if keys else {})
    linear_to_lora_layers(theirs, 1, parameters)
    shake(theirs)
    folder = home / "theirs"
    folder.mkdir()
    told = {"model": str(base), "fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters, "seed": 0}
    save_config(told, folder / "adapter_config.json")
    arrays = dict(tree_flatten(theirs.trainable_parameters()))
    assert arrays.keys() == lora.arrays(weights_with(theirs, base, parameters)).keys()
    mx.save_safetensors(str(folder / "adapters.safetensors"), arrays)
    model = weights.load(folder)
    ids = mx.array(batch(model.config["vocab_size"]).ids)
    assert apart(model.network(ids), theirs(ids)) < 1e-4
    assert model.tokenizer.encode("Ada took a ball") == weights.load(base).tokenizer.encode("Ada took a ball")
    assert (model.name, model.folder) == ("theirs", folder)


def weights_with(theirs: object, base: Path, parameters: dict) -> Transformer:
    network = weights.load(base).network
    lora.attach(network, num_layers=1, keys=parameters.get("keys"))
    return network


def test_attach_works_on_the_classes_of_mlx_lm(base: Path) -> None:
    from mlx_lm import load

    theirs, ours = load(str(base))[0], weights.load(base).network
    for network in (theirs, ours):
        lora.attach(network, rank=4, num_layers=1, embed=True)
        shake(network)
    ids = mx.array(batch(ours.shape.vocab_size).ids)
    assert lora.arrays(theirs).keys() == lora.arrays(ours).keys()
    assert apart(theirs(ids), ours(ids)) < 1e-4
    lora.merge(theirs)
    assert apart(theirs(ids), ours(ids)) < 1e-4


def train(run: Run, base: Path, steps: int, until: int | None = None) -> None:
    """A LoRA training in a run folder; ends early after `until` steps as a kill would, without a last checkpoint."""
    model = weights.load(base)
    weights.save_tokenizer(run.folder, model.tokenizer)
    config = lora.attach(model.network, rank=4)
    weights.write_json(run.folder / "adapter_config.json", config | {"model": base.name})
    learner = Learner(model.network, Schedule(0.01, steps, warmup=1), "adamw")
    run.save_every, run.keep = 2, 9
    run.attach(learner)
    for step in run.steps(steps):
        run.log(step, loss=learner.step(step, [batch(384, seed=step)], nll).loss)
        if step == until:
            raise KeyboardInterrupt


def test_a_killed_lora_run_goes_on_bit_for_bit_and_opens_as_a_model(base: Path, home: Path) -> None:
    with Run("sft", {}, "whole", resume=False) as run:
        train(run, base, 6)
    with pytest.raises(KeyboardInterrupt), Run("sft", {}, "cut", resume=False) as run:
        train(run, base, 6, until=5)
    with Run("sft", {}, "cut", resume=True) as run:
        assert run.step == 4
        train(run, base, 6)
    whole, cut = (weights.load_arrays(home / name / "adapters.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(mx.array_equal(whole[k], cut[k]) for k in whole)
    assert not (home / "whole" / "model.safetensors").exists()
    checkpoint = home / "whole" / "checkpoints" / "000004"
    assert {f.name for f in checkpoint.iterdir()} == {"adapters.safetensors", "optimizer.safetensors", "state.json"}
    ids = mx.array(batch(384).ids)
    first, middle, last = (weights.load(name).network(ids) for name in ("whole@0", "whole@4", "whole"))
    assert mx.array_equal(first, weights.load(base).network(ids))
    assert min(apart(first, middle), apart(middle, last)) > 1e-3
    rows = [json.loads(line) for line in (home / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]


def test_adapters_upon_adapters(base: Path, home: Path) -> None:
    """A run that went on from a LoRA run: its base is that run, merged."""
    adapted(base, home / "first")
    second = weights.load("first")
    before = second.network(mx.array(batch(384).ids))
    config = lora.attach(second.network, rank=2)
    assert apart(before, second.network(mx.array(batch(384).ids))) < 1e-4
    shake(second.network)
    (home / "second").mkdir()
    weights.write_json(home / "second" / "adapter_config.json", config | {"model": "first"})
    weights.save_arrays(home / "second" / "adapters.safetensors", lora.arrays(second.network))
    ids = mx.array(batch(384).ids)
    assert mx.array_equal(weights.load("second").network(ids), second.network(ids))


def test_an_exported_adapter_is_a_model_of_its_own(base: Path, home: Path, tmp_path: Path) -> None:
    network = adapted(base, home / "mine")
    ids = mx.array(batch(384).ids)
    (tmp_path / "whole").mkdir()
    convert.write("mine", tmp_path / "whole", "float32")
    shutil.rmtree(base)
    merged = weights.load(tmp_path / "whole")
    assert not lora.adapters(merged.network)
    assert apart(merged.network(ids), network(ids)) < 1e-4
    assert not (tmp_path / "whole" / "adapter_config.json").exists()


def test_lab_export_and_lab_models_know_adapters(base: Path, home: Path, cli) -> None:
    adapted(base, home / "mine")
    (home / "mine" / "run.json").write_text('{"recipe": "sft"}')
    done = cli("export", "mine", "--to", home / "small", "--quantize", "8", "--group-size", "32")
    assert done.returncode == 0, done.stderr
    assert json.loads((home / "small" / "config.json").read_text())["quantization"]["bits"] == 8
    assert "0.0" in done.stdout.split("nats apart")[0][-8:]
    listed = {found.name: found for found in models.everything()}
    assert listed["mine"].kind.endswith("LoRA 8 on base"), listed["mine"]
    assert listed["mine"].parameters > listed["base"].parameters > 0
    shutil.rmtree(base)
    lost = {found.name: found for found in models.everything()}["mine"]
    assert "its base base does not open" in lost.broken


def test_a_base_in_a_gguf_file(home: Path, tmp_path: Path) -> None:
    """The tokenizer comes with the adapters; which ids end a turn is in the file and in what `save_tokenizer` writes."""
    fast = byte_level()
    network = network_of(fast.get_vocab_size(), "llama")
    told = meta_of(network.shape, "llama") | byte_level_meta(fast)
    path = write_plain(tmp_path / "base.gguf", theirs_of(network, "llama"), told)
    model = weights.load(path)
    (home / "mine").mkdir()
    weights.save_tokenizer(home / "mine", model.tokenizer)
    config = lora.attach(model.network)
    shake(model.network)
    weights.write_json(home / "mine" / "adapter_config.json", config | {"model": str(path)})
    weights.save_arrays(home / "mine" / "adapters.safetensors", lora.arrays(model.network))
    again = weights.load("mine")
    ids = mx.array(batch(fast.get_vocab_size()).ids)
    assert mx.array_equal(again.network(ids), model.network(ids))
    assert again.tokenizer.ends == model.tokenizer.ends != frozenset()
    assert models.folder(home / "mine", "mine", "weights", "mine").kind.endswith("LoRA 8 on base.gguf")


def test_adapters_and_base_from_the_hub(hub: Hub, base: Path, tmp_path: Path) -> None:  # noqa: F811
    network = adapted(base, tmp_path / "mine")
    config = json.loads((tmp_path / "mine" / "adapter_config.json").read_text())
    weights.write_json(tmp_path / "mine" / "adapter_config.json", config | {"model": "owner/base"})
    hub.add_folder("owner/base", base)
    hub.add_folder("owner/mine", tmp_path / "mine")
    listed = models.folder(tmp_path / "mine", "mine", "weights", "mine")
    assert (listed.broken, listed.stored, listed.parameters) == ("", "LoRA 8 on owner/base", 0)
    model = weights.load("owner/mine")
    ids = mx.array(batch(384).ids)
    assert mx.array_equal(model.network(ids), network(ids))
    assert model.name == model.tokenizer.name == "owner/mine"
    assert models.folder(tmp_path / "mine", "mine", "weights", "mine").parameters > 0
    hub.stop()
    shutil.rmtree(tmp_path / "hf" / "hub" / "models--owner--base")
    with pytest.raises(UserError, match=r"its base owner/base is not here; mend: .*no network") as error:
        weights.load("owner/mine")
    assert "\n" not in str(error.value)
    hub.start()


def test_models_that_only_mlx_lm_knows_are_adapted_and_merged(tokenizer: Tokenizer, home: Path, tmp_path: Path) -> None:
    """GPT-2: other names, biases, an output matrix that is the embedding."""
    from mlx_lm.models import gpt2

    config = {
        "model_type": "gpt2", "vocab_size": tokenizer.vocab_size, "n_ctx": 64, "n_embd": 48, "n_head": 4, "n_layer": 2,
        "n_positions": 64, "layer_norm_epsilon": 1e-5,
    }  # fmt: skip
    (home / "base").mkdir()
    weights.write_json(home / "base" / "config.json", config)
    arrays = dict(device.flat(gpt2.Model(gpt2.ModelArgs.from_dict(config)).parameters()))
    weights.save_arrays(home / "base" / "model.safetensors", arrays)
    weights.save_tokenizer(home / "base", tokenizer)
    network = adapted(home / "base", home / "mine", embed=True)
    assert "model.wte" in lora.adapters(network)
    ids = mx.array(batch(tokenizer.vocab_size).ids)
    plain = weights.load("base").network(ids)
    model = weights.load("mine")
    assert mx.array_equal(model.network(ids), network(ids))
    assert apart(plain, network(ids)) > 0.01
    (tmp_path / "whole").mkdir()
    convert.write("mine", tmp_path / "whole", "float32")
    assert apart(weights.load(tmp_path / "whole").network(ids), network(ids)) < 1e-5


def config_without(name: str) -> dict:
    whole = {"model": "base", "num_layers": 2, "lora_parameters": {"rank": 8, "scale": 20.0}}
    return {k: v for k, v in whole.items() if k != name}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (config_without("") | {"model": "gone"}, "its base gone is not here; mend: .*no such run"),
        (config_without("") | {"model": "mine"}, "its base mine is not here.*that is this very folder"),
        (config_without("model"), "names no base; mend"),
        (config_without("lora_parameters"), "no adapter in mlx-lm's form"),
        ({"peft_type": "LORA", "base_model_name_or_path": "base", "r": 8}, "no adapter in mlx-lm's form"),
        (config_without("") | {"fine_tune_type": "dora"}, "fine_tune_type is dora"),
        (config_without("") | {"lora_parameters": {"rank": 4, "scale": 20.0}}, r"lora_a is .*8\).*of another rank"),
        (config_without("") | {"num_layers": 1}, "has no place in the model"),
        (
            config_without("") | {"lora_parameters": {"rank": 8, "scale": 20.0, "keys": ["nosuch"]}},
            "no matrix called nosuch",
        ),
    ],
)
def test_what_is_wrong_with_adapters_is_said(base: Path, home: Path, config: dict, said: str) -> None:
    adapted(base, home / "mine")
    weights.write_json(home / "mine" / "adapter_config.json", config)
    with pytest.raises(UserError, match=said):
        weights.load("mine")


def test_a_cut_adapter_file_is_named(base: Path, home: Path) -> None:
    adapted(base, home / "mine")
    path = home / "mine" / "adapters.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    (home / "mine" / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapters\.safetensors: .* the file is cut"):
        weights.load("mine")
    assert "adapters.safetensors" in {found.name: found for found in models.everything()}["mine"].broken


def test_runs_that_moved_together_find_each_other(base: Path, home: Path, monkeypatch, tmp_path: Path) -> None:
    network = adapted(base, home / "mine")
    shutil.move(home, tmp_path / "elsewhere")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "empty"))
    ids = mx.array(batch(384).ids)
    assert apart(weights.load(tmp_path / "elsewhere" / "mine").network(ids), network(ids)) == 0


def packed(base: Path, folder: Path) -> weights.Model:
    """The base at 4 bits, its matrices packed as on an accelerator (on the CPU they are unpacked unless `lazy`)."""
    folder.mkdir()
    convert.quantise(base, folder, 4, 32)
    model = weights.load(folder, lazy=True)
    model.network.apply(lambda v: v.astype(mx.float32) if mx.issubdtype(v.dtype, mx.floating) else v)
    return model


def test_adapters_beside_packed_matrices(base: Path, home: Path) -> None:
    """QLoRA: nothing changes at first, a step learns, the packed matrices stay as they are, and merging adds exactly."""
    model = packed(base, home / "q4")
    network, some = model.network, batch(model.tokenizer.vocab_size)
    ids = mx.array(some.ids[:, :-1])
    before = network(ids)
    told = lora.attach(network, num_layers=-1, embed=True)
    assert told["lora_parameters"]["keys"][: len(LINEAR)] == LINEAR
    assert apart(network(ids), before) == 0
    frozen = {k: np.array(v) for k, v in device.flat(network.parameters()) if v.dtype == mx.uint32}
    assert frozen
    learner = Learner(network, Schedule(0.01, 20, warmup=1), "adamw")
    losses = [learner.step(i, [some], nll).loss for i in range(1, 9)]
    assert losses[-1] < losses[0] - 0.1
    assert all((np.array(v) == frozen[k]).all() for k, v in device.flat(network.parameters()) if k in frozen)
    adapted_ = network(ids)
    lora.merge(network)
    assert not lora.adapters(network)
    assert apart(network(ids), adapted_) < 2e-3
    assert {k for k, v in device.flat(network.parameters()) if v.dtype == mx.uint32} < set(frozen)


def test_a_packed_model_is_tuned_by_lora_and_its_size_is_known(base: Path, home: Path) -> None:
    from recipes import tuning

    model = packed(base, home / "q4")
    whole = tuning.parameters(weights.load(base))
    assert whole <= tuning.parameters(model) < 1.2 * whole  # scales and biases come on top
    assert not tuning.in_full(tuning.Tuning(model="q4"), model)
    with pytest.raises(UserError, match="are tuned with --fine-tune-type lora"):
        tuning.in_full(tuning.Tuning(model="q4", fine_tune_type="full"), model)
