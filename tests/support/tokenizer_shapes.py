"""The shapes of `tokenizer.json` that models of this decade publish, over a small vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from shards.tokenizer.byte_spelling import CHAR_OF_BYTE
from shards.tokenizer.split_rules import BYTE_LEVEL, SPLIT_RULES
from shards.tokenizer.vocabulary import byte_level_document

BYTES_ONLY = {**BYTE_LEVEL, "use_regex": False}


def split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip


def sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


# As Meta, Qwen and Mistral publish them, written out here so that our own table is compared with something.
LLAMA3 = sequence(
    split(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    BYTES_ONLY,
)
QWEN = sequence(
    split(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    BYTES_ONLY,
)


@cache
def pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """256 bytes and every pair of them: wherever two rules cut differently, other pairs are merged."""
    chars = [CHAR_OF_BYTE[byte] for byte in range(256)]
    vocab = {char: index for index, char in enumerate(chars)}
    merges = [(left, right) for left in chars for right in chars]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    return vocab, merges


def byte_level(
    rule: dict[str, Any], *special: str, normalizer: str = "", **extra: Any
) -> dict[str, Any]:
    vocab, merges = pairs()
    first = len(vocab)
    named = {token: first + index for index, token in enumerate(special or ("<|endoftext|>",))}
    document = byte_level_document(vocab, merges, named, rule)
    # Specials of these files stand in `added_tokens` alone.
    for token in named:
        del document["model"]["vocab"][token]
    if normalizer:
        document["normalizer"] = {"type": normalizer}
    document["model"].update(extra)
    return document


def template(document: dict[str, Any], before: str = "", after: str = "") -> dict[str, Any]:
    """With a post-processor that puts special tokens around a text."""
    ids = {token["content"]: token["id"] for token in document["added_tokens"]}
    pieces: list[dict[str, Any]] = [{"Sequence": {"id": "A", "type_id": 0}}]
    if before:
        pieces.insert(0, {"SpecialToken": {"id": before, "type_id": 0}})
    if after:
        pieces.append({"SpecialToken": {"id": after, "type_id": 0}})
    named = {
        token: {"id": token, "ids": [ids[token]], "tokens": [token]}
        for token in (before, after)
        if token
    }
    processor = {
        "type": "TemplateProcessing", "single": pieces,
        "pair": [*pieces, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": named,
    }  # fmt: skip
    return {**document, "post_processor": processor}


def sentencepiece(kind: str = "BPE") -> dict[str, Any]:
    """Llama 2 and Mistral (BPE with byte fallback), or Unigram."""
    special = ["<unk>", "<s>", "</s>"]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
    tokens += list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'</>")
    words = ["th", "he", "in", "er", "\u2581t", "\u2581a", "\u2581th", "\u2581the", "</"]
    tokens += words
    added = [
        {
            "id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True,
        }
        for index, token in enumerate(special)
    ]  # fmt: skip
    if kind == "BPE":
        merges = [("t", "h"), ("h", "e"), ("i", "n"), ("e", "r"), ("\u2581", "t"), ("\u2581", "a")]
        merges += [("\u2581t", "h"), ("\u2581th", "e"), ("<", "/")]
        model: dict[str, Any] = {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
            "ignore_merges": False, "vocab": {token: n for n, token in enumerate(tokens)},
            "merges": [list(pair) for pair in merges],
        }  # fmt: skip
    else:
        scored = [
            [token, 0.0 if token in special else -2.0 - n / 100] for n, token in enumerate(tokens)
        ]
        model = {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": scored}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": model,
    }  # fmt: skip


def roberta() -> dict[str, Any]:
    document = byte_level(BYTE_LEVEL, "<s>", "<pad>", "</s>", "<unk>")
    ids = {token["content"]: token["id"] for token in document["added_tokens"]}
    document["post_processor"] = {
        "type": "RobertaProcessing", "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]],
        "trim_offsets": True, "add_prefix_space": False,
    }  # fmt: skip
    return document


def neox() -> dict[str, Any]:
    """With runs of spaces as added tokens that are read in text."""
    document = byte_level(BYTE_LEVEL, "<|endoftext|>", "<|padding|>", normalizer="NFC")
    first = document["added_tokens"][-1]["id"] + 1
    for offset, count in enumerate((2, 4, 8)):
        document["added_tokens"].append(
            {
                "id": first + offset, "content": " " * count, "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": True, "special": False,
            }
        )  # fmt: skip
    return document


SHAPES: dict[str, Callable[[], tuple[dict[str, Any], str]]] = {
    "gpt2": lambda: (byte_level(BYTE_LEVEL), "<|endoftext|>"),
    "llama3": lambda: (
        template(
            byte_level(LLAMA3, "<|begin_of_text|>", "<|end_of_text|>", ignore_merges=True),
            "<|begin_of_text|>",
        ),
        "<|end_of_text|>",
    ),
    "qwen": lambda: (
        byte_level(QWEN, "<|endoftext|>", "<|im_start|>", normalizer="NFC"),
        "<|endoftext|>",
    ),
    "neox": lambda: (neox(), "<|endoftext|>"),
    "starcoder": lambda: (byte_level(SPLIT_RULES["digits"]), "<|endoftext|>"),
    "o200k": lambda: (byte_level(SPLIT_RULES["o200k"], ignore_merges=True), "<|endoftext|>"),
    "deepseek": lambda: (
        byte_level(
            SPLIT_RULES["deepseek"],
            "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
            "<\uff5cend\u2581of\u2581sentence\uff5c>",
        ),
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
    ),
    "roberta": lambda: (roberta(), "</s>"),
    "llama2": lambda: (template(sentencepiece(), "<s>"), "</s>"),
    "unigram": lambda: (sentencepiece("Unigram"), "</s>"),
}
"""Makers of a document and its end-of-text, by the name of a model that has this shape."""


@cache
def shape(name: str) -> tuple[dict[str, Any], str]:
    """A shape's document, which tests leave as it is, and its end-of-text."""
    return SHAPES[name]()
