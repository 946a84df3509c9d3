"""A vocabulary: a Hugging Face `tokenizer.json` with an end-of-document token.

The document is complete for any source file: it has the split rule, all special tokens and the
normalisation. `document_check` has verified every feature in it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from importlib import resources
from typing import Any

from xxhash import xxh3_128

from corpus.errors import InputError
from shards.tokenizer.byte_spelling import BYTE_ORDER, spell, unspell
from shards.tokenizer.document_check import check_document, components
from shards.tokenizer.split_rules import BYTE_LEVEL

END_OF_TEXT = "<|endoftext|>"
# Of OpenAI's published files.
GPT2_SHA256 = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "r50k_base.tiktoken": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
}


class Vocabulary:
    """A checked `tokenizer.json` and the id at the end of every document."""

    def __init__(
        self, document: Mapping[str, Any], source: str, end_of_text: str = END_OF_TEXT
    ) -> None:
        """Check `document` and find the token `end_of_text` in it.

        Raises: InputError naming the unknown, missing or contradictory part.
        """
        check_document(document, source)
        self.document = _with_stable_ids(document, source)
        self.end_of_text_token = end_of_text
        self.is_byte_level = any(
            each["type"] == "ByteLevel" for each in components(document.get("pre_tokenizer"))
        )
        found = self.token_ids.get(end_of_text)
        if found is None:
            raise InputError(
                f"{source}: no {end_of_text} in its vocabulary; name the token that ends a "
                "document with "
                "shards.tokenizer.end_of_text (its special tokens: "
                f"{', '.join(self.special_tokens[:12]) or 'none'})"
            )

        self.end_of_text = found

    @cached_property
    def token_ids(self) -> dict[str, int]:
        """Every token as the document spells it, with its id."""
        model = self.document["model"]
        if model["type"] == "Unigram":
            found = {piece: index for index, (piece, _) in enumerate(model["vocab"])}
        else:
            found = dict(model["vocab"])

        found.update({token["content"]: token["id"] for token in self._added_tokens})
        return found

    @property
    def special_tokens(self) -> list[str]:
        """Tokens for marking up a text, never found in one, in the order of the document."""
        return [token["content"] for token in self._added_tokens if token.get("special")]

    @cached_property
    def size(self) -> int:
        """One more than the largest id: ids may have gaps."""
        return max(self.token_ids.values()) + 1

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """Bytes of each token of a byte-level vocabulary to its id, added tokens apart."""
        added = {token["content"] for token in self._added_tokens} | {self.end_of_text_token}
        return {
            self._unspelled(token): index
            for token, index in self.token_ids.items()
            if token not in added
        }

    @cached_property
    def merges(self) -> tuple[tuple[bytes, bytes], ...]:
        """Merges of a byte-level vocabulary by rank."""
        unspelled = self._unspelled
        return tuple([(unspelled(left), unspelled(right)) for left, right in self._merge_pairs])

    @cached_property
    def token_bytes(self) -> dict[int, bytes]:
        """Bytes of each id of a byte-level vocabulary.

        An added token has the bytes of its spelling.
        """
        found = {index: token for token, index in self.ids.items()}
        found.update({token["id"]: token["content"].encode() for token in self._added_tokens})
        found[self.end_of_text] = self.end_of_text_token.encode()
        return found

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """Ids put before and after a text by the source's post-processor."""
        before: list[int] = []
        after: list[int] = []
        for each in components(self.document.get("post_processor")):
            first, last = _frame(each)
            before, after = first + before, after + last
        return before, after

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over everything that determines the ids of a text, for any source file."""
        if self._has_gpt2_form():
            return self._gpt2_fingerprint()

        model = dict(self.document["model"])
        if "merges" in model:
            model["merges"] = self._merge_pairs
        decisive = {
            "end_of_text": self.end_of_text,
            "added_tokens": sorted(self._added_tokens, key=lambda token: token["id"]),
            "normalizer": self.document.get("normalizer"),
            "pre_tokenizer": self.document.get("pre_tokenizer"),
            "post_processor": self.document.get("post_processor"),
            "model": model,
        }
        text = json.dumps(decisive, sort_keys=True, ensure_ascii=True, separators=(",", ":"))

        return xxh3_128(text.encode()).hexdigest()

    def to_json(self) -> str:
        """The whole document, as it is pinned and as Hugging Face reads it."""
        return json.dumps(self.document, ensure_ascii=False)

    @cached_property
    def _merge_pairs(self) -> list[tuple[str, ...]]:
        """Merges as pairs; older files write "left right"."""
        merges = self.document["model"].get("merges", ())
        return [tuple(each.split(" ") if isinstance(each, str) else each) for each in merges]

    @cached_property
    def _unspelled(self) -> Callable[[str], bytes]:
        """`unspell` with a memory: a token is a part of several merges."""
        return cache(unspell)

    @cached_property
    def encoder_json(self) -> str:
        """The document for encoding text: markup tokens cannot come out of one.

        They are no longer added tokens, and a model still able to produce them (Unigram picks whole
        pieces, `ignore_merges` whole words) has them under a name unlike any text.
        """
        marks = {*self.special_tokens, self.end_of_text_token}
        added = [token for token in self._added_tokens if token["content"] not in marks]
        model = dict(self.document["model"])

        if model["type"] == "Unigram":
            model["vocab"] = [
                [_unwritable(index) if piece in marks else piece, score]
                for index, (piece, score) in enumerate(model["vocab"])
            ]
        else:
            parts = {part for pair in self._merge_pairs for part in (*pair, "".join(pair))}
            kept = parts | {model.get("unk_token")}
            model["vocab"] = {
                token: index
                for token, index in self.token_ids.items()
                if token not in marks or token in kept
            }

        document = {
            **self.document,
            "model": model,
            "added_tokens": added,
            "post_processor": None,
        }

        return json.dumps(document, ensure_ascii=False)

    @property
    def _added_tokens(self) -> Sequence[Mapping[str, Any]]:
        return self.document.get("added_tokens") or ()

    def _has_gpt2_form(self) -> bool:
        """True for GPT-2's rule over ids without gaps: corpora of earlier versions have its fingerprint."""
        plain = (
            self.document["model"]["type"] == "BPE"
            and not self.document["model"].get("ignore_merges")
            and not self.document.get("normalizer")
            and not any(self.frame)
            and self.end_of_text_token == END_OF_TEXT
            and _is_gpt2_rule(self.document.get("pre_tokenizer"))
            and all(token.get("special") for token in self._added_tokens)
        )
        if not plain or len(self.token_ids) != self.size:
            return False

        try:
            for token in self.special_tokens:
                unspell(token)
        except ValueError:
            return False

        return True

    def _gpt2_fingerprint(self) -> str:
        by_id = {index: token for token, index in self.token_ids.items()}
        tokens = [
            b"" if index == self.end_of_text else self._unspelled(by_id[index])
            for index in range(self.size)
        ]
        digest = xxh3_128(f"byte-level gpt2-split {self.end_of_text}\n".encode())
        digest.update("".join([f"{token.hex()}\n" for token in tokens]).encode())
        digest.update(
            "".join([f"{left.hex()} {right.hex()}\n" for left, right in self.merges]).encode()
        )

        return digest.hexdigest()


def byte_level_document(
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    special_tokens: Mapping[str, int],
    rule: Mapping[str, Any] = BYTE_LEVEL,
    *,
    ignore_merges: bool = False,
) -> dict[str, Any]:
    """The `tokenizer.json` of a byte-level BPE vocabulary, its tokens spelled as such files spell them."""
    added = [
        {
            "id": index, "content": token, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True,
        }
        for token, index in sorted(special_tokens.items(), key=lambda entry: entry[1])
    ]  # fmt: skip

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": dict(rule),
        "post_processor": None,
        "decoder": dict(BYTE_LEVEL),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignore_merges,
            "vocab": dict(sorted({**vocab, **special_tokens}.items(), key=lambda entry: entry[1])),
            "merges": [[left, right] for left, right in merges],
        },
    }


def from_merges(merges: Sequence[tuple[bytes, bytes]]) -> Vocabulary:
    """A vocabulary numbered as GPT-2's: 256 bytes, one id per merge in order, then end-of-text."""
    tokens = [bytes([byte]) for byte in BYTE_ORDER] + [left + right for left, right in merges]
    vocab = {spell(token): index for index, token in enumerate(dict.fromkeys(tokens))}
    spelled = cache(spell)
    pairs = ((spelled(left), spelled(right)) for left, right in merges)
    document = byte_level_document(vocab, pairs, {END_OF_TEXT: len(vocab)})
    return Vocabulary(document, "merges")


@cache
def gpt2() -> Vocabulary:
    """GPT-2's own vocabulary, from the project's copy of its merges.

    Raises: InputError if that file was changed.
    """
    data = gzip.decompress(
        resources.files("shards.tokenizer").joinpath("gpt2_vocab.bpe.gz").read_bytes()
    )
    found = hashlib.sha256(data).hexdigest()
    if found != GPT2_SHA256["vocab.bpe"]:
        raise InputError(
            f"shards/tokenizer/gpt2_vocab.bpe.gz: sha256 {found}, expected "
            f"{GPT2_SHA256['vocab.bpe']}; install the project again"
        )

    return from_merges(read_merges(data))


def read_merges(data: bytes) -> list[tuple[bytes, bytes]]:
    """Merges of a `vocab.bpe` or `merges.txt`, one pair a line.

    Raises ValueError for any other content.
    """
    lines = data.decode().splitlines()
    if lines and lines[0].startswith("#version"):
        del lines[0]

    known: dict[str, bytes] = {}
    merges = []

    for line in lines:
        if not line:
            continue
        left, right = line.split(" ")
        for part in (left, right):
            if part not in known:
                known[part] = unspell(part)
        merges.append((known[left], known[right]))

    return merges


def _with_stable_ids(document: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """The document with ids reproduced by Hugging Face's loader.

    It numbers added tokens missing from the model one after another, and loses a gap before them.
    """
    model = document["model"]
    known = {piece for piece, _ in model["vocab"]} if model["type"] == "Unigram" else model["vocab"]
    new = {
        token["content"]: token["id"]
        for token in document.get("added_tokens") or ()
        if token["content"] not in known
    }
    if list(new.values()) == list(range(len(known), len(known) + len(new))):
        return document
    if isinstance(known, set):
        raise InputError(
            f"{source}: added tokens have ids {sorted(new.values())[:5]}; expected {len(known)} "
            "and on, after the pieces of the vocabulary"
        )

    vocab = dict(sorted({**known, **new}.items(), key=lambda entry: entry[1]))
    return {**document, "model": {**model, "vocab": vocab}}


def _frame(post_processor: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Ids put before and after a single text by one post-processor."""
    if post_processor["type"] in ("RobertaProcessing", "BertProcessing"):
        return [post_processor["cls"][1]], [post_processor["sep"][1]]
    if post_processor["type"] != "TemplateProcessing":
        return [], []

    before: list[int] = []
    after: list[int] = []
    here = before

    for piece in post_processor["single"]:
        if "Sequence" in piece:
            here = after
        else:
            here += post_processor["special_tokens"][piece["SpecialToken"]["id"]]["ids"]

    return before, after


def _unwritable(index: int) -> str:
    """A name found in no text: noncharacters, then a number."""
    return "\ufdd0\ufdd1" * 8 + str(index)


def _is_gpt2_rule(rule: Mapping[str, Any] | None) -> bool:
    return (
        rule is not None
        and rule["type"] == "ByteLevel"
        and not rule.get("add_prefix_space")
        and rule.get("use_regex", True)
    )
