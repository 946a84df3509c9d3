"""`webtext soak` on servers of different makers, and on three Ray nodes that join, die and freeze."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.storage import conditional_write
from tests.support.ray_head import free_port, running_head
from webtext import soak
from webtext.soak_nodes import JoinedNode

# `make soak` installs it by npm. Its answers to conditional writes ignore the condition. It makes its
# continuation tokens with DES, which OpenSSL 3 has in its legacy provider only: without that, each
# listing in pieces is an InternalError.
S3RVER = Path(__file__).parents[2] / "build" / "s3rver" / "node_modules" / "s3rver"
START = """
const S3rver = require(process.argv[1]);
const buckets = [{name: 'soak'}];
new S3rver({port: +process.argv[2], address: '127.0.0.1', directory: process.argv[3],
  silent: true, configureBuckets: buckets}).run(error => { if (error) throw error; });
"""


def played(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code = soak.main([*words, "--json"])
    out = capsys.readouterr().out
    print(out)
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert code == 0
    assert found["differing"] == []
    assert found["files"] > 20
    return found


@pytest.fixture
def s3rver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if shutil.which("node") is None or not S3RVER.is_dir():
        pytest.skip(f"no s3rver in {S3RVER}: npm install --prefix build/s3rver s3rver@3.7.1")

    port = free_port()
    line = [
        "node",
        "--openssl-legacy-provider",
        "-e",
        START,
        str(S3RVER),
        str(port),
        str(tmp_path / "data"),
    ]
    with subprocess.Popen(line) as process:
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "S3RVER")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        conditional_write.open_conditional.cache_clear()
        yield "s3://soak"
        process.kill()
    conditional_write.open_conditional.cache_clear()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_month_on_moto(s3_bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = played(capsys, "--corpus", s3_bucket, "--documents", "120", "--lost", "0.05")
    assert found["kills"] >= 3
    assert found["lost"] > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_month_on_a_store_without_conditional_writes(
    s3rver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = played(capsys, "--corpus", s3rver, "--documents", "120", "--lost", "0.05")
    assert found["kills"] >= 3
    assert found["lost"] > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_month_on_three_ray_nodes_that_join_die_and_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_head(tmp_path) as environment:
        for name in environment.keys() - os.environ.keys():
            monkeypatch.setenv(name, environment[name])
        monkeypatch.setenv("PATH", environment["PATH"])
        monkeypatch.setenv("RAY_ADDRESS", environment["HEAD_ADDRESS"])
        third = JoinedNode()
        try:
            words = ["--executor", "ray", "--joins", "2", "--kills", "3"]
            corpus = str(tmp_path / "corpus")
            found = played(capsys, "--corpus", corpus, "--documents", "240", *words)
        finally:
            third.close()
    assert found["joins"] == 2
    assert found["kills"] >= 1
