r"""MathML as TeX: powers, indices, fractions and roots of a formula that comes without its TeX.

Their place on the page is all that tells `x` to the second from `x2`, and text has no places.
Characters stay what they are, such as `∫` and `α`. A formula without such a structure stays text,
as does one with elements unknown here.
"""

from __future__ import annotations

import re
from html import unescape
from itertools import chain, zip_longest
from typing import Final, NamedTuple

from clean.rewrite.elements import attribute

_TOKEN = re.compile(r"<(/?)(?:\w{1,8}:)?(\w{1,20})[^<>]*?(/?)>|([^<]+)")
# Elements with a place for each part, and their number of parts.
_PARTS: Final = {
    "msup": 2,
    "msub": 2,
    "msubsup": 3,
    "mfrac": 2,
    "mroot": 2,
    "munder": 2,
    "mover": 2,
    "munderover": 3,
}
_STRUCTURE = re.compile(rf"<(?:\w{{1,8}}:)?(?:{'|'.join(_PARTS)}|msqrt)[\s>/]")
# Elements of which the text is the content, with white space around it left out.
_LEAVES: Final = frozenset({"mi", "mn", "mo", "ms", "mtext"})
_GROUPS: Final = frozenset(
    {"math", "mrow", "mstyle", "mpadded", "semantics", "menclose", "mfenced"}
)
_WITHOUT_TEXT: Final = frozenset({"annotation", "mphantom", "none", "mprescripts", "mspace"})
_KNOWN: Final = frozenset({*_PARTS, *_LEAVES, *_GROUPS, *_WITHOUT_TEXT, "msqrt"})
# Signs that have limits below and above them.
_WITH_LIMITS: Final = frozenset("∑∏∐∫∮⋂⋃⋁⋀⨁⨂")
# Characters shown as nothing: function application, invisible times and plus.
_INVISIBLE = str.maketrans("", "", "\u2061\u2062\u2063\u2064")
# Characters of a text that TeX would read as markup.
_TEX_SIGNS = str.maketrans(
    {sign: f"\\{sign}" for sign in "{}#$%&_"} | {"\\": "\\backslash ", "^": "\\hat{}"}
)
# Attributes of `mfenced` and their usual values.
_FENCES: Final = {"open": "(", "close": ")", "separators": ","}
MAX_CHARS: Final = 20_000


class _Open(NamedTuple):
    """An open element, its start tag, and the parts found so far."""

    name: str
    tag: str
    parts: list[str]


def tex_of(content: str) -> str | None:
    """The TeX of what is inside `math`, or None where its text says the same."""
    if len(content) > MAX_CHARS or "<!" in content or not _STRUCTURE.search(content):
        return None

    stack = [_Open("mrow", "", [])]
    for found in _TOKEN.finditer(content):
        is_end, name, is_empty, text = found.groups()
        if text is not None:
            if stack[-1].name in _LEAVES:
                stack[-1].parts.append(text)
            continue

        if not is_end:
            if name.lower() not in _KNOWN:
                return None
            stack.append(_Open(name.lower(), found[0], []))
        if is_end or is_empty:
            if len(stack) < 2 or stack[-1].name != name.lower():
                return None
            made = _made(*stack.pop())
            if made is None:
                return None
            stack[-1].parts.append(made)

    return " ".join("".join(stack[0].parts).split()) if len(stack) == 1 else None


def _made(name: str, tag: str, parts: list[str]) -> str | None:
    """The TeX of an element with these parts."""
    if name in _WITHOUT_TEXT:
        return ""
    if name in _LEAVES:
        return _text(unescape("".join(parts)).strip().translate(_INVISIBLE))
    if name == "mfenced":
        return _fenced(tag, parts)
    if name == "msqrt":
        return f"\\sqrt{{{''.join(parts)}}}"
    if name not in _PARTS:
        return "".join(parts)
    if len(parts) != _PARTS[name]:
        return None

    first, second = parts[:2]
    if name == "mfrac":
        return f"\\frac{{{first}}}{{{second}}}"
    if name == "mroot":
        return f"\\sqrt[{second}]{{{first}}}"
    base = first if len(first) < 2 or first.isalpha() else f"{{{first}}}"
    has_limits = first in _WITH_LIMITS or (first.isalpha() and len(first) > 1)
    if name in ("munder", "mover") and not has_limits:
        over = "overset" if name == "mover" else "underset"
        return f"\\{over}{{{second}}}{{{first}}}"
    if name in ("msup", "mover"):
        return f"{base}^{_group(second)}"
    below = f"{base}_{_group(second)}"
    return below if len(parts) == 2 else f"{below}^{_group(parts[2])}"


def _fenced(tag: str, parts: list[str]) -> str:
    """Parts between the fences and separators that the tag names; the last separator repeats."""
    values = (attribute(tag, name) for name in _FENCES)
    first, last, separators = (
        default if value is None else unescape("".join(value.split()))
        for value, default in zip(values, _FENCES.values(), strict=True)
    )
    between = [_text(sign) for sign in separators + separators[-1:] * len(parts)]
    inside = zip_longest(parts, between[: max(0, len(parts) - 1)], fillvalue="")
    return _text(first) + "".join(chain.from_iterable(inside)) + _text(last)


def _text(text: str) -> str:
    """Text as TeX shows it: the braces of a set are no group."""
    return text.translate(_TEX_SIGNS)


def _group(part: str) -> str:
    """A part as TeX reads it: one character, or a group of several."""
    return part if len(part) == 1 else f"{{{part}}}"
