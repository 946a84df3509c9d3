"""Records that need no change are stored in the compressed form that they came in."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.storage.store import open_corpus
from corpus.tables.parquet import read_table
from crawl.warc import archives, records
from crawl.warc.archives import Capture, read_captures
from crawl.warc.verify import segment_problems
from crawl.warc.writer import digest, gzip_member, http_block, record_bytes
from tests.support.foreign_warc import HTML, import_warc

HEAD_BYTES = 10
URL = "http://e.example/a"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HTML), HTML)


def record(*, url: str = URL, body: bytes = HTML, block: bytes | None = None, **more: str) -> bytes:
    """A record as Common Crawl stores it. Fields that are named empty are left out."""
    fields = {
        "WARC-Record-ID": f"<urn:uuid:{url}>",
        "WARC-Date": "2026-01-02T03:04:05Z",
        "WARC-Target-URI": url,
        "WARC-Warcinfo-ID": "<urn:uuid:2>",
        "WARC-Payload-Digest": digest(body),
    } | {name.replace("_", "-"): value for name, value in more.items()}
    own = block or http_block("HTTP/1.1 200 OK", [(b"Content-Type", b"text/html")], body)
    stated = [(name, value) for name, value in fields.items() if value]
    return record_bytes("response", stated, own, "application/http; msgtype=response")


def named(data: bytes) -> bytes:
    """A member with a file name and a time in its header."""
    output = io.BytesIO()
    with gzip.GzipFile("a.warc", "wb", 6, output, 1_700_000_000) as stream:
        stream.write(data)
    return output.getvalue()


def captures(data: bytes) -> tuple[list[Capture], Counter[str]]:
    counts: Counter[str] = Counter()
    return list(read_captures(io.BytesIO(data), counts)), counts


@pytest.mark.parametrize("level", [1, 6, 9])
def test_a_member_that_needs_no_change_is_copied(level: int) -> None:
    first, second = (
        gzip.compress(record(url=f"{URL}{number}"), level, mtime=7) for number in range(2)
    )
    found, _ = captures(first + second)
    assert [each.member[HEAD_BYTES:] for each in found if each.member] == [
        first[HEAD_BYTES:],
        second[HEAD_BYTES:],
    ]
    assert [zlib.decompress(each.member or b"", 31) for each in found] == [
        each.record for each in found
    ]


def test_a_member_with_every_field_of_a_whole_response_is_copied() -> None:
    """WARC 1.1, section 5: none of these changes the meaning of the block."""
    every = {"WARC_Concurrent_To": "<urn:uuid:3>", "WARC_Identified_Payload_Type": "text/html"}
    for chosen in ((), *((name,) for name in every), tuple(every)):
        data = gzip.compress(record(**{name: every[name] for name in chosen}), 6, mtime=7)
        (found,), _ = captures(data)
        assert found.member is not None, chosen
        assert found.member[HEAD_BYTES:] == data[HEAD_BYTES:]


@pytest.mark.parametrize(
    "member",
    [
        gzip.compress(record(WARC_Payload_Digest="")),
        gzip.compress(record(WARC_Payload_Digest="sha1:" + "A" * 32)),
        gzip.compress(record(WARC_Payload_Digest="sha256:abc")),
        gzip.compress(record().replace(b"WARC-Block-Digest: sha1:", b"WARC-Block-Digest: sha1:A")),
        gzip.compress(record(WARC_Segment_Number="1")),
        gzip.compress(record(WARC_Target_URI=f"<{URL}>")),
        gzip.compress(record(X_Note="caf\u00e9")),
        gzip.compress(record().replace(b"WARC/1.1", b"WARC/0.9")),
        gzip.compress(record(block=b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + HTML)),
        gzip.compress(record(block=b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n" + HTML)),
        gzip.compress(
            record(
                block=b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED
            )
        ),
        gzip.compress(record(), 0),
        named(record()),
    ],
)
def test_any_other_is_written_anew(member: bytes) -> None:
    (found,), _ = captures(member)
    assert found.member is None
    response = records.parse_response(gzip.compress(found.record))
    assert (response.body, response.url) == (HTML, URL)
    assert response.fields["warc-payload-digest"] == digest(HTML) == found.payload_digest


PIECES = st.sampled_from(
    [
        gzip.compress(record()),
        gzip.compress(record(url=URL + "b", X_Note="a")),
        gzip.compress(record(url=URL + "c") + record(url=URL + "d")),
        gzip.compress(record_bytes("request", [], b"GET / HTTP/1.1\r\n\r\n", "application/http")),
        gzip.compress(record(url=URL + "e"))[:200],
        gzip.compress(record(url=URL + "f")).replace(b"\x02\x03", b"\x02\x13", 1),
        gzip.compress(b""),
        b"\0" * 40,
        gzip.compress(record(url=URL + "g")[:-30]),
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_captures_and_counts_are_those_of_the_other_reader(pieces: Iterable[bytes]) -> None:
    data = b"".join(pieces)
    found, counts = captures(data)
    with mock.patch.object(archives, "members_of", return_value=()):
        expected, expected_counts = captures(data)

    assert [(each.url, each.payload_digest, each.truncated) for each in found] == [
        (each.url, each.payload_digest, each.truncated) for each in expected
    ]
    assert counts == expected_counts


def test_copied_members_are_segments_that_verify(tmp_path: Path) -> None:
    source = tmp_path / "a.warc.gz"
    members = [gzip.compress(record(url=f"{URL}{n}"), 9) for n in range(6)]
    source.write_bytes(b"".join(members) + named(record(url=URL)))
    import_warc(tmp_path / "c", source)

    store = open_corpus(str(tmp_path / "c"))
    rows = read_table(store, "pages", "b").to_pylist()
    assert len(rows) == 7
    for path in {row["warc_file"] for row in rows}:
        assert segment_problems(store, path, [r for r in rows if r["warc_file"] == path]) == []
    stored = b"".join(store.read_bytes(path) for path in {row["warc_file"] for row in rows})
    assert all(member[HEAD_BYTES:] in stored for member in members)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_member_whose_end_is_stored_holds_the_same_bytes(data: bytes, num_plain: int) -> None:
    """Any reader of gzip gets them, and pages that came compressed take no more space."""
    member = gzip_member(data, 3, num_plain)
    assert gzip.decompress(member) == data
    assert zlib.decompressobj(31).decompress(member) == data

    page = zlib.compress(data * 40, 6)
    block = b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n" * 5
    twice = gzip_member(block + page, 3)
    assert len(gzip_member(block + page, 3, len(block))) <= len(twice) + 40
