"""The `lab` command in wrong hands: every mistake costs one line and exit code 2, and changes nothing on disk."""

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lab.runs import inspect, read_json
from recipes import cli, grpo
from recipes.cli import COMMANDS, RECIPES
from tests.conftest import REPO, Lab, stories
from tests.recipes.conftest import SMALL, Here, Refused, longer, steps

# -- help and start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*RECIPES, *COMMANDS])
def test_every_help_shows_examples(here: Here, name: str) -> None:
    said = here(name, "--help")
    assert said.code == 0
    assert "Examples:" in said.out
    assert f"lab {name}" in said.out.split("Examples:")[1]
    assert not said.err
    assert here("help", name).out == said.out


def test_help_names_every_command(here: Here) -> None:
    for args in ([], ["--help"], ["-h"], ["help"]):
        said = here(*args)
        assert said.code == 0
        assert all(f"\n  {name} " in said.out for name in RECIPES | COMMANDS)


def test_help_is_quick_and_loads_neither_tyro_nor_mlx() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-X", "importtime", "-m", "recipes", "--help"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=20)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "recipes" in loaded
    assert not loaded & {"tyro", "mlx", "numpy", "rich", "lab"}
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 0.3


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["pretrian"], "no command pretrian; did you mean pretrain"),
        (["frobnicate"], "no command frobnicate; choose one of pretrain, "),
        (["--hlep"], "did you mean --help"),
        ([""], "choose one of"),
        (["pretrain", "--layrs", "2"], "unknown flag --layrs; did you mean --layers"),
        (["pretrain", "--no-tei"], "unknown flag --no-tei; did you mean --no-tie"),
        (["generate", "--max_token", "2"], "did you mean --max-tokens"),
        (["pretrain", "--qqqqqq"], r"unknown flag --qqqqqq \(lab pretrain --help\)"),
        (["pretrain", "--layers", "two"], "--layers two: give a whole number"),
        (["pretrain", "--layers", "1.5"], "--layers 1.5: give a whole number"),
        (["pretrain", "--decay", "much"], "--decay much: give a number"),
        (["generate", "--temp", "hot"], "--temp hot: give a number"),
        (["pretrain", "--size", "huge"], "--size huge: choose one of pocket, 5m, 20m"),
        (["pretrain", "--layers"], "--layers needs a value"),
        (["pretrain", "--data"], "--data needs a value"),
        (["pretrain", "--tie", "false"], "--tie takes no value"),
        (["pretrain", "--tie=false"], "--tie takes no value"),
        (["tokens", "The", "cat"], "too much: cat; put quotes"),
        (["pretrain", "--iters", "0"], "--iters 0: must be at least 1"),
        (["pretrain", "--heads", "0"], "--heads 0: must be at least 1"),
        (["pretrain", "--vocab-size", "0"], "--vocab-size 0"),
        (["pretrain", "--context", "16"], "--context 16 is shorter than --max-seq-length 192"),
        (["pretrain", "--width", "64", "--heads", "3"], "--width 64 does not divide"),
        (["pretrain", "--heads", "4", "--kv-heads", "3"], "3 key/value heads"),
        (["pretrain", "--width", "6", "--heads", "2"], "head_dim 3 is odd"),
        (["pretrain", "--learning-rate", "nan"], "--learning-rate nan"),
        (["pretrain", "--weight-decay", "nan"], "--weight-decay nan"),
        (["pretrain", "--decay", "7"], "--decay 7.0"),
        (["pretrain", "--warmup", "-1"], "--warmup -1"),
        (["pretrain", "--seed", "-1"], "--seed -1"),
        (["pretrain", "--mix", "storys=2"], "did you mean stories"),
        (["pretrain", "--mix", "stories=nan"], "between 0 and 100"),
        (["pretrain", "--name", "a/b"], "--name 'a/b': use letters"),
        (["pretrain", "--name", "../b"], "--name '../b': use letters"),
        (["pretrain", "--name", "pocket-mine"], "pocket-.* are the shipped models"),
        (["pretrain", "--resume"], "no pretrain run in .*; start one without --resume"),
        (["pretrain", "--resume", "--name", "nope"], "nope: .*no such run"),
        (["pretrain", "--resume", "--name", "nope", "--layers", "3"], "nope: .*no such run"),
        (["pretrain", "--resume", "--name", "a/b"], "--name 'a/b'"),
    ],
)
def test_bad_words_and_flags(refused: Refused, args: list[str], says: str) -> None:
    refused(*args, says=says)


def test_complaints_stay_one_plain_line_on_any_terminal(cli: Lab) -> None:
    for env in ({"COLUMNS": "40"}, {"PYTHONIOENCODING": "ascii"}):
        done = cli("pretrain", "--size", "huge", **env)
        assert done.returncode == 2
        assert done.stderr.startswith("lab pretrain: --size huge: choose one of pocket, 5m, 20m, 60m, 125m (")
        assert done.stderr.count("\n") == 1


# -- files given with -c -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"layrs: 2", "c.yaml: unknown key layrs; did you mean layers"),
        (b"layers: two", "c.yaml: --layers two: give a whole number"),
        (b"layers: [1, 2]", "c.yaml: layers: give one plain value"),
        (b"mix: {stories: 2}", "c.yaml: mix: give one plain value"),
        (b"a: [1\nb: 2", "c.yaml: broken YAML: .*line 2"),
        (b"- a\n- b", "c.yaml: write one `flag: value` a line"),
        (b"just text", "c.yaml: write one"),
        (b"\xff\xfe\x00", "c.yaml: broken YAML"),
        (b"data: nowhere.txt", "nowhere.txt: no such file or folder"),
    ],
)
def test_bad_config_files(refused: Refused, tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    refused("pretrain", "-c", "c.yaml", says=says)


def test_missing_config_files(refused: Refused) -> None:
    refused("pretrain", "-c", "none.yaml", says="none.yaml: No such file or directory; give a YAML file")
    refused("pretrain", "-c", "/", says="/: Is a directory")
    refused("pretrain", "-c", says="-c needs a YAML file")
    refused("pretrain", "--config=", says="--config needs a YAML file")
    refused("pretrain", "-c", "a.yaml", "--config", "b.yaml", says="given twice")


def test_a_config_file_is_obeyed_and_the_command_line_wins(here: Here, home: Path, text_file: Path) -> None:
    config = {
        "data": str(text_file),
        "tie": False,
        "resume": False,
        "qk_norm": True,
        "name": None,
        "learning-rate": "1e-3",
    }
    flags = dict(zip((f.removeprefix("--") for f in SMALL[::2]), SMALL[1::2], strict=True))
    Path("c.yaml").write_text("\n".join(f"{k}: {json.dumps(v)}" for k, v in (flags | config).items()))
    assert here("pretrain", "--config=c.yaml", "--name", "one", "--iters", "2").code == 0
    made = read_json(home / "one" / "run.json")["config"]
    assert (made["iters"], made["layers"], made["tie"], made["learning_rate"]) == (2, 1, False, 1e-3)


def test_paths_are_kept_in_full_and_names_as_they_are(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that --resume finds them from any folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "problems").mkdir()  # a name of the pocket world, not this folder
    for name in ("rows.jsonl", "notes.db", "my.gguf"):
        (tmp_path / name).write_text("")
    config = grpo.Config(model="my.gguf", task="rows.jsonl", search="notes.db")
    kept = cli._absolute(config)
    assert (kept.model, kept.task, kept.search) == tuple(
        str(tmp_path / n) for n in ("my.gguf", "rows.jsonl", "notes.db")
    )
    kept = cli._absolute(grpo.Config(model="owner/name", task="problems"))
    assert (kept.model, kept.task, kept.search) == ("owner/name", "problems", None)


def test_repeated_flags_of_the_command_line_replace_those_of_the_file(here: Here, tiny_run: Path) -> None:
    Path("c.yaml").write_text('stop: [" ", "a"]\nprompt: "-x"\nseed: 1\nmax-tokens: 20\n')
    by_file = here("generate", "-c", "c.yaml").out
    assert by_file.startswith("-x")
    assert not set(" a") & set(by_file)
    assert len(here("generate", "-c", "c.yaml", "--stop", "\x00").out) > len(by_file)


# -- text that cannot be trained on --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "a.txt: no text"),
        ("a.txt", b" \n\n \n", "a.txt: no text"),
        ("a.jsonl", b"", "a.jsonl: no text"),
        ("a.jsonl", b'{"text": "ok"}\n{"text": \n', "a.jsonl:2: broken JSON"),
        ("a.jsonl", b'{"text": "ok"}\n\n{"prompt": "x"}\n', 'a.jsonl:3: no "text" in this row .it has: prompt'),
        ("a.jsonl", b'{"text": 5}\n', 'a.jsonl:1: no "text"'),
        ("a.txt", b"abc\nde\xff\n", "a.txt: byte 6 .0xff. is not UTF-8"),
        ("a.txt", "\n\n".join(stories(2000)).encode() + b"\xc3", "a.txt: byte [0-9]{6} .0xc3. is not UTF-8"),
        ("a.txt.gz", gzip.compress("\n\n".join(stories(99)).encode())[:500], "a.txt.gz: broken gzip"),
        ("a.txt.gz", b"no gzip", "a.txt.gz: broken gzip"),
        ("a.pdf", b"x", "a.pdf: unknown kind of file"),
        ("a.txt", b"short", "a.txt: vocabulary size 384: this text gives [0-9]+ at most"),
    ],
)
def test_bad_text(refused: Refused, tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused("pretrain", "--data", name, *SMALL, says=says)
    if "vocabulary" not in says:
        refused("data", name, says=says)


def test_text_that_is_not_there_or_does_not_fit(refused: Refused, home: Path, text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    refused("pretrain", "--data", "nowhere.txt", says="nowhere.txt: no such file or folder")
    refused("pretrain", "--data", "hollow", says="hollow: no .txt, .md or .jsonl file in this folder")
    refused("pretrain", "--data", text_file, *SMALL, "--vocab-size", "60000", says="60000: .*at most.*--vocab-size")
    refused("pretrain", "--data", text_file, *SMALL, "--vocab-size", "10", says="10: bytes and specials alone take")
    long = [*SMALL, "--max-seq-length", "100000", "--context", "100000"]
    refused("pretrain", "--data", text_file, *long, says="less than one window; lower --max-seq-length 100000")
    assert [f.name for f in home.iterdir() if not f.name.startswith(".")] == []


# -- names and resuming --------------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten_and_its_config_stays(refused: Refused, tiny_run: Path) -> None:
    refused("pretrain", "--name", "tiny", says="tiny is there already; choose another --name, or add --resume")
    refused("pretrain", "--name", "tiny", "--resume", "--layers", "3", says="--layers cannot change .*it was 1")
    # 32 is the default: given by hand it is still a change
    refused("pretrain", "--name", "tiny", "--resume", "--batch-size", "32", says="--batch-size cannot .*it was 4")
    refused("pretrain", "--name", "tinny", "--resume", says="tinny: .*did you mean tiny")
    passport = read_json(tiny_run / "run.json")
    (tiny_run / "run.json").write_text(json.dumps(passport | {"recipe": "sft"}))
    refused("pretrain", "--name", "tiny", "--resume", says="tiny was made by sft, not by pretrain")
    (tiny_run / "run.json").unlink()
    refused("pretrain", "--name", "tiny", "--resume", says="tiny is no run")


def test_resume_goes_on_from_any_folder_with_the_same_flags(here: Here, tiny_run: Path) -> None:
    longer(tiny_run, 9)
    data = Path(read_json(tiny_run / "run.json")["config"]["data"])
    assert data.is_absolute()
    assert here("pretrain", "--resume", "--data", os.path.relpath(data), "--layers", "1").code == 0
    assert (inspect(tiny_run).state, steps(tiny_run)) == ("done", 9)
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if "loss" in r] == list(range(1, 10))
