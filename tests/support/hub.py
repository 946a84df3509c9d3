"""A small hub on loopback: the part of the Hugging Face API that uploads of data sets use.

Repositories with branches and pull requests, contents by SHA-256 (Git LFS, basic transfer), commits as
lines of JSON, history. Failures can be ordered: a status, or a connection that ends without answer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SMALL = 2000  # bytes up to which a file is part of the commit itself
NOW = "2026-11-30T00:00:00.000Z"


@dataclass
class Repository:
    revisions: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    requests: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, bytes]] = field(default_factory=list)
    """States of main, the oldest first."""
    private: bool = False


@dataclass
class Hub:
    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """Method and path of every request."""
    failures: list[tuple[str, int]] = field(default_factory=list)
    """(pattern of method and path, status): each fails one request; 0 ends the connection."""
    token: str = "secret"

    def answer(self, line: str, body: bytes, host: str) -> tuple[int, Any]:
        """Status and JSON of a request."""
        method, path = line.split(" ", 1)
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.fullmatch(r"/objects/([0-9a-f]{64})", path):
            self.objects[found[1]] = body
            right = hashlib.sha256(body).hexdigest() == found[1]
            return (200, {}) if right else (400, {"error": "other contents"})

        found = re.fullmatch(r"(?:/api)?/datasets/([^/]+/[^/]+?)(\.git)?(/.*)?", path)
        repository = self.repositories.get(found[1]) if found else None
        if found is None or repository is None:
            return 404, {"error": "Repository not found"}
        return self._in_repository(found[1], repository, method, found[3] or "", body, host)

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return 409, {"error": "exists", "url": f"{self.url}/datasets/{name}"}
        self.repositories[name] = Repository(private=asked.get("visibility") == "private")
        return 200, {"url": f"{self.url}/datasets/{name}"}

    def _in_repository(
        self, name: str, repository: Repository, method: str, rest: str, body: bytes, host: str
    ) -> tuple[int, Any]:
        if rest.startswith("/tree/"):
            return self._tree(repository, unquote(rest.removeprefix("/tree/")))
        if rest.startswith("/preupload/"):
            files = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["size"] > SMALL else "regular",
                    "shouldIgnore": False,
                }
                for each in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        if rest == "/info/lfs/objects/batch":
            return 200, {"transfer": "basic", "objects": self._batch(json.loads(body), host)}
        if rest.startswith("/commit/"):
            return self._commit(name, repository, unquote(rest.removeprefix("/commit/")), body)
        if rest.startswith("/super-squash/"):
            repository.history = repository.history[-1:]
            return 200, {}
        return self._discussions(name, repository, method, rest, body)

    def _tree(self, repository: Repository, revision: str) -> tuple[int, Any]:
        if revision not in repository.revisions:
            return 404, {"error": "Revision not found", "code": "RevisionNotFound"}
        found = []
        for path, data in repository.revisions[revision].items():
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry: dict[str, Any] = {"type": "file", "oid": git, "size": len(data), "path": path}
            if len(data) > SMALL:
                sha256 = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
            found.append(entry)
        return 200, found

    def _batch(self, asked: dict[str, Any], host: str) -> list[dict[str, Any]]:
        found = []
        for each in asked["objects"]:
            if each["oid"] not in self.objects:
                href = f"http://{host}/objects/{each['oid']}"
                each["actions"] = {"upload": {"href": href, "header": {}}}
            found.append(each)
        return found

    def _commit(
        self, name: str, repository: Repository, revision: str, body: bytes
    ) -> tuple[int, Any]:
        files = dict(repository.revisions[revision])
        for line in map(json.loads, body.splitlines()):
            key, value = line["key"], line["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.objects:
                    return 400, {"error": f"no object {value['oid']}"}
                files[value["path"]] = self.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        repository.revisions[revision] = files
        oid = hashlib.sha1(body).hexdigest()
        return 200, {
            "commitUrl": f"{self.url}/datasets/{name}/commit/{oid}",
            "commitOid": oid,
            "pullRequestUrl": None,
        }

    def _discussions(
        self, name: str, repository: Repository, method: str, rest: str, body: bytes
    ) -> tuple[int, Any]:
        requests = repository.requests
        if rest == "/discussions" and method == "GET":
            return 200, {"count": len(requests), "start": 0, "discussions": requests}
        if rest == "/discussions":
            number = len(requests) + 1
            requests.append(
                {
                    "title": json.loads(body)["title"],
                    "num": number,
                    "author": {"name": "me"},
                    "createdAt": NOW,
                    "status": "draft",
                    "repo": {"name": name, "type": "dataset"},
                    "isPullRequest": True,
                    "events": [],
                    "changes": {"base": "refs/heads/main"},
                    "filesWithConflicts": [],
                }
            )
            repository.revisions[f"refs/pr/{number}"] = dict(repository.revisions["main"])
            return 200, {"num": number}

        found = re.fullmatch(r"/discussions/(\d+)(/\w+)?", rest)
        if found is None:
            return 404, {"error": f"no route {rest}"}
        request = requests[int(found[1]) - 1]
        if found[2] == "/status":
            request["status"] = json.loads(body)["status"]
            event = {"id": "1", "type": "status-change", "createdAt": NOW, "author": {"name": "me"}}
            return 200, {"newStatus": {**event, "data": {"status": request["status"]}}}
        if found[2] == "/merge":
            if request["status"] != "open":
                return 400, {"error": f"a request that is {request['status']}"}
            repository.revisions["main"] = dict(repository.revisions[f"refs/pr/{found[1]}"])
            repository.history.append(repository.revisions["main"])
            request["status"] = "merged"
            return 200, {}
        return 200, request


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of loopback, for the duration of the block."""
    hub = Hub()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            line = f"{self.command} {urlsplit(self.path).path}"

            with lock:
                hub.requests.append(line)
                broken = next((each for each in hub.failures if re.search(each[0], line)), None)
                if broken is not None:
                    hub.failures.remove(broken)
                    status, found = broken[1], {"error": "ordered"}
                elif (
                    "/objects/" not in line
                    and self.headers.get("Authorization") != f"Bearer {hub.token}"
                ):
                    status, found = 401, {"error": "Invalid token"}
                else:
                    status, found = hub.answer(line, body, self.headers["Host"])

            if status == 0:
                self.close_connection = True
                return
            data = json.dumps(found).encode()
            self.send_response(status)
            if status == 404:
                code = found.get("code", "RepoNotFound")
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
