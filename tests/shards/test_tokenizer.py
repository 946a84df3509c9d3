from __future__ import annotations

import json
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpus.errors import InputError
from corpus.storage.store import open_store
from shards.tokenizer import encode, kernel, vocabulary
from shards.tokenizer.encode import Tokenizer


@cache
def gpt2(engine: encode.Engine = "kernel") -> Tokenizer:
    return Tokenizer(vocabulary.gpt2(), engine)


@cache
def library() -> Any:
    return gpt2("tokenizers")._library


def expected(text: str) -> list[int]:
    """The ids by the `tokenizers` library."""
    return list(library().encode(text).ids)


PIECES = st.sampled_from(
    ["'s", "'ll", "'", "''re", "'S", " ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u200b", "a", "Z", "é", "ß",
     "1", "½", "٣", "漢", "字", "ก็", "🙂", "👩‍👩‍👧", "e\u0301", ".", "...", "<|endoftext|>", "\x00", "\ufeff", "ﬀ", "\U0001d7ce"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(), st.lists(PIECES, max_size=30).map("".join), st.text(" a'\n1é", max_size=60)
)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
@example("don't we'll'd 'tis I'M  x \n\n y\n ")
@example("a" * 5000)
@example("ab" * 300 + " " * 300)
def test_same_ids_as_the_library_and_back(text: str) -> None:
    ids = gpt2().encode(text)
    assert ids == expected(text)
    assert gpt2().decode(ids) == text


@settings(max_examples=30, deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_engines_agree_on_batches(texts: list[str]) -> None:
    array = pa.array(texts, pa.string())
    ours, theirs = (
        gpt2(engine).encode_array(array, end_of_text=True) for engine in ("kernel", "tokenizers")
    )
    assert ours[0].tolist() == theirs[0].tolist()
    assert ours[1].tolist() == theirs[1].tolist()
    assert gpt2().encode_batch(texts) == [gpt2().encode(text) for text in texts]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("abc"), min_size=2, max_size=3), max_size=25, unique=True),
    st.text("abc", max_size=150),
)
def test_any_merges_scan_and_heap_agree_with_the_library(wanted: list[str], text: str) -> None:
    """Also for merges that no training gives, where encoders that look at joined tokens alone go wrong."""
    made: list[tuple[bytes, bytes]] = []
    for word in wanted:
        left, right = word[:-1].encode(), word[-1:].encode()
        known = {bytes([byte]) for byte in range(256)} | {a + b for a, b in made}
        if left in known and left + right not in known:
            made.append((left, right))
    small = vocabulary.from_merges(made)
    assert Tokenizer(small, "kernel").encode(text) == Tokenizer(small, "tokenizers").encode(text)


def test_unicode_classes_are_the_library_s() -> None:
    """At both sides of every run of equal classes, and at random code points."""
    from tokenizers.pre_tokenizers import ByteLevel

    rule = ByteLevel(add_prefix_space=False, use_regex=True)
    classes = kernel.unicode_classes()
    edges = np.flatnonzero(np.diff(classes[:0x110000])) + 1
    rng = random.Random(5)
    points = {
        *edges.tolist(),
        *(edges - 1).tolist(),
        *(rng.randrange(0x110000) for _ in range(3000)),
    }
    for point in sorted(points):
        if 0xD800 <= point < 0xE000:
            continue
        char = chr(point)
        assert _class(rule, char) == classes[point], hex(point)


def _class(rule: Any, char: str) -> int:
    for kind, neighbour in ((kernel.LETTER, "a"), (kernel.NUMBER, "1"), (kernel.OTHER, "!")):
        if len(rule.pre_tokenize_str(neighbour + char)) == 1:
            return kind
    return kernel.SPACE


def test_golden_encodings(shared: Path) -> None:
    data = (
        zstandard.ZstdDecompressor()
        .stream_reader((shared / "gpt2_bpe/golden.jsonl.zst").open("rb"))
        .read()
    )
    rows = [json.loads(line) for line in data.decode().splitlines()]
    assert gpt2().encode_batch([row["text"] for row in rows]) == [row["ids"] for row in rows]


def test_real_prose_and_hostile_strings(shared: Path) -> None:
    texts = []
    for name in ("rust_rfcs", "us_gov_18f"):
        with (shared / f"prose/dev/{name}.jsonl.zst").open("rb") as stream:
            reader = TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stream), "utf-8")
            texts += [json.loads(line)["text"] for line, _ in zip(reader, range(40), strict=False)]
    packed = (
        zstandard.ZstdDecompressor()
        .stream_reader((shared / "hostile/hostile.tar.zst").open("rb"))
        .read()
    )
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("text/blns.txt"))
        stream = archive.extractfile(member)
        assert stream is not None
        texts += stream.read().decode("utf-8").splitlines(keepends=True)
    assert gpt2().encode_batch(texts) == [expected(text) for text in texts]
    assert [gpt2().decode(ids) for ids in gpt2().encode_batch(texts)] == texts


def test_ids_do_not_depend_on_what_was_encoded_before() -> None:
    fresh = Tokenizer(vocabulary.gpt2(), "kernel")
    text = "the same words in another company " * 50
    before = fresh.encode(text)
    others = np.random.default_rng(0).integers(97, 123, (100_000, 8)).astype(np.uint8)
    others[:, 7] = ord(" ")
    fresh.encode(others.tobytes().decode())
    assert fresh.encode(text) == before


def test_threads_share_a_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """All words in one line of the cache: two writers at a time mixed them up within a few rounds."""
    monkeypatch.setattr(kernel, "CACHE_BITS", 0)
    shared = Tokenizer(vocabulary.gpt2(), "kernel")
    texts = ["aa bb" * 40_000, " ccc dddd" * 30_000]
    whole = [shared.encode(text) for text in texts]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            assert list(pool.map(shared.encode, texts)) == whole


def test_spelled_out_end_of_text_stays_text() -> None:
    for engine in ("kernel", "tokenizers"):
        ids, counts = gpt2(engine).encode_array(pa.array(["<|endoftext|>", ""]), end_of_text=True)
        assert ids.tolist() == [27, 91, 437, 1659, 5239, 91, 29, 50256, 50256]
        assert counts.tolist() == [8, 1]


def test_sliced_and_chunked_arrays() -> None:
    whole = pa.array(["zero", "one two", "three", "four"])
    assert gpt2().encode_array(whole.slice(1, 2))[0].tolist() == gpt2().encode(
        "one two"
    ) + gpt2().encode("three")
    chunked = pa.chunked_array([whole.slice(0, 1), whole.slice(3, 1)])
    assert gpt2().encode_array(chunked)[0].tolist() == gpt2().encode("zero") + gpt2().encode("four")


def test_texts_longer_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["word " * 30, "", "x", "more words here " * 9] * 5
    whole = gpt2().encode_array(pa.array(texts), end_of_text=True)
    monkeypatch.setattr(kernel, "CHUNK_BYTES", 100)
    pieces = gpt2().encode_array(pa.array(texts), end_of_text=True)
    assert [part.tolist() for part in whole] == [part.tolist() for part in pieces]


def test_a_long_text_without_a_space_is_no_trap() -> None:
    text = "".join(random.Random(1).choices("acgt", k=300_000))
    assert gpt2().decode(gpt2().encode(text)) == text


def test_bad_ids_and_text() -> None:
    with pytest.raises(InputError, match="token id 50257"):
        gpt2().decode([50257])
    with pytest.raises(UnicodeEncodeError):
        gpt2().encode("\ud800")
    assert gpt2().decode([*gpt2().encode("é")[:1], 50256]).endswith("<|endoftext|>")


def test_missing_engine_and_missing_tokenizer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        encode.importlib.util, "find_spec", lambda name: None if name == "numba" else name
    )
    assert encode.choose_engine("auto") == "tokenizers"
    with pytest.raises(InputError, match="numba is not installed"):
        encode.choose_engine("kernel")
    with pytest.raises(InputError, match=r"no tokenizer/tokenizer\.json; run `python -m shards"):
        encode.load_tokenizer(open_store(str(tmp_path)))
    for content in (b"{", b"[]", b"{}", b'{"model": 3, "pre_tokenizer": null}'):
        open_store(str(tmp_path)).write_bytes(encode.TOKENIZER_PATH, content)
        with pytest.raises(
            InputError, match=r"tokenizer/tokenizer\.json: not a tokenizer.json .* restore"
        ):
            encode.load_tokenizer(open_store(str(tmp_path)))
