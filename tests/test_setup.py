"""setup.sh where something is missing."""

import shutil
import subprocess
from pathlib import Path

from tests.conftest import REPO

# What Debian's python3 does without python3-venv: makes a part of .venv, then fails. It has no pip either.
PYTHON = """#!/bin/sh
case "$*" in
*"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "ensurepip is not available"; exit 1 ;;
*"-m pip"*) echo "No module named pip" >&2; exit 1 ;;
esac
"""


def test_a_python_without_venv_is_said_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "grep", "mkdir", "cp", "rm", "touch", "sh"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for name, text in (("python3", PYTHON), ("uname", "#!/bin/sh\necho Darwin\n")):  # no uv, no other python
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("setup.sh", "pyproject.toml", "uv.lock"):
        shutil.copy(REPO / name, clone)
    for _ in range(2):  # the second time as the first
        done = subprocess.run([clone / "setup.sh"], env={"PATH": str(tools)}, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1:] == done.stdout.splitlines(), done.stdout
        assert "sudo apt-get install python3-venv " in done.stdout
        assert done.stderr == ""
        assert not (clone / ".venv").exists()
