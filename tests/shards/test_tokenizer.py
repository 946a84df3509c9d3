from __future__ import annotations

import json
import random
import sys
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
from shards.tokenizer import encode, vocabulary
from shards.tokenizer.encode import FastEncoder, ReferenceEncoder, Tokenizer


@cache
def gpt2() -> Tokenizer:
    return Tokenizer(vocabulary.gpt2())


@cache
def by_reference() -> Tokenizer:
    return with_encoder(ReferenceEncoder(vocabulary.gpt2()))


def with_encoder(encoder: Any) -> Tokenizer:
    made = Tokenizer(vocabulary.gpt2())
    made.__dict__["_encoder"] = encoder
    return made


def expected(text: str) -> list[int]:
    """The ids by the `tokenizers` library, which reads no special token in text here."""
    library = gpt2()._library
    library.encode_special_tokens = True
    return list(library.encode(text, add_special_tokens=False).ids)


def test_the_fast_encoder_is_used() -> None:
    assert isinstance(gpt2()._encoder, FastEncoder)


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
    ours, theirs = (each.encode_array(array, end_of_text=True) for each in (gpt2(), by_reference()))
    assert ours[0].tolist() == theirs[0].tolist()
    assert ours[1].tolist() == theirs[1].tolist()
    assert gpt2().encode_batch(texts) == [gpt2().encode(text) for text in texts]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("abc"), min_size=2, max_size=3), max_size=25, unique=True),
    st.text("abc", max_size=150),
)
def test_any_merges_agree_with_the_library(wanted: list[str], text: str) -> None:
    """Also for merges that no training gives, where encoders that look at joined tokens alone go wrong."""
    made: list[tuple[bytes, bytes]] = []
    for word in wanted:
        left, right = word[:-1].encode(), word[-1:].encode()
        known = {bytes([byte]) for byte in range(256)} | {a + b for a, b in made}
        if left in known and left + right not in known:
            made.append((left, right))
    small = vocabulary.from_merges(made)
    reference = ReferenceEncoder(small)
    texts = pa.array([text])
    assert FastEncoder(small, reference)(texts)[0].tolist() == reference(texts)[0].tolist()


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
    fresh = Tokenizer(vocabulary.gpt2())
    text = "the same words in another company " * 50
    before = fresh.encode(text)
    others = np.random.default_rng(0).integers(97, 123, (100_000, 8)).astype(np.uint8)
    others[:, 7] = ord(" ")
    fresh.encode(others.tobytes().decode())
    assert fresh.encode(text) == before


def test_threads_share_a_tokenizer() -> None:
    shared = Tokenizer(vocabulary.gpt2())
    texts = ["aa bb" * 40_000, " ccc dddd" * 30_000]
    whole = [shared.encode(text) for text in texts]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            assert list(pool.map(shared.encode, texts)) == whole


def test_an_encoder_that_is_renewed_gives_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gpt2().encode("the same words again " * 50)
    monkeypatch.setattr(encode, "RENEW_BYTES", 10)
    fresh = FastEncoder(vocabulary.gpt2(), ReferenceEncoder(vocabulary.gpt2()))
    texts = pa.array(["the same words again " * 50])
    made = []
    monkeypatch.setattr(fresh, "_renew", lambda real=fresh._renew: (made.append(1), real()))
    for _ in range(4):
        assert fresh(texts)[0].tolist() == whole
    assert len(made) == 3


def test_an_encoder_that_differs_on_the_probe_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FastEncoder.__call__

    def wrong(self: FastEncoder, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        ids, counts = real(self, texts)
        return ids + (np.arange(len(ids)) == len(ids) - 1), counts

    monkeypatch.setattr(FastEncoder, "__call__", wrong)
    assert isinstance(encode.choose_encoder(vocabulary.gpt2()), ReferenceEncoder)


def test_spelled_out_end_of_text_stays_text() -> None:
    for tokenizer in (gpt2(), by_reference()):
        ids, counts = tokenizer.encode_array(pa.array(["<|endoftext|>", ""]), end_of_text=True)
        assert ids.tolist() == [27, 91, 437, 1659, 5239, 91, 29, 50256, 50256]
        assert counts.tolist() == [8, 1]


def test_sliced_and_chunked_arrays() -> None:
    whole = pa.array(["zero", "one two", "three", "four"])
    assert gpt2().encode_array(whole.slice(1, 2))[0].tolist() == gpt2().encode(
        "one two"
    ) + gpt2().encode("three")
    chunked = pa.chunked_array([whole.slice(0, 1), whole.slice(3, 1)])
    assert gpt2().encode_array(chunked)[0].tolist() == gpt2().encode("zero") + gpt2().encode("four")


def test_no_texts_are_no_ids() -> None:
    ids, counts = gpt2().encode_array(pa.array([], pa.large_string()), end_of_text=True)
    assert (ids.tolist(), counts.tolist()) == ([], [])
    assert (ids.dtype, counts.dtype) == (np.uint32, np.int64)


def test_a_long_text_without_a_space_is_no_trap() -> None:
    text = "".join(random.Random(1).choices("acgt", k=300_000))
    assert gpt2().decode(gpt2().encode(text)) == text


def test_bad_ids_and_text() -> None:
    with pytest.raises(InputError, match="token id 50257"):
        gpt2().decode([50257])
    with pytest.raises(UnicodeEncodeError):
        gpt2().encode("\ud800")
    assert gpt2().decode([*gpt2().encode("é")[:1], 50256]).endswith("<|endoftext|>")


def test_missing_libraries_and_missing_tokenizer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gigatoken", None)
        assert isinstance(encode.choose_encoder(vocabulary.gpt2()), ReferenceEncoder)
        patch.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(InputError, match=r"not installed .*pip install webtext\[shards\]"):
            encode.choose_encoder(vocabulary.gpt2())
    with pytest.raises(InputError, match=r"no tokenizer/tokenizer\.json; run `webtext shards"):
        encode.load_tokenizer(open_store(str(tmp_path)))
    for content in (b"{", b"[]", b"{}", b'{"model": 3, "pre_tokenizer": null}'):
        open_store(str(tmp_path)).write_bytes(encode.TOKENIZER_PATH, content)
        with pytest.raises(
            InputError, match=r"tokenizer/tokenizer\.json: not a tokenizer.json .* restore"
        ):
            encode.load_tokenizer(open_store(str(tmp_path)))
