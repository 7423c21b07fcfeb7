"""`lab models`, and `--model` with what it shows."""

import json
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import device, weights
from lab.display import CONTROLS
from tests.conftest import Lab
from tests.gguf_files import (
    byte_level,
    byte_level_meta,
    meta_of,
    network_of,
    theirs,
    tiny_chat,
    write_blocks,
    write_plain,
)
from tests.recipes.conftest import Here


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat(tmp_path_factory.mktemp("gguf"))


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
    in_hub_cache(elsewhere, "gpt2", chat_model)
    tagged = in_hub_cache(elsewhere, "owner/tagged", chat_model)
    (tagged.parent.parent / "refs" / "main").rename(tagged.parent.parent / "refs" / "v1")
    deep = in_hub_cache(elsewhere, "owner/deep", gguf_file.parent)
    (deep / "q4").mkdir()
    (deep / gguf_file.name).rename(deep / "q4" / gguf_file.name)
    found = rows(here)
    assert found["hub: owner/tagged"]["model"] == f"owner/tagged@{'c' * 40}"
    assert found[f"hub: owner/deep/q4/{gguf_file.name}"]["model"] == f"owner/deep/q4/{gguf_file.name}"
    assert len(found) == 6
    for row in found.values():
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
        network = "with a network" in found[name]["broken"]  # only the hub's are mended by running it again
        assert network == name.startswith("hub"), found[name]
    said = here("models")
    assert (said.code, said.err) == (0, "")
    assert said.out.count("unusable:") == len(says)


def test_what_could_not_be_opened_is_not_offered(
    here: Here, elsewhere: Path, home: Path, chat_model: Path, gguf_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = elsewhere / ".lmstudio" / "models" / "some" / "one"
    studio.mkdir(parents=True)
    fast, network = byte_level(), network_of(400, "llama", width=512, layers=1)
    told, arrays = meta_of(network.shape, "llama") | byte_level_meta(fast), theirs(network, "llama")
    write_plain(studio / "split.gguf", arrays, told | {"split.count": 3})
    write_plain(studio / "odd.gguf", arrays, told | {"general.architecture": "\x1b]0;x\x07odd"})
    shutil.copy(gguf_file, studio / "._plain.gguf")
    pytest.importorskip("gguf")
    write_blocks(studio / "k.gguf", arrays, told, "Q4_K")
    shutil.copytree(chat_model, home / "mine")
    for name in ("._model.safetensors", ".model.tmp.safetensors"):
        (home / "mine" / name).write_bytes(b"left over")
    only_words = in_hub_cache(elsewhere, "owner/words", chat_model)
    (only_words / "model.safetensors").unlink()
    found = {name.rpartition("/")[2]: row for name, row in rows(here).items()}
    assert set(found) == {"split.gguf", "odd.gguf", "k.gguf", "weights: mine"}
    assert "one of 3 parts" in found["split.gguf"]["broken"]
    assert "odd; from GGUF the lab runs llama and qwen3 only" in found["odd.gguf"]["broken"]
    assert not found["weights: mine"]["broken"]
    assert found["k.gguf"]["stored"] == "Q4_K"
    monkeypatch.setitem(sys.modules, "gguf", None)  # as where it is not installed
    shown = here("models").out
    assert "Q4_K (needs the extra gguf)" in shown
    assert not set(map(ord, shown)) & set(CONTROLS)
    said = here("generate", "--model", studio / "odd.gguf", "-p", "x")
    assert "architecture ␛]0;x␇odd" in said.err


def test_the_listing_is_quick_and_loads_no_mlx(here: Here, elsewhere: Path, gguf_file: Path) -> None:
    import subprocess

    in_ollama(elsewhere, "tiny", "1b", gguf_file)
    code = (
        "import sys; from recipes.cli import main; main(['models']);"
        "print([m for m in sys.modules if m.split('.')[0] in ('mlx', 'huggingface_hub', 'transformers')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert "tiny:1b" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
