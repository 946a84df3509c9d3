"""Pieces of text marked for colouring by templates: word differences, cut passages and tokens."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# The comparison takes time with the square of the words.
DIFF_WORDS = 3000
TOKENS_SHOWN = 2000


class MarkedText(NamedTuple):
    """A piece of text and the name of its mark; the name becomes a CSS class."""

    text: str
    mark: str = ""


def word_diff(left: str, right: str) -> tuple[list[MarkedText], list[MarkedText]]:
    """The words of both texts, those without a partner marked `removed` or `added`."""
    words = [re.findall(r"\S+\s*", text)[:DIFF_WORDS] for text in (left, right)]
    keys = [[word.strip() for word in each] for each in words]
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)

    sides: tuple[list[MarkedText], list[MarkedText]] = ([], [])
    for kind, start, stop, other_start, other_stop in matcher.get_opcodes():
        same = kind == "equal"
        if stop > start:
            sides[0].append(MarkedText("".join(words[0][start:stop]), "" if same else "removed"))
        if other_stop > other_start:
            text = "".join(words[1][other_start:other_stop])
            sides[1].append(MarkedText(text, "" if same else "added"))
    return sides


def with_cuts(text: str, cuts: Iterable[Mapping[str, int]]) -> list[MarkedText]:
    """The text with its removed passages marked `cut`."""
    found, at = [], 0
    for cut in sorted(cuts, key=lambda each: each["start"]):
        found.append(MarkedText(text[at : cut["start"]]))
        found.append(MarkedText(text[cut["start"] : cut["end"]], "cut"))
        at = cut["end"]
    return [piece for piece in (*found, MarkedText(text[at:])) if piece.text]


def coloured_tokens(tokens: Iterable[bytes]) -> list[MarkedText]:
    """One piece per token in alternating colours. A token ending inside a character shows bytes."""
    found = []
    for number, token in enumerate(tokens):
        try:
            text = token.decode()
        except UnicodeDecodeError:
            text = "".join(f"⟨{byte:02x}⟩" for byte in token)
        found.append(MarkedText(text, f"t{number % 4}"))
    return found
