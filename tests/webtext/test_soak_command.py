"""The soak command: a difference of a byte is found, a command that fails is named."""

from __future__ import annotations

import json
import random
import socket
import threading
from pathlib import Path

import pytest

from corpus.errors import FatalError
from corpus.storage.store import open_store
from webtext import soak
from webtext.soak_network import losing_answers


def test_a_byte_or_a_file_that_differs_is_named(tmp_path: Path) -> None:
    calm, rough = open_store(str(tmp_path / "calm")), open_store(str(tmp_path / "rough"))
    for store in (calm, rough):
        for name in ("part-00000.parquet", "part-00001.parquet", "_manifest.json"):
            store.write_bytes(f"verdicts/{soak.BATCH}/{name}", name.encode())
    found = soak.Survived()
    soak._compare(calm, rough, found)
    assert (found.files, found.differing) == (2, [])
    rough.write_bytes(f"verdicts/{soak.BATCH}/_manifest.json", b"holds the time")
    rough.write_bytes(f"verdicts/{soak.BATCH}/part-00001.parquet", b"other")
    rough.write_bytes(f"tokens/{soak.BATCH}/train/part-00000.parquet", b"more")
    found = soak.Survived()
    soak._compare(calm, rough, found)
    assert found.differing == [
        f"verdicts/{soak.BATCH}/part-00001.parquet",
        f"tokens/{soak.BATCH}/train/part-00000.parquet",
    ]
    assert "2 differ" in soak.render(found)


def test_a_command_that_fails_ends_the_soak_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"clean .* ended with 2: error: .*no corpus there"):
        soak._finish(soak._start("clean", str(tmp_path / "none"), []))


def test_the_made_month_is_the_same_each_time_and_has_copies() -> None:
    rows = [json.loads(line) for line in soak._documents(30)]
    assert rows == [json.loads(line) for line in soak._documents(30)]
    assert len({row["url"] for row in rows}) == 30
    assert len({row["text"] for row in rows}) == 26


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_answer_is_lost_in_a_tunnel_after_the_store_has_acted(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTPS nothing is decrypted: bytes pass, or the connection ends where the answer comes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example")
    acted: list[bytes] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as store,
        losing_answers(share, random.Random(0)) as network,
    ):
        assert set(network.environment()) == {"HTTPS_PROXY", "https_proxy"}

        def act() -> None:
            with store.accept()[0] as connection:
                acted.append(connection.recv(100))
                connection.sendall(b"done")

        thread = threading.Thread(target=act)
        thread.start()
        with socket.create_connection(("127.0.0.1", network.port), 10) as client:
            client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % store.getsockname()[1])
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            client.sendall(b"PUT")
            answer = client.recv(100)
        thread.join()
    assert acted == [b"PUT"]
    assert answer == (b"" if share else b"done")
    assert (network.answers, network.lost) == (1, int(share))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--joins", "1"], "--joins 1: only a Ray cluster has nodes"),
        (["--executor", "serial", "--freezes", "1"], "--freezes 1: only --executor pool"),
        (["--executor", "ray", "--freezes", "2"], "--freezes 2: only --executor pool"),
    ],
)
def test_faults_that_an_executor_cannot_have_are_refused(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert soak.main(["--corpus", str(tmp_path), *words]) == 2
    assert line in capsys.readouterr().err


@pytest.mark.soak
@pytest.mark.parametrize("executor", ["pool", "serial"])
def test_a_month_under_kills(tmp_path: Path, executor: str) -> None:
    words = ["--corpus", str(tmp_path), "--executor", executor, "--kills", "6"]
    assert soak.main([*words, "--workers", "2" if executor == "pool" else "1"]) == 0
    assert list(tmp_path.iterdir()) == [], "both corpora are deleted"
