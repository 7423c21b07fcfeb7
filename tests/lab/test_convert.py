"""Folders written aside: nothing that is there is lost, nothing half made is left, the right file is blamed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import convert
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
