"""Vocabularies from the file formats in use.

    tokenizer.json               Hugging Face; complete
    vocab.bpe [+ encoder.json]   GPT-2's merges; ids follow from them (256 bytes, the merges, end-of-text)
    vocab.json + merges.txt      Hugging Face's names for the same two files
    *.tiktoken                   tokens by rank; merges follow from the ranks

Only the first says how text is split into words. The others are accepted without `split_rule` if
their content is a published vocabulary with a known rule; a wrong rule would give wrong ids without
any error.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from corpus.errors import InputError
from corpus.json_values import json_value
from shards.tokenizer.byte_spelling import CHAR_OF_BYTE, spell
from shards.tokenizer.split_rules import SPLIT_RULES
from shards.tokenizer.vocabulary import (
    END_OF_TEXT,
    GPT2_SHA256,
    Vocabulary,
    byte_level_document,
    from_merges,
    gpt2,
    read_merges,
)

# Rank files by sha256: name, split rule, special tokens. From tiktoken 0.14,
# `tiktoken_ext/openai_public.py`.
PUBLISHED: dict[str, tuple[str, str, dict[str, int]]] = {
    GPT2_SHA256["r50k_base.tiktoken"]: ("r50k_base", "gpt2", {END_OF_TEXT: 50256}),
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": (
        "p50k_base",
        "gpt2",
        {END_OF_TEXT: 50256},
    ),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": (
        "cl100k_base",
        "cl100k",
        {
            END_OF_TEXT: 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": (
        "o200k_base",
        "o200k",
        {END_OF_TEXT: 199999, "<|endofprompt|>": 200018},
    ),
}
MERGE_FILES = ("vocab.bpe", "merges.txt")
# Pairs of files in one folder: merges, and ids of their tokens.
ID_FILES = {"vocab.bpe": "encoder.json", "merges.txt": "vocab.json"}


def load(source: str, *, split_rule: str = "", end_of_text: str = "") -> Vocabulary:
    """Read the vocabulary in a file or folder.

    `split_rule` names a rule for formats without one; `end_of_text` the last token of a document,
    as NAME or, for a rank file, NAME=ID. Raises: InputError for a missing file, an unknown format
    or feature, or a vocabulary unable to encode some text.
    """
    path = Path(source)
    if path.is_dir():
        path = _file_in(path, source)

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"tokenizer source {source}: {error.strerror}; expected gpt2, train, or a file"
        ) from error

    try:
        if path.suffix == ".tiktoken":
            return _from_ranks(data, str(path), split_rule, end_of_text)
        if path.suffix == ".bpe" or path.name in (*MERGE_FILES, *ID_FILES.values()):
            return _from_merge_files(path, split_rule, end_of_text)
        if split_rule:
            raise InputError(
                f"tokenizer source {path}: shards.tokenizer.split_rule = {split_rule!r}, but a "
                "tokenizer.json names its own rule; leave it empty"
            )

        return Vocabulary(json_value(data), str(path), end_of_text or END_OF_TEXT)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"tokenizer source {path}: not readable as tokenizer.json, vocab.bpe, merges.txt or "
            f".tiktoken ({type(error).__name__}: {error})"
        ) from error


def check_sha256(source: str, expected: str) -> None:
    """Compare a file with the digest a user pinned. Raises InputError with both."""
    try:
        found = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"tokenizer source {source}: {error.strerror}") from error
    if found != expected.lower():
        raise InputError(f"tokenizer source {source}: sha256 {found}, expected {expected}")


def _file_in(folder: Path, source: str) -> Path:
    for name in ("tokenizer.json", *MERGE_FILES):
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"tokenizer source {source}: neither tokenizer.json nor vocab.bpe nor merges.txt in that "
        "folder"
    )


def _from_merge_files(path: Path, split_rule: str, end_of_text: str) -> Vocabulary:
    """From merges and, where they lie beside them, the ids of the tokens."""
    if path.name in ID_FILES.values():
        merges_name = next(name for name, ids in ID_FILES.items() if ids == path.name)
        path = path.with_name(merges_name)

    merges = read_merges(path.read_bytes())
    if not split_rule:
        # The merges are GPT-2's own in RoBERTa, OPT and many others, so their rule is GPT-2's.
        if tuple(merges) != gpt2().merges:
            raise _rule_missing(path)
        split_rule = "gpt2"

    ids_path = path.with_name(ID_FILES.get(path.name, "encoder.json"))
    if not ids_path.is_file():
        found = from_merges(merges)
        vocab, special = dict(found.token_ids), {END_OF_TEXT: found.end_of_text}
    else:
        vocab = json_value(ids_path.read_bytes())
        special = _special_tokens(vocab, merges, str(ids_path))

    pairs = ((spell(left), spell(right)) for left, right in merges)
    document = byte_level_document(vocab, pairs, special, SPLIT_RULES[split_rule])
    return Vocabulary(document, str(path), end_of_text or END_OF_TEXT)


def _special_tokens(
    vocab: Mapping[str, int], merges: Sequence[tuple[bytes, bytes]], source: str
) -> dict[str, int]:
    """Tokens not made by any merge.

    Raises InputError for one that does not look like a special token.
    """
    made = set(CHAR_OF_BYTE.values()) | {spell(left + right) for left, right in merges}
    special = {token: index for token, index in vocab.items() if token not in made}
    for token in special:
        if not (token.startswith("<") and token.endswith(">")) and not token.startswith(
            "madeupword"
        ):
            raise InputError(
                f"{source}: no merge makes the token {token!r}: this is not a byte-level "
                "vocabulary; use its tokenizer.json"
            )

    return special


def _from_ranks(data: bytes, source: str, split_rule: str, end_of_text: str) -> Vocabulary:
    """From tokens by rank: a token's merge is its encoding by the ranks below its own."""
    ranks: dict[bytes, int] = {}
    for line in data.splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)

    tokens = sorted(ranks, key=lambda token: ranks[token])
    known = PUBLISHED.get(hashlib.sha256(data).hexdigest())
    if known is None:
        if [ranks[token] for token in tokens] != list(range(len(tokens))):
            raise InputError(f"{source}: ranks are not 0..{len(tokens) - 1} without gaps")
        if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
            raise InputError(
                f"{source}: no token for byte 0x{missing[0]:02x} ({len(missing)} bytes without)"
            )
        special, end = _named_end(source, split_rule, end_of_text)
    else:
        _, own_rule, special = known
        if split_rule not in ("", own_rule):
            raise InputError(
                f"{source}: this is {known[0]}, whose split rule is {own_rule}, not {split_rule}; "
                "leave shards.tokenizer.split_rule empty"
            )
        split_rule, end = own_rule, end_of_text or END_OF_TEXT

    merges = [_split_by_ranks(token, ranks) for token in tokens if len(token) > 1]
    # tiktoken takes a whole word that is a token as it is. GPT-2's own merges make each of its tokens anyway.
    document = byte_level_document(
        {spell(token): rank for token, rank in ranks.items()},
        ((spell(left), spell(right)) for left, right in merges),
        special,
        SPLIT_RULES[split_rule],
        ignore_merges=split_rule != "gpt2",
    )

    return Vocabulary(document, source, end)


def _named_end(source: str, split_rule: str, end_of_text: str) -> tuple[dict[str, int], str]:
    """The user's end-of-text for an unpublished rank file."""
    if not split_rule:
        raise _rule_missing(Path(source))

    name, equals, index = end_of_text.rpartition("=")
    if not equals or not index.isdecimal():
        raise InputError(
            f"{source}: a rank file has no special tokens; set shards.tokenizer.end_of_text to "
            "NAME=ID, such as '<|endoftext|>=100257'"
        )

    return {name: int(index)}, name


def _rule_missing(path: Path) -> InputError:
    return InputError(
        f"tokenizer source {path}: this format does not say how text is split into words, and the "
        "file is not a published "
        "vocabulary whose rule is known; use its tokenizer.json, or set "
        f"shards.tokenizer.split_rule to one of {', '.join(SPLIT_RULES)}"
    )


def _split_by_ranks(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts of a token left by lower ranks."""
    none = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    joined = [ranks.get(left + right, none) for left, right in pairwise(parts)]

    while len(parts) > 2:
        lowest = min(joined)
        if lowest >= none:
            raise InputError(
                f"token {spell(token)} of rank {none} is not made of tokens of lower rank"
            )
        best = joined.index(lowest)
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
        del joined[best]
        if best:
            joined[best - 1] = ranks.get(parts[best - 1] + parts[best], none)
        if best < len(joined):
            joined[best] = ranks.get(parts[best] + parts[best + 1], none)

    return parts[0], parts[1]
