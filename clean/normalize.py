"""Text as a language model should see it: one form for what looks the same, nothing that cannot be seen.

In this order: mojibake repair (ftfy, and only that of all it can do: quotes, ligatures and widths stay as the author
wrote them), line ends, characters that are not text (control, zero-width, byte order marks, lone surrogates,
noncharacters), NFC, spaces (tabs stay: code is indented with them). What changed is told by name, so that it can be counted.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import ftfy
from pydantic import Field

from clean.reasons import Reason
from corpus.config import Section

# Mojibake: UTF-8's bytes above 0x7F come in twos at least, and the second may have become a space. One set of characters
# begins whatever is looked for, so that the search skips all others.
_MAYBE_MOJIBAKE = re.compile("[^\x00-\x7f](?:[^\x00-\x7f]|(?<=[\xc2-\xf4]) |(?<=[\x80-\x9f]))")
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029\u0085\v\f]")
_LINE_END_SIGNS = re.compile("[\r\u2028\u2029\u0085\v\f]")
_INVISIBLE_ASCII = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
    "\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\U0001fffe\U0001ffff\U000e0000-\U000e0fff\U0010fffe\U0010ffff]"
)
# Zero-width joiners stay between two letters or signs: Persian, the scripts of India and emoji are spelled with them.
_LOOSE_JOINERS = re.compile("(?<![^\x00-\xff])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\xff])")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_TRAILING = re.compile(r"[ \t]+$", re.M)
_BLANK_LINES = re.compile("\n{3,}")
_LETTERS = re.compile(r"[^\W_]+")
_ASCII = re.compile("[\x00-\x7f]+")
_ASCII_SPACES = bytes(code for code in range(128) if chr(code).isspace())
_ASCII_LETTERS = bytes(code for code in range(128) if chr(code).isalnum())


class NormalizeConfig(Section):
    """Unicode form, unseen characters, and texts that are no texts."""

    mojibake: bool = True
    """Whether text decoded with the wrong charset at its source is repaired (ftfy's fix_encoding)."""
    max_replacement_frac: float = Field(default=0.02, ge=0, le=1)
    """Largest share of U+FFFD and unseen characters before the text is `binary`, of all characters. Ours."""
    min_letter_frac: float = Field(default=0.25, ge=0, le=1)
    """Least share of letters, marks and digits among characters that are not spaces, else `symbols`. Ours."""


class Normalized(NamedTuple):
    """The text, the names of what was changed in it, and how many characters were no text."""

    text: str
    changes: tuple[str, ...]
    num_removed: int


def normalize(text: str, config: NormalizeConfig) -> Normalized:
    """The normal form of `text`. Normalising it again changes nothing."""
    changes = []
    is_ascii = text.isascii()
    if config.mojibake and not is_ascii:
        repaired = _repaired(text)
        if repaired != text:
            changes.append("mojibake")
        text, is_ascii = repaired, repaired.isascii()
    if _LINE_END_SIGNS.search(text):
        text = _LINE_ENDS.sub("\n", text)
    seen = (_INVISIBLE_ASCII if is_ascii else _INVISIBLE).sub("", text)
    if "\u200c" in seen or "\u200d" in seen:
        seen = _LOOSE_JOINERS.sub("", seen)
    num_removed = len(text) - len(seen)
    if num_removed:
        changes.append("invisible")
    composed = unicodedata.normalize("NFC", seen)
    if composed != seen:
        changes.append("nfc")
    text = composed if is_ascii else _SPACES.sub(" ", composed)
    if " \n" in text or "\t\n" in text:
        text = _TRAILING.sub("", text)
    return Normalized(_BLANK_LINES.sub("\n\n", text).strip(), tuple(changes), num_removed)


def judge(normalized: Normalized, config: NormalizeConfig) -> Reason | None:
    """Whether this is text at all, and not decoded binary or a field of symbols."""
    text = normalized.text
    if not text:
        return None
    unreadable = text.count("\ufffd") + normalized.num_removed
    if unreadable > config.max_replacement_frac * len(text) + 1:
        return Reason.BINARY
    # Most of most texts is ASCII, which bytes count ten times as fast as a regular expression.
    ascii_dense = text.encode("ascii", "ignore").translate(None, _ASCII_SPACES)
    rest = "" if text.isascii() else "".join(_ASCII.sub("", text).split())
    others = _LETTERS.sub("", rest)
    marks = sum(unicodedata.category(c)[0] == "M" for c in others if c > "\u02ff")
    num_dense = len(ascii_dense) + len(rest)
    num_others = len(ascii_dense.translate(None, _ASCII_LETTERS)) + len(others) - marks
    return Reason.SYMBOLS if num_dense - num_others < config.min_letter_frac * num_dense else None


def _repaired(text: str) -> str:
    """The text with every line repaired that may need it; ftfy would look at all of them for each."""
    pieces: list[str] = []
    done = 0
    while found := _MAYBE_MOJIBAKE.search(text, done):
        start = text.rfind("\n", done, found.start()) + 1 or done
        end = text.find("\n", found.end() - 1)
        end = len(text) if end < 0 else end
        pieces += text[done:start], ftfy.fix_encoding(text[start:end])
        done = end
    return "".join((*pieces, text[done:]))
