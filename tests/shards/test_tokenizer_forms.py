"""Forms of `tokenizer.json` that a fast encoder could pass over: ids are those of the reference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corpus.errors import InputError
from shards.tokenizer.byte_spelling import CHAR_OF_BYTE
from shards.tokenizer.encode import FastEncoder, ReferenceEncoder, Tokenizer
from shards.tokenizer.vocabulary import Vocabulary
from tests.support.tokenizer_shapes import shape

FEW = {CHAR_OF_BYTE[byte] for byte in b" aehtxyz<>"}
TEXTS = [
    "the th  he<x> in <x>er x y  zzzz<x>",
    "  <x> the<x>\n\n<x>a b1234567 na\u00efve \uff21 \ufb01 e\u0301",
    "<X>THE a<x>b \u2581the",
    "",
    " ",
]


def small(name: str) -> tuple[dict[str, Any], str]:
    """A shape with the merges of a few letters."""
    document, end_of_text = shape(name)
    model = document["model"]
    merges = [pair for pair in model["merges"] if FEW.issuperset(pair)]
    pairs = {"".join(pair) for pair in model["merges"]} - {"".join(pair) for pair in merges}
    tokens = [token for token in model["vocab"] if token not in pairs]
    vocab = {token: index for index, token in enumerate(tokens)}
    added = [
        {**token, "id": len(vocab) + index} for index, token in enumerate(document["added_tokens"])
    ]
    made = {
        **document,
        "model": {**model, "merges": merges, "vocab": vocab},
        "added_tokens": added,
        "post_processor": None,
    }
    return json.loads(json.dumps(made)), end_of_text


def with_token(document: dict[str, Any], content: str, **flags: bool) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    index = len(document["model"]["vocab"]) + len(document["added_tokens"])
    token = {"id": index, "content": content, **plain, **flags}
    return {**document, "added_tokens": [*document["added_tokens"], token]}


def before(document: dict[str, Any], name: str, nested: str, part: dict[str, Any]) -> Any:
    """With one more normalizer or pre-tokenizer in front."""
    present = [document[name]] if document.get(name) else []
    return {**document, name: {"type": "Sequence", nested: [part, *present]}}


SPLIT = {"type": "Split", "pattern": {"String": "th"}, "behavior": "Isolated", "invert": False}
REPLACE = {"type": "Replace", "pattern": {"String": "he"}, "content": "a"}
FORMS: dict[str, Any] = {
    "as published": lambda document: document,
    "a plain token": lambda document: with_token(document, "<x>"),
    "a token that is a word": lambda document: with_token(document, "<x>", single_word=True),
    "a token with its spaces": lambda document: with_token(document, "<x>", lstrip=True),
    "and those behind": lambda document: with_token(document, "<x>", rstrip=True),
    "a normalized token": lambda document: with_token(document, "<x>", normalized=True),
    "a token of letters": lambda document: with_token(document, "zzz"),
    "a split of its own": lambda document: before(
        document, "pre_tokenizer", "pretokenizers", SPLIT
    ),
    "a replacement": lambda document: before(document, "normalizer", "normalizers", REPLACE),
    "other forms": lambda document: before(document, "normalizer", "normalizers", {"type": "NFKC"}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen", "o200k", "roberta"])
def test_ids_are_the_reference_s(name: str, form: str) -> None:
    import tokenizers

    document, end_of_text = small(name)
    document = FORMS[form](document)
    reference = tokenizers.Tokenizer.from_str(json.dumps(document))
    reference.encode_special_tokens = True
    ours = Tokenizer(Vocabulary(document, name, end_of_text))
    expected = [each.ids for each in reference.encode_batch(TEXTS, add_special_tokens=False)]
    assert ours.encode_batch(TEXTS) == expected
    if form == "as published":
        assert isinstance(ours._encoder, FastEncoder)


def test_a_panic_of_the_library_is_an_error_before_the_tokenizer_is_pinned() -> None:
    """Stripping and added tokens of spaces, as GPT-NeoX has them: `AddedVocabulary bad split`."""
    document, end_of_text = small("neox")
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    document = before(document, "normalizer", "normalizers", strip)
    with pytest.raises(InputError, match="cannot encode a text with it"):
        Tokenizer(Vocabulary(document, "neox", end_of_text)).encode("a")


def test_a_lack_of_memory_is_not_said_of_the_document() -> None:
    class Texts:
        def to_pylist(self) -> list[str]:
            raise MemoryError

    document, end_of_text = small("gpt2")
    encoder = ReferenceEncoder(Vocabulary(document, "gpt2", end_of_text))
    with pytest.raises(MemoryError):
        encoder(Texts())
