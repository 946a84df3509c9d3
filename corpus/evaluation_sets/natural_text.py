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
_MARKUP = re.compile(r"<(?!unk>)/?[A-Za-z][^<>]{0,200}>|&#?\w{2,10};")
_TAG = re.compile(r"<(?!unk>)/?[A-Za-z][^<>]{0,200}>")
_LATEX = re.compile(r"\\[A-Za-z]+|\\[(){}\[\]$,;!]")
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
_SHOWN_AS_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|emph)\s*\{")


def is_tokenized(texts: Sequence[str]) -> bool:
    """True if the texts are a tokenizer's output: clitics, `@-@` or `<unk>` stand alone in them."""
    return any(_TOKENIZED.search(text) for text in texts)


def natural_pieces(text: str, *, tokenized: bool, has_gaps: bool) -> list[str]:
    """The text as a page shows it, cut at words that the set left out; empty if it is the text itself.

    `has_gaps`: the set writes `<unk>` and `N` for words that it replaced.
    """
    shown = text
    if _MARKUP.search(shown):
        shown = html.unescape(_TAG.sub(" ", shown))
    if _LATEX.search(shown):
        shown = _LATEX.sub(_rendered, _SHOWN_AS_TEXT.sub(" ", shown))
    if tokenized:
        style = WIKITEXT if "@" in shown else PTB
        shown = "\n".join(style.join(line) for line in shown.split("\n"))
    pieces = _GAP.split(shown) if has_gaps else [shown]

    return [] if pieces == [text] else [piece for piece in pieces if piece.strip()]


def _rendered(command: re.Match[str]) -> str:
    # Commands other than letters become signs on a page, which are no words there either.
    return _GREEK.get(command.group()[1:], " ")
