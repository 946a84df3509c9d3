"""The forms of a `tokenizer.json` that the fast encoder may read, and texts that try each of its tokens.

The fast library passes over features that it does not know. A probe finds that for known features
only, so anything that is free in a document (a pattern, a replacement, a flag of a token) must be
one of these forms; the reference encodes all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shards.tokenizer.document_check import components
from shards.tokenizer.split_rules import SPLIT_RULES

# Normalizers without parameters; a probe shows whether one is applied.
NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD"}
SENTENCEPIECE: list[Mapping[str, Any]] = [
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
]
FLAGS = ("single_word", "lstrip", "rstrip")
# Of a document with more added tokens, the first ones are tried.
MOST_TOKENS = 1000


def is_fast_form(document: Mapping[str, Any]) -> bool:
    """True for a published split rule, a known normalizer and added tokens without flags."""
    return (
        _is_known_rule(document.get("pre_tokenizer"))
        and _is_known_normalizer(document.get("normalizer"))
        and not any(token.get(flag) for token in _added(document) for flag in FLAGS)
    )


def token_probes(document: Mapping[str, Any]) -> Iterator[str]:
    """Each added token inside a word, between spaces, at line ends and beside itself."""
    for token in _added(document)[:MOST_TOKENS]:
        text = token["content"]
        yield f"a{text}b {text} c{text}{text}\n{text} .{text} "


def _is_known_rule(rule: Mapping[str, Any] | None) -> bool:
    parts = _plain(rule)
    if [part["type"] for part in parts] in ([], ["ByteLevel"], ["Metaspace"]):
        return True
    return any(parts == _plain(known) for known in SPLIT_RULES.values())


def _is_known_normalizer(normalizer: Mapping[str, Any] | None) -> bool:
    parts = list(components(normalizer))
    return parts == SENTENCEPIECE or all(part["type"] in NORMALIZERS for part in parts)


def _plain(rule: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The components of a split rule, without the field that changes no id."""
    return [
        {name: value for name, value in part.items() if name != "trim_offsets"}
        for part in components(rule)
    ]


def _added(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(document.get("added_tokens") or ())
