"""Main text of real pages: our stage and extractor beside the libraries, on the same pages.

`ours` is the whole pipeline of a page (charset, extraction, normal form, language, rules) under the
default config. `ours-sandbox` is the same in the stage's child process. `ours-extract` is charset
and main text alone, as in the other contestants. The libraries get the bytes. Each contestant has
one core and a process of its own.

Tables by source, page type, language and length follow (`bench.clean.extraction_tables`).

F1 is the article-extraction-benchmark's (tools/extraction_scores.py), on the text before any page
is dropped. Pages used to fit the learned extractor are scored by cross-validation: by a model that
had seen no page of their site.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from bench.clean.extraction_tables import constructed_table, main_tables
from bench.material import shared
from bench.measure import Contestant, Turn, Work, arguments, compare, show
from clean.config import CleanConfig
from clean.document import Page, document_function
from clean.extract import ExtractConfig, extractor
from clean.page_source.decode import decode
from clean.pages import process
from clean.sandbox import Sandbox
from tools.extraction_scores import PageScores, average, page_scores

TIMED = {"f1_news": "aeb", "f1_wcxb": "wcxb"}
SCORED = {**TIMED, "f1_dragnet": "dragnet", "f1_cleaneval": "cleaneval"}
CROSSED = Path(__file__).parents[2] / "tools" / "crossvalidation.json"
ExtractBytes = Callable[[bytes], str]


class Input(NamedTuple):
    """Sources of pages, with the number taken of each."""

    root: str
    pages: int


@dataclass(frozen=True)
class GoldPage:
    """A page as served, and its main text as marked by people."""

    name: str
    source: str
    url: str
    body: bytes
    gold: str


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--pages", type=int, default=83, help="pages per source (default: 83, all news pages)"
    )
    parser.add_argument(
        "--scored", type=int, default=10_000, help="pages per source in the tables (default: all)"
    )
    parser.add_argument("--tables-only", action="store_true", help="leave out speed and memory")
    parser.add_argument(
        "--constructed", type=Path, help="only pages of tools.constructed_pages, in this folder"
    )
    args = parser.parse_args()
    if args.constructed:
        print(constructed_table(args.constructed))
        return
    if args.tables_only:
        print(main_tables(shared(), args.scored))
        return

    source = Input(str(shared()), args.pages)
    pages = list(_timed_pages(source))
    size = sum(len(page.body) for page in pages) / 1e6
    kinds = ", ".join(f"{sum(page.source == s for page in pages)} {s}" for s in TIMED.values())
    description = (
        f"{kinds} pages of extraction, {size:.1f} MB; {ExtractConfig().extractor} extractor"
    )
    result = compare(
        "documents",
        CONTESTANTS,
        source,
        description=description,
        unit="pages/s",
        rounds=args.rounds,
    )
    show(result, as_json=args.json)
    if not args.json:
        print(main_tables(shared(), args.scored))


def ours(source: Input) -> Work:
    """The whole way of a page, in this process."""
    return _ours(source, document_function(CleanConfig()))


def ours_sandbox(source: Input) -> Work:
    """The whole way of a page, in the stage's killable process."""
    config = CleanConfig()
    sandbox = Sandbox("clean.document:program", config.model_dump_json(), config.sandbox)
    return _ours(source, lambda page: process(page, sandbox))


def ours_extract(source: Input) -> Work:
    """Charset and main text alone."""
    extract = extractor(ExtractConfig())
    return _ours(source, lambda page: extract(decode(page.body).text))


def trafilatura(source: Input, fast: bool = False) -> Work:
    """The library as its documentation has it."""
    import trafilatura as library

    return _library(
        source, lambda body: library.extract(body, include_comments=False, fast=fast) or ""
    )


def trafilatura_fast(source: Input) -> Work:
    """Without its fallbacks."""
    return trafilatura(source, fast=True)


def trafilatura_cli(source: Input) -> Work:
    """Its command, once for each page: start and imports are part of it."""
    command = [
        sys.executable,
        "-c",
        "from trafilatura.cli import main; main()",
        "--no-comments",
        "--fast",
    ]
    pages = list(_timed_pages(source))[:: max(1, source.pages // 5)]

    def work() -> Turn:
        for page in pages:
            subprocess.run(command, input=page.body, capture_output=True, check=False)
        return Turn(len(pages))

    return work


def resiliparse(source: Input) -> Work:
    """trafilatura with its best settings for news."""
    from resiliparse.extract.html2text import extract_plain_text

    return _library(
        source,
        lambda body: extract_plain_text(
            decode(body).text, main_content=True, alt_texts=False, comments=False, post_meta=False
        ),
    )


def datatrove(source: Input) -> Work:
    """datatrove's extraction step with FineWeb's settings, without its own process."""
    from datatrove.pipeline.extractors import Trafilatura

    step = Trafilatura(favour_precision=True)
    return _library(source, lambda body: step.extract(decode(body).text) or "")


CONTESTANTS = (
    Contestant("ours", ours),
    Contestant("ours-sandbox", ours_sandbox),
    Contestant("ours-extract", ours_extract),
    Contestant("trafilatura", trafilatura, "trafilatura"),
    Contestant("trafilatura-fast", trafilatura_fast, "trafilatura"),
    Contestant("trafilatura-cli", trafilatura_cli, "trafilatura"),
    Contestant("resiliparse", resiliparse, "resiliparse"),
    Contestant("datatrove", datatrove, "datatrove"),
)


def gold_pages(root: Path, source: str, limit: int) -> Iterator[GoldPage]:
    """Up to `limit` pages of a source with a gold text, spread evenly over their names."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted((root / "extraction").glob("gold_*.jsonl.zst")):
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            rows |= {
                row["id"]: row
                for row in map(json.loads, lines)
                if row["source"] == source and row["kind"] == "full" and row["text"]
            }

    names = sorted(rows)
    chosen = set(names[:: max(1, len(names) // limit)][:limit])
    bodies: dict[str, bytes] = {}

    for path in sorted((root / "extraction").glob("pages_*.tar.zst")):
        with zstandard.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = Path(member.name).name.partition(".")[0]
                handle = archive.extractfile(member) if name in chosen else None
                if handle is not None:
                    bodies[name] = handle.read()
                if len(bodies) == len(chosen):
                    break

    for name in sorted(bodies):
        yield GoldPage(name, source, rows[name]["url"], bodies[name], rows[name]["text"])


def _timed_pages(source: Input) -> Iterator[GoldPage]:
    for each in TIMED.values():
        yield from gold_pages(Path(source.root), each, source.pages)


def _ours(source: Input, work: Callable[[Page], object]) -> Work:
    config = ExtractConfig()
    extract = extractor(config)
    crossed = json.loads(CROSSED.read_text("utf-8")) if config.extractor == "learned" else {}

    def scored(page: GoldPage) -> PageScores:
        if page.name in crossed:
            return PageScores(*crossed[page.name])
        return page_scores(page.gold, extract(decode(page.body).text))

    return _work(
        source, scored, lambda body: work(Page("http://page.example/", "", None, None, body))
    )


def _library(source: Input, extract: ExtractBytes) -> Work:
    return _work(source, lambda page: page_scores(page.gold, extract(page.body)), extract)


def _work(
    source: Input, scored: Callable[[GoldPage], PageScores], each: Callable[[bytes], object]
) -> Work:
    """Measure quality beforehand, so that a turn is the pages' work alone."""
    quality = {
        key: round(
            average(
                [scored(page) for page in gold_pages(Path(source.root), name, source.pages)]
            ).f1,
            3,
        )
        for key, name in SCORED.items()
    }
    bodies = [page.body for page in _timed_pages(source)]
    each(bodies[0])

    def work() -> Turn:
        for body in bodies:
            each(body)
        return Turn(len(bodies), quality)

    return work


if __name__ == "__main__":
    main()
