"""Broken models, bad prompts, wrong uses of every command: refused in one line, nothing changed on disk."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from tests.conftest import REPO, Lab
from tests.recipes.conftest import Here, Refused

# -- folders that are no good models -------------------------------------------------------------------------------


def spoil(folder: Path, how: str) -> None:
    """Break a model folder in one way."""
    arrays = mx.load(str(folder / "model.safetensors"))
    assert isinstance(arrays, dict)
    mx.eval(arrays)
    config = json.loads((folder / "config.json").read_text())
    whole = (folder / "model.safetensors").read_bytes()
    table = "model.embed_tokens.weight"
    match how:
        case "truncated":
            (folder / "model.safetensors").write_bytes(whole[:-1000])
        case "cut in the header":
            (folder / "model.safetensors").write_bytes(whole[:300])
        case "empty weights":
            (folder / "model.safetensors").write_bytes(b"")
        case "garbage":
            (folder / "model.safetensors").write_bytes(bytes(range(256)) * 20)
        case "no header":
            (folder / "model.safetensors").write_bytes((20).to_bytes(8, "little") + b"x" * 500)
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "missing":
            mx.save_safetensors(
                str(folder / "model.safetensors"), {k: v for k, v in arrays.items() if k != "model.norm.weight"}
            )
        case "extra":
            mx.save_safetensors(str(folder / "model.safetensors"), arrays | {"model.more": mx.zeros(3)})
        case "big tokenizer":
            smaller = {name: arrays[name][:300] for name in (table, "lm_head.weight")}
            mx.save_safetensors(str(folder / "model.safetensors"), arrays | smaller)
            config["vocab_size"] = 300
        case "shape":
            config["intermediate_size"] = 77
        case "zero":
            config["num_attention_heads"] = 0
        case "words":
            config["hidden_size"] = "wide"
        case "bad context":
            config["max_position_embeddings"] = "long"
        case "no layers":
            del config["num_hidden_layers"]
        case "unknown type":
            config["model_type"] = "frobnicate"
        case "no type":
            del config["model_type"]
        case "no tokenizer":
            for file in folder.glob("tokenizer*"):
                file.unlink()
        case "bad tokenizer":
            (folder / "tokenizer.model").unlink()
            (folder / "tokenizer.json").write_text('{"model": ')
    (folder / "config.json").write_text(json.dumps(config) if how != "broken config" else '{"a": ')
    if how == "binary config":
        (folder / "config.json").write_bytes(b"\xfd\xfe\xff")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("truncated", "model.safetensors: [0-9]+ bytes, its header asks for [0-9]+; the file is cut"),
        ("cut in the header", "model.safetensors: 300 bytes, its header asks for [0-9]+; the file is cut"),
        ("empty weights", "model.safetensors: 0 bytes"),
        ("garbage", "model.safetensors: not a safetensors file"),
        ("no header", "model.safetensors: not a safetensors file"),
        ("no weights", "no model.*safetensors in it"),
        ("missing", "weights and config.json do not match: model.norm.weight is missing"),
        ("extra", "weights and config.json do not match: model.more has no place"),
        ("shape", r"do not match: model.layers.0.mlp.\w+.weight is \(.*config.json says \("),
        ("big tokenizer", "the tokenizer has 384 ids, the model only 300"),
        ("zero", "config.json: .*num_attention_heads is 0"),
        ("words", "config.json: a number is no number .*wide"),
        ("bad context", "config.json: a number is no number .*long"),
        ("no layers", "config.json: num_hidden_layers is missing"),
        ("no type", "config.json: no model_type"),
        ("broken config", "config.json: broken JSON"),
        ("binary config", "config.json: broken JSON"),
        ("no tokenizer", "neither tokenizer.json nor tokenizer.model"),
        ("bad tokenizer", "tokenizer.json: "),
        pytest.param("unknown type", "model_type frobnicate does not load", marks=pytest.mark.slow),
    ],
)
def test_broken_models(refused: Refused, tiny_run: Path, how: str, says: str) -> None:
    spoil(tiny_run, how)
    refused("generate", "--model", "tiny", "-p", "x", says=says)
    if how == "truncated":
        refused("chat", "--model", "tiny", says=says)
        refused("ship", "tiny", "--to", "copy", says="the file is cut")


def test_folders_that_are_no_model(refused: Refused, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    (tmp_path / "file.txt").write_text("x")
    for command in ("generate", "chat"):
        refused(command, "--model", "hollow", says="hollow has no config.json, so it is no model folder")
        refused(command, "--model", "nowhere", says="nowhere: no such folder, and no such run in")
        refused(command, "--model", "tinny", says="did you mean tiny")
        refused(command, "--model", "file.txt", says="file.txt: no such folder")
        refused(command, "--model", "tiny@7", says="tiny@7: no checkpoint at step 7; there are: 0, 6")
        refused(command, "--model", "tiny@end", says="no checkpoint at step end")
        refused(command, "--model", "tiny", "--dtype", "float8", says="--dtype float8: choose one of")
    refused("tokens", "x", "--model", "hollow", says="neither tokenizer.json nor tokenizer.model")
    shutil.rmtree(tiny_run)
    refused("generate", "-p", "x", says="no model yet; make one with `lab pretrain`")
    refused("tokens", "x", says="no model in .* has a tokenizer")


# -- prompts and sampling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--temp", "-1"], "--temp: out of range"),
        (["--temp", "nan"], "--temp: out of range"),
        (["--top-p", "0"], "--top-p: out of range"),
        (["--top-p", "1.5"], "--top-p: out of range"),
        (["--top-k", "-2"], "--top-k: out of range"),
        (["--min-p", "2"], "--min-p: out of range"),
        (["--max-tokens", "0"], "--max-tokens: out of range"),
        (["--repetition-penalty", "nan"], "--repetition-penalty: out of range"),
        (["--repetition-context", "-1"], "--repetition-context: out of range"),
        (["--seed", "-1"], "--seed -1: must lie between"),
        (["--seed", "9" * 30], "--seed 9+: must lie between"),
    ],
)
def test_bad_sampling(refused: Refused, tiny_run: Path, args: list[str], says: str) -> None:
    refused("generate", "--model", "tiny", "-p", "x", *args, says=says)


def test_bad_prompts(refused: Refused, here: Here, tiny_run: Path, chat_model: Path) -> None:
    refused("generate", "--model", chat_model, "-p", "", says="the prompt is empty")
    refused("generate", "--model", chat_model, says="the prompt is empty")
    refused("generate", "--model", chat_model, "--no-chat-template", says="the prompt is empty")
    long = "Ada took a kite. " * 900
    refused("generate", "-p", long, says="the prompt has [0-9]+ tokens, the model's context 2048; shorten it by [0-9]+")
    refused("generate", "-p", "-", stdin=long.encode(), says="the prompt has [0-9]+ tokens")
    refused("generate", "-p", "-", stdin=b"a\xffb", says=r"standard input: byte 1 \(0xff\) is not valid UTF-8")
    refused("tokens", "-", stdin=b"a\xffb", says=r"standard input: byte 1 \(0xff\) is not valid UTF-8")
    refused("generate", "-p", "a\udcffb", says="character 1 .U.DCFF.")
    nothing = here("generate", "-p", "", "-m", "3", "--seed", "1")  # a base model starts from nothing
    assert nothing.code == 0
    assert "1 tokens in" in nothing.err


def test_standard_input_as_a_real_process(cli: Lab, tiny_run: Path) -> None:
    command = [sys.executable, "-m", "recipes", "generate", "-p", "-"]
    done = subprocess.run(
        command, cwd=REPO, env=os.environ | {"LAB_HOME": str(tiny_run.parent)}, input=b"ab\xff", capture_output=True
    )
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"byte 2 (0xff)" in done.stderr
    done = subprocess.run(
        f"{sys.executable} -m recipes chat <&-", shell=True, cwd=REPO, env=os.environ, capture_output=True
    )
    assert done.returncode == 2
    assert b"standard input is closed" in done.stderr
    done = subprocess.run(
        f"{sys.executable} -m recipes tokens - <&-", shell=True, cwd=REPO, env=os.environ, capture_output=True
    )
    assert done.returncode == 2
    assert done.stderr == b"lab tokens: standard input is closed; give the text as an argument: lab tokens TEXT\n"


# -- other commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["ctl"], "give a run and one of pause, resume, checkpoint, stop"),
        (["ctl", "tiny"], "give a run and one of"),
        (["ctl", "tiny", "pause"], r"tiny: no process runs it \(state: done\); nothing to pause"),
        (["ctl", "tiny", "frob"], "frob: no such control; choose pause, resume, checkpoint, stop"),
        (["ctl", "tinny", "stop"], "did you mean tiny"),
        (["runs", "tinny"], "did you mean tiny"),
        (["data", "nowhere"], "nowhere: no such file or folder"),
        (["data", "pocket", "--kind", "joke"], "did you mean jokes"),
        (["data", "--show", "-1"], "--show -1: must be 0 or more"),
        (["data", "--mix", "frob=1"], "no source frob"),
        (["tokens"], "give a text"),
        (["tokens", "x", "--out", "y"], "--out needs --train"),
        (["tokens", "--train", "nowhere"], "nowhere: no such file or folder"),
        (["tokens", "--train", "~nobody-here/a.txt"], "~nobody-here/a.txt: no such user"),
        (["tokens", "--train", "a.txt", "--out", "~nobody-here/a"], "~nobody-here/a: no such user"),
        (["data", "~nobody-here/a.txt"], "~nobody-here/a.txt: no such user"),
        (["ship", "tiny", "--to", "~nobody-here/a"], "~nobody-here/a: no such user"),
        (["ship"], "give a run and --to NAME"),
        (["ship", "tiny"], "give a run and --to NAME"),
        (["ship", "nope", "--to", "x"], "nope: no such folder"),
        (["ship", "tiny", "--to", "x", "--every", "0"], "--every 0"),
        (["ship", "tiny@9", "--to", "x"], "no checkpoint at step 9"),
        (["ship", "tiny", "--to", "a b"], "--to 'a b'"),
        (["ship", "tiny", "--to", "."], "--to '.'"),
        (["ship", "tiny", "--to", ".", "--replace"], "--to '.'"),
        (["ship", "tiny", "--to", "./", "--replace"], "is no model that `lab ship` made"),
        (["ship", "tiny", "--to", "tiny"], "tiny is there already; add --replace"),
        (["ship", "tiny", "--to", "tiny", "--replace"], "tiny is a run, not an older copy"),
        (["ship", "tiny", "--to", "/dev/null/x"], "cannot be written"),
    ],
)
def test_commands_refuse(refused: Refused, tiny_run: Path, args: list[str], says: str) -> None:
    refused(*args, says=says)


@pytest.mark.parametrize("command", [["runs"], ["runs", "--json"], ["data", "--show", "40"], ["--help"]])
def test_a_reader_that_leaves_early_makes_no_noise(tiny_run: Path, command: list[str]) -> None:
    script = f"{sys.executable} -m recipes {' '.join(command)} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=REPO, env=os.environ | {"LAB_HOME": str(tiny_run.parent)}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_standard_output(tiny_run: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "recipes", "runs"], cwd=REPO, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "lab runs: writing failed: No space left on device; free some space and try again"
    ]
