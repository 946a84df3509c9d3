"""Markdown of pages whose structure is known: ours beside trafilatura's and html-to-markdown's.

Pages are built from real prose in the markup of common sites: headings, paragraphs, nested lists,
code as `pre`, as highlighted spans and as lines of `<br>` or `<div>`, and tables. What is compared
is whether headings have their level, code its characters, cells their place and items their depth.
The other libraries get the article alone (html-to-markdown) or the whole page (trafilatura).
"""

from __future__ import annotations

import difflib
import importlib.util
import random
import re
from collections.abc import Callable
from html import escape
from typing import Final, NamedTuple

from bench.material import prose
from bench.measure import arguments
from clean.extract import ExtractConfig, page_extractor

CODE: Final = (
    "def area(width, height):\n    if width < 0:\n        return None\n\n    return width * height",
    'for name in *.txt; do\n    cat "$name" | sort\ndone',
    'fn main() {\n    let total: u32 = (1..=4).sum();\n    println!("{}", total);\n}',
)
WORDS: Final = 40
LANGUAGE: Final = "python"


class Structure(NamedTuple):
    """Content of a page: headings with their level, code, rows of cells, items with their depth."""

    headings: list[tuple[int, str]]
    code: list[str]
    rows: list[list[str]]
    items: list[tuple[int, str]]


class Shares(NamedTuple):
    """Shares of a structure that a Markdown text has, each in 0..1."""

    headings: float
    code: float
    cells: float
    items: float


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pages", type=int, default=60, help="pages (default: 60)")
    args = parser.parse_args()
    texts, _ = prose(4_000_000)
    draw = random.Random(1)
    pages = [page(draw, texts) for _ in range(args.pages)]

    print(
        "| Markdown by | headings at their level | code, alike | cells in place | items at their depth |"
    )
    print("| --- | --- | --- | --- | --- |")
    for name, convert in converters().items():
        found = [shares(structure, convert(html)) for html, structure in pages]
        means = [sum(column) / len(found) for column in zip(*found, strict=True)]
        print(f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |")


def converters() -> dict[str, Callable[[str], str]]:
    ours = page_extractor(ExtractConfig(format="markdown"))
    found: dict[str, Callable[[str], str]] = {"ours": lambda html: ours(html).markdown or ""}
    if importlib.util.find_spec("trafilatura"):
        import trafilatura

        found["trafilatura"] = lambda html: (
            trafilatura.extract(
                html, output_format="markdown", include_formatting=True, include_comments=False
            )
            or ""
        )
    if importlib.util.find_spec("html_to_markdown"):
        import html_to_markdown

        def article(html: str) -> str:
            found = html_to_markdown.convert(
                html[html.index("<article") : html.index("</article>")]
            )
            return found if isinstance(found, str) else str(found.content or "")

        found["html-to-markdown, the article alone"] = article

    return found


def page(draw: random.Random, texts: list[str]) -> tuple[str, Structure]:
    """(HTML, structure) of a page with navigation around an article."""
    structure = Structure([], [], [], [])
    pieces: list[str] = []
    for _ in range(draw.randint(3, 6)):
        level = draw.randint(2, 4)
        title = _some_words(draw, texts, 5)
        structure.headings.append((level, title))
        pieces.append(f"<h{level}>{escape(title)}</h{level}>")
        pieces += [f"<p>{escape(_some_words(draw, texts, WORDS))}.</p>" for _ in range(2)]
        pieces.append(draw.choice((_code, _table, _list))(draw, texts, structure))

    links = "".join(
        f"<li><a href='/{n}'>{escape(_some_words(draw, texts, 2))}</a></li>" for n in range(8)
    )
    title = _some_words(draw, texts, 6)
    html = (
        f"<html><head><title>{escape(title)}</title></head><body><nav><ul>{links}</ul></nav>"
        f"<article>{''.join(pieces)}</article><footer><p>All rights reserved.</p></footer></body></html>"
    )
    return html, structure


def shares(structure: Structure, markdown: str) -> Shares:
    """The shares of a structure that a Markdown text has."""
    lines = markdown.split("\n")
    headings = {(len(found[1]), _bare(found[2])) for found in map(_HEADING.match, lines) if found}
    blocks = [found[2] for found in _FENCE.finditer(markdown)]
    rows = [_cells(line) for line in lines if line.lstrip().startswith("|")]
    items = {
        (len(found[1].replace("\t", "    ")), _bare(found[2]))
        for found in map(_ITEM.match, lines)
        if found
    }
    depths = {words: depth for depth, words in items}

    return Shares(
        _share([(level, _bare(title)) in headings for level, title in structure.headings]),
        _mean(
            [max((_alike(code, block) for block in blocks), default=0) for code in structure.code]
        ),
        _share([row in rows for row in structure.rows]),
        _share(
            [
                _bare(words) in depths and (depths[_bare(words)] > 0) == (depth > 0)
                for depth, words in structure.items
            ]
        ),
    )


_HEADING = re.compile(r"(#{1,6}) (.*)")
_FENCE = re.compile(r"^ *(`{3,})[^\n`]*\n(.*?)^ *\1", re.M | re.S)
_ITEM = re.compile(r"(\s*)(?:[-*+]|\d+[.)])\s+(.*)")
_WORD = re.compile(r"\w+")


def _code(draw: random.Random, texts: list[str], structure: Structure) -> str:
    code = draw.choice(CODE)
    structure.code.append(code)
    lines = [escape(line, quote=False) for line in code.split("\n")]
    return draw.choice(
        (
            f'<pre><code class="language-{LANGUAGE}">{escape(code, quote=False)}</code></pre>',
            '<div class="highlight"><pre>'
            + "\n".join(f'<span class="k">{line}</span>' for line in lines)
            + "</pre></div>",
            f"<pre>{'<br>'.join(lines)}</pre>",
            "<pre><code>"
            + "".join(f'<div class="line">{line or "<br>"}</div>' for line in lines)
            + "</code></pre>",
        )
    )


def _table(draw: random.Random, texts: list[str], structure: Structure) -> str:
    width = draw.randint(2, 4)
    rows = [[_some_words(draw, texts, 2) for _ in range(width)] for _ in range(4)]
    rows[2][-1] = ""
    structure.rows.extend([[_bare(cell) for cell in row] for row in rows])
    marked = [
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        for row, tag in zip(rows, ("th", "td", "td", "td"), strict=True)
    ]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in marked)}</table>"


def _list(draw: random.Random, texts: list[str], structure: Structure) -> str:
    tag = draw.choice(("ul", "ol"))
    pieces = []
    for _ in range(3):
        words, inner = _some_words(draw, texts, 6), _some_words(draw, texts, 6)
        structure.items.extend([(0, words), (1, inner)])
        pieces.append(f"<li>{escape(words)}<ul><li>{escape(inner)}</li></ul></li>")
    return f"<{tag}>{''.join(pieces)}</{tag}>"


def _some_words(draw: random.Random, texts: list[str], count: int) -> str:
    words = [word for word in draw.choice(texts).split() if word.isalpha()]
    if len(words) <= count:
        return " ".join(words) or "empty"
    start = draw.randrange(len(words) - count)
    return " ".join(words[start : start + count])


def _cells(line: str) -> list[str]:
    return [_bare(cell) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _bare(text: str) -> str:
    return " ".join(_WORD.findall(text))


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other.rstrip("\n"), autojunk=False).ratio()


def _share(hits: list[bool]) -> float:
    return sum(hits) / len(hits) if hits else 1.0


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 1.0


if __name__ == "__main__":
    main()
