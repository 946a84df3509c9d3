"""The phrases of `phrases.toml` as a table for compiled code.

A phrase is found by the hash of its words. The table holds each prefix of a phrase as well: the
search at a word ends with the first word continuing no phrase.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

import numpy as np

from clean.soft_failures.words import WORD_PRIME, word_hashes

PHRASES_FILE: Final = "phrases.toml"
GROUPS: Final = (
    "subject",
    "absent",
    "code_404",
    "apology",
    "advice",
    "failure",
    "denied",
    "robot",
    "login",
    "script",
    "parked",
    "hosting",
    "server",
    "consent",
    "paywall",
    "age",
    "geo",
    "redirect",
    "hijack",
    "sure_bot_wall",
    "sure_js_required",
    "sure_parked",
    "sure_server_default",
    "sure_soft_404",
    "sure_login_wall",
    "sure_error_page",
    "sure_consent_wall",
    "sure_paywall_teaser",
    "sure_age_gate",
    "sure_geo_block",
    "sure_redirect_stub",
    "sure_hijacked",
)
# Groups of sentences rare on other pages; the kind follows the prefix.
SURE: Final = "sure_"
FIRST_SURE: Final = next(number for number, name in enumerate(GROUPS) if name.startswith(SURE))
_MASK: Final = (1 << 64) - 1


class Lexicon(NamedTuple):
    """The table and the meaning of its numbers. Phrase 0 is none."""

    keys: np.ndarray  # (slots,) uint64, hash of a phrase or a prefix; 0 is a free slot
    values: np.ndarray  # (slots,) int32, number of the phrase, or 0 for a prefix
    groups: np.ndarray  # (phrases, groups) bool
    sure: np.ndarray  # (phrases,) bool, in a group of sure sentences
    num_words: np.ndarray  # (phrases,) int32
    phrases: tuple[str, ...]


@cache
def lexicon() -> Lexicon:
    """The lexicon of the package."""
    source = resources.files("clean.soft_failures").joinpath(PHRASES_FILE).read_text("utf-8")
    return build(tomllib.loads(source))


def build(groups: dict[str, dict[str, str]]) -> Lexicon:
    """The lexicon of groups of phrases, by language."""
    phrases: dict[str, int] = {"": 0}
    members: list[set[int]] = [set()]
    table: dict[int, int] = {}
    numbers: dict[int, int] = {}

    for group, languages in groups.items():
        for text in languages.values():
            for phrase in filter(None, (" ".join(each.split()) for each in text.split(";"))):
                *prefixes, whole = _running_hashes(phrase)
                number = numbers.get(whole)
                if number is None:
                    number = numbers[whole] = len(members)
                    phrases[phrase] = number
                    members.append(set())

                members[number].add(GROUPS.index(group))
                table[whole] = number
                for prefix in prefixes:
                    table.setdefault(prefix, 0)

    keys, values = _slots(table)
    belongs = np.zeros((len(members), len(GROUPS)), bool)
    for number, groups_of in enumerate(members):
        belongs[number, list(groups_of)] = True

    lengths = np.array([len(word_hashes(phrase)) for phrase in phrases], np.int32)
    return Lexicon(
        keys, values, belongs, np.any(belongs[:, FIRST_SURE:], axis=1), lengths, tuple(phrases)
    )


def _running_hashes(phrase: str) -> list[int]:
    """The hash of each prefix of a phrase, the whole phrase last."""
    value, found = 0, []
    for word in word_hashes(phrase):
        value = ((value ^ word) * int(WORD_PRIME)) & _MASK
        found.append(value)
    return found


def _slots(table: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Open addressing with a quarter of the slots in use."""
    size = 1 << (4 * len(table)).bit_length()
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    for key, value in table.items():
        slot = (key ^ (key >> 29)) & (size - 1)
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot], values[slot] = key, value

    return keys, values
