"""Copy a finished run, thinned and with weights in bf16, as a model to share.

The copy keeps how it came to be (run.json, without the folders of its files), every tenth metrics row, the events, the samples
and the replies of a few steps of reinforcement; checkpoints, optimiser state and control lines stay behind. Of run@step it
keeps the record up to that step. Of a run that names a best checkpoint (lab rlhf) the weights are those; run@last has the last
ones. A reward model keeps its heads and members. A README.md says what it is, how it was made and what was measured. This is
how the pocket-* models in this repository were made.

Examples:
  lab ship pretrain-1 --to pocket-base
  lab ship pretrain-1@400 --to early
  lab ship sft-1 --to pocket-sft --parent pocket-base
  lab ship mine --to ~/models/mine --dtype float16
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import mlx.core as mx
from tyro.conf import FlagCreatePairsOff, Positional

from lab import convert, dequantise, episodes, reward, weights
from lab.errors import UserError, expand
from lab.runs import NAME, find, inspect, read_json, read_lines, root
from recipes import cli, model_card

FILES = (*cli.FILES, "rankings")  # flags whose value may be a path on this computer
EPISODES = 4  # steps of reinforcement whose replies are kept, from the first to the last
KEPT = ("knowledge.jsonl", "before.json")  # what an interrogation found; later stages read it
MODEL = ("generation_config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class Config:
    run: Positional[str] = ""
    """The run, or run@step."""
    to: str = ""
    """Name in the weights folder, or a path."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """What the weights are stored in."""
    every: int = 10
    """Keep one of so many metrics rows."""
    parent: str | None = None
    """What its parent is called there, where that was shipped under another name."""
    replace: Annotated[bool, FlagCreatePairsOff] = False
    """Put it in the place of an older copy."""


def run(config: Config) -> int:
    if not config.run or not config.to:
        raise UserError("give a run and --to NAME; `lab runs` lists the runs")
    if config.every < 1:
        raise UserError(f"--every {config.every}: must be at least 1")
    source, checkpoint = find(config.run)
    best = checkpoint == source and (source / "best").is_file()
    if best:
        checkpoint = find(f"{config.run}@best")[1]
    info = inspect(source)
    if info.state not in ("done", "stopped"):
        raise UserError(f"{config.run}: its state is {info.state}; ship a run that is done or stopped")
    if weights.is_adapter(source):
        raise UserError(
            f"{config.run} holds adapters beside another model's weights; `lab export {config.run}` writes both as one"
        )
    target = _target(config, source)
    with convert.aside(target, config.replace) as folder:
        _copy(config, source, checkpoint, best, folder)
        (folder / "README.md").write_text(model_card.text(folder, target.name), encoding="utf-8")
    of = f" (weights of step {int(checkpoint.name)}, the best)" if best else ""
    print(f"{target}: {convert.size_of(target) / 1e6:.2f} MB{of}")
    return 0


def _target(config: Config, source: Path) -> Path:
    """Where the copy goes; only an older copy may make way, never a run or a folder of something else."""
    if os.sep not in config.to and not NAME.fullmatch(config.to):
        raise UserError(f"--to {config.to!r}: use letters, digits, dots, dashes and underscores, or a path")
    target = expand(config.to).resolve() if os.sep in config.to else root() / config.to
    if not target.exists():
        return target
    if not config.replace:
        raise UserError(f"{target} is there already; add --replace to put the new copy in its place")
    if target.resolve() == source.resolve() or (target / "checkpoints").exists():
        raise UserError(f"{target} is a run, not an older copy; choose another --to")
    if not (target / "run.json").is_file() or not (target / "model.safetensors").is_file():
        raise UserError(f"{target} is no model that `lab ship` made; choose another --to")
    return target


def _copy(config: Config, source: Path, checkpoint: Path, best: bool, target: Path) -> None:
    _cast(config, checkpoint / "model.safetensors", target)
    weights.write_json(target / "config.json", read_json(source / "config.json") | {"torch_dtype": config.dtype})
    for name in MODEL:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    _copy_reward(config, checkpoint, target)
    _copy_record(config, source, int(checkpoint.name) if checkpoint != source and not best else None, target)
    if best:
        weights.write_json(target / "run.json", read_json(target / "run.json") | {"weights_step": int(checkpoint.name)})


def _cast(config: Config, path: Path, target: Path) -> None:
    """Weights in the dtype that is asked for."""
    dtype, arrays = weights.DTYPES[config.dtype], weights.load_arrays(path)
    floating = {k for k, v in arrays.items() if mx.issubdtype(v.dtype, mx.floating)}
    arrays |= {k: dequantise.cast(arrays[k], dtype, str(path.parent)) for k in floating}
    weights.save_arrays(target / "model.safetensors", arrays)


def _copy_reward(config: Config, source: Path, target: Path) -> None:
    """Of a reward model heads, gain and bias, and its further members."""
    if not (source / reward.TOLD).is_file():
        return
    shutil.copyfile(source / reward.HEADS, target / reward.HEADS)
    told = read_json(source / reward.TOLD)
    weights.write_json(target / reward.TOLD, told | ({"policy": config.parent} if config.parent else {}))
    for k in range(1, int(told.get("members", 1))):
        reward.member_folder(target, k).mkdir()
        _cast(config, reward.member_folder(source, k) / "model.safetensors", reward.member_folder(target, k))


def _copy_record(config: Config, source: Path, step: int | None, target: Path) -> None:
    """How the weights came to be, up to the step they are of (None: the last)."""
    passport = _unplaced(read_json(source / "run.json"))
    if config.parent:
        made = passport.get("config", {})
        argv = [config.parent if word == made.get("model") else word for word in passport.get("argv", [])]
        passport |= {"parent": config.parent, "config": made | {"model": config.parent}, "argv": argv}
    weights.write_json(target / "run.json", passport)
    for name in KEPT:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    status = {k: v for k, v in read_json(source / "status.json").items() if k not in ("pid", "note", "eta")}
    end = inspect(source).step if step is None else step
    early = end < inspect(source).step
    rows = [r for r in read_lines(source / "metrics.jsonl") if isinstance(r.get("step", 0), int)]
    if early:
        rows = [r for r in rows if r.get("step", 0) <= end]
        then = {k: v for r in rows for k, v in r.items() if k in status}
        kept = {k: status[k] for k in ("version", "total") if k in status}
        status = kept | then | {"state": "stopped", "step": end, "headline": ""}
    elif (source / "log.txt").exists():  # its lines bear no steps
        shutil.copyfile(source / "log.txt", target / "log.txt")
    last = max((r.get("step", 0) for r in rows), default=0)
    with open(target / "metrics.jsonl", "w", encoding="utf-8") as file:
        for row in rows:
            step = row.get("step", 0)
            if "event" in row or "bits_per_byte" in row or step % config.every == 0 or step in (1, last):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    with open(target / "samples.jsonl", "w", encoding="utf-8") as file:
        for row in read_lines(source / "samples.jsonl"):
            if not early or row.get("step", 0) <= end:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    weights.write_json(target / "status.json", status)
    told = [one for one in episodes.steps(source) if one <= end]
    for k in {round(i * (len(told) - 1) / (EPISODES - 1)) for i in range(EPISODES)} if told else ():
        path = episodes.path_of(target, told[k])
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(episodes.path_of(source, told[k]), path)


def _last(path: str) -> str:
    """The last component of a path on this computer; a name, or a hub id (owner/name), as it is."""
    return Path(path).name if os.path.isabs(path) or path.startswith((".", "~")) or expand(path).exists() else path


def _unplaced(passport: dict[str, Any]) -> dict[str, Any]:
    """run.json without where on this computer the files lay that it read: of a path the last component stays."""
    config, argv, parent = passport.get("config"), passport.get("argv"), passport.get("parent")
    if isinstance(parent, str):
        passport["parent"] = _last(parent)
    if isinstance(config, dict):
        placed = {name: config[name] for name in FILES if isinstance(config.get(name), str)}
        passport["config"] = config | {name: _last(path) for name, path in placed.items()}
    if isinstance(argv, list):
        words = [str(word) for word in argv]
        for i, word in enumerate(words):
            flag, equals, value = word.partition("=")
            if equals and flag.removeprefix("--") in FILES:
                words[i] = f"{flag}={_last(value)}"
            elif i and words[i - 1].startswith("--") and words[i - 1].removeprefix("--") in FILES:
                words[i] = _last(word)
        passport["argv"] = words
    return passport
