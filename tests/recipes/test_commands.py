"""The small commands on a real tiny run: generate, runs, data, tokens, ship."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from lab import episodes, weights
from lab.display import CONTROLS
from lab.runs import checkpoints, inspect, read_json, read_lines
from lab.tokenizer import Tokenizer
from recipes import pocket
from tests.conftest import REPO, stories
from tests.gguf_files import byte_level, byte_level_meta, meta_of, network_of, theirs, write_plain
from tests.hub_server import Hub, hub  # noqa: F401
from tests.recipes.conftest import Here, Refused, Start

# -- generate ------------------------------------------------------------------------------------------------------


def test_generate_follows_its_seed(here: Here, tiny_run: Path) -> None:
    def text(*more: str) -> str:
        said = here("generate", "--model", "tiny", "-p", "Ada took", "-m", "30", *more)
        assert said.code == 0
        assert said.out.startswith("Ada took")
        return said.out

    assert text("--seed", "7") == text("--seed", "7")
    assert len({text("--seed", str(s)) for s in range(4)}) == 4
    assert text("--temp", "0") == text("--temp", "0", "--seed", "5") == text("--top-k", "1")
    drawn = here(
        "generate", "-p", "Ada took", "-m", "30"
    )  # without a seed one is drawn and shown; the model is the newest
    seed = re.search(r"\[tiny: .*; seed ([0-9]+)\]", drawn.err)
    assert seed
    assert text("--seed", seed[1]) == drawn.out


def test_generate_stops_before_a_text(here: Here, tiny_run: Path) -> None:
    whole = here("generate", "-p", "Ada", "-m", "60", "--seed", "3").out.removeprefix("Ada").removesuffix("\n")
    cut = whole[10:13]
    stopped = here("generate", "-p", "Ada", "-m", "60", "--seed", "3", "--stop", cut, "--stop", "never this").out
    assert stopped == "Ada" + whole[: whole.index(cut)] + "\n"


def test_generate_reads_a_run_at_a_step(here: Here, tiny_run: Path) -> None:
    def text(model: str) -> str:
        return here("generate", "--model", model, "-p", "Ada", "-m", "20", "--temp", "0").out

    assert text("tiny") == text("tiny@6") == text("tiny@000006") == text(str(tiny_run))
    assert text("tiny@0") != text("tiny@6")


def test_generate_takes_a_prompt_from_a_pipe(here: Here, tiny_run: Path) -> None:
    flags = ["-m", "10", "--seed", "1"]
    piped = here("generate", "-p", "-", *flags, stdin="naïve\n\n東京 took\n".encode())
    assert piped.code == 0
    assert piped.out.startswith("naïve\n\n東京 took")  # the line end that echo adds is gone
    assert piped.out == here("generate", "-p", "naïve\n\n東京 took", *flags).out


def test_generate_with_a_chat_model_asks_or_completes(here: Here, chat_model: Path) -> None:
    asked = here("generate", "--model", chat_model, "-p", "Hello", "-m", "5", "--seed", "1")
    raw = here("generate", "--model", chat_model, "-p", "Hello", "-m", "5", "--seed", "1", "--no-chat-template")
    assert asked.code == raw.code == 0
    assert raw.out.startswith("Hello")
    assert int(asked.err.split(": ")[1].split()[0]) > int(raw.err.split(": ")[1].split()[0])


def test_control_characters_do_not_reach_a_terminal(start: Start, tiny_run: Path) -> None:
    import pty

    master, slave = pty.openpty()
    command = [sys.executable, "-m", "recipes", "generate", "-p", "A\x1b[31m\x07B\tC", "-m", "300", "--seed", "2"]
    env = os.environ | {"LAB_HOME": str(tiny_run.parent)}
    done = subprocess.Popen(
        command, cwd=REPO, env=env, stdout=slave, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    os.close(slave)
    said = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not chunk:
            break
        said += chunk
    os.close(master)
    assert done.wait(timeout=30) == 0
    text = said.decode("utf-8", "replace").replace("\r\n", "\n")
    assert text.startswith("A␛[31m␇B\tC")
    assert not {ord(c) for c in text} & set(CONTROLS)


# -- runs, data ----------------------------------------------------------------------------------------------------


def test_runs_lists_shows_and_speaks_json(here: Here, tiny_run: Path, trained: Path) -> None:
    table = here("runs")
    assert table.code == 0
    assert re.search(r"tiny +pretrain +done +6/6 +[\d.]+ bits/byte", table.out)
    one = here("runs", "tiny").out
    for part in ("step 6 of 6", "layers=1", "checkpoints", "0, 6", "bits_per_byte", "git "):
        assert part in one
    rows = [json.loads(line) for line in here("runs", "--json").out.splitlines()]
    assert [(r["name"], r["recipe"], r["state"], r["step"], r["total"]) for r in rows] == [
        ("tiny", "pretrain", "done", 6, 6)
    ]
    shutil.rmtree(tiny_run)
    assert "No runs in" in here("runs").out
    assert here("runs", "--json").out == ""


def test_text_that_looks_like_markup_is_shown_as_it_is(here: Here, tiny_run: Path) -> None:
    row = {"step": 6, "prompt": "[b]", "text": "[/] and [/red] [link=x]", "ids": [], "logprobs": []}
    with open(tiny_run / "samples.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    status = read_json(tiny_run / "status.json")
    (tiny_run / "status.json").write_text(json.dumps(status | {"headline": "[/x]", "error": "[/oh]"}))
    shown = here("runs", "tiny")
    assert shown.code == 0
    assert "[b][/] and [/red] [link=x]" in shown.out
    assert "[/oh]" in shown.out
    assert "[/x]" in here("runs").out
    Path("a[1].txt").write_text("One.\n\nTwo [/b].")
    assert "a[1].txt" in here("data", "a[1].txt").out
    assert "Two [/b]." in here("data", "a[1].txt", "--show", "2").out


def test_data_shows_the_pocket_world(here: Here) -> None:
    said = here("data", "pocket", "--kind", "jokes", "--show", "2")
    assert said.code == 0
    assert said.out.splitlines() == ["jokes", *(f"  {pocket.document('jokes', i).text}" for i in range(2))]
    assert said.out == here("data", "--kind", "jokes", "--show", "2", "--seed", "0").out
    every = here("data", "--show", "1").out
    assert [line for line in every.splitlines() if line in pocket.KINDS] == list(pocket.KINDS)


@pytest.mark.slow
def test_data_counts_the_pocket_world(here: Here) -> None:
    said = here("data", "pocket", "--mix", "jokes=0")
    assert said.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line.strip()}
    assert rows["jokes"][0] == "0"
    assert int(rows["stories"][0].replace(",", "")) > 1000


def test_data_shows_files(here: Here, tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "train.txt").write_text("one\n\ntwo\n\nthree")
    (tmp_path / "books" / "valid.jsonl").write_text('{"text": "four"}\n')
    said = here("data", "books", "--show", "2")
    assert said.code == 0
    assert re.search(r"train.txt +3 +11 +training", said.out)
    assert re.search(r"valid.jsonl +1 +4 +held out", said.out)
    assert "one" in said.out
    assert "three" not in said.out


# -- tokens --------------------------------------------------------------------------------------------------------


def test_tokens_of_one_model_and_of_two(here: Here, tiny_run: Path, chat_model: Path) -> None:
    text = "Ada took a kite, naïve 東京 <|end|>"
    one = here("tokens", text)
    assert one.code == 0
    ids = Tokenizer.load(tiny_run).encode(text)
    assert f" {len(ids)} " in one.out
    assert all(str(i) in one.out for i in ids)
    two = here("tokens", text, "--model", "tiny", "--model", chat_model)
    assert two.code == 0
    assert "tiny (384)" in two.out
    assert "chatty (" in two.out
    assert here("tokens", "-", stdin=text.encode()).out == one.out


def test_tokens_of_a_gguf_file_and_of_the_hub(here: Here, chat_model: Path, hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    fast, network = byte_level(), network_of(400, "llama")
    told = meta_of(network.shape, "llama") | byte_level_meta(fast)
    write_plain(tmp_path / "tiny.gguf", theirs(network, "llama"), told)
    said = here("tokens", "Ada took a kite", "--model", "tiny.gguf")
    assert said.code == 0, said.err
    assert all(str(i) in said.out for i in fast.encode("Ada took a kite").ids)
    hub.add_folder("owner/chatty", chat_model)
    said = here("tokens", "Ada took a kite", "--model", "owner/chatty")
    assert said.code == 0, said.err
    assert "owner/chatty" in said.out
    assert set(hub.files_asked()) == {"config.json", "tokenizer.json", "tokenizer_config.json"}


def test_tokens_shows_merges(here: Here, tiny_run: Path) -> None:
    said = here("tokens", "Ada took the kite to the park", "--trees")
    assert said.code == 0
    assert re.search(r"merge \d+", said.out)
    assert "└" in said.out


def test_tokens_trains_and_saves(here: Here, text_file: Path, tmp_path: Path) -> None:
    said = here("tokens", "--train", text_file, "--vocab-size", "350", "--out", "mine")
    assert said.code == 0
    assert "Saved in mine" in said.out
    sizes = [int(s) for s in re.findall(r"^tokens +([\d,]+)", said.out.replace(",", ""), re.M)]
    assert sizes == [320, 350, 512, 1024, 2048, 4096]
    assert "at most" in said.out  # the text is too small for the large ones: a line, no error
    assert Tokenizer.load(tmp_path / "mine").vocab_size == 350
    with_text = here("tokens", "one day", "--train", text_file, "--vocab-size", "350")
    assert with_text.code == 0
    assert "trained" in with_text.out


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer.model"])
def test_tokens_spares_what_is_there(refused: Refused, text_file: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("precious")
    refused("tokens", "--train", text_file, "--vocab-size", "350", "--out", "mine", says=f"mine: holds {name} already")
    assert {f.name: f.read_text() for f in (tmp_path / "mine").iterdir()} == {name: "precious"}


# -- ship ----------------------------------------------------------------------------------------------------------


def test_a_shipped_copy_is_thin_and_works(here: Here, refused: Refused, home: Path, tiny_run: Path) -> None:
    (tiny_run / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert here("ship", "tiny", "--to", "pocket-t", "--every", "4").code == 0
    copy = home / "pocket-t"
    assert {f.name for f in copy.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.model", "tokenizer.json", "tokenizer_config.json",
        "generation_config.json", "chat_template.jinja", "run.json", "status.json", "metrics.jsonl", "samples.jsonl", "log.txt",
        "README.md",
    }  # fmt: skip
    whole, thin = weights.load_arrays(tiny_run / "model.safetensors"), weights.load_arrays(copy / "model.safetensors")
    assert whole.keys() == thin.keys()
    assert {v.dtype for v in thin.values()} == {mx.bfloat16}
    assert all(np.allclose(np.array(whole[k]), np.array(v.astype(mx.float32)), rtol=0.01) for k, v in thin.items())
    assert read_json(copy / "config.json")["torch_dtype"] == "bfloat16"
    steps = [r["step"] for r in read_lines(copy / "metrics.jsonl") if "loss" in r]
    assert steps == [1, 4, 6]
    assert inspect(copy).state == "done"
    assert not checkpoints(copy)
    assert "pocket-t" in here("runs").out
    assert here("generate", "--model", "pocket-t", "-p", "Ada", "-m", "5", "--seed", "1").code == 0

    refused("ship", "tiny", "--to", "pocket-t", says="is there already; add --replace")
    assert here("ship", "tiny@0", "--to", "pocket-t", "--replace", "--dtype", "float16").code == 0
    again = weights.load_arrays(copy / "model.safetensors")
    assert {v.dtype for v in again.values()} == {mx.float16}
    assert not all(
        np.array_equal(np.array(again[k].astype(mx.float32)), np.array(v.astype(mx.float32))) for k, v in thin.items()
    )
    assert sorted(f.name for f in home.iterdir() if not f.name.startswith((".cache", ".device"))) == [
        "pocket-t",
        "tiny",
    ]


def test_ship_takes_a_path_and_spares_what_it_did_not_make(
    here: Here, refused: Refused, tiny_run: Path, tmp_path: Path
) -> None:
    assert here("ship", "tiny", "--to", tmp_path / "out" / "mine", "--dtype", "float32").code == 0
    assert here("generate", "--model", tmp_path / "out" / "mine", "-p", "Ada", "-m", "2").code == 0
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("ten years")
    refused("ship", "tiny", "--to", "./papers", "--replace", says="papers is no model that `lab ship` made")
    assert (tmp_path / "papers" / "thesis.txt").read_text() == "ten years"


def test_a_copy_of_an_earlier_step_tells_of_no_later_one(here: Here, home: Path, tiny_run: Path) -> None:
    shutil.copytree(tiny_run / "checkpoints" / "000000", tiny_run / "checkpoints" / "000003")
    assert read_json(tiny_run / "status.json")["headline"]
    (tiny_run / "episodes").mkdir()
    for step in range(1, 7):
        episodes.path_of(tiny_run, step).write_text('{"group": 0}\n')
    assert here("ship", "tiny@3", "--to", "early", "--every", "1").code == 0
    copy = home / "early"
    rows = list(read_lines(copy / "metrics.jsonl"))
    assert max(r["step"] for r in rows) == 3
    assert "report" not in {r.get("event") for r in rows}
    assert {r["step"] for r in read_lines(copy / "samples.jsonl")} == {0}
    assert not (copy / "log.txt").exists()
    info, third = inspect(copy), next(r for r in rows if r["step"] == 3 and "loss" in r)
    assert (info.state, info.step, info.total, info.headline) == ("stopped", 3, 6, "")
    assert info.status["loss"] == third["loss"]
    assert here("ship", "tiny@6", "--to", "late").code == 0
    assert inspect(home / "late").headline == inspect(tiny_run).headline
    assert episodes.steps(copy) == [1, 2, 3]
    assert episodes.steps(home / "late") == [1, 3, 4, 6]  # of many a few, from the first to the last


@pytest.mark.parametrize("argv", [["pretrain", "--data", "{}"], ["pretrain", "--data={}", "--name", "tiny"]])
def test_a_copy_does_not_tell_where_the_text_lay(here: Here, home: Path, tiny_run: Path, argv: list[str]) -> None:
    passport = read_json(tiny_run / "run.json")
    path = passport["config"]["data"]
    assert Path(path).is_absolute()
    (tiny_run / "run.json").write_text(json.dumps(passport | {"argv": [word.format(path) for word in argv]}))
    assert here("ship", "tiny", "--to", "copy").code == 0
    shipped = read_json(home / "copy" / "run.json")
    assert shipped["config"] == passport["config"] | {"data": "stories.txt"}
    assert shipped["argv"] == [word.format("stories.txt") for word in argv]
    for file in (home / "copy").glob("*.json*"):
        assert str(Path(path).parent) not in file.read_text()


def test_stories_are_what_the_run_was_trained_on(tiny_run: Path) -> None:
    """The tokenizer of the run is of its text: it spells a story in far fewer tokens than bytes."""
    text = stories(1)[0]
    assert len(Tokenizer.load(tiny_run).encode(text)) < 0.6 * len(text)
    assert time.time() - inspect(tiny_run).created < 3600
