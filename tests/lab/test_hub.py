"""Snapshots from a hub on this machine: what is fetched, what is kept, and what is said when it goes wrong."""

import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.hub import cache, check_whole, find_gguf, is_id, locate, snapshot
from tests.conftest import REPO
from tests.hub_server import Hub, Repo, hub  # noqa: F401


def safetensors(size: int) -> bytes:
    """A whole file with one array of that many bytes."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + os.urandom(size)


FILES = {
    "config.json": b"{}", "tokenizer.json": b"{ }", "chat_template.jinja": b"a", "merges.txt": b"b",
    "tokenizer.model": b"c", "LICENSE": b"d", "model.safetensors": safetensors(200_000),
    "modeling_x.py": b"import os", "pytorch_model.bin": b"x", "training_args.bin": b"x", "README.md": b"x",
    "onnx/model.onnx": b"x", "original/tokenizer.model": b"x", "consolidated.safetensors": safetensors(10),
}  # fmt: skip
WANTED = {
    "config.json", "tokenizer.json", "chat_template.jinja", "merges.txt", "tokenizer.model", "LICENSE", "model.safetensors",
}  # fmt: skip


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def refused(says: str, *args: object, **more: object) -> str:
    with pytest.raises(UserError) as error:
        snapshot(*args, **more)  # type: ignore[arg-type]
    line = str(error.value)
    assert "\n" not in line
    assert re.search(says, line), line
    return line


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("HuggingFaceTB/SmolLM2-135M", True), ("a/b@main", True), ("a/b@refs/pr/1", True), ("mine", False),
        ("mine@400", False), ("./a/b", False), ("a/b/c", False), ("~/a", False), ("/a/b", False), ("a/b@", False),
        ("a/b.gguf", True),
    ],
)  # fmt: skip
def test_what_is_written_like_a_hub_id(text: str, yes: bool) -> None:
    assert is_id(text) == yes


def test_only_safe_files_are_fetched_and_only_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    hub.add("owner/name", FILES)
    folder = snapshot("owner/name")
    assert names(folder) == WANTED == set(hub.files_asked())
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert cache() in folder.parents
    hub.asked.clear()
    assert snapshot("owner/name") == folder
    assert hub.files_asked() == []
    hub.stop()
    assert snapshot("owner/name") == folder  # no network: the copy serves
    hub.start()
    hub.status = 503
    assert snapshot("owner/name") == folder
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    assert snapshot("owner/name") == folder
    assert hub.asked == []


def test_a_listing_that_leads_out_of_the_cache(hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    """A hub may name any path; a file there is of another size than the listing says, and would be taken anew."""
    mine = tmp_path / "mine" / "config.json"
    mine.parent.mkdir()
    mine.write_text("precious")

    class Liar(Repo):
        def sha(self, revision: str) -> str:
            return str(mine.parent)

    hub.add("datasets/owner/absolute", {"a.txt": b"a", str(mine): b"x"})
    hub.add("datasets/owner/up", {"a.txt": b"a", "b/../../x.txt": b"x"})
    hub.repos["datasets/owner/commit"] = Liar({"main": {"config.json": b"{}"}})
    for name in ("absolute", "up", "commit"):
        refused(f"owner/{name}: its listing names .*, which is no file of a repo", f"owner/{name}", kind="dataset")
    assert mine.read_text() == "precious"


def test_a_listing_without_sizes_leaves_the_copy_alone(hub: Hub) -> None:  # noqa: F811
    hub.add("owner/name", FILES)
    folder = snapshot("owner/name")
    hub.asked.clear()
    hub.sized = False
    assert snapshot("owner/name") == folder
    assert hub.files_asked() == []
    hub.add("owner/name", FILES | {"config.json": b'{"a": 1}'})
    assert (snapshot("owner/name") / "config.json").read_bytes() == b'{"a": 1}'


def test_what_lies_in_the_current_folder_is_not_run(
    hub: Hub,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.add("owner/name", FILES)
    trap = tmp_path / "trap"
    (trap / "lab").mkdir(parents=True)
    for name in ("lab/__init__.py", "random.py", "huggingface_hub.py"):
        (trap / name).write_text("raise SystemExit('code of the current folder ran')")
    monkeypatch.chdir(trap)
    assert names(snapshot("owner/name")) == WANTED
    monkeypatch.setenv("PYTHONPATH", str(trap))  # asked for: then its last words reach the user
    refused(r"ended with exit code 1 \(code of the current folder ran\); run the command again", "owner/name")


def test_a_cache_that_cannot_be(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    hub.add("owner/name", FILES)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    refused(f"{tmp_path}/file.*: (Not a directory|File exists); set HF_HOME to a folder", "owner/name")


def test_one_file_of_a_repository(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """The file's name is no pattern, and it may lie in a folder."""
    hub.add("owner/files", {"q4/a.gguf": b"GGUF1", "q4/b.gguf": b"GGUF2", "[a].gguf": b"GGUF3"})
    path = find_gguf("owner/files@main/q4/a.gguf")
    assert path
    assert path.read_bytes() == b"GGUF1"
    path = find_gguf("owner/files/[a].gguf")
    assert path
    assert path.read_bytes() == b"GGUF3"
    assert hub.files_asked() == ["a.gguf", "[a].gguf"]
    (tmp_path / "owner" / "files").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("owner/files/q4/a.gguf", "a.gguf", "owner/a.gguf", "./a/b/c.gguf"):
        with pytest.raises(UserError, match=f"^{re.escape(name)}: no such file"):
            find_gguf(name)


@pytest.mark.slow
def test_revisions_live_side_by_side(hub: Hub) -> None:  # noqa: F811
    hub.add("owner/name", FILES)
    hub.add("owner/name", FILES | {"config.json": b'{"a": 1}'}, revision="v1")
    old, new = locate("owner/name@v1")[0], locate("owner/name")[0]
    assert old != new
    assert (old / "config.json").read_bytes() == b'{"a": 1}'
    hub.add("owner/name", FILES | {"config.json": b'{"a": 2}'})
    hub.asked.clear()
    assert (snapshot("owner/name") / "config.json").read_bytes() == b'{"a": 2}'
    assert hub.files_asked() == ["config.json"]  # the rest is shared between commits
    refused("owner/name: no revision v9; its branches and tags are listed on http", "owner/name", revision="v9")


def test_a_folder_or_run_of_that_name_comes_first(
    hub: Hub,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.add("owner/name", FILES)
    here = tmp_path / "owner" / "name"
    here.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name")[0].resolve() == here
    assert hub.asked == []


@pytest.mark.slow
def test_data_sets(hub: Hub) -> None:  # noqa: F811
    files = {"data/train-0.parquet": b"PAR1", "data/test-0.parquet": b"PAR1", "load.py": b"import os", "a.jsonl": b"{}"}
    hub.add("datasets/owner/texts", files)
    folder = snapshot("owner/texts", kind="dataset", allow=["data/train-*"])
    assert [str(p.relative_to(folder)) for p in folder.rglob("*.*")] == ["data/train-0.parquet"]
    folder = snapshot("owner/texts", kind="dataset")
    assert {p.name for p in folder.rglob("*.*")} == {"train-0.parquet", "test-0.parquet", "a.jsonl"}
    refused(
        r"no file in it matches \*.csv; it holds data/train-0.parquet, ", "owner/texts", kind="dataset", allow=["*.csv"]
    )
    refused("owner/none: no such data set on http", "owner/none", kind="dataset")


def test_what_the_hub_refuses(hub: Hub) -> None:  # noqa: F811
    hub.add("owner/gated", FILES, gated=True)
    refused("owner/gated is gated: accept its licence on http.*/owner/gated, then log in with `hf auth", "owner/gated")
    refused("owner/nosuch: no such model on http", "owner/nosuch")


@pytest.mark.slow
def test_what_is_no_model_for_the_lab(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    hub.add("owner/pickles", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    hub.add("owner/ggufs", {"a-q4.gguf": b"x", "a-q8_0.gguf": b"x"})
    hub.add("owner/notes", {"README.md": b"x"})
    refused("owner/pickles: its weights are pickles", "owner/pickles")
    refused("owner/ggufs: holds GGUF files only; name one, such as owner/ggufs/a-q4.gguf", "owner/ggufs")
    refused("owner/notes: no safetensors in it.*it holds README.md", "owner/notes")
    refused("not a hub id", "a--b/..")
    hub.status = 500
    refused("owner/name: the hub answers 500; try again later", "owner/name")
    hub.stop()
    refused("owner/name: no network: .*lab models", "owner/name")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused("owner/name: no copy in .*HF_HUB_OFFLINE is set", "owner/name")


@pytest.mark.slow
def test_no_room_on_the_disk(hub: Hub) -> None:  # noqa: F811
    hub.add("owner/name", FILES)
    hub.declare = 10**15
    refused(r"owner/name: 1000000.0 GB to download, [0-9.]+ GB free in .*set HF_HOME", "owner/name")
    hub.declare = 0
    hub.add("owner/name", FILES | {"model.safetensors": safetensors(3_000_000)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))  # as a full disk, the kernel refuses to write on
    try:
        refused("owner/name: the disk of .* is full", "owner/name")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert names(snapshot("owner/name")) == WANTED


@pytest.mark.slow
def test_a_dropped_connection_goes_on_where_it_was(hub: Hub) -> None:  # noqa: F811
    big = safetensors(300_000)
    hub.add("owner/name", FILES | {"model.safetensors": big})
    hub.drop = 100_000
    assert (snapshot("owner/name") / "model.safetensors").read_bytes() == big
    assert hub.drop == 0
    assert hub.sent < 2 * len(big)


def start(hub: Hub, **env: str) -> "subprocess.Popen[str]":  # noqa: F811
    code = "from lab.hub import snapshot; print(snapshot('owner/name'))"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def until_half(hub: Hub) -> list[Path]:  # noqa: F811
    end = time.monotonic() + 20
    while True:
        found = list(cache().glob("models--*/blobs/*.incomplete"))
        if found and hub.sent > 100_000:
            return found
        assert time.monotonic() < end, "no download began"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_download_cut_short_leaves_nothing_wrong(hub: Hub, how: signal.Signals) -> None:  # noqa: F811
    """Whole files stay, the half one is fetched anew; Ctrl-C ends it at once and takes the half file away."""
    hub.add("owner/name", FILES | {"model.safetensors": safetensors(2_000_000)})
    hub.rate = 200_000  # ten seconds
    process = start(hub)
    halves = until_half(hub)
    sent = time.monotonic()
    process.send_signal(how)
    process.communicate(timeout=5)
    assert time.monotonic() - sent < 3
    time.sleep(0.3)
    after = hub.sent
    time.sleep(0.3)
    assert hub.sent - after < 50_000  # the child has ended as well
    if how == signal.SIGINT:
        assert not any(p.exists() for p in halves)
    hub.asked.clear()
    hub.rate = 0
    folder = snapshot("owner/name")
    assert names(folder) == WANTED
    assert "model.safetensors" in hub.files_asked()
    assert "config.json" not in hub.files_asked()
    check_whole(folder)
    assert list(cache().glob("models--*/blobs/*.incomplete")) == []


@pytest.mark.slow
def test_progress_in_a_pipe_is_sparse_lines(hub: Hub) -> None:  # noqa: F811
    hub.add("owner/name", FILES | {"model.safetensors": safetensors(900_000)})
    hub.rate = 250_000
    out, err = start(hub).communicate(timeout=30)
    assert out.startswith(str(cache()))
    lines = err.splitlines()
    assert lines[0] == "owner/name: downloading 0.9 MB"
    assert len(lines) == 2, lines
    assert re.fullmatch(r"owner/name: \d of 1 MB, 0\.\d MB/s, left 0:0\d", lines[1]), lines[1]


@pytest.mark.slow
def test_progress_on_a_terminal_shows_speed_and_time_left(hub: Hub) -> None:  # noqa: F811
    import pty

    hub.add("owner/name", FILES | {"model.safetensors": safetensors(400_000)})
    hub.rate = 400_000
    master, slave = pty.openpty()
    code = "from lab.hub import snapshot; snapshot('owner/name')"
    env = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPO, env=env, stderr=slave, stdout=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not data:
            break
        shown += data
    assert process.wait(10) == 0
    text = shown.decode()
    assert "owner/name" in text
    assert "400.6/400.6 kB" in text or "/400." in text
    assert "left" in text
    assert "0:00:0" in text


@pytest.mark.slow
def test_half_a_copy_is_mended_or_said(hub: Hub) -> None:  # noqa: F811
    hub.add("owner/name", FILES)
    folder = snapshot("owner/name")
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:100_000])  # as a crash of the computer may leave it
    hub.stop()
    refused(r"owner/name: .*model.safetensors has 100000 bytes, its header asks for [0-9]+; run the", "owner/name")
    (folder / "model.safetensors").unlink()
    blob.unlink()
    refused("owner/name: the copy in the cache is not whole.*no network", "owner/name")
    hub.start()
    assert snapshot("owner/name") == folder
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    blob.write_bytes(blob.read_bytes()[:100_000])
    assert snapshot("owner/name") == folder  # with a network it mends itself
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(safetensors(10))
    with pytest.raises(UserError, match=r"model-00002-of-00002\.safetensors is missing"):
        check_whole(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(safetensors(10))
    check_whole(tmp_path)
    for name in ("._model.safetensors", ".model.tmp.safetensors", "model-old.safetensors", "adapters.safetensors"):
        (tmp_path / name).write_bytes(b"left over")
    check_whole(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(UserError, match=r"index\.json: broken"):
        check_whole(tmp_path)
