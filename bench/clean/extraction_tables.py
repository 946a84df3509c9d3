"""Tables of how well main text is extracted: by source, page type, language and length.

All extractors see the same pages. Pages that the learned extractor was fitted on are scored by
cross-validation (`tools/crossvalidation.json`): by a model that had seen no page of their domain.
Pages of other sources are left out if their domain was learned from. Libraries that are not
installed are left out.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from html import escape, unescape
from pathlib import Path
from typing import Any, Final

import zstandard

from clean.extract import ExtractConfig, extractor
from clean.page_source.decode import decode
from tools.annotated_pages import read_bodies
from tools.extraction_scores import PageScores, average, page_scores, words_of

CROSSED: Final = Path(__file__).parents[2] / "tools" / "crossvalidation.json"
FOLDERS: Final = ("extraction", "extraction2")
OURS: Final = "learned"
# Gold texts by their words: (name, from, to).
LENGTHS: Final = (
    ("under 100 words", 0, 100),
    ("100 to 600", 100, 600),
    ("600 to 5,000", 600, 5000),
    ("5,000 and more", 5000, sys.maxsize),
)
NEWS: Final = ("aeb", "ae424", "ird", "fundus")
MIN_PAGES: Final = 3
# A paragraph of fewer words may well be there twice.
REPEAT_WORDS: Final = 8
MANUAL_BYTES: Final = 250_000
_PARAGRAPH = re.compile(
    r"<p\b[^<>]*>(.*?)(?=</?(?:p|div|h[1-6]|ul|ol|table|pre|dl)\b)", re.I | re.S
)
_TAG = re.compile(r"<[^<>]*>")

Extract = Callable[[bytes], str]


@dataclass
class Tally:
    """Scores of one extractor: by group, with the time and the faults of its texts."""

    groups: dict[str, list[PageScores]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    pages: int = 0
    repeating: int = 0
    rows_whole: int = 0
    rows_in_part: int = 0


def extractors() -> dict[str, Extract]:
    """Ours and the libraries that are installed."""
    ours = extractor(ExtractConfig())
    found: dict[str, Extract] = {OURS: lambda body: ours(decode(body).text)}

    if _has("trafilatura"):
        import trafilatura

        def library(fast: bool) -> Extract:
            return lambda body: trafilatura.extract(body, include_comments=False, fast=fast) or ""

        found |= {"trafilatura": library(False), "trafilatura-fast": library(True)}
    if _has("resiliparse"):
        from resiliparse.extract.html2text import extract_plain_text

        found["resiliparse"] = lambda body: extract_plain_text(
            decode(body).text, main_content=True, alt_texts=False, comments=False, post_meta=False
        )

    return found


def constructed_table(folder: Path) -> str:
    """F1 by layout on pages whose text is known (`tools.constructed_pages`)."""
    contestants = extractors()
    tallies = {name: Tally() for name in contestants}
    for row, body in read_bodies(folder):
        for name, extract in contestants.items():
            _score(tallies[name], row, body, _guarded(extract), {})

    return _score_lines(tallies)


def main_tables(shared: Path, limit: int) -> str:
    """All tables, as Markdown. `limit` is the most pages of a source."""
    contestants = extractors()
    tallies = {name: Tally() for name in contestants}
    crossed = json.loads(CROSSED.read_text("utf-8"))
    for row, body in _pages(shared, set(crossed), limit):
        for name, extract in contestants.items():
            _score(tallies[name], row, body, _guarded(extract), crossed if name == OURS else {})

    parts = [
        _score_lines(tallies),
        "",
        _fault_lines(tallies),
        "",
        _length_lines(shared, contestants),
    ]
    return "\n".join(parts)


def _pages(shared: Path, crossed: set[str], limit: int) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Pages with a gold text that are scored fairly, up to `limit` of a source."""
    known: set[str] = set()
    for folder in FOLDERS:
        for path in sorted((shared / folder).glob("gold_*.jsonl.zst")):
            with zstandard.open(path, "rt", encoding="utf-8") as lines:
                rows = map(json.loads, lines)
                known |= {row.get("domain") or row["id"] for row in rows if row["id"] in crossed}

    taken: dict[str, int] = defaultdict(int)
    for folder in FOLDERS:
        for row, body in read_bodies(shared / folder):
            if row["kind"] not in ("full", "silver") or not row["text"] or row.get("doubt"):
                continue
            if row["id"] not in crossed and row["domain"] in known:
                continue
            taken[row["source"]] += 1
            if taken[row["source"]] <= limit:
                yield row, body


def _guarded(extract: Extract) -> Extract:
    """A library that fails on a page has found nothing there."""

    def guarded(body: bytes) -> str:
        try:
            return extract(body)
        except Exception as error:
            print(f"no text: {type(error).__name__}", file=sys.stderr)
            return ""

    return guarded


def _score(
    tally: Tally, row: dict[str, Any], body: bytes, extract: Extract, crossed: dict[str, Any]
) -> None:
    start = time.process_time()
    text = extract(body)
    tally.seconds += time.process_time() - start
    tally.pages += 1

    own = page_scores(row["text"], text)
    if row["id"] in crossed:
        own = PageScores(*crossed[row["id"]])
    for group in _groups(row):
        tally.groups[group].append(own)

    tally.repeating += _repeated_share(text) > 0.1
    if b"<td" in body:
        whole, in_part = rows_kept(decode(body).text, text)
        tally.rows_whole += whole
        tally.rows_in_part += in_part


def _groups(row: dict[str, Any]) -> Iterator[str]:
    source = row["source"]
    yield f"source {source}"
    if source in NEWS:
        yield "all news"
    if row.get("page_type") and source == "wcxb":
        yield f"type {row['page_type']}"
    if row.get("lang") and source == "daniel":
        yield f"language {row['lang']}"

    words = len(words_of(row["text"]))
    for name, first, last in LENGTHS:
        if first <= words < last:
            yield f"length {name}"


def _repeated_share(text: str) -> float:
    """The share of the words in paragraphs the text had before."""
    seen: set[str] = set()
    repeated = total = 0
    for line in text.split("\n"):
        words = line.split()
        total += len(words)
        if len(words) >= REPEAT_WORDS:
            key = " ".join(words)
            repeated += len(words) * (key in seen)
            seen.add(key)

    return repeated / total if total else 0.0


def rows_kept(html: str, text: str) -> tuple[int, int]:
    """(rows of data whose cells all follow each other in the text, rows that lack one cell)"""
    from lxml import html as lxml_html

    try:
        tree = lxml_html.fromstring(html.encode("utf-8", "replace"))
    except Exception:
        return 0, 0

    joined = f" {' '.join(words_of(text))} "
    whole = in_part = 0
    for row in tree.iter("tr"):
        cells = [" ".join(words_of(cell.text_content())) for cell in row.iterchildren("td", "th")]
        cells = [cell for cell in cells if cell]
        if not 3 <= len(cells) <= 12 or max(map(len, cells)) > 100:
            continue
        if f" {' '.join(cells)} " in joined:
            whole += 1
        elif any(
            f" {' '.join(cells[:n] + cells[n + 1 :])} " in joined for n in range(1, len(cells) - 1)
        ):
            in_part += 1

    return whole, in_part


def _score_lines(tallies: dict[str, Tally]) -> str:
    names = list(tallies)
    lines = [
        "F1 (precision/recall), by the pages' means:",
        "",
        f"| pages | number | {' | '.join(names)} |",
        f"| --- | --- |{' --- |' * len(names)}",
    ]
    for group in sorted(tallies[OURS].groups):
        number = len(tallies[OURS].groups[group])
        if number >= MIN_PAGES:
            cells = [_cell(average(tallies[name].groups[group])) for name in names]
            lines.append(f"| {group} | {number} | {' | '.join(cells)} |")

    return "\n".join(lines)


def _cell(scores: tuple[float, float, float]) -> str:
    return "{:.3f} ({:.3f}/{:.3f})".format(*scores).replace("0.", ".")


def _fault_lines(tallies: dict[str, Tally]) -> str:
    lines = [
        "| extractor | CPU ms a page | pages with over 10 % repeated words | rows of tables without one cell |",
        "| --- | --- | --- | --- |",
    ]
    for name, own in tallies.items():
        rows = own.rows_whole + own.rows_in_part
        lines.append(
            f"| {name} | {own.seconds / max(1, own.pages) * 1e3:.1f} | {own.repeating} of {own.pages} | "
            f"{own.rows_in_part} of {rows} |"
        )

    return "\n".join(lines)


def _length_lines(shared: Path, contestants: dict[str, Extract]) -> str:
    """Words of `<p>` that are kept of books and manuals, by page."""
    lines = [
        "Share of the words in `<p>` that are kept, mean of pages:",
        "",
        f"| pages | number | {' | '.join(contestants)} |",
        f"| --- | --- |{' --- |' * len(contestants)}",
    ]
    for kind, bodies in (("novels", _books(shared)), ("manuals over 250 kB", _manuals(shared))):
        pages = list(bodies)
        cells = []
        for extract in contestants.values():
            guarded = _guarded(extract)
            shares = [paragraph_share(body, guarded(body)) for body in pages]
            cells.append(f"{sum(shares) / max(1, len(shares)):.3f}".replace("0.", "."))
        lines.append(f"| {kind} | {len(pages)} | {' | '.join(cells)} |")

    return "\n".join(lines)


def paragraph_share(body: bytes, text: str) -> float:
    """The share of the words in `<p>` whose paragraph begins with words of the text in a row."""
    joined = f" {' '.join(words_of(text))} "
    kept = total = 0
    for found in _PARAGRAPH.finditer(decode(body).text):
        words = words_of(unescape(_TAG.sub(" ", found[1])))
        if len(words) >= REPEAT_WORDS:
            total += len(words)
            kept += len(words) * (f" {' '.join(words[:REPEAT_WORDS])} " in joined)

    return kept / total if total else 1.0


def _books(shared: Path, count: int = 8) -> Iterator[bytes]:
    """Whole novels as one page each, chapters under headings."""
    books: dict[str, list[str]] = defaultdict(list)
    with zstandard.open(
        shared / "prose/dev/standardebooks.jsonl.zst", "rt", encoding="utf-8"
    ) as lines:
        for line in lines:
            row = json.loads(line)
            if row["work"] not in books and len(books) == count:
                break
            books[row["work"]].append(row["text"])

    for name, chapters in books.items():
        yield "".join(_book(name, chapters)).encode()


def _book(name: str, chapters: Iterable[str]) -> Iterator[str]:
    yield f"<title>{escape(name)}</title><body><h1>{escape(name)}</h1>"
    for number, chapter in enumerate(chapters, 1):
        yield f"<h2>Chapter {number}</h2>"
        for paragraph in chapter.split("\n\n"):
            yield f"<p>{escape(paragraph)}</p>\n"
    yield "</body>"


def _manuals(shared: Path, count: int = 12) -> Iterator[bytes]:
    """The first long pages of the documentation packages."""
    left = count
    for path in sorted((shared / "loopweb").glob("*.tar.zst")):
        with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
            archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115, a stream
            for member in archive:
                is_page = member.isfile() and "htm" in member.name and member.size > MANUAL_BYTES
                handle = archive.extractfile(member) if is_page and left else None
                if handle is not None:
                    left -= 1
                    yield handle.read()


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
