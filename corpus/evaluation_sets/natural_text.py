"""Other forms in which a page may show a test set's text: detokenized, with HTML and LaTeX rendered, without gaps.

Old language-model sets are tokenized ("did n't", "@-@") and replace rare words by `<unk>` and
numbers by `N`. Sets of questions hold HTML entities or LaTeX. A web page has the text that people
read, so the overlap index holds both.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from corpus.evaluation_sets.detokenize import PTB, WIKITEXT

_TOKENIZED = re.compile(r" (?:n't|'s|'re|'ve|'ll|'d|'m|@[-,.]@|<unk>)(?= |$)", re.MULTILINE)
_GAP = re.compile(r"<unk>|(?<![\w@])N(?![\w@])")
_MARKUP = re.compile(r"<(?!unk>)/?[A-Za-z!][^<>]{0,200}>|&#?\w{2,10};")
# Content that no page shows.
_HIDDEN = re.compile(r"<!--.{0,2000}?-->|<(script|style)\b[^<>]*>.{0,5000}?</\1>", re.S | re.I)
# Tags within a word: "H<sub>2</sub>O", "<b>w</b>ord".
_INLINE = re.compile(
    r"</?(?:a|abbr|b|big|em|font|i|mark|s|small|span|strong|sub|sup|u|wbr)(?:\s[^<>]{0,200})?>",
    re.I,
)
_TAG = re.compile(r"<(?!unk>)/?[A-Za-z!][^<>]{0,200}>")
# An entity may be escaped again: "&amp;quot;".
MOST_ESCAPES = 3
_LINKS = re.compile(
    r"!?\[(?P<shown>[^\[\]]{1,200})\]\((?:https?://|/|#)[^()\s]{0,500}\)"
    r"|\[\[(?:[^\[\]|]{0,200}\|)?(?P<wiki>[^\[\]|]{1,200})\]\]"
)
# Pieces of words: subword-nmt's "ex@@ ample", WordPiece's "ex ##ample".
_SUBWORDS = re.compile(r"@@ | ##(?=\w)")
# A word that a line end divides, as in texts from PDF.
_DIVIDED = re.compile(r"(?<=[^\W\d_])[-\u2010\u00ad][ \t]*\r?\n[ \t]*(?=[^\W\d_])")
_LATEX = re.compile(r"\\[A-Za-z]+|\\[(){}\[\]$,;!%&#_]|\\[\'`^\"~=.]")
_FORMULA = re.compile(r"\$[^$\n]{0,200}[_^]")
_FONT = re.compile(
    r"\\(?:math(?:bb|rm|bf|cal|frak|it|sf|tt|scr)|text(?:bf|it|rm|tt|sc)?|emph|boldsymbol|bm"
    r"|operatorname|mbox)\*?\s*\{([^{}]{0,200})\}"
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[A-Za-z]+\*?\}(?:\{[^{}]{0,20}\})?")
_ACCENT = re.compile(r"\\([\'`^\"~=.]|[Hcvuk](?=\{))\s*\{?([A-Za-z])\}?")
_ACCENTS = dict(
    zip(
        "'`^\"~=.Hcvuk",
        "\u0301\u0300\u0302\u0308\u0303\u0304\u0307\u030b\u0327\u030c\u0306\u0328",
        strict=True,
    )
)
# Pages show x^{2} and a_1 as x2 and a1, in small signs or large ones.
_SCRIPTS = re.compile(r"(?<=[A-Za-z0-9)}])[_^](?:\{([A-Za-z0-9]{1,8})\}|([A-Za-z0-9]))")
# Commands that are words on a page as well.
_FUNCTIONS = frozenset(
    """arccos arcsin arctan arg cos cosh cot csc deg det dim exp gcd hom inf ker lcm lg lim ln log
    max min mod Pr sec sin sinh sup tan tanh""".split()  # noqa: SIM905 - words read best as words
)
_GREEK = dict(
    zip(
        [
            "alpha",
            "beta",
            "gamma",
            "delta",
            "epsilon",
            "zeta",
            "eta",
            "theta",
            "iota",
            "kappa",
            "lambda",
            "mu",
            "nu",
            "xi",
            "omicron",
            "pi",
            "rho",
            "sigma",
            "tau",
            "upsilon",
            "phi",
            "chi",
            "psi",
            "omega",
        ],
        "αβγδεζηθικλμνξοπρστυφχψω",
        strict=True,
    )
)
_GREEK |= {name.capitalize(): letter.upper() for name, letter in _GREEK.items()}
_GREEK |= {f"var{name}": letter for name, letter in _GREEK.items() if name.islower()}


def is_tokenized(texts: Sequence[str]) -> bool:
    """True if the texts are a tokenizer's output: clitics, `@-@` or `<unk>` stand alone in them."""
    return any(_TOKENIZED.search(text) for text in texts)


def natural_pieces(text: str, *, tokenized: bool, has_gaps: bool) -> list[str]:
    """The text as a page shows it, cut at words that the set left out; empty if it is the text itself.

    `has_gaps`: the set writes `<unk>` and `N` for words that it replaced.
    """
    shown = _LINKS.sub(lambda link: link["shown"] or link["wiki"], text) if "[" in text else text
    for _ in range(MOST_ESCAPES):
        if not _MARKUP.search(shown):
            break
        shown = html.unescape(_TAG.sub(" ", _INLINE.sub("", _HIDDEN.sub(" ", shown))))
    if _LATEX.search(shown) or _FORMULA.search(shown):
        shown = _from_latex(shown)

    shown = _SUBWORDS.sub("", shown) if "@@ " in shown or " ##" in shown else shown
    shown = _DIVIDED.sub("", shown) if "\n" in shown else shown
    if tokenized:
        style = WIKITEXT if "@" in shown else PTB
        shown = "\n".join(style.join(line) for line in shown.split("\n"))
    pieces = _GAP.split(shown) if has_gaps else [shown]

    return [] if pieces == [text] else [piece for piece in pieces if piece.strip()]


def _from_latex(text: str) -> str:
    text = _ENVIRONMENT.sub(" ", text)
    text = _ACCENT.sub(lambda mark: mark[2] + _ACCENTS[mark[1]], text)
    text = _SCRIPTS.sub(lambda script: script[1] or script[2], _FONT.sub(r"\1", text))
    return _LATEX.sub(_rendered, text)


def _rendered(command: re.Match[str]) -> str:
    # Commands other than letters and functions become signs on a page, which are no words there.
    name = command.group()[1:]
    return f" {name}" if name in _FUNCTIONS else _GREEK.get(name, " ")
