"""Models on this computer: runs, the hub's cache, LM Studio's and Ollama's folders. Headers only, no MLX."""

import importlib.util
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab import gguf, hub, runs
from lab.errors import UserError, expand
from lab.runs import read_json
from lab.words import short


@dataclass(frozen=True)
class Found:
    """One model. `model` is what to write after --model; `broken` says why it cannot be opened (then the rest is what
    could be read)."""

    name: str
    place: str  # weights, hub, lm studio, ollama
    model: str
    size: int  # bytes on disk
    architecture: str = ""
    parameters: int = 0
    chat: bool = False
    stored: str = ""  # dtype or quantisation, such as bf16 or Q4_K
    broken: str = ""

    @property
    def kind(self) -> str:
        """In words: 'llama, 135M, chat, Q4_1'."""
        talk = "chat" if self.chat else "base"
        return ", ".join(filter(None, [self.architecture, short(self.parameters), talk, self.stored]))


def everything() -> list[Found]:
    """All of them: runs newest first, then by place and name."""
    found = list(_weights())
    for place in (_hub, _lm_studio, _ollama):
        found += sorted(place(), key=lambda f: f.name.lower())
    return found


def _weights() -> Iterator[Found]:
    for info in runs.runs():
        if any(info.folder.glob("model*.safetensors")) or (info.folder / "adapters.safetensors").exists():
            yield folder(info.folder, info.name, "weights", info.name)


def _hub() -> Iterator[Found]:
    """Snapshots in the hub's cache, that of each repository's main (or of its only commit), as far as they hold
    weights: `lab tokens` fetches a tokenizer alone."""
    for store in _folders(hub.cache(), "models--*"):
        name = store.name.removeprefix("models--").replace("--", "/", 1)
        commits = _folders(store / "snapshots", "*")
        if not commits:
            continue
        try:
            main = (store / "refs" / "main").read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            main = ""
        for commit in commits:
            if len(commits) > 1 and main and commit.name != main and (store / "snapshots" / main).is_dir():
                continue
            model = name if commit.name == main else f"{name}@{commit.name}"
            if not hub.is_id(name):  # of the hub's first days, such as gpt2
                model = str(commit)
            files = [str(file.relative_to(commit)) for file in _ggufs(commit, "**/*.gguf")]
            if (commit / "config.json").exists() and not files and any(commit.glob("model*.safetensors*")):
                yield folder(commit, name, "hub", model)
            for file in files:
                yield one_file(commit / file, f"{name}/{file}", "hub", f"{model}/{file}")


def _lm_studio() -> Iterator[Found]:
    """PUBLISHER/NAME/ with GGUF files or an MLX folder."""
    for root in ("~/.lmstudio/models", "~/.cache/lm-studio/models"):
        for place in _folders(expand(root), "*/*"):
            name = f"{place.parent.name}/{place.name}"
            if (place / "config.json").exists():
                yield folder(place, name, "lm studio", str(place))
            for file in _ggufs(place, "*.gguf"):
                if not file.name.startswith("mmproj"):  # the eyes of a model that sees
                    yield one_file(file, f"{name}/{file.name}", "lm studio", str(file))


def _ollama() -> Iterator[Found]:
    """manifests/HOST/OWNER/NAME/TAG names layers; the one that is the model is a GGUF file among the blobs."""
    root = expand(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models")
    for path in sorted((root / "manifests").glob("*/*/*/*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        owner = "" if path.parts[-3] == "library" else f"{path.parts[-3]}/"
        name = f"{owner}{path.parts[-2]}:{path.parts[-1]}"
        layers = read_json(path).get("layers")
        for layer in layers if isinstance(layers, list) else []:
            if isinstance(layer, dict) and str(layer.get("mediaType", "")).endswith("image.model"):
                blob = root / "blobs" / str(layer.get("digest", "")).replace(":", "-")
                yield one_file(blob, name, "ollama", str(blob))
                break
        else:
            yield Found(name, "ollama", "", 0, broken=f"{path}: no model in its manifest; run ollama pull {name}")


def _folders(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(p for p in root.glob(pattern) if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return []


def _ggufs(root: Path, pattern: str) -> list[Path]:
    """GGUF files, without what macOS leaves beside them on foreign disks (._NAME)."""
    return sorted(path for path in root.glob(pattern) if not path.name.startswith("."))


def one_file(path: Path, name: str, place: str, model: str) -> Found:
    """A GGUF file, by its header."""
    size = 0
    try:
        size = path.stat().st_size
        header = gguf.read(path, glance=True)
        gguf.config(header)  # or we could not open it
        chat, stored = bool(header.meta.get("tokenizer.chat_template")), header.kind
        if {t.kind for t in header.tensors.values()} - {*gguf.SIMPLE} and importlib.util.find_spec("gguf") is None:
            stored += " (needs the extra gguf)"
        return Found(name, place, model, size, header.architecture, header.parameters, chat, stored)
    except (UserError, OSError) as error:
        return Found(name, place, model, size, broken=_line(error))


def folder(path: Path, name: str, place: str, model: str) -> Found:
    """A model folder, by config.json and the headers of its weights; or one of adapters, and its base."""
    size = 0
    try:
        size = sum(f.stat().st_size for f in path.glob("*") if f.is_file())
        if (path / "adapter_config.json").is_file() and not (path / "config.json").exists():
            return replace(adapters(path, name, place, model), size=size)
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict) or "model_type" not in config:
            raise UserError(f"{path}/config.json: no model_type in it")
        hub.check_whole(path, hub.FETCH if place == "hub" else hub.MEND)
        files = hub.weight_files(path)
        if not files:
            raise UserError(f"{path}: no model*.safetensors in it")
        if not (path / "tokenizer.json").exists() and not (path / "tokenizer.model").exists():
            raise UserError(f"{path}: holds neither tokenizer.json nor tokenizer.model")
        packed = config.get("quantization")
        packed = packed if isinstance(packed, dict) and packed.get("bits") else {}
        count, stored = _weigh(files, packed)
        stored = f"{packed['bits']}-bit" if packed else stored
        return Found(name, place, model, size, str(config["model_type"]), count, _chats(path), stored)
    except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Found(name, place, model, size, broken=_line(error))


def adapters(path: Path, name: str, place: str, model: str) -> Found:
    """A folder of adapters, such as 'llama, 135M, chat, LoRA 8 on pocket-base'. A base on the hub that was never fetched
    leaves its kind unknown. UserError, OSError or what a broken adapter_config.json gives."""
    told = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    base, rank = str(told["model"]), int(told["lora_parameters"]["rank"])
    file = path / "adapters.safetensors"
    want, have = hub.expected_size(file), file.stat().st_size
    if want != have:
        raise UserError(f"{file}: {have} bytes, its header asks for {want}; copy it again")
    under = _base(path, base)
    if under.broken:
        raise UserError(f"its base {base} does not open: {under.broken}")
    stored = f"LoRA {rank} on {under.name}"
    count = under.parameters + _weigh([file], {})[0] if under.parameters else 0
    return Found(name, place, model, 0, under.architecture, count, _chats(path) or under.chat, stored)


def _base(path: Path, base: str) -> Found:
    """The model that the adapters in `path` are for, looked for as `lab.weights.base_of` does, but only on this computer."""
    beside = path.resolve().parent / base.partition("@")[0]
    if runs.NAME.fullmatch(beside.name) and beside.is_dir() and beside != path.resolve():
        return folder(beside, base, "", base)
    if expand(base).is_file():
        return one_file(expand(base), expand(base).name, "", base)
    try:
        place = runs.find(base)[0]
        if place.resolve() == path.resolve():
            raise UserError("that is this very folder")
        return folder(place, place.name, "", base)
    except UserError as error:
        for found in _hub():
            if base in (found.model, found.name):
                return found
        return Found(base, "", base, 0, broken="" if hub.is_id(base) else _line(error))


def _chats(path: Path) -> bool:
    own = read_json(path / "tokenizer_config.json")
    return (path / "chat_template.jinja").exists() or bool(own.get("chat_template"))


def _weigh(files: list[Path], packed: dict[str, Any]) -> tuple[int, str]:
    """(number of weights, the type most of them have) of safetensors files. `packed` is mlx_lm's "quantization" of
    config.json: a packed matrix counts as the weights it stands for, a group of them for each scale."""
    count, kinds = 0, dict[str, int]()
    for file in files:
        tensors = {k: v for k, v in hub.header(file).items() if k != "__metadata__"}
        for name, tensor in tensors.items():
            stem, _, part = name.rpartition(".")
            scales = tensors.get(f"{stem}.scales")
            if packed and scales and part in ("scales", "biases"):
                continue
            size = math.prod(tensor["shape"])
            if packed and scales and part == "weight":
                own = packed.get(stem)  # a layer may have a packing of its own
                size = math.prod(scales["shape"]) * int((own if isinstance(own, dict) else packed)["group_size"])
            kinds[tensor["dtype"]] = kinds.get(tensor["dtype"], 0) + size
            count += size
    return count, max(kinds, key=lambda kind: kinds[kind], default="").lower()


def _line(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error)) or type(error).__name__
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
