"""Content codings at their borders: heads and trailers cut anywhere, limits at their last byte."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence

import brotli
import pytest
import zstandard

from crawl.warc import body as bodies
from crawl.warc import codings
from crawl.warc.body import BodyDecoder, BombError, content_encodings, ignored_encodings
from crawl.warc.codings import EncodingError

MIB = 1 << 20
TEXT = b"some text of a page, and more of it " * 40


def decoded(encodings: Sequence[str], wire: bytes, piece: int = 1 << 20) -> BodyDecoder:
    decoder = BodyDecoder(encodings, max_bytes=MIB)
    for start in range(0, len(wire), piece):
        decoder.feed(wire[start : start + piece])
    return decoder


@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize(
    ("encodings", "wire", "repairs"),
    [
        (["gzip"], gzip.compress(TEXT), ()),
        (["gzip"], zlib.compress(TEXT), ("zlib_named_gzip",)),
        (["gzip"], TEXT, ("plain_named_gzip",)),
        (["gzip"], gzip.compress(TEXT)[:-8] + bytes(8), ("bad_checksum",)),
        (["gzip"], gzip.compress(TEXT)[:-4] + bytes(4), ("bad_checksum",)),
        (["gzip"], gzip.compress(TEXT) + b"more", ("trailing_bytes",)),
        (["gzip"], gzip.compress(TEXT) + bytes(40), ()),
        (["gzip"], gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]), ()),
        (["deflate"], zlib.compress(TEXT), ()),
        (["deflate"], zlib.compress(TEXT, wbits=-15), ()),
        (["deflate"], zlib.compress(TEXT)[:-1] + b"\0", ("bad_checksum",)),
        (["deflate"], zlib.compress(TEXT) + b"more", ()),
        (["deflate"], gzip.compress(TEXT), ("gzip_named_deflate",)),
        (["br"], brotli.compress(TEXT), ()),
        (["br"], brotli.compress(TEXT) + b"more", ("trailing_bytes",)),
        (["zstd"], zstandard.compress(TEXT), ()),
        (["zstd"], zstandard.compress(TEXT[:9]) + zstandard.compress(TEXT[9:]), ()),
        ([], gzip.compress(TEXT), ("gzip_unlabelled",)),
        ([], TEXT, ()),
        ([], b"\x1f\x8b" + TEXT, ()),
    ],
)
def test_bodies_and_their_repairs_however_they_are_cut(
    encodings: list[str], wire: bytes, repairs: tuple[str, ...], piece: int
) -> None:
    decoder = decoded(encodings, wire, piece)
    plain = not encodings and "gzip_unlabelled" not in repairs
    assert decoder.body == (wire if plain else TEXT)
    assert decoder.repairs == repairs
    assert decoder.wire_bytes == len(wire)
    assert decoder.is_encoded is bool(encodings or repairs)


@pytest.mark.parametrize("level", range(10))
def test_heads_of_zlib_under_the_name_of_gzip(level: int) -> None:
    """Second bytes that zlib's own compressor writes; any other text may begin with an x."""
    assert decoded(["gzip"], zlib.compress(TEXT, level)).repairs == ("zlib_named_gzip",)
    assert decoded(["gzip"], b"x" + bytes([level + 32]) + TEXT).repairs == ("plain_named_gzip",)


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_the_beginning_of_a_gzip_head_is_held_and_passes_as_it_is(size: int) -> None:
    """Without a label, only a whole head of ten bytes is believed."""
    head = gzip.compress(TEXT)[:size]
    decoder = decoded([], head)
    assert decoder.body == head
    assert decoder.decoded_bytes == 0
    decoder.feed(gzip.compress(TEXT)[size:])
    assert decoder.body == TEXT
    # Under a label two bytes decide.
    assert decoded(["gzip"], head).body == b""


def test_a_gzip_head_has_at_most_64_kib() -> None:
    """Of a name without an end."""
    head = b"\x1f\x8b\x08\x08" + bytes(6)
    for size, refused in ((1 << 16, False), ((1 << 16) + 1, True)):
        decoder = BodyDecoder(["gzip"], max_bytes=MIB)
        wire = head + b"n" * (size - len(head))
        decoder.feed(wire[:-1])
        if refused:
            with pytest.raises(EncodingError, match="no end"):
                decoder.feed(wire[-1:])
        else:
            decoder.feed(wire[-1:])
            decoder.feed(b"\0" + zlib.compress(TEXT, wbits=-15))
            assert decoder.body == TEXT


@pytest.mark.parametrize(
    ("magic", "skipped"),
    [(0x184D2A4F, False), (0x184D2A50, True), (0x184D2A5F, True), (0x184D2A60, False)],
)
def test_frames_of_zstd_that_are_skipped(magic: int, skipped: bool) -> None:
    """RFC 8878, section 3.1.2: sixteen magic numbers."""
    frame = magic.to_bytes(4, "little") + (4).to_bytes(4, "little") + b"meta"
    decoder = decoded(["zstd"], zstandard.compress(TEXT[:9]) + frame + zstandard.compress(TEXT[9:]))
    assert decoder.body == (TEXT if skipped else TEXT[:9])
    assert decoder.repairs == (() if skipped else ("trailing_bytes",))


@pytest.mark.parametrize("encodings", [["gzip"], ["deflate"], ["br"], ["zstd"], []])
@pytest.mark.parametrize(("limit", "full"), [(-1, True), (0, False), (1, False)])
def test_a_body_is_full_beyond_its_last_byte(encodings: list[str], limit: int, full: bool) -> None:
    """One of exactly the limit is whole, so it is not marked as cut."""
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress}  # fmt: skip
    wire = pack[encodings[0]](TEXT) if encodings else TEXT
    decoder = BodyDecoder(encodings, max_bytes=len(TEXT) + limit)
    decoder.feed(wire)
    assert decoder.full is full
    assert decoder.body == TEXT[: len(TEXT) + min(limit, 0)]
    assert decoder.decoded_bytes == len(decoder.body)


@pytest.mark.parametrize(("allowed", "refused"), [(2, True), (3, False), (4, False)])
def test_the_number_of_codings_is_limited(allowed: int, refused: bool) -> None:
    names = ["gzip", "deflate", "br"]
    if refused:
        with pytest.raises(EncodingError, match="3 content encodings, limit 2"):
            BodyDecoder(names, max_bytes=MIB, max_encodings=allowed)
    else:
        BodyDecoder(names, max_bytes=MIB, max_encodings=allowed)
    # Without a limit of its own, a record may have four.
    BodyDecoder(["gzip"] * 4, max_bytes=MIB)
    with pytest.raises(EncodingError, match="5 content encodings, limit 4"):
        BodyDecoder(["gzip"] * 5, max_bytes=MIB)


def test_the_ratio_is_that_of_decoded_to_received_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just at the ratio, and just at the free bytes, is no bomb."""
    wire = zlib.compress(bytes(10_000))
    for free, ratio, bomb in (
        (9_999, 10_000 / len(wire), False),
        (9_999, 9_999 / len(wire), True),
        (10_000, 1.0, False),
    ):
        monkeypatch.setattr(bodies, "RATIO_FREE_BYTES", free)
        decoder = BodyDecoder(["deflate"], max_bytes=MIB, max_ratio=ratio)
        if bomb:
            with pytest.raises(BombError, match=f"10000 bytes out of {len(wire)}"):
                decoder.feed(wire)
        else:
            decoder.feed(wire)
            assert len(decoder.body) == 10_000


def test_bytes_are_decoded_in_steps() -> None:
    """Pieces are small, so a bomb is seen before it has unfolded. Brotli's may be half a step more."""
    for name, wire, most in (
        ("gzip", gzip.compress(bytes(MIB)), codings.STEP_BYTES),
        ("deflate", zlib.compress(bytes(MIB)), codings.STEP_BYTES),
        ("br", brotli.compress(bytes(MIB)), 1.5 * codings.STEP_BYTES),
    ):
        pieces = [len(piece) for piece in codings.open_decoder(name).feed(wire)]
        assert sum(pieces) == MIB
        assert codings.STEP_BYTES <= max(pieces) <= most


def test_names_of_codings() -> None:
    values = ["GZIP , br", "identity", "utf-8,,none", "x-gzip"]
    assert content_encodings(values) == ["gzip", "br", "x-gzip"]
    assert ignored_encodings(values) == ["utf-8"]
    for name in ("gzip", "x-gzip", "deflate", "br", "zstd"):
        codings.open_decoder(name)
    with pytest.raises(EncodingError, match="unknown content encoding 'compress'"):
        codings.open_decoder("compress")


@pytest.mark.parametrize(
    ("body", "is_text"),
    [(b"x" * 511 + b"\0", False), (b"x" * 512 + b"\0", True), (b"%PDF-1", False), (b"%PDF", True), (b"", True),
     (b"\xff\xfe\0", True), *((bytes([code]), code not in {*range(9), 11, *range(14, 27), *range(28, 32)}) for code in range(256))],
)  # fmt: skip
def test_binary_bytes_are_looked_for_in_the_head(body: bytes, is_text: bool) -> None:
    """WHATWG MIME sniffing, section 7.1: 512 bytes here, and these control characters."""
    assert bodies.looks_like_text(body) is is_text


@pytest.mark.parametrize(("before", "is_page"), [(1018, True), (1019, False)])
def test_the_root_of_an_xml_page_is_in_its_head(before: int, is_page: bool) -> None:
    page = b" " * before + b"<html>"
    assert bodies.looks_like_page("application/xml", page) is is_page
    assert bodies.looks_like_page("application/octet-stream", page)
