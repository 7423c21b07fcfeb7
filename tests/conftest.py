"""Shared parts: a weights root of its own for every test, a real tokenizer, a real tiny model, the real command."""

import gc
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import lab  # first: OpenBLAS before MLX  # noqa: F401
from lab.model import Shape, Transformer
from lab.tokenizer import Tokenizer

REPO = Path(__file__).resolve().parent.parent
# Flags of a training that takes a second or two.
TINY = [
    "--layers",
    "1",
    "--width",
    "64",
    "--heads",
    "2",
    "--vocab-size",
    "384",
    "--max-seq-length",
    "32",
    "--batch-size",
    "4",
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights root; nothing a test does reaches the clone's."""
    root = tmp_path / "weights"
    root.mkdir()
    monkeypatch.setenv("LAB_HOME", str(root))
    monkeypatch.delenv("LAB_CACHE", raising=False)
    return root


@pytest.fixture(autouse=True, scope="module")
def swept() -> None:
    """What earlier modules left is not looked through again by the collector while a test of this one holds a watch: in a
    process of some 1,500 tests one look takes a tenth of a second, and falls where it likes."""
    gc.collect()
    gc.freeze()


class Calls:
    """How many Python functions were entered: the same in every run, where seconds depend on who else is busy."""

    count = 0


@contextmanager
def counted_calls() -> Iterator[Calls]:
    calls = Calls()

    def count(frame: FrameType, event: str, arg: object) -> None:
        calls.count += event == "call"

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def stories(count: int, seed: int = 0) -> list[str]:
    """Small real sentences to train on."""
    r = random.Random(seed)
    who, what, where = ["Ada", "Bo", "Cleo", "Dan"], ["ball", "kite", "drum", "boat"], ["park", "hill", "lake", "barn"]
    return [
        f"{r.choice(who)} took a {r.choice(what)} to the {r.choice(where)}. "
        f'"What a fine {r.choice(what)}!" said {r.choice(who)}, and they went home {r.choice(["early", "late", "at once"])}.'
        for _ in range(count)
    ]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(stories(400), 384)


@pytest.fixture
def tiny(tokenizer: Tokenizer) -> Transformer:
    """Two layers with grouped queries and QK-norm; random weights that are not near zero."""
    network = Transformer(
        Shape(
            tokenizer.vocab_size, 64, 2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=96
        )
    )
    network.initialise(0)
    import mlx.core as mx

    from lab import device

    key = mx.random.key(1)
    noisy = []
    for name, value in device.flat(network.parameters()):
        key, sub = mx.random.split(key)
        noisy.append((name, value + 0.1 * mx.random.normal(value.shape, key=sub)))
    network.load_weights(noisy)
    return network


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "stories.txt"
    path.write_text("\n\n".join(stories(300)), encoding="utf-8")
    return path


Lab = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(home: Path) -> Lab:
    """Run `lab ...` as a process of its own, as a user would."""

    def call(
        *args: str | Path, stdin: str = "", timeout: float = 120, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "recipes", *map(str, args)],
            cwd=REPO,
            env=os.environ | {"LAB_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "120"} | env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return call


@pytest.fixture(scope="session")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `caller`, a little model that searches and runs code, and `metals.db`, its index; see tests/callers.py."""
    from tests import callers

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return callers.make(tmp_path_factory.mktemp("caller"))
