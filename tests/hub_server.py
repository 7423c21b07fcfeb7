"""A Hugging Face hub on this machine: the part of its HTTP interface that huggingface_hub uses, over real sockets."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class Repo:
    """Files by revision; `gated` answers as the hub does to those who have not accepted a licence."""

    files: dict[str, dict[str, bytes]]
    gated: bool = False

    def sha(self, revision: str) -> str:
        """The commit id of a revision, which may itself be one."""
        for name in self.files:
            commit = hashlib.sha1(name.encode() + b"".join(self.files[name].values())).hexdigest()
            if revision in (name, commit):
                return commit
        raise KeyError(revision)

    def at(self, revision: str) -> dict[str, bytes]:
        return next(self.files[name] for name in self.files if self.sha(name) == self.sha(revision))


@dataclass
class Hub:
    """The server: put repositories into `repos` ("owner/name", a data set's as "datasets/owner/name")."""

    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # "GET /path" of every request
    sent: int = 0  # bytes of file contents
    rate: float = 0  # bytes a second; 0 = as fast as it goes
    drop: int = 0  # end the connection after so many bytes of one file, once
    status: int = 0  # answer everything with this
    declare: int = 0  # bytes the listing claims of every safetensors file
    sized: bool = True  # whether the listing tells sizes
    url: str = ""
    _server: ThreadingHTTPServer | None = None

    def add(self, name: str, files: dict[str, bytes], revision: str = "main", gated: bool = False) -> None:
        """Publish files as one revision."""
        repo = self.repos.setdefault(name, Repo({}, gated))
        repo.files[revision] = files

    def add_folder(self, name: str, folder: Path) -> None:
        self.add(name, {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()})

    def files_asked(self) -> list[str]:
        """Names of the files that were really downloaded."""
        return [line.rsplit("/", 1)[1] for line in self.asked if line.startswith("GET") and "/resolve/" in line]

    def start(self) -> None:
        port = urlsplit(self.url).port or 0
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if hub.status:
                return self.reply(hub.status, b"{}")
            api = path.startswith("/api/")
            path = path.removeprefix("/api/").removeprefix("models/").lstrip("/")
            for name, repo in hub.repos.items():
                if path == name or path.startswith(name + "/"):
                    return self.serve(repo, name, path.removeprefix(name).strip("/").split("/"), api)
            self.reply(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

        def serve(self, repo: Repo, name: str, rest: list[str], api: bool) -> None:
            action, revision = rest[0], rest[1] if len(rest) > 1 else "main"
            try:
                files, sha = repo.at(revision), repo.sha(revision)
            except KeyError:
                return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            size = {n: hub.declare if hub.declare and n.endswith(".safetensors") else len(d) for n, d in files.items()}
            if api and action == "tree":
                rows = [{"type": "file", "path": n, "size": size[n], "oid": _etag(d)} for n, d in files.items()]
                return self.reply(200, json.dumps(rows).encode())
            if api:
                siblings = [{"rfilename": n, "blobId": _etag(d)} for n, d in files.items()]
                if hub.sized:
                    siblings = [row | {"size": size[row["rfilename"]]} for row in siblings]
                return self.reply(200, json.dumps({"id": name, "sha": sha, "siblings": siblings}).encode())
            if repo.gated:
                return self.reply(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            data = files.get("/".join(rest[2:]))
            if action != "resolve" or data is None:
                return self.reply(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            self.reply(200, data, {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"})

        def reply(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            begin = 0
            if (ranged := self.headers.get("Range")) and status == 200:
                begin, status = int(ranged.removeprefix("bytes=").split("-")[0]), 206
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            if status == 206:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            if self.command == "HEAD":
                return
            file = bool(headers and "ETag" in headers)
            for at in range(begin, len(data), 1 << 14):
                if file and hub.drop and at - begin >= hub.drop:
                    hub.drop, self.close_connection = 0, True
                    return
                try:
                    self.wfile.write(data[at : at + (1 << 14)])
                except OSError:  # the other side went away
                    return
                if file:
                    hub.sent += min(1 << 14, len(data) - at)
                    if hub.rate:
                        time.sleep((1 << 14) / hub.rate)

    return Handler


def _etag(data: bytes) -> str:
    return hashlib.sha1(b"blob" + data).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub, to which every child process of this test goes, and an empty cache."""
    server = Hub()
    server.start()
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    yield server
    server.stop()
