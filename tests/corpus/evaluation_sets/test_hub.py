"""Data sets by name from a hub on loopback that speaks the requests that a download takes."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import InputError
from corpus.evaluation_sets import files as testsets
from corpus.evaluation_sets import hub

COMMIT = "5" * 40


def parquet(*questions: str) -> bytes:
    stream = io.BytesIO()
    pq.write_table(
        pa.table({"question": list(questions), "id": [str(n) for n in range(len(questions))]}),
        stream,
    )
    return stream.getvalue()


FILES = {
    "easy/test/0000.parquet": parquet("What is one?"),
    "easy/validation/0000.parquet": parquet("What is two?"),
    "hard/validation/0000.parquet": parquet("What is three?"),
    "hard/validation/0001.parquet": parquet("What is four?"),
    "hard/train/0000.parquet": parquet("What is five?"),
}


class Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = unquote(self.path)
        if path == "/api/datasets/who/quiz/revision/refs/convert/parquet":
            siblings = [{"rfilename": name} for name in FILES]
            self.answer(
                json.dumps({"id": "who/quiz", "sha": COMMIT, "siblings": siblings}).encode()
            )
        elif path.startswith(f"/api/datasets/who/quiz/tree/{COMMIT}"):
            files = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(body),
                    "oid": hashlib.sha1(body).hexdigest(),
                }
                for name, body in FILES.items()
            ]
            self.answer(json.dumps(files).encode())
        elif path.startswith(f"/datasets/who/quiz/resolve/{COMMIT}/"):
            self.answer(FILES[path.partition(f"{COMMIT}/")[2]])
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def questions(*names: str) -> dict[str, list[str]]:
    return {each.name: each.texts for each in testsets.load_testsets(names)}


def test_sets_by_name(hub_server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert questions("hf:who/quiz") == {
        "quiz/easy/test": ["What is one?"],
        "quiz/hard/validation/0000": ["What is three?"],
        "quiz/hard/validation/0001": ["What is four?"],
    }
    assert questions("hf:who/quiz/easy/validation") == {"quiz/easy/validation": ["What is two?"]}
    with pytest.raises(InputError, match=r"no Parquet file hard/test of it"):
        hub.fetch("hf:who/quiz/hard/test")
    with pytest.raises(
        InputError, match=r"hf:who/nothing: cannot be had from the hub .*name files or a folder"
    ):
        hub.fetch("hf:who/nothing")
    monkeypatch.setenv(
        "HF_ENDPOINT", "http://127.0.0.1:9"
    )  # nobody listens: what is in the cache still serves
    assert questions("hf:who/quiz/easy") == {"quiz/easy/test": ["What is one?"]}


@pytest.mark.parametrize("name", ["hf:", "hf:quiz", "hf:who/quiz/easy/test/0000", "hf:who//easy"])
def test_names_of_another_form(name: str) -> None:
    with pytest.raises(InputError, match="expected hf:<owner>/<name>"):
        hub.fetch(name)
