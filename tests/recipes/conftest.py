"""The `lab` command for tests: called in this process or as a real one, a run trained once, models made by hand."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import pytest

from lab import device, weights
from lab.model import Shape, Transformer
from lab.runs import read_json
from recipes.cli import main
from tests.conftest import REPO, stories

SMALL = ["--layers", "1", "--width", "64", "--heads", "2", "--vocab-size", "384", "--max-seq-length", "32"]
SMALL += ["--context", "2048", "--batch-size", "4", "--iters", "6"]


@dataclass
class Said:
    """What one command did."""

    code: int
    out: str
    err: str


Here = Callable[..., Said]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    """`lab ...` in this process (a process of its own costs a second), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def call(*args: str | Path, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        try:
            code = main([*map(str, args)])
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return call


def everything(root: Path) -> dict[str, tuple[int, int]]:
    """Each file and folder under the weights root with size and time of change; caches and the device lock left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not name.startswith((".cache", ".device.lock")):
            stat = path.stat()
            found[name] = (stat.st_size, stat.st_mtime_ns) if path.is_file() else (0, 0)
    return found


Refused = Callable[..., str]


@pytest.fixture
def refused(here: Here, home: Path) -> Refused:
    """Run a command that must be refused: exit code 2, one line on stderr that matches, nothing changed on disk."""

    def call(*args: str | Path, says: str, stdin: bytes = b"") -> str:
        before = everything(home)
        said = here(*args, stdin=stdin)
        # work that goes on for seconds says how far it is: a busy machine gets that far before the refusal
        lines = [line for line in said.err.splitlines() if not re.search(r"% .* left [0-9]+:[0-9]{2}$", line)]
        assert (said.code, len(lines)) == (2, 1), said
        assert "Traceback" not in said.err + said.out
        assert lines[0].startswith("lab")
        assert re.search(says, lines[0]), lines[0]
        assert everything(home) == before
        return lines[0]

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights root with one finished run, `tiny`, made by the real command, once."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "stories.txt"
    text.write_text("\n\n".join(stories(300)), encoding="utf-8")
    root = folder / "weights"
    done = subprocess.run(
        [sys.executable, "-m", "recipes", "pretrain", "--data", str(text), *SMALL, "--name", "tiny"],
        cwd=REPO, env=os.environ | {"LAB_HOME": str(root)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def tiny_run(trained: Path, home: Path) -> Path:
    """A copy of the run `tiny` (and of the token cache) in this test's weights root."""
    shutil.copytree(trained, home, dirs_exist_ok=True)
    return home / "tiny"


@pytest.fixture(scope="session")
def assistant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights root with `taught`, a little assistant made by the real command, once; see tests/recipes/taught.py."""
    from tests.recipes import taught

    return taught.make(tmp_path_factory.mktemp("taught"))


@pytest.fixture
def school(assistant: Path, home: Path) -> Path:
    """This test's weights root, with pocket-base and `taught` in it; qa.jsonl and talks.jsonl lie beside it."""
    for name in ("pocket-base", "taught"):
        (home / name).symlink_to((assistant / name).resolve())
    for name in ("qa.jsonl", "talks.jsonl"):
        shutil.copy(assistant.parent / name, home.parent)
    return home


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama folder with random weights and a Hugging Face byte-level tokenizer that has a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("hub") / "chatty"
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(stories(200), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": CHATML}))
    size = tokenizer.get_vocab_size()
    network = Transformer(Shape(size, 64, 2, 4, 2, 16, 96, max_position_embeddings=256, qk_norm=False))
    network.initialise(3)  # with output matrices of zeros, which would make it blind for its context
    arrays, key = dict(device.flat(network.parameters())), mx.random.key(1)
    for name, value in arrays.items():
        key, draw = mx.random.split(key)
        arrays[name] = value + 0.1 * mx.random.normal(value.shape, key=draw)
    weights.save_arrays(folder / "model.safetensors", arrays)
    config = {k: v for k, v in vars(network.shape).items() if k != "qk_norm"}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_act": "silu"} | config))
    return folder


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start `lab ...` as a process that goes on; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def call(*args: str | Path, **more: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "recipes", *map(str, args)],
            cwd=REPO, env=os.environ | {"LAB_HOME": str(home), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}, text=True,
            **({"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more),
        )  # type: ignore[call-overload]  # fmt: skip
        running.append(process)
        return process

    yield call
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(what: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def steps(folder: Path) -> int:
    """The step that status.json tells."""
    return int(read_json(folder / "status.json").get("step", 0))


def longer(run: Path, iters: int) -> None:
    """Make a finished run think that it was to go on."""
    passport = read_json(run / "run.json")
    passport["config"]["iters"] = iters
    (run / "run.json").write_text(json.dumps(passport))


@pytest.fixture
def small(home: Path) -> Path:
    """The shipped base and assistant beside the runs of a test."""
    for name in ("pocket-base", "pocket-sft"):
        (home / name).symlink_to(REPO / "weights" / name)
    return home


def same(one: Path, other: Path) -> None:
    """Two safetensors files hold the same arrays, bit for bit; their headers may list them in another order."""
    a, b = weights.load_arrays(one), weights.load_arrays(other)
    assert a.keys() == b.keys()
    assert all(mx.array_equal(a[k], b[k]) for k in a)
