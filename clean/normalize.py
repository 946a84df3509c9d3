"""Normal form of a text: one spelling for equal looks, and no invisible characters.

Mojibake is repaired (by ftfy, which could do more: quotes, ligatures and widths stay as the author
wrote them). Line ends become newlines. Control, zero-width and byte order marks, lone surrogates
and noncharacters go; then NFC, then spaces. Tabs stay, since code is indented with them. The names
of the changes are returned for counting.

Each step may uncover work for an earlier one: a zero-width space can split mojibake. The steps are
therefore repeated until nothing changes, and normalising a normal text changes nothing. A round
with changes shortens the text or composes it, and uncovered mojibake is at most half as long, so
the number of rounds is small.

Time is linear in the text. NFC sorts runs of combining marks in quadratic time, so a combining
grapheme joiner is put after each 30 of them (UAX #15, section 13, stream-safe text format).
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import ftfy
from ftfy.badness import is_bad
from pydantic import Field

from clean import detail
from clean.reasons import Reason
from corpus.config import Section

# Mojibake: UTF-8's bytes above 0x7F come in twos at least, and the second may have become a space.
# All matches begin with one set of characters, so the search skips all others.
# A word of one letter is a word, with a space of the keyboard behind it.
_MAYBE_MOJIBAKE = re.compile(
    "[^\x00-\x7f](?:[^\x00-\x7f]|(?<=[\xc3-\xf4]) |(?<=[^\\s(\"'][\xc2]) |(?<=[\x80-\x9f]))"
)
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029\u0085\v\f]")
_LINE_END_SIGNS = re.compile("[\r\u2028\u2029\u0085\v\f]")
_INVISIBLE_ASCII = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
    "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2065-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\U0001fffe\U0001ffff\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff\U0010fffe\U0010ffff]"
)
# Characters that cannot be seen by themselves but change or spell their neighbours. Each is
# kept where it can do so, and removed elsewhere.
_SCRIPT = "[^\x00-\xff\u2000-\u206f\u3000-\u3004\ufe0e]"
_IDEOGRAPH = "[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_DEPENDENT = re.compile(
    "[\u034f\u180e\u200c\u200d\u2061-\u2064\U000e0020-\U000e007f\U000e0100-\U000e01ef]"
)
_LOOSE = re.compile(
    # Joiners, behind a letter or sign of a script that is spelled with them, or between a letter
    # and such a script.
    f"(?<!{_SCRIPT})(?<![\u200c\u200d])(?!(?<=[^\\W_])[\u200c\u200d]+{_SCRIPT})[\u200c\u200d]+"
    # Grapheme joiner between a letter or mark and a mark.
    "|\u034f(?![\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u1fff\u20d0-\u20ff\ua66f-\uaaff\ufe20-\ufe2f\U00010000-\U0001efff])"
    "|(?<![^\x00-@\\[-`{-\x7f])\u034f"
    # Mongolian vowel separator behind a Mongolian letter.
    "|(?<![\u1820-\u18aa])\u180e"
    # Invisible operators between two characters.
    "|[\u2061-\u2064](?!\\S)|(?<!\\S)[\u2061-\u2064]"
    # Variation selector behind an ideograph.
    f"|(?<!{_IDEOGRAPH})[\U000e0100-\U000e01ef]"
    # Tag characters. Those of a flag are matched first and kept.
    "|(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{2,6}\U000e007f)|[\U000e0020-\U000e007f]"
)
# Longest run of combining marks without a joiner. No language comes near it.
MAX_MARKS = 30
_BEYOND_LATIN = re.compile(f"[^\x00-\u02ff]{{{MAX_MARKS + 1},}}")
_JOINER = "\u034f"
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_TRAILING = re.compile(r"[ \t]+$", re.M)
_BLANK_LINES = re.compile("\n{3,}")
_LETTERS = re.compile(r"[^\W_]+")
_ASCII = re.compile("[\x00-\x7f]+")
_ASCII_SPACES = bytes(code for code in range(128) if chr(code).isspace())
_ASCII_LETTERS = bytes(code for code in range(128) if chr(code).isalnum())


class NormalizeConfig(Section):
    """Unicode form, unseen characters, and content that is not text."""

    mojibake: bool = True
    """Repair text that was decoded with the wrong charset at its source (ftfy's fix_encoding)."""
    max_replacement_frac: float = Field(default=0.02, ge=0, le=1)
    """Largest share of U+FFFD and unseen characters of a text that is not `binary`. Ours."""
    min_letter_frac: float = Field(default=0.25, ge=0, le=1)
    """Least share of letters, marks and digits, spaces left out, of a text that is not `symbols`.
    Ours.
    """


class Normalized(NamedTuple):
    """A text, the names of the changes made to it, and the number of characters removed as not
    text.
    """

    text: str
    changes: tuple[str, ...]
    num_removed: int


def normalize(text: str, config: NormalizeConfig) -> Normalized:
    """The normal form of `text`. Normalising it again changes nothing."""
    changes: dict[str, None] = {}
    num_removed = 0
    while True:
        once = _normalize_once(text, config)
        changes |= dict.fromkeys(once.changes)
        num_removed += once.num_removed
        # Removing characters from ASCII uncovers nothing: there is nothing to repair or compose.
        if once.text == text or text.isascii():
            return Normalized(once.text, tuple(changes), num_removed)
        text = once.text


def _normalize_once(text: str, config: NormalizeConfig) -> Normalized:
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
    if not is_ascii and _DEPENDENT.search(seen):
        seen = _LOOSE.sub(lambda found: found[1] or "", seen)
    num_removed = len(text) - len(seen)
    if num_removed:
        changes.append("invisible")

    if not is_ascii:
        seen = _stream_safe(seen)
    composed = unicodedata.normalize("NFC", seen)
    if composed != seen:
        changes.append("nfc")

    text = composed if is_ascii else _SPACES.sub(" ", composed)
    if " \n" in text or "\t\n" in text:
        text = _TRAILING.sub("", text)
    text = _BLANK_LINES.sub("\n\n", text)

    return Normalized(text.strip(), tuple(changes), num_removed)


def _stream_safe(text: str) -> str:
    """`text` with a joiner after each `MAX_MARKS` combining marks in a row."""
    pieces: list[str] = []
    done = 0
    for found in _BEYOND_LATIN.finditer(text):
        marks = 0
        for place in range(found.start(), found.end()):
            marks = marks + 1 if unicodedata.combining(text[place]) else 0
            if marks > MAX_MARKS:
                pieces += text[done:place], _JOINER
                done, marks = place, 1

    return "".join((*pieces, text[done:])) if pieces else text


def judge(normalized: Normalized, config: NormalizeConfig) -> Reason | None:
    """The reason to drop decoded binary or a field of symbols, or None for a text."""
    text = normalized.text
    if not text:
        return None
    if _num_unreadable(normalized) > config.max_replacement_frac * len(text) + 1:
        return Reason.BINARY

    num_letters, num_dense = _letters(text)
    return Reason.SYMBOLS if num_letters < config.min_letter_frac * num_dense else None


def detail_of(reason: Reason, normalized: Normalized, config: NormalizeConfig) -> str:
    """The detail of a text dropped by `judge`."""
    if reason is Reason.BINARY:
        share = (_num_unreadable(normalized) - 1) / len(normalized.text)
        most = config.max_replacement_frac
        return detail.above(
            share, most, "of characters unreadable", "normalize.max_replacement_frac"
        )

    num_letters, num_dense = _letters(normalized.text)
    share, least = num_letters / num_dense, config.min_letter_frac
    return detail.below(
        share, least, "of characters are letters or digits", "normalize.min_letter_frac"
    )


def _num_unreadable(normalized: Normalized) -> int:
    return normalized.text.count("\ufffd") + normalized.num_removed


def _letters(text: str) -> tuple[int, int]:
    """Letters, marks and digits of a text, and all its characters but spaces."""
    # Most of most texts is ASCII, which bytes count ten times as fast as a regular expression.
    ascii_dense = text.encode("ascii", "ignore").translate(None, _ASCII_SPACES)
    rest = "" if text.isascii() else "".join(_ASCII.sub("", text).split())
    others = _LETTERS.sub("", rest)
    marks = sum(unicodedata.category(c)[0] == "M" for c in others if c > "\u02ff")

    num_dense = len(ascii_dense) + len(rest)
    num_others = len(ascii_dense.translate(None, _ASCII_LETTERS)) + len(others) - marks
    return num_dense - num_others, num_dense


def _repaired(text: str) -> str:
    """`text` with each line repaired that may need it.

    ftfy itself would read all lines for each.
    """
    pieces: list[str] = []
    done = 0
    while found := _MAYBE_MOJIBAKE.search(text, done):
        start = text.rfind("\n", done, found.start()) + 1 or done
        end = text.find("\n", found.end() - 1)
        end = len(text) if end < 0 else end
        line = text[start:end]
        # ftfy asks this first as well, but only after .03 ms of its own for each line.
        pieces += text[done:start], ftfy.fix_encoding(line) if is_bad(line) else line
        done = end

    return "".join((*pieces, text[done:]))
