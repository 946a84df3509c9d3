"""Tokenizers of any model: ids are those of the project that the tokenizer comes from."""

from __future__ import annotations

import base64
import json
import random
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shards.tokenizer import vocabulary_files
from shards.tokenizer.encode import FastEncoder, Tokenizer
from shards.tokenizer.split_rules import SPLIT_RULES
from shards.tokenizer.vocabulary import Vocabulary
from tests.support.tokenizer_shapes import LLAMA3, QWEN, SHAPES, shape

FAST = {"gpt2", "llama3", "qwen", "neox", "o200k", "roberta", "llama2"}
"""Shapes that the fast library knows; the reference encodes the others."""


@cache
def ours(name: str) -> Tokenizer:
    document, end_of_text = shape(name)
    return Tokenizer(Vocabulary(json.loads(json.dumps(document)), name, end_of_text))


@cache
def reference(name: str) -> Any:
    """The source document in the `tokenizers` library, which leaves special tokens in text alone."""
    import tokenizers

    library = tokenizers.Tokenizer.from_str(json.dumps(shape(name)[0]))
    library.encode_special_tokens = True
    return library


def expected(name: str, texts: list[str]) -> list[list[int]]:
    return [each.ids for each in reference(name).encode_batch(texts, add_special_tokens=False)]


def contexts(points: list[int]) -> list[str]:
    """Each character between letters, digits, spaces, quotes, marks and line ends."""
    made = []
    for start in range(0, len(points), 200):
        chars = [chr(point) for point in points[start : start + 200]]
        made.append(
            "\n".join(f"a{c}B 1{c}2 {c}{c}x'{c} !{c}? e{c}\u0301 '{c}s \r{c}\n  {c}" for c in chars)
        )
        made.append("".join(chars))
        made += chars[:20]
    return made


@cache
def telling_contexts() -> list[str]:
    """The contexts of characters at which rules may differ."""
    return contexts(telling_points())


def telling_points() -> list[int]:
    """Both sides of every change of category, and of what NFC changes, and random ones."""
    rng = random.Random(7)
    found = {*range(0x250), *(rng.randrange(0x110000) for _ in range(1500))}
    before = ""
    for point in range(0x20000):
        kind = unicodedata.category(chr(point))
        if kind != before:
            found |= {point, max(point - 1, 0)}
        before = kind
        if not unicodedata.is_normalized("NFC", chr(point)):
            found.add(point)
    return sorted(point for point in found if not 0xD800 <= point < 0xE000)


@pytest.mark.parametrize("name", SHAPES)
def test_ids_are_those_of_the_source(name: str) -> None:
    texts = telling_contexts()
    ids, counts = ours(name).encode_array(pa.array(texts, pa.large_string()))
    found = [piece.tolist() for piece in np.split(ids, np.cumsum(counts)[:-1])]
    assert found == expected(name, texts)
    assert isinstance(ours(name)._encoder, FastEncoder) == (name in FAST)


@pytest.mark.soak
@pytest.mark.parametrize("name", SHAPES)
def test_every_code_point(name: str) -> None:
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(points), 20_000):
        texts = contexts(points[start : start + 20_000])
        assert ours(name).encode_batch(texts) == expected(name, texts)


@pytest.mark.parametrize("name", SHAPES)
def test_no_text_is_read_as_a_special_token(name: str) -> None:
    document, end_of_text = shape(name)
    special = [token["content"] for token in document["added_tokens"] if token["special"]]
    ids = {ours(name).vocabulary.token_ids[token] for token in special}
    texts = [*special, *(f"a {token} b{token}" for token in special)]
    for text, found in zip(texts, ours(name).encode_batch(texts), strict=True):
        assert not ids & set(found), text
        assert ours(name).decode(found) == text
    whole, counts = ours(name).encode_array(pa.array([end_of_text, "", "x"]), end_of_text=True)
    ends = np.cumsum(counts) - 1
    assert (whole[ends] == ours(name).end_of_text).all()
    assert np.count_nonzero(whole == ours(name).end_of_text) == 3


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("llama3", ["<|begin_of_text|>"], []),
        ("roberta", ["<s>"], []),
        ("llama2", ["<s>"], []),
        ("qwen", [], []),
    ],
)
def test_documents_are_framed_as_the_source_s_post_processor_frames_a_text(
    name: str, before: list[str], after: list[str]
) -> None:
    """What the source adds, is added; RoBERTa's own </s> is the end-of-text and stands once."""
    tokenizer = ours(name)
    ids = tokenizer.vocabulary.token_ids
    found, counts = tokenizer.encode_array(pa.array(["Hello world", ""]), end_of_text=True)
    frames = [ids[token] for token in before], [ids[token] for token in after]
    texts = expected(name, ["Hello world", ""])
    framed = [[*frames[0], *text, *frames[1], tokenizer.end_of_text] for text in texts]
    assert found.tolist() == [index for each in framed for index in each]
    assert counts.tolist() == [len(each) for each in framed]
    assert tokenizer.document_text(framed[0]) == "Hello world"
    with_special = reference(name).encode("Hello world").ids
    assert framed[0] in (with_special, [*with_special, tokenizer.end_of_text])


def test_our_rules_are_those_that_models_publish() -> None:
    assert SPLIT_RULES["cl100k"] == LLAMA3
    assert SPLIT_RULES["qwen2"] == QWEN


@pytest.mark.parametrize("name", ["gpt2", "cl100k", "o200k"])
def test_rank_files_give_tiktoken_s_ids(name: str, tmp_path: Path) -> None:
    """Against tiktoken's own patterns, through a rank file whose rule the user names."""
    tiktoken = pytest.importorskip("tiktoken")
    from tiktoken_ext import openai_public

    ranks = {bytes([byte]): byte for byte in range(256)}
    for left in range(256):
        for right in range(256):
            ranks[bytes([left, right])] = len(ranks)
    for word in (b"the", b"   ", b" the"):
        ranks[word] = len(ranks)
    path = tmp_path / "mine.tiktoken"
    path.write_bytes(
        b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())
    )
    end = f"<|endoftext|>={len(ranks)}"
    found = Tokenizer(vocabulary_files.load(str(path), split_rule=name, end_of_text=end))
    pattern = {
        "gpt2": openai_public.r50k_pat_str,
        "cl100k": _pattern(openai_public.cl100k_base),
        "o200k": _pattern(openai_public.o200k_base),
    }[name]
    theirs = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    texts = telling_contexts()
    assert found.encode_batch(texts) == [theirs.encode_ordinary(text) for text in texts]


def _pattern(constructor: Any) -> str:
    """The split pattern of a published encoding, whose ranks are not fetched."""
    from tiktoken_ext import openai_public

    real, openai_public.load_tiktoken_bpe = openai_public.load_tiktoken_bpe, lambda *_, **__: {}
    try:
        return str(constructor()["pat_str"])
    finally:
        openai_public.load_tiktoken_bpe = real
