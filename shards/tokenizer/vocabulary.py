"""A byte-level BPE vocabulary: its tokens and merges, from and to the formats that are around.

    vocab.bpe                    GPT-2's merges; the ids follow from them (256 bytes, the merges, end-of-text)
    encoder.json + vocab.bpe     the same with its ids written out
    tokenizer.json               Hugging Face
    *.tiktoken                   tokens by rank; the merges follow from the ranks

Byte-level files spell bytes as printable characters (GPT-2's `bytes_to_unicode`). GPT-2's own merges ship with the
project (`gpt2_vocab.bpe.gz`, from OpenAI's gpt-2 under its Modified MIT licence; see `gpt2_vocab.LICENSE`).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_128

from corpus.errors import InputError

END_OF_TEXT = "<|endoftext|>"
GPT2_SHA256 = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "r50k_base.tiktoken": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
}
"""Of OpenAI's published files."""


def _byte_order() -> list[int]:
    """The bytes in the order of GPT-2's first 256 ids: those that print as themselves, then the others."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return plain + [byte for byte in range(256) if byte not in set(plain)]


BYTE_ORDER = _byte_order()
CHAR_OF_BYTE = {
    byte: chr(byte) if index < 188 else chr(256 + index - 188)
    for index, byte in enumerate(BYTE_ORDER)
}
_SPELLED = str.maketrans({chr(byte): char for byte, char in CHAR_OF_BYTE.items()})
_UNSPELLED = str.maketrans(
    {chr(point): "\uffff" for point in range(256)}
    | {char: chr(byte) for byte, char in CHAR_OF_BYTE.items()}
)


def spell(token: bytes) -> str:
    """A token as byte-level files write it."""
    return token.decode("latin-1").translate(_SPELLED)


def unspell(text: str) -> bytes:
    """The token that byte-level files write so. Raises ValueError for a character that stands for no byte."""
    return text.translate(_UNSPELLED).encode("latin-1")


class _Unspelled(dict[str, bytes]):
    """`unspell`, remembered: merges name each token many times."""

    def __missing__(self, text: str) -> bytes:
        self[text] = token = unspell(text)
        return token


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, merges by rank, and the end-of-text that no text contains."""

    tokens: tuple[bytes, ...]
    """By id; empty at ids that are taken by end-of-text."""
    merges: tuple[tuple[bytes, bytes], ...]
    end_of_text: int

    @property
    def size(self) -> int:
        """Number of ids, end-of-text included."""
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """Token to id."""
        return {
            token: index for index, token in enumerate(self.tokens) if index != self.end_of_text
        }

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over what determines the ids of a text, whatever file it came from."""
        digest = xxh3_128(f"byte-level gpt2-split {self.end_of_text}\n".encode())
        digest.update("".join([f"{token.hex()}\n" for token in self.tokens]).encode())
        digest.update(
            "".join([f"{left.hex()} {right.hex()}\n" for left, right in self.merges]).encode()
        )
        return digest.hexdigest()

    def byte_ids(self) -> np.ndarray:
        """Id of each single byte. Shape (256,) uint32."""
        return np.array([self.ids[bytes([byte])] for byte in range(256)], np.uint32)

    def merge_ids(self) -> np.ndarray:
        """Merges as ids (left, right, both together), by rank. Shape (m, 3) int64."""
        ids = self.ids
        rows = [(ids[left], ids[right], ids[left + right]) for left, right in self.merges]
        return np.array(rows, np.int64).reshape(-1, 3)

    def check(self, source: str) -> Vocabulary:
        """Itself, if it can encode any text. Raises InputError saying what is missing."""
        if missing := [byte for byte in range(256) if bytes([byte]) not in self.ids]:
            raise InputError(
                f"{source}: no token for byte 0x{missing[0]:02x} ({len(missing)} bytes without): not a byte-level vocabulary"
            )
        for left, right in self.merges:
            if left not in self.ids or right not in self.ids or left + right not in self.ids:
                raise InputError(
                    f"{source}: merge {spell(left)} {spell(right)} names a token that the vocabulary lacks"
                )
        if not 0 <= self.end_of_text < self.size:
            raise InputError(f"{source}: no {END_OF_TEXT}")
        return self

    def to_json(self, *, with_end_of_text: bool = True) -> str:
        """As a Hugging Face tokenizer.json. Without end-of-text, text that spells it stays text there too."""
        added = {
            "id": self.end_of_text, "content": END_OF_TEXT, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True,
        }  # fmt: skip
        byte_level = {
            "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
        }  # fmt: skip
        spelled = {token: spell(token) for token in self.ids}
        vocab = {spelled[token]: index for token, index in self.ids.items()}
        if with_end_of_text:
            vocab[END_OF_TEXT] = self.end_of_text
        document = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [added] if with_end_of_text else [],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": dict(sorted(vocab.items(), key=lambda entry: entry[1])),
                "merges": [[spelled[left], spelled[right]] for left, right in self.merges],
            },
        }
        return json.dumps(document, ensure_ascii=False)


@cache
def gpt2() -> Vocabulary:
    """GPT-2's own vocabulary, from the merges that ship with the project. Raises InputError when they were changed."""
    data = gzip.decompress(
        resources.files("shards.tokenizer").joinpath("gpt2_vocab.bpe.gz").read_bytes()
    )
    found = hashlib.sha256(data).hexdigest()
    if found != GPT2_SHA256["vocab.bpe"]:
        raise InputError(
            f"shards/tokenizer/gpt2_vocab.bpe.gz: sha256 {found}, expected {GPT2_SHA256['vocab.bpe']}; install the project anew"
        )
    return from_bpe(data, "gpt2")


def load(source: str) -> Vocabulary:
    """The vocabulary in a file or folder, by its format.

    Raises: InputError for a missing file, an unknown format, or a vocabulary that cannot encode any text.
    """
    path = Path(source)
    if path.is_dir():
        names = [name for name in ("tokenizer.json", "vocab.bpe") if (path / name).is_file()]
        if not names:
            raise InputError(
                f"tokenizer source {source}: neither tokenizer.json nor vocab.bpe in that folder"
            )
        path = path / names[0]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"tokenizer source {source}: {error.strerror}; name gpt2, train, or a file"
        ) from error
    try:
        if path.suffix == ".tiktoken":
            return from_tiktoken(data, str(path))
        if path.suffix == ".bpe":
            encoder = path.with_name("encoder.json")
            return from_bpe(
                data, str(path), json.loads(encoder.read_bytes()) if encoder.is_file() else None
            )
        if path.name == "encoder.json":
            return from_bpe(path.with_name("vocab.bpe").read_bytes(), str(path), json.loads(data))
        return from_json(json.loads(data), str(path))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"tokenizer source {path}: not readable as tokenizer.json, vocab.bpe or .tiktoken ({type(error).__name__}: {error})"
        ) from error


def check_sha256(source: str, expected: str) -> None:
    """Compare a file with the digest a user pinned. Raises InputError with both."""
    try:
        found = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"tokenizer source {source}: {error.strerror}") from error
    if found != expected.lower():
        raise InputError(f"tokenizer source {source}: sha256 {found}, expected {expected}")


def from_merges(merges: Sequence[tuple[bytes, bytes]]) -> Vocabulary:
    """GPT-2's way to number: 256 bytes, one id per merge in order, then end-of-text."""
    tokens = list(
        dict.fromkeys(
            [bytes([byte]) for byte in BYTE_ORDER] + [left + right for left, right in merges]
        )
    )
    return Vocabulary((*tokens, b""), tuple(merges), len(tokens))


def from_bpe(data: bytes, source: str, encoder: Mapping[str, int] | None = None) -> Vocabulary:
    """From vocab.bpe, and encoder.json where there is one."""
    lines = data.decode().splitlines()
    if lines and lines[0].startswith("#version"):
        del lines[0]
    pairs = [line.split(" ") for line in lines if line]
    if encoder is not None:
        return _from_vocab(encoder, pairs, source)
    unspelled = _Unspelled()
    return from_merges([(unspelled[left], unspelled[right]) for left, right in pairs]).check(source)


def from_json(document: Mapping[str, Any], source: str) -> Vocabulary:
    """From a Hugging Face tokenizer.json with GPT-2's split rule. Raises InputError for any other."""
    model = document["model"]
    rule = document["pre_tokenizer"] or {}
    plain = (
        model["type"] == "BPE"
        and rule.get("type") == "ByteLevel"
        and not rule.get("add_prefix_space")
        and rule.get("use_regex", True)
        and not document.get("normalizer")
        and not model.get("ignore_merges")
        and not model.get("dropout")
    )
    if not plain:
        raise InputError(
            f"{source}: expected a BPE model with the plain ByteLevel rule of GPT-2 (no normalizer, no prefix space, no dropout), found "
            f"model {model['type']}, pre_tokenizer {rule.get('type')}"
        )
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    vocab = dict(model["vocab"])
    vocab.update({token["content"]: token["id"] for token in document.get("added_tokens", ())})
    return _from_vocab(vocab, pairs, source)


def from_tiktoken(data: bytes, source: str) -> Vocabulary:
    """From tokens by rank: a token's merge is what encoding it with the ranks below its own comes to."""
    ranks = {}
    for line in data.splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    tokens = sorted(ranks, key=lambda token: ranks[token])
    if [ranks[token] for token in tokens] != list(range(len(tokens))):
        raise InputError(f"{source}: ranks are not 0..{len(tokens) - 1} without gaps")
    merges = [_split_by_ranks(token, ranks) for token in tokens if len(token) > 1]
    return Vocabulary((*tokens, b""), tuple(merges), len(tokens)).check(source)


def _split_by_ranks(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that lower ranks leave of a token."""
    none = len(ranks)
    parts = [token[i : i + 1] for i in range(len(token))]
    joined = [ranks.get(left + right, none) for left, right in pairwise(parts)]
    while len(parts) > 2:
        best = joined.index(min(joined))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
        del joined[best]
        if best:
            joined[best - 1] = ranks.get(parts[best - 1] + parts[best], none)
        if best < len(joined):
            joined[best] = ranks.get(parts[best] + parts[best + 1], none)
    return parts[0], parts[1]


def _from_vocab(
    vocab: Mapping[str, int], pairs: Sequence[Sequence[str]], source: str
) -> Vocabulary:
    if END_OF_TEXT not in vocab:
        raise InputError(f"{source}: no {END_OF_TEXT} in its vocabulary")
    by_id = {index: text for text, index in vocab.items()}
    if len(by_id) != len(vocab) or sorted(by_id) != list(range(len(vocab))):
        raise InputError(f"{source}: ids are not 0..{len(vocab) - 1}, each once")
    unspelled = _Unspelled({END_OF_TEXT: b""})
    tokens = tuple(unspelled[by_id[index]] for index in range(len(by_id)))
    merges = tuple((unspelled[left], unspelled[right]) for left, right in pairs)
    return Vocabulary(tokens, merges, vocab[END_OF_TEXT]).check(source)
