"""Captures as others read them: warcio, `wacz validate`, and pywb that replays them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import resource
import shutil
import subprocess
import urllib.request
import zipfile
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from corpus.storage.store import open_corpus
from corpus.tables.parquet import read_table
from crawl.captures.local import LocalIndex
from tests.crawl.captures.pywb import Pywb, tool
from tests.support import grown_corpus
from webtext.captures import cdxj, command, wacz

BATCH = "2024-01"


def write(fates: grown_corpus.Fates, path: Path) -> Path:
    assert command.main(["--corpus", fates.root, "--batch", BATCH, "--to", str(path)]) == 0
    return path


def test_each_line_of_the_index_is_a_record(fates: grown_corpus.Fates, tmp_path: Path) -> None:
    lines = write(fates, tmp_path / "b.cdxj").read_text().splitlines()
    assert lines == sorted(lines)
    rows = read_table(fates.store, "pages", BATCH).to_pylist()
    stored = {row["final_url"]: row for row in rows if row["warc_file"]}
    found = set()
    for line in lines:
        _, time, text = line.split(" ", 2)
        fields = json.loads(text)
        start, length = int(fields["offset"]), int(fields["length"])
        segment = fates.store.read_bytes(f"warc/{BATCH}/{fields['filename']}")
        member = segment[start : start + length]
        gzip.decompress(member)  # whole, and nothing besides
        [record] = ArchiveIterator(io.BytesIO(member))
        assert record.rec_headers["WARC-Target-URI"] == fields["url"]
        assert record.http_headers.get_statuscode() == fields["status"]
        if (row := stored.get(fields["url"])) is not None:
            assert (row["warc_offset"], row["warc_length"]) == (start, length)
            assert row["payload_digest"] == f"sha1:{fields['digest']}"
            assert row["fetched_at"].strftime("%Y%m%d%H%M%S") == time
        found.add(fields["url"])

    assert {*stored} <= found
    assert fates.moved in found  # redirects too, so that old addresses replay
    assert "test,moved)/old" in {line.partition(" ")[0] for line in lines}


def test_an_index_of_more_segments_than_open_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month of a thousand shards ended with "too many open files"."""
    store = open_corpus(str(tmp_path / "c"), create=True)
    rng = random.Random(0)
    urls = [f"http://site{n}.test/a b{n}" for n in rng.sample(range(1000), 60)]
    for number, start in enumerate(range(0, 60, 2)):
        members = [_member(url) for url in urls[start : start + 2]]
        store.write_bytes(f"warc/b/part-{number:05}-00000.warc.gz", b"".join(members))

    monkeypatch.setattr(cdxj, "MOST_RUNS", 4, raising=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 12, hard))
    try:
        lines = list(cdxj.index_lines(store, "b"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert lines == sorted(lines)
    assert {line.split(" ")[1] for line in lines} == {"20240102030405"}, "a space ends the key"
    assert sorted(json.loads(line.split(" ", 2)[2])["url"] for line in lines) == sorted(urls)


def _member(url: str) -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nA page"
    head = (
        "WARC/1.1\r\nWARC-Type: response\r\nWARC-Date: 2024-01-02T03:04:05Z\r\n"
        f"WARC-Target-URI: {url}\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(block)}"
    )
    return gzip.compress(head.encode() + b"\r\n\r\n" + block + b"\r\n\r\n", mtime=0)


def test_a_package_holds_the_segments_and_names_every_file(
    fates: grown_corpus.Fates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wacz, "LINES_A_BLOCK", 7)
    path = write(fates, tmp_path / "b.wacz")
    with zipfile.ZipFile(path) as package:
        assert package.testzip() is None
        record = json.loads(package.read("datapackage.json"))
        listed = {each["path"]: each for each in record["resources"]}
        assert {*package.namelist()} == {*listed, "datapackage.json", "datapackage-digest.json"}
        for name, each in listed.items():
            data = package.read(name)
            assert each["bytes"] == len(data)
            assert each["hash"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
            assert package.getinfo(name).compress_type == zipfile.ZIP_STORED
            if name.startswith("archive/"):
                assert data == fates.store.read_bytes(f"warc/{BATCH}/{Path(name).name}")

        index = package.read("indexes/index.cdx.gz")
        first, *blocks = package.read("indexes/index.idx").decode().splitlines()
        assert first.startswith("!meta 0 ")
        whole = ""
        for line in blocks:
            key, time, text = line.split(" ", 2)
            place = json.loads(text)
            member = index[place["offset"] : place["offset"] + place["length"]]
            assert place["digest"] == f"sha256:{hashlib.sha256(member).hexdigest()}"
            block = gzip.decompress(member).decode()
            assert block.startswith(f"{key} {time} ")
            whole += block
        assert len(blocks) > 2

    assert whole == write(fates, tmp_path / "b.cdxj").read_text()
    [(_, captures)] = LocalIndex([path]).captures([fates.kept])
    assert [each.status for each in captures] == [200]


def test_wrong_places_are_refused_and_nothing_half_stays(
    fates: grown_corpus.Fates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--corpus", fates.root, "--batch", BATCH, "--to"]
    assert command.main([*words, str(tmp_path / "b.zip")]) == 2
    (tmp_path / "b.wacz").touch()
    assert command.main([*words, str(tmp_path / "b.wacz")]) == 2
    assert command.main(["--corpus", fates.root, "--batch", "1999-01", "--to", "x.wacz"]) == 2

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(wacz, "_pages", stop)
    assert command.main([*words, str(tmp_path / "c.wacz")]) == 130
    assert [each.name for each in tmp_path.iterdir()] == ["b.wacz"]


def test_the_validator_of_wacz_agrees(fates: grown_corpus.Fates, tmp_path: Path) -> None:
    folder = os.environ.get("WEBTEXT_WACZ")
    validator = shutil.which("wacz", path=f"{folder}/bin" if folder else None)
    if validator is None:
        pytest.skip(
            "wacz is not installed; install it in an environment of its own and set WEBTEXT_WACZ"
        )
    path = write(fates, tmp_path / "b.wacz")
    found = subprocess.run([validator, "validate", "-f", path], capture_output=True, text=True)
    assert "Validation succeeded" in found.stdout, found.stdout


@pytest.mark.skipif(tool("wb-manager") is None, reason="pywb is not installed: see test_pywb.py")
@pytest.mark.parametrize("ending", ["cdxj", "wacz"])
def test_pywb_replays_every_page(fates: grown_corpus.Fates, tmp_path: Path, ending: str) -> None:
    path = write(fates, tmp_path / f"b.{ending}")
    if ending == "wacz":
        server = Pywb(path, tmp_path, "--unpack-wacz")
    else:
        place = tmp_path / "collections/made"
        (place / "indexes").mkdir(parents=True)
        shutil.copytree(Path(fates.root) / "warc" / BATCH, place / "archive")
        shutil.copy(path, place / "indexes/index.cdxj")
        server = Pywb(None, tmp_path)

    try:
        for row in read_table(fates.store, "pages", BATCH).to_pylist():
            if row["warc_file"] is None:
                continue
            address = f"{server.root}/made/{row['fetched_at']:%Y%m%d%H%M%S}id_/{row['final_url']}"
            with urllib.request.urlopen(address) as answer:
                body = answer.read()
            assert len(body) == row["body_bytes"]
    finally:
        server.close()
