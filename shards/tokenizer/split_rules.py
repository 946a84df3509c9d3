"""Split rules as data: how a tokenizer cuts text into words before it merges bytes.

Vocabulary files other than `tokenizer.json` do not name their rule, so the user names one of these.
Each is written as the `pre_tokenizer` of a `tokenizer.json`; tests compare each with its reference
on every code point.
"""

from __future__ import annotations

from typing import Any

# GPT-2's rule: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
BYTE_LEVEL: dict[str, Any] = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}

_BYTES_ONLY = {**BYTE_LEVEL, "use_regex": False}
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_PUNCTUATION = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_LOWER_CASE_WORD = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _ENDING + "?"
)
_UPPER_CASE_WORD = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _ENDING + "?"
)


def _regexes(*patterns: str) -> dict[str, Any]:
    """The rule for splitting by one regular expression after another, then spelling bytes."""
    splits = [
        {"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated", "invert": False}
        for each in patterns
    ]
    return {"type": "Sequence", "pretokenizers": [*splits, _BYTES_ONLY]}


# By name. Llama 3 has cl100k's rule, GPT-NeoX and OLMo have GPT-2's, StarCoder and SmolLM
# `digits`, Qwen 3 `qwen2`.
SPLIT_RULES: dict[str, dict[str, Any]] = {
    "gpt2": BYTE_LEVEL,
    "cl100k": _regexes(
        "|".join(
            [_ENDING, r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}{1,3}", _PUNCTUATION, _SPACES],
        )
    ),
    "qwen2": _regexes(
        "|".join([_ENDING, r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}", _PUNCTUATION, _SPACES])
    ),
    "o200k": _regexes(
        "|".join(
            [
                _LOWER_CASE_WORD,
                _UPPER_CASE_WORD,
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                _SPACES,
            ]
        )
    ),
    "digits": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
    },
    "deepseek": _regexes(
        r"\p{N}{1,3}",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}
