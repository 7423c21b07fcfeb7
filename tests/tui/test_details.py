"""What stands beside a run's figures, read with distrust; its folder goes only where that hurts nobody."""

import json
import os
import struct
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.model import Transformer
from lab.runs import inspect, lock
from lab.tokenizer import Tokenizer
from lab.weights import save_arrays, save_config
from tests.tui.conftest import make_run
from tui.data import details as module
from tui.data.details import details, last_words, parameters, remove


def test_the_size_of_a_real_model(tmp_path: Path, tiny: Transformer, tokenizer: Tokenizer) -> None:
    from lab.device import flat

    save_config(tmp_path, tiny, tokenizer)
    save_arrays(tmp_path / "model.safetensors", dict(flat(tiny.parameters())))
    assert parameters(tmp_path) == tiny.shape.parameters


def test_unusual_weights_have_no_size(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for header in (b"\xff" * 4, struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 3) + b"[1]"):
        path.write_bytes(header)
        assert parameters(tmp_path) == 0
    packed = json.dumps({"w": {"dtype": "U32", "shape": [4, 4], "data_offsets": [0, 64]}}).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed)
    assert parameters(tmp_path) == 0
    assert parameters(tmp_path / "none") == 0


def test_details_are_read_again_only_when_something_changed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run("a", 9, note="x")
    first = details(folder)
    assert first.checkpoints == (3, 6, 9)  # thinned to three
    assert first.config["note"] == "x"
    monkeypatch.setattr(module, "read_json", lambda path: pytest.fail("read again"))
    assert details(folder) is first
    monkeypatch.undo()
    os.rename(folder / "checkpoints" / "000003", folder / "checkpoints" / ".old")
    assert details(folder).checkpoints == (6, 9)
    (folder / "run.json").write_text("{ torn")
    assert details(folder).config == {}


def test_last_words_are_those_of_the_newest_file(home: Path) -> None:
    folder = make_run("a", 3)
    assert last_words(folder) == ["a line of the log"]
    printed = home / ".starts" / "a.log"
    printed.parent.mkdir()
    printed.write_text("one\n\nsegmentation fault\n")
    os.utime(folder / "log.txt", (1, 1))
    assert last_words(folder, 1) == ["segmentation fault"]
    assert last_words(home / "none") == []


def test_a_run_is_deleted_whole(home: Path) -> None:
    folder = make_run("a", 3)
    remove(inspect(folder))
    assert [path.name for path in home.iterdir()] == [".device.lock"]


def test_what_lives_or_is_shipped_stays(home: Path) -> None:
    folder = make_run("a", 3)
    info = inspect(folder)
    handle = lock(folder / "lock", "")  # another start took it meanwhile
    with pytest.raises(UserError, match="written by another process"):
        remove(info)
    os.close(handle)
    os.rename(folder, home / "pocket-base")
    with pytest.raises(UserError, match="shipped"):
        remove(inspect(home / "pocket-base"))
    status = home / "pocket-base" / "status.json"
    status.write_text(json.dumps({"state": "running"}))
    os.rename(home / "pocket-base", home / "b")
    handle = lock(home / "b" / "lock", "")
    with pytest.raises(UserError, match="stop it first"):
        remove(inspect(home / "b"))
    os.close(handle)
    assert (home / "b" / "metrics.jsonl").exists()


def test_a_link_goes_and_what_it_points_to_stays(home: Path, tmp_path: Path) -> None:
    folder = make_run("a", 3)
    os.rename(folder, tmp_path / "elsewhere")
    (home / "a").symlink_to(tmp_path / "elsewhere")
    remove(inspect(home / "a"))
    assert not (home / "a").exists()
    assert (tmp_path / "elsewhere" / "run.json").exists()
    with pytest.raises(UserError, match="cannot be deleted"):
        remove(inspect(home / "a"))
