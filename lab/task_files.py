"""Tasks by name: rows of a file, a generator of reasoning-gym, a Python file of one's own. No MLX."""

from collections.abc import Sequence
from pathlib import Path

from lab.errors import UserError, expand
from lab.hosted import BATCH, Child, GymTask, Hosted, RewardFile
from lab.hub import ID
from lab.read import ROWS, TABLES, suffix
from lab.rows import Rows
from lab.task import Task

GYM = "reasoning_gym:"


def open_task(
    name: str, data: str | None = None, judge: str | None = None, also: Sequence[str] = (), limit: float = BATCH
) -> Task:
    """The task that a name opens: `rows.jsonl` (or .parquet, a folder, a hub data set), `reasoning_gym:NAME`, or `my_task.py`
    with `task` in it, or with `reward` and `data` for its rows. `judge` is how rows are compared; `limit` the seconds that
    one call of a judge in a file may take. UserError lists what can be opened, `also` (names of the caller) too."""
    if name.startswith(GYM):
        _without(name, data, judge)
        child = Child({"do": "gym", "spec": name.removeprefix(GYM)}, name)
        return GymTask(child, name, limit)
    if name.endswith(".py"):
        return _file(name, data, judge, limit)
    path = expand(name)
    if not path.exists() and (suffix(path) not in (*ROWS, *TABLES) and not ID.fullmatch(name.partition(":")[0])):
        own = f"{', '.join(also)}, " if also else ""
        raise UserError(
            f"no task {name or 'without a name'}; give {own}a .jsonl or folder of rows (prompt, answer), a hub data set "
            f"(owner/name), {GYM}NAME, or a .py with `reward` or `task`"
        )
    if data is not None:
        raise UserError(f"--data is for a .py with `reward`; {name} brings its own rows")
    return Rows(name, judge)


def _without(name: str, data: str | None, judge: str | None) -> None:
    if data is not None or judge is not None:
        raise UserError(
            f"{name} brings its own problems and judge; leave out --{'data' if data is not None else 'judge'}"
        )


def _file(name: str, data: str | None, judge: str | None, limit: float) -> Task:
    path = expand(name)
    if not path.is_file():
        raise UserError(f"{name}: no such file; give a .py with `def reward(prompts, completions, answers)` or `task`")
    child = Child({"do": "file", "path": str(path.resolve())}, Path(name).name)
    try:
        if child.told["kind"] == "task":
            _without(name, data, judge)
            return Hosted(child, name, limit)
        if judge is not None:
            raise UserError(f"{name} is the judge; leave out --judge")
        if data is None:
            raise UserError(f"{name} holds `reward`, which needs problems: give their rows with --data rows.jsonl")
        return RewardFile(child, Rows(data, answered=False), Path(name).name, limit)
    except BaseException:
        child.close()
        raise
