"""Guesses the charset of bytes that nobody labelled, by the letters of languages.

A charset is right if the characters that it gives are those of one language: `ą ł ż` together are
Polish, `± ³ ¿` between letters are none. The language that explains most characters wins, and of
equals the one with more pages on the web. Browsers guess in a similar way (chardetng). Scripts of
their own are distinguished by their most frequent letters, since a Cyrillic text is made of
Cyrillic letters in four charsets.

Nearly all pairs of bytes are a character in East Asian charsets, so those are distinguished by the
frequent characters of Chinese, Japanese and Korean.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final, NamedTuple

# Share of explained characters from which a language is preferred to a mixture of western ones,
# and the least for any.
SURE: Final = 0.98
LEAST: Final = 0.9
# Least explained share of a text in a script of its own.
LEAST_IN_SCRIPT: Final = 0.85
# Letters beyond ASCII from which a page can be of another language than western ones, which have a
# few in their quotations and names.
MIN_LETTERS: Final = 8
# Different letters of a text in a script of its own.
MIN_KINDS: Final = 5


class _Language(NamedTuple):
    """Letters beyond ASCII in the small, the charsets of pages, and signs at home in words."""

    letters: str
    charsets: tuple[str, ...]
    signs: str = ""


class _Script(NamedTuple):
    """Its letters as a range of characters, the frequent ones with their usual share of a text,
    and the charsets of pages.
    """

    first: str
    last: str
    frequent: str
    usual: float
    charsets: tuple[str, ...]


_WEST: Final = ("cp1252",)
_MIDDLE: Final = ("cp1250", "iso8859-2")
_LANGUAGES: Final = (
    _Language("äöüß", _WEST),
    _Language("àâæçéèêëîïôœùûüÿ", _WEST),
    _Language("áéíóúüñªº", _WEST, "¿¡"),
    _Language("àáâãçéêíóôõúüªº", _WEST),
    _Language("àèéìíîòóùªº", _WEST),
    _Language("äöåéøæ", _WEST),
    _Language("éëïèöüáóúíê", _WEST),
    _Language("àçéèíïóòúü·ñ", _WEST, "¿¡"),
    _Language("áéíóúýþæöð", _WEST),
    _Language("ąćęłńóśźż", _MIDDLE),
    _Language("áčďéěíňóřšťúůýž", _MIDDLE),
    _Language("áäčďéíĺľňóôŕšťúýž", _MIDDLE),
    _Language("áéíóöőúüű", _MIDDLE),
    _Language("čćđšž", _MIDDLE),
    _Language("ăâîșțşţ", _MIDDLE),
    _Language("çğıöşüâîûİ", ("cp1254",)),
    _Language("ąčęėįšųūž", ("cp1257", "iso8859-13")),
    _Language("āčēģīķļņšūž", ("cp1257", "iso8859-13")),
    _Language("äõöüšž", ("cp1257",)),
    _Language("ăâđêôơư\u0300\u0301\u0303\u0309\u0323éèáàíìóòúùýã", ("cp1258",)),
    # Pages that quote several western languages.
    _Language("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœß", _WEST, "¿¡"),
)
_CYRILLIC: Final = ("cp1251", "koi8-r", "iso8859-5", "cp866")
_SCRIPTS: Final = (
    _Script("\u0401", "\u045f", "оеаинтсрвлк", 0.72, _CYRILLIC),
    _Script("\u0401", "\u0491", "оаниевртсікл", 0.7, ("cp1251", "koi8-u", "iso8859-5")),
    _Script("\u0370", "\u03ff", "αοιετσνηυρπκμλςίόάέή", 0.87, ("cp1253", "iso8859-7")),
    _Script("\u05d0", "\u05ea", "יוהלארתבמשנ", 0.71, ("cp1255",)),
    _Script("\u0621", "\u0652", "اليمونرتبةعدسفهكق", 0.85, ("cp1256", "iso8859-6")),
    _Script("\u0e01", "\u0e5b", "านรอกเงมยลวดทสตะปบคหแจพ่้ีัิ็ุ", 0.85, ("cp874",)),
)
# Frequent characters of Chinese, by share of a text about .2 together, and of Korean, about .3.
# A Japanese text has half of its characters from two syllabaries.
_SIMPLIFIED: Final = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于下自之年过发后作"
_TRADITIONAL: Final = "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於下自之年過發後作"
_HANGUL: Final = "이다는을의에가지고하도로기시사한리대인은어를아서자스나정"
_KANA: Final = "".join(map(chr, range(0x3041, 0x30FD)))
_EAST_ASIAN: Final = (
    (_SIMPLIFIED, 0.2, "gb18030"),
    (_TRADITIONAL, 0.2, "big5hkscs"),
    (_KANA, 0.5, "cp932"),
    (_KANA, 0.5, "euc_jp"),
    (_HANGUL, 0.3, "cp949"),
)
# Least share of the usual frequency, and most undecodable characters of a text.
LEAST_EAST_ASIAN: Final = 0.5
MAX_BAD_FRAC: Final = 0.01
# Characters at home in any text.
_PUNCTUATION: Final = frozenset(
    "\u00a0\u2018\u2019\u201a\u201c\u201d\u201e\u2013\u2014\u2026«»‹›•·"
)
# A sign that has a letter behind it is no sign of its own, such as a degree or a copyright.
_SIGN_BEFORE_LETTER = re.compile(r"[^\W\d_][\u00a1-\u00bf×÷˘ˇ˙˛˝]+[^\W\d_]|\b[²³¹ªº±µ¼½¾][^\W\d_]")
# A character beyond ASCII and of no punctuation beside a letter of ASCII.
_MIXED = re.compile(r"[A-Za-z][\u00c0-\u1fff]|[\u00c0-\u1fff][A-Za-z]")
_ALONE = re.compile(r"(?<![\u00c0-\u1fff])[\u00c0-\u1fff](?![\u00c0-\u1fff])")
_RUN = re.compile(r"[^\x00-\x7f]{4,}")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def guess(sample: bytes) -> str | None:
    """The codec whose characters are those of one language, or None."""
    if known := _of_scripts(sample) or _of_east_asia(sample):
        return known
    found = _of_languages(sample)
    return found[1] if found and found[0] >= LEAST else None


def _of_east_asia(sample: bytes) -> str | None:
    """The codec with most of the frequent characters of its language."""
    best = LEAST_EAST_ASIAN, ""
    for frequent, usual, name in _EAST_ASIAN:
        text = sample.decode(name, "replace")
        foreign = [sign for sign in _BEYOND_ASCII.findall(text) if sign.isalpha()]
        # The sample may end within a character.
        if len(foreign) < MIN_LETTERS or len(set(foreign)) < MIN_KINDS:
            continue
        if text.count("\ufffd") > 1 + MAX_BAD_FRAC * len(foreign):
            continue
        share = sum(sign in frequent for sign in foreign) / len(foreign) / usual
        best = max(best, (min(share, 1.0), name))

    return best[1] or None


def _of_languages(sample: bytes) -> tuple[float, str] | None:
    """(explained share, codec) of the best language in Latin letters, the first of equals."""
    best: tuple[float, str] | None = None
    texts: dict[str, tuple[str, int]] = {}
    for language in _LANGUAGES:
        for name in language.charsets:
            if name not in texts:
                text = sample.decode(name, "replace")
                texts[name] = "".join(_BEYOND_ASCII.findall(text)), _num_misplaced(text)
            foreign, misplaced = texts[name]
            if name not in _WEST and sum(map(str.isalpha, foreign)) < MIN_LETTERS:
                continue

            share = _explained(foreign, misplaced, language)
            sure_before = best is not None and best[0] >= SURE and language is _LANGUAGES[-1]
            if best is None or (share > best[0] and not sure_before):
                best = share, name

    return best


def _explained(foreign: str, misplaced: int, language: _Language) -> float:
    """Share of the characters beyond ASCII that a language has."""
    known = _characters(language)
    judged = [sign for sign in foreign if sign not in _PUNCTUATION]
    if not judged:
        return 1.0
    wrong = sum(
        sign not in known and (sign.isalpha() or sign == "\ufffd" or not sign.isprintable())
        for sign in judged
    )
    return 1 - min(1.0, (wrong + misplaced) / len(judged))


@cache
def _characters(language: _Language) -> frozenset[str]:
    return frozenset(language.letters + language.letters.upper() + language.signs)


def _num_misplaced(text: str) -> int:
    """Number of characters where no Latin word has them: signs within it, and runs of letters
    beyond ASCII.
    """
    runs = sum(map(len, _RUN.findall(text)))
    return len(_SIGN_BEFORE_LETTER.findall(text)) + runs


def _of_scripts(sample: bytes) -> str | None:
    """The codec with the best share of a script other than the Latin one."""
    best = 0.0, ""
    for script in _SCRIPTS:
        for name in script.charsets:
            text = sample.decode(name, "replace")
            share = _in_script(text, script)
            if share >= LEAST_IN_SCRIPT and share > best[0]:
                best = share, name

    return best[1] or None


def _in_script(text: str, script: _Script) -> float:
    """Share of the characters beyond ASCII that are those of a script, in its usual numbers.

    A word is of one script, so a letter beside one of ASCII speaks against it.
    """
    judged = [sign for sign in _BEYOND_ASCII.findall(text) if sign not in _PUNCTUATION]
    letters = [sign for sign in judged if script.first <= sign <= script.last]
    if len(letters) < MIN_LETTERS or len(set(letters)) < MIN_KINDS:
        return 0.0

    frequent = sum(sign in script.frequent for sign in letters) / len(letters)
    mixed = len(_MIXED.findall(text)) + len(_ALONE.findall(text))
    own = max(0, len(letters) - mixed) / len(judged)
    return own * min(1.0, frequent / script.usual)
