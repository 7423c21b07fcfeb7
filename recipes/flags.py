"""A recipe's flags, read from its source: names, types, defaults, choices, help. The recipe itself is not imported, which
would load MLX; one whose Config needs more than typing and tyro to be understood is imported all the same."""

import ast
import dataclasses
import importlib
import importlib.util
import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIGHT = ("typing", "dataclasses", "tyro", "collections", "pathlib", "math")  # what may be imported on the way
MAIN = (
    "model", "reference", "reward", "rankings", "data", "task", "tokenizer", "size", "iters", "batch_size", "group_size",
    "max_seq_length", "learning_rate", "only", "quick", "seed",
)  # fmt: skip
OWN = ("name", "resume")  # what every recipe has, and a form shows elsewhere


@dataclass(frozen=True)
class Flag:
    """One flag. `main`: most people look at it, the others are for those who know."""

    name: str  # batch_size
    flag: str  # --batch-size
    type: str  # int, float, bool, str
    default: Any  # JSON; None = the recipe decides
    choices: list[str]
    help: str
    many: bool  # may be given several times
    main: bool


def config(module: str) -> type:
    """The class Config of a recipe's module, alone where that is possible."""
    path = _source(module)
    body = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if _light(node)]
    alone = types.ModuleType(f"{module}.flags")
    alone.__file__ = str(path)
    sys.modules[alone.__name__] = alone  # where inspect looks for the source of a class
    try:
        exec(compile(ast.Module(body, []), str(path), "exec"), vars(alone))
        found = alone.Config
        typing.get_type_hints(found)
    except Exception:  # a base class, a constant or a type of its own
        found = importlib.import_module(module).Config
    assert isinstance(found, type)
    return found


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    origin = spec.origin if spec else None
    assert origin is not None, module
    return Path(origin)


def _light(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in LIGHT
    if isinstance(node, ast.Import):
        return all(alias.name.split(".")[0] in LIGHT for alias in node.names)
    return isinstance(node, ast.ClassDef) and node.name == "Config"


def flags(module: str) -> list[Flag]:
    """The flags of a recipe, in the order of its Config, without name and resume."""
    kind = config(module)
    hints, said = typing.get_type_hints(kind), help_of(module, kind)
    found = []
    for field in dataclasses.fields(kind):
        if field.name in OWN:
            continue
        name, choices, many = _type(hints[field.name])
        default = None if field.default is dataclasses.MISSING else field.default
        default = list(default) if isinstance(default, tuple) else default
        default = default if isinstance(default, int | float | str | list | None) else str(default)  # a Path
        text = " ".join(said.get(field.name, "").split())
        flag = "--" + field.name.replace("_", "-")
        found.append(Flag(field.name, flag, name, default, choices, text, many, field.name in MAIN))
    return found


def _type(hint: Any) -> tuple[str, list[str], bool]:
    """(type in a word, choices, whether it may be given several times)."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next((part for part in typing.get_args(hint) if part is not type(None)), str)
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (tuple, list):
        name, choices, _ = _type((typing.get_args(hint) or (str,))[0])
        return name, choices, True
    if typing.get_origin(hint) is typing.Literal:
        values = typing.get_args(hint)
        return type(values[0]).__name__, [str(value) for value in values], False
    return (hint.__name__ if hint in (int, float, bool, str) else "str"), [], False


def help_of(module: str, kind: type) -> dict[str, str]:
    """The text below each field of a Config, its base classes' too."""
    sources = [_source(module).read_text(encoding="utf-8")]
    for base in kind.__mro__[1:]:
        if dataclasses.is_dataclass(base):
            sources.append(_source(base.__module__).read_text(encoding="utf-8"))
    names = {base.__name__ for base in kind.__mro__}
    said: dict[str, str] = {}
    for source in reversed(sources):
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and node.name in names:
                for field, text in zip(node.body, node.body[1:], strict=False):
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _text(text):
                        said[field.target.id] = _text(text)
    return said


def _text(node: ast.stmt) -> str:
    value = node.value if isinstance(node, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
