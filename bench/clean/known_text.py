"""Pages of known text in the markup of real site software: what is lost, doubled or moved.

    python -m bench.clean.known_text [--times 1 10 50] [--peers] [NAME ...]

`bench/clean/layouts` has one template for each kind of page: boards, question sites, comments,
blogs, news, transcripts, manuals, wikis, lists of questions, tables, glossaries, poems, recipes.
The part between `<!--item-->` and `<!--/item-->` is repeated, for a long page ten or fifty times as
often. `$text` and other names are replaced by prose and by posts of the shared material, and each
piece is written down in its order. A piece is lost if its words are not in the text one after
another, code if a line or its indentation differs.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from bench.material import shared
from clean.extract import ExtractConfig, Extractor, extractor

LAYOUTS: Final = Path(__file__).parent / "layouts"
ITEMS: Final = 8
_ITEM = re.compile(r"<!--/?item-->\n?")
_KIND = re.compile(r"<!--kind: (\w+)-->\n")
_WORD = re.compile(r"\w+")
# Kinds of page whose text is that of posts.
_THREADS: Final = ("forum", "qa", "comments")
# Shorter pieces may be on a page twice by chance.
_UNIQUE_WORDS: Final = 8
_USERS: Final = ("anna", "bertie", "carl.d", "Dora_77", "eve42", "Frank", "GreenMan", "hal9")
_DATES: Final = ("Mon May 03, 2021 7:17 pm", "3 years ago", "January 2, 2020, 5:00pm")
_SPEAKERS: Final = ("SMITH", "JONES", "MARLOWE", "HOST")
_FRENCH: Final = (
    "La maison regarde une rivière avant la nuit {0}. Le vieux soldat cherche son cheval {0} et "
    "quitte la ville pendant le jour. Un enfant oublie le chemin du jardin après la guerre {0}."
)


class Measured(NamedTuple):
    """Shares of the words lost and doubled, and the number of pieces out of order."""

    lost: float
    doubled: float
    moved: int


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each layout and extractor."""
    parser = argparse.ArgumentParser(prog="python -m bench.clean.known_text", description=__doc__)
    parser.add_argument("names", nargs="*", help="layouts (default: all)")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 50], help="lengths")
    parser.add_argument("--peers", action="store_true", help="with trafilatura")
    args = parser.parse_args(argv)

    names: list[Extractor] = ["learned"]
    if args.peers:
        names += ["trafilatura", "trafilatura-fast"]
    extractors = {name: extractor(ExtractConfig(extractor=name)) for name in names}
    results: dict[tuple[str, int], list[Measured]] = {}

    for layout in args.names or layouts():
        for times in args.times:
            html, pieces = page(layout, times)
            for name, extract in extractors.items():
                found = measured(extract(html), pieces)
                results.setdefault((name, times), []).append(found)
                if found != (0, 0, 0):
                    shares = f"{found.lost:.4f} lost, {found.doubled:.4f} doubled"
                    print(f"{layout} x{times} {name}: {shares}, {found.moved} moved", flush=True)

    for (name, times), all_found in results.items():
        whole = sum(found.lost <= 0.01 for found in all_found)
        mean = sum(found.lost for found in all_found) / len(all_found)
        doubled = sum(found.doubled > 0 for found in all_found)
        moved = sum(found.moved > 0 for found in all_found)
        print(
            f"{name} x{times}: {whole} of {len(all_found)} whole to 1 %, {mean:.4f} lost on "
            f"average, {doubled} with doubled text, {moved} with moved text"
        )
    return 0


def layouts() -> list[str]:
    """The names of all layouts."""
    return sorted(path.stem for path in LAYOUTS.glob("*.html"))


def page(layout: str, times: int = 1) -> tuple[str, list[str]]:
    """(HTML of a page, its pieces of text in their order). Code is a piece with line ends."""
    template = (LAYOUTS / f"{layout}.html").read_text("utf-8")
    kind = _KIND.match(template)
    is_thread = kind is not None and kind[1] in _THREADS
    head, item, foot = _ITEM.split(_KIND.sub("", template))
    source = _Source(layout, is_thread)
    pages = [source.filled(head, ITEMS * times)]
    for source.number in range(1, ITEMS * times + 1):
        pages.append(source.filled(item, ITEMS * times))
    pages.append(source.filled(foot, ITEMS * times))
    return "".join(pages), source.pieces


def measured(text: str, pieces: Sequence[str]) -> Measured:
    """The comparison of an extracted text with the pieces of the page."""
    words = f" {_words(text)} "
    # A short post may be a sentence of a long one.
    said = f" {' | '.join(map(_words, pieces))} "
    total = lost = doubled = moved = last = 0
    for piece in pieces:
        own = _words(piece)
        size = len(own.split())
        total += size
        place = words.find(f" {own} ")
        if place < 0 or ("\n" in piece and piece not in text):
            lost += size
        elif size >= _UNIQUE_WORDS and (expected := said.count(own)):
            doubled += size * (words.count(f" {own} ") > expected)
            if expected == 1:
                moved += place < last
                last = max(last, place)

    return Measured(lost / total, doubled / total, moved)


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text))


@cache
def _prose() -> tuple[str, ...]:
    """Paragraphs of guides, textbooks and speeches."""
    found: dict[str, None] = {}
    for name in ("us_gov_digitalgov", "openstax", "us_speeches"):
        path = shared() / "prose" / "dev" / f"{name}.jsonl.zst"
        before = len(found)
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                for paragraph in json.loads(line)["text"].split("\n"):
                    own = " ".join(paragraph.split())
                    if _is_prose(own):
                        found[own] = None
                if len(found) > before + 6_000:
                    break
    return tuple(found)


def _is_prose(text: str) -> bool:
    plain = not any(sign in text for sign in "|_*<&")
    return plain and 18 <= text.count(" ") < 110 and text[0].isalpha() and text[-1] in ".!?"


@cache
def _posts() -> tuple[str, ...]:
    """Posts of real threads, one line and longer."""
    found: dict[str, None] = {}
    for folder, name in (("extraction", "dev"), ("extraction2", "dev2")):
        path = shared() / folder / f"gold_{name}.jsonl.zst"
        if not path.is_file():
            continue
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if row["source"] == "forum52" or row.get("page_type") == "forum":
                    for line in (row.get("text") or "").split("\n"):
                        own = " ".join(line.split())
                        sentence = own.isascii() and own.endswith((".", "!", "?"))
                        if sentence and 6 <= own.count(" ") < 90 and "<" not in own:
                            found[own] = None
    return tuple(found)


class _Source:
    """Text for the names in a template, each piece of it noted."""

    def __init__(self, seed: str, is_thread: bool) -> None:
        self.number = 0
        self.pieces: list[str] = []
        self.random = random.Random(seed)
        self.pool = self.shuffled(_prose())
        self.posts = self.shuffled(_posts()) if is_thread else []
        self.title = f"{self.phrase()} and {self.phrase().lower()}"

    def filled(self, template: str, count: int) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name == "count":
                return str(count)
            return _VALUES[name](self)

        return _NAME.sub(value, template)

    def shuffled(self, texts: Sequence[str]) -> list[str]:
        return self.random.sample(texts, len(texts))

    def choice(self, options: Sequence[str]) -> str:
        return self.random.choice(options)

    def paragraph(self) -> str:
        """The next post of a thread, or the next paragraph of prose."""
        return self.posts.pop() if self.posts else self.prose()

    def prose(self) -> str:
        if not self.pool:
            self.pool = self.shuffled(_prose())
        return self.pool.pop()

    def phrase(self) -> str:
        """A few words of a paragraph, as a heading or a term."""
        words = self.prose().split()
        size = self.random.randint(3, 7)
        start = self.random.randint(0, len(words) - size)
        own = " ".join(words[start : start + size]).strip(".,;:!?()\u201c\u201d\u2014\"' ")
        return own[0].upper() + own[1:] if own else self.phrase()

    def noted(self, piece: str) -> str:
        """A piece of the page's text as HTML."""
        self.pieces.append(piece)
        return escape(piece, quote=False)

    def several(self) -> list[str]:
        return [self.noted(self.paragraph()) for _ in range(self.random.choice((1, 1, 2, 3)))]

    def wrapped(self, indent: str) -> str:
        """A paragraph in lines of preformatted text."""
        piece = self.paragraph()
        self.pieces.append(piece)
        lines = textwrap.wrap(piece, 66, break_long_words=False, break_on_hyphens=False)
        return "\n".join(indent + escape(line, quote=False) for line in lines)

    def verse(self) -> list[str]:
        """Four lines."""
        return [self.noted(f"{self.phrase()} {self.phrase().lower()},") for _ in range(4)]

    def code(self) -> list[str]:
        """The lines of a function, each with its indentation."""
        limit = self.random.randint(100, 99_999)
        lines = [f"def run_{limit}(value):", f"    if value > {limit}:", "        return value - 2"]
        self.pieces.append("\n".join(lines))
        return [escape(line) for line in lines]

    def sentences(self) -> str:
        """A paragraph whose clauses are elements of their own."""
        piece = self.paragraph()
        self.pieces.append(piece)
        clauses = re.split(r"(?<=[.,;]) ", piece)
        return " ".join(f"<span>{escape(clause, quote=False)}</span>" for clause in clauses)


def _lyrics(source: _Source) -> str:
    lines = source.verse()
    return "<br>".join(
        f"<a href=/x><span class=Highlight>{line}</span></a>" if number % 2 else line
        for number, line in enumerate(lines)
    )


def _lines(start: str, end: str) -> Callable[[_Source], str]:
    return lambda source: "".join(f"{start}{line}{end}" for line in source.verse())


def _code_lines(start: str, end: str) -> Callable[[_Source], str]:
    return lambda source: "".join(f"{start}{line}{end}" for line in source.code())


def _french(source: _Source) -> str:
    return source.noted(_FRENCH.format(source.random.randint(2, 9999)))


_QUORA: Final = '<p class="q-text qu-display--block">'
_VERSE_LINE: Final = '<div style="text-indent: -1em; padding-left: 1em;">'
# The names in templates. Those that end in a piece of text note it.
_VALUES: Final[dict[str, Callable[[_Source], str]]] = {
    "title": lambda source: source.title,
    "n": lambda source: str(source.number),
    "num": lambda source: str(source.random.randint(3, 900)),
    "user": lambda source: source.choice(_USERS),
    "date": lambda source: source.choice(_DATES),
    "caps": lambda source: source.choice(_SPEAKERS),
    "initial": lambda source: source.choice("ABCDE"),
    "clock": lambda source: f"{source.number // 60:02}:{source.number % 60:02}",
    "stage": lambda source: f"[{source.phrase()}]",
    "name": lambda source: f"opt_{source.random.randint(10, 99_999)}",
    "teaser": lambda source: f"Ten things that nobody told you about {source.phrase().lower()}",
    "other": lambda source: escape(source.prose(), quote=False),
    "lead": lambda source: source.noted(source.prose()),
    "text": lambda source: source.noted(source.paragraph()),
    "p": lambda source: "".join(f"<p>{text}</p>" for text in source.several()),
    "open_p": lambda source: "<p>".join(source.several()),
    "qp": lambda source: "".join(f"{_QUORA}<span>{t}</span></p>" for t in source.several()),
    "br": lambda source: "<br><br>".join(source.several()),
    "divbr": lambda source: "".join(f"<div>{t}</div><div><br></div>" for t in source.several()),
    "spans": lambda source: source.sentences(),
    "wrapped": lambda source: source.wrapped(""),
    "manwrapped": lambda source: source.wrapped(" " * 14),
    "short": lambda source: source.noted(source.phrase()),
    "capsshort": lambda source: source.noted(source.phrase().upper()),
    "question": lambda source: source.noted(f"How does {source.phrase().lower()}?"),
    "ingredient": lambda source: source.noted(source.phrase().lower()),
    "code": lambda source: "\n".join(source.code()),
    "linespans": lambda source: "<br>".join(f"<span>{line}</span>" for line in source.code()),
    "tokenlines": _code_lines("<span class=token-line><span>", "</span><br></span>"),
    "poemdivs": _lines(_VERSE_LINE, " <br></div>"),
    "poembr": lambda source: "<br>\n".join(source.verse()),
    "playlines": lambda source: "<br>".join(source.verse()),
    "lyrics": _lyrics,
    "french": _french,
}
_NAME = re.compile(r"\$(count|" + "|".join(sorted(_VALUES, key=len, reverse=True)) + r")(?![a-z])")


if __name__ == "__main__":
    raise SystemExit(main())
