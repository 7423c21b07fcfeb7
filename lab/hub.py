"""Models and data sets from the Hugging Face hub, kept in its usual cache. No MLX.

Everything that talks to the hub runs in a child process (`python -m lab.fetch`), for three reasons. Ctrl-C ends it at
once, where huggingface_hub's own threads would first finish the file in hand, however large. HF_ENDPOINT, HF_HOME and
HF_HUB_OFFLINE, which that library reads when it is imported, count as they are now. And its 0.8 s import, its
warnings and its progress bars stay out of ours.
"""

import contextlib
import fcntl
import glob
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lab import display, gguf
from lab.errors import UserError, expand
from lab.runs import find

Kind = Literal["model", "dataset"]
ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII)
# What a model needs. The lab reads safetensors and JSON only, so nothing that could hold code is even downloaded.
MODEL_FILES = ("*.safetensors", "*.json", "tokenizer.model", "*.jinja", "*.txt", "LICENSE")
# Other copies of the same weights: folders of onnx or original files, and Mistral's second copy at the top.
NOT_NEEDED = ("*/*", "consolidated*")
LONGEST_HEADER = 100_000_000  # bytes; the limit that the safetensors format sets itself
MEND, FETCH = "copy or download it again", "run the command again with a network, it downloads what is missing"
UNSAFE = ("*.py", "*.pkl", "*.pickle", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.npy", "*.so")


def is_id(text: str) -> bool:
    """Whether the text is written like `owner/name` or `owner/name@revision`."""
    return ID.fullmatch(text) is not None


def cache() -> Path:
    """The hub's cache folder, by the same variables and in the same order as huggingface_hub."""
    env = os.environ.get
    if said := env("HF_HUB_CACHE") or env("HUGGINGFACE_HUB_CACHE"):
        return expand(os.path.expandvars(said))
    home = env("HF_HOME") or os.path.join(env("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return expand(os.path.expandvars(home)) / "hub"


def locate(model: str, allow: Sequence[str] | None = None) -> tuple[Path, Path]:
    """(model folder, folder of the weights) of a folder, a run, `run@step`, or a hub id, which is downloaded (as far as
    `allow` goes).

    A folder or run of that name comes before the hub's. UserError as in `lab.runs.find` and `snapshot`.
    """
    named = ID.fullmatch(model)
    try:
        return find(model)
    except UserError:
        if named is None or expand(named["repo"]).is_dir():
            raise
    folder = snapshot(named["repo"], revision=named["revision"], allow=allow)
    return folder, folder


def find_gguf(model: str) -> Path | None:
    """The GGUF file that `model` means, fetched from the hub where it is `owner/name/file.gguf` (the file may lie in
    folders of the repository); None for anything else. UserError when there is no such file."""
    path = expand(model)
    if path.is_file():
        return path if model.endswith(".gguf") or gguf.is_gguf(path) else None
    if not model.endswith(".gguf") or path.is_dir():
        return None
    owner, name, file = (*model.split("/", 2), "", "")[:3]
    named = ID.fullmatch(f"{owner}/{name}")
    if named is None or not file or expand(named["repo"]).is_dir():
        raise UserError(f"{model}: no such file; `lab models` lists what is on this computer")
    return snapshot(named["repo"], revision=named["revision"], allow=[glob.escape(file)]) / file


def local(model: str) -> str:
    """The same model by a name that needs no hub: what is on the hub is downloaded, the rest stays as it is."""
    if (path := find_gguf(model)) is not None:
        return str(path)
    folder, weights = locate(model)
    return str(folder) if weights == folder else model


def snapshot(
    repo: str, *, kind: Kind = "model", revision: str | None = None, allow: Sequence[str] | None = None
) -> Path:
    """The folder with a repository's files, downloaded as far as they are not in the cache yet.

    `repo` is `owner/name` (a data set's may be a bare name); `revision` a branch, tag or commit, by default main.
    `allow` holds patterns (`fnmatch`, matched against the path in the repository) of the files wanted; without it a
    model's safetensors, JSON, templates and tokenizer, a data set's every file. Pickles and Python are never taken.
    Without a network the cached copy serves, if it is whole. Progress goes to stderr. UserError, one line: no network
    and no copy, an unknown repository or revision, a gated one, a cut or missing file, a full disk.
    """
    asked = {"repo": repo, "kind": kind, "revision": revision, "allow": list(allow) if allow is not None else None}
    here = str(Path(__file__).resolve().parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    # -P: else Python would import whatever the current folder holds under a name that the child needs.
    with tempfile.TemporaryFile() as complaints, subprocess.Popen(
        [sys.executable, "-P", "-m", "lab.fetch", json.dumps(asked)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    ) as child:  # fmt: skip
        try:
            said = _follow(child, repo)
        except BaseException:
            child.kill()
            child.wait()
            sweep(store_of(repo, kind))
            raise
        complaints.seek(0)
        last = complaints.read().decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    if "error" in said:
        raise UserError(said["error"])
    if "path" not in said:
        raise UserError(f"{repo}: the download ended with exit code {child.returncode} ({last}); run the command again")
    folder = Path(said["path"])
    if kind == "model" and allow is None:
        try:
            check_whole(folder, FETCH)
        except UserError as error:
            raise UserError(f"{repo}: {error}") from None
    if "note" in said:
        print(f"{repo}: {said['note']}".translate(display.CONTROLS), file=sys.stderr)
    return folder


def store_of(repo: str, kind: Kind) -> Path:
    """Where the cache keeps a repository: blobs, snapshots, refs."""
    return cache() / f"{kind}s--{repo.replace('/', '--')}"


def sweep(store: Path) -> None:
    """Remove half files of downloads that ended; huggingface_hub never takes them up again. A download that goes on, in
    whatever process, holds the lock of its file."""
    for half in (store / "blobs").glob("*.incomplete"):
        guard = store.parent / ".locks" / store.name / f"{half.name.split('.')[0]}.lock"
        with contextlib.suppress(OSError):
            handle = os.open(guard, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                half.unlink()
            finally:
                os.close(handle)


def _follow(child: "subprocess.Popen[str]", repo: str) -> dict[str, Any]:
    """Show progress until the child has said how it went; what it said, by key."""
    last: dict[str, Any] = {}

    def listen() -> None:
        assert child.stdout
        for line in child.stdout:
            with contextlib.suppress(ValueError):
                last.update(json.loads(line))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    began, told = time.monotonic(), False
    while listener.is_alive() and not last.get("total"):
        listener.join(0.05)
        if not told and time.monotonic() - began > 3:  # starting takes one second of them
            print(f"{repo}: waiting for the hub", file=sys.stderr, flush=True)
            told = True
    if last.get("total"):
        blobs = Path(last["blobs"])
        before = _sizes(blobs)
        with display.bar(repo, "downloading", int(last["total"]), "MB") as show:
            while listener.is_alive():
                show(sum(max(0, size - before.get(path, 0)) for path, size in _sizes(blobs).items()))
                listener.join(0.2)
            if "path" in last:
                show(int(last["total"]))
    child.wait()
    return last


def _sizes(folder: Path) -> dict[Path, int]:
    """Bytes of every file in a folder; a half file is there as NAME.xxxx.incomplete."""
    found = {}
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            found[path] = path.stat().st_size
    return found


def expected_size(path: Path) -> int:
    """Bytes a safetensors file must have by its own header (8-byte length, JSON header, data); -1 if it is broken."""
    with open(path, "rb") as file:
        head = file.read(8)
        if len(head) < 8:
            return 8
        (length,) = struct.unpack("<Q", head)
        if length > LONGEST_HEADER:
            return -1
        if 8 + length > path.stat().st_size:
            return 8 + int(length)
        try:
            tensors = json.loads(file.read(length))
            ends = [v["data_offsets"][1] for k, v in tensors.items() if k != "__metadata__"]
            return 8 + int(length) + int(max(ends, default=0))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return -1


def header(path: Path) -> dict[str, Any]:
    """The JSON header of a whole safetensors file: {name: {"dtype", "shape", "data_offsets"}}."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return dict(json.loads(file.read(length)))


def weight_files(folder: Path, mend: str = MEND) -> list[Path]:
    """The files with a model's weights: those that its index lists, else model.safetensors, else model*.safetensors.
    What lies beside them is left from something else. UserError where the index is broken or a file of it missing."""
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        whole = folder / "model.safetensors"
        return [whole] if whole.exists() else sorted(folder.glob("model*.safetensors"))
    try:
        names = sorted({str(name) for name in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: broken ({type(error).__name__}); {mend}") from error
    if gone := [name for name in names if not (folder / name).is_file()]:
        raise UserError(f"{folder}: {gone[0]} is missing ({len(gone)} of its weight files are); {mend}")
    return [folder / name for name in names]


def check_whole(folder: Path, mend: str = MEND) -> None:
    """UserError when a file of the folder's weights is missing or cut."""
    for path in weight_files(folder, mend):
        if not path.exists():  # a link in the hub's cache whose file is gone
            raise UserError(f"{path} is missing; {mend}")
        want, have = expected_size(path), path.stat().st_size
        if want != have:
            what = f"has {have} bytes, its header asks for {want}" if want > 0 else "has a broken header"
            raise UserError(f"{path} {what}; {mend}")
