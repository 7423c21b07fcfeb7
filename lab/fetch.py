"""The child process of `lab.hub`: asks the hub, downloads, prints what came of it as JSON lines. No MLX.

Run as `python -m lab.fetch JSON`, where JSON holds the arguments of `lab.hub.snapshot`. It prints
{"total": bytes to come, "blobs": the folder they go to} and then {"path": ...} or {"error": one line}, and ends when
its parent does.
"""

import errno
import json
import os
import shutil
import sys
import threading
from typing import Any

from lab.errors import UserError
from lab.hub import MODEL_FILES, NOT_NEEDED, UNSAFE, Kind, cache, store_of, sweep

WAIT = 10.0  # seconds for the hub's first answer; then a cached copy serves


def _fetch(repo: str, kind: Kind, revision: str | None, allow: list[str] | None) -> dict[str, Any]:
    """Download in this process; what to tell the parent."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, RevisionNotFoundError
    from huggingface_hub.utils import filter_repo_objects

    wanted = list(allow) if allow is not None else list(MODEL_FILES) if kind == "model" else None
    ignored = [*UNSAFE, *(NOT_NEEDED if kind == "model" and allow is None else ())]
    where: dict[str, Any] = {"repo_type": kind, "revision": revision, "cache_dir": cache()}
    where |= {"allow_patterns": wanted, "ignore_patterns": ignored}
    failure: Exception | None = None
    try:
        info = HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=WAIT, files_metadata=True)
    except (RevisionNotFoundError, HFValidationError):
        raise
    except Exception as error:  # no network, or the hub refuses: a copy that is here still serves
        failure = error
    if failure is not None:
        try:
            path = snapshot_download(repo, local_files_only=True, **where)
        except OSError as error:  # nothing in the cache, or not all of it
            if type(error).__name__ == "IncompleteSnapshotError":
                raise UserError(
                    f"{repo}: the copy in the cache is not whole, and the hub cannot be asked for the rest "
                    f"({_reason(failure)}); run the command again with a network"
                ) from failure
            raise failure from None
        # Asked not to ask (HF_HUB_OFFLINE), nothing needs to be said.
        quiet = type(failure).__name__ == "OfflineModeIsEnabled"
        return {"path": path} | ({} if quiet else {"note": f"using the cached copy ({_reason(failure)})"})
    sizes = {f.rfilename: f.size for f in getattr(info, "siblings", None) or []}  # None where the hub does not say
    for name in (*sizes, str(info.sha)):  # a path out of the cache would reach files that are not ours
        if os.path.isabs(name) or ".." in name.split("/"):
            raise UserError(f"{repo}: its listing names {name}, which is no file of a repository; take another one")
    names = list(filter_repo_objects(sizes, allow_patterns=wanted, ignore_patterns=ignored))
    if kind == "model" and allow is None and not any(name.endswith(".safetensors") for name in names):
        raise UserError(_no_weights(repo, list(sizes)))
    if not names:
        raise UserError(f"{repo}: no file in it matches {', '.join(wanted or ['*'])}; it holds {_some(list(sizes))}")
    store = store_of(repo, kind)
    sweep(store)
    folder = store / "snapshots" / str(info.sha)
    missing = []
    for name in names:
        file = folder / name
        if file.exists() and sizes[name] not in (None, file.stat().st_size):  # cut by a crash: take it anew
            if store.resolve() in (blob := file.resolve()).parents:
                blob.unlink(missing_ok=True)
            file.unlink(missing_ok=True)
        if not file.exists():
            missing.append(name)
    total = sum(sizes[name] or 0 for name in missing)
    free = shutil.disk_usage(next(p for p in (store, *store.parents) if p.exists())).free
    if total > free:
        raise UserError(
            f"{repo}: {total / 1e9:.1f} GB to download, {free / 1e9:.1f} GB free in {cache()}; "
            "free some space, or set HF_HOME to a folder on a larger disk"
        )
    constants.DOWNLOAD_CHUNK_SIZE = 1 << 18  # it writes 10 MB at once, which on a slow line looks like standing still
    print(json.dumps({"total": total, "blobs": str(store / "blobs")}), flush=True)
    return {"path": snapshot_download(repo, max_workers=4, **where)}


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" and more" if len(names) > 5 else "") if names else "nothing"


def _no_weights(repo: str, names: list[str]) -> str:
    """Why a repository without weights at its top is none that we open."""
    if ggufs := [name for name in names if name.endswith(".gguf")]:
        return f"{repo}: holds GGUF files only; name one, such as {repo}/{min(ggufs, key=len)}"
    if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
        return f"{repo}: its weights are pickles, which can hold code and are never opened; take a safetensors one"
    return f"{repo}: no safetensors in it, so it is no model for the lab; it holds {_some(names)}"


def _reason(error: Exception) -> str:
    """A short why of a failed request."""
    name, text = type(error).__name__, " ".join(str(error).split())
    if name == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set"
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"the hub answers {status}" if status else f"no network: {text[:120] or name}"


def _explain(error: Exception, repo: str, kind: Kind, revision: str | None) -> str:
    """One line for the user: what, where, how to mend it."""
    from huggingface_hub import errors, get_token
    from huggingface_hub.constants import ENDPOINT

    what, page = ("data set", f"datasets/{repo}") if kind == "dataset" else ("model", repo)
    log_in = "then log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, errors.GatedRepoError):
        other = " of an account that has" if get_token() else ""
        return f"{repo} is gated: accept its licence on {ENDPOINT}/{page}, {log_in}{other}"
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{repo}: no revision {revision or 'main'}; its branches and tags are listed on {ENDPOINT}/{page}/tree/main"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{repo}: no such {what} on {ENDPOINT}, and no folder here; check the name (if it is private: `hf auth login`)"
    if isinstance(error, errors.HFValidationError):
        return f"{repo}: not a hub id; write owner/name or owner/name@revision"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return f"{repo}: the disk of {cache()} is full; free some space, or set HF_HOME to a folder on a larger one"
    if isinstance(error, OSError) and error.errno and error.filename:
        return f"{error.filename}: {error.strerror}; set HF_HOME to a folder you may write to"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return (
            f"{repo}: the hub refuses ({status}): check the token (`hf auth whoami`) and that it may read this {what}"
        )
    if status or type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "requests"):
        kept = "what was downloaded whole is kept"
        return f"{repo}: {_reason(error)}; try again later ({kept}), or take a model that is here (`lab models` lists)"
    if isinstance(error, ConnectionError | errors.LocalEntryNotFoundError):
        return f"{repo}: no copy in {cache()}, and {_reason(error)}; try again with a network, or `lab models` lists"
    return f"{repo}: {type(error).__name__}: {str(error)[:200]}; run the command again"


def _child(asked: dict[str, Any]) -> None:
    def orphaned() -> None:
        sys.stdin.read()  # ends when the parent does, whatever ended it
        os._exit(1)

    threading.Thread(target=orphaned, daemon=True).start()
    try:
        said = _fetch(**asked)
    except Exception as error:
        said = {"error": " ".join(_explain(error, asked["repo"], asked["kind"], asked["revision"]).split())}
    print(json.dumps({k: str(v) for k, v in said.items()}), flush=True)
    os._exit(0)  # the library's idle threads need no goodbye


if __name__ == "__main__":
    _child(json.loads(sys.argv[1]))
