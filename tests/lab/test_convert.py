"""Folders written aside: nothing that is there is lost, nothing half made is left, the right file is blamed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from lab import convert, lora, weights
from lab.errors import UserError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def inside(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_folder_that_appeared_meanwhile_stays(place: Path) -> None:
    target = place / "m"

    def meanwhile() -> None:
        with convert.aside(target) as folder:
            (folder / "new").write_text("n")
            target.mkdir()
            (target / "precious").write_text("a run that began meanwhile")

    with pytest.raises(UserError, match="m is there already"):
        meanwhile()
    assert inside(place) == {"m", "m/precious"}


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(place: Path) -> None:
    target = place / "m"
    target.mkdir()
    (target / "old").write_text("o")
    with pytest.raises(UserError, match="m: cannot be written"), convert.aside(target, replace=True) as folder:
        shutil.rmtree(folder)
    assert inside(place) == {"m", "m/old"}
    with convert.aside(target, replace=True) as folder:
        (folder / "new").write_text("n")
    assert inside(place) == {"m", "m/new"}


def test_another_files_error_is_that_files(place: Path) -> None:
    with pytest.raises(FileNotFoundError) as error, convert.aside(place / "m"):
        (place / "nosuch").read_text()
    assert error.value.filename == str(place / "nosuch")


def test_folders_made_on_the_way_go_with_it(place: Path) -> None:
    with pytest.raises(UserError, match="no"), convert.aside(place / "a" / "b" / "c"):
        raise UserError("no")
    assert inside(place) == set()
    with convert.aside(place / "a" / "b" / "c"):
        pass
    assert inside(place) == {"a", "a/b", "a/b/c"}


def test_what_a_killed_process_left_is_swept(place: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f".m.{gone.pid}.tmp", f".m.{os.getppid()}.tmp", f".other.{gone.pid}.tmp", ".m.notes.tmp"):
        (place / name).mkdir()
        (place / name / "half").write_text("")
    with convert.aside(place / "m"):
        pass
    left = {path.name for path in place.iterdir()}
    assert left == {"m", f".m.{os.getppid()}.tmp", f".other.{gone.pid}.tmp", ".m.notes.tmp"}


def test_adapters_are_merged_in_full_and_rounded_once(tiny, tokenizer, home: Path, tmp_path: Path) -> None:
    """Of a base in bfloat16: W + scale b'a' is summed in float32, whatever is written."""
    weights.save(home / "base", tiny, tokenizer, mx.bfloat16)
    model = weights.load("base")
    config = lora.attach(model.network, rank=2, keys=["mlp.up_proj"])
    name = "model.layers.1.mlp.up_proj"
    b = mx.random.normal((2, 96), key=mx.random.key(0))
    model.network.load_weights([(f"{name}.lora_b", b)], strict=False)
    (home / "mine").mkdir()
    weights.write_json(home / "mine" / "adapter_config.json", config | {"model": "base"})
    weights.save_arrays(home / "mine" / "adapters.safetensors", lora.arrays(model.network))
    a = lora.arrays(model.network)[f"{name}.lora_a"]
    whole = weights.load_arrays(home / "base" / "model.safetensors")[f"{name}.weight"].astype(mx.float32)
    want = whole + 20.0 * (a @ b).T
    for dtype, kind in ((None, mx.bfloat16), ("float32", mx.float32), ("float16", mx.float16)):
        folder = tmp_path / str(dtype)
        folder.mkdir()
        convert.write("mine", folder, dtype)
        got = weights.load_arrays(folder / "model.safetensors")[f"{name}.weight"]
        assert got.dtype == kind
        assert mx.allclose(got.astype(mx.float32), want, rtol=2**-8 if dtype is None else 2**-10, atol=1e-5)
    lora.attach(model.network, keys=["mlp.up_proj"], rank=2)
    large = lora.arrays(model.network) | {f"{name}.lora_b": 1e5 * b}
    weights.save_arrays(home / "mine" / "adapters.safetensors", large)
    (tmp_path / "small").mkdir()
    with pytest.raises(UserError, match=r"up_proj\.weight: holds weights too large for float16"):
        convert.write("mine", tmp_path / "small", "float16")
