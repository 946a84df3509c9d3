"""Main text out of real pages: our stage and extractors beside the libraries, speed and F1 on the same pages.

`ours` is the whole way of a page (charset, extraction, normal form, language, rules) in this process, under the default
config; `ours-sandbox` is the same in the child process that the stage uses. The libraries get the bytes and only
extract. F1 is the article-extraction-benchmark's (clean/scores.py) on the text before any page is dropped.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import zstandard

from bench.material import shared
from bench.measure import Contestant, Turn, alternate, arguments, show
from clean.config import CleanConfig
from clean.decode import decode
from clean.document import Page, document_function
from clean.extract import ExtractConfig, extractor
from clean.pages import process
from clean.sandbox import Sandbox
from clean.scores import scores

SOURCES = {"f1_news": "aeb", "f1_wcxb": "wcxb"}
ExtractBytes = Callable[[bytes], str]


@dataclass(frozen=True)
class GoldPage:
    """A page as it was served, and the text that people marked as its content."""

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
    args = parser.parse_args()
    pages = [page for source in SOURCES.values() for page in gold_pages(shared(), source, args.pages)]
    size = sum(len(page.body) for page in pages) / 1e6
    kinds = ", ".join(f"{sum(page.source == s for page in pages)} {s}" for s in SOURCES.values())
    extractors = {"ours": ours(), **libraries()}
    quality = {name: _quality(pages, extract) for name, (_, extract) in extractors.items()}
    config = CleanConfig()
    with Sandbox("clean.document:program", config.model_dump_json(), config.sandbox) as sandbox:
        document = document_function(config)

        def contestant(name: str, version: str, like: str, work: Callable[[Page], object]) -> Contestant:
            return Contestant(name, lambda _: lambda: _turn(pages, work, quality[like]), version=version)

        version = extractors["ours"][0]
        contestants = [
            contestant("ours", version, "ours", document),
            contestant("ours-sandbox", version, "ours", lambda page: process(page, sandbox)),
            *(
                contestant(name, version, name, lambda page, extract=extract: extract(page.body))
                for name, (version, extract) in libraries().items()
            ),
        ]
        source = f"{kinds} pages of extraction/dev, {size:.1f} MB"
        result = alternate(
            "documents", contestants, None, description=source, unit="pages/s", rounds=args.rounds
        )
        show(result, as_json=args.json)


def ours() -> tuple[str, ExtractBytes]:
    """The configured extractor with its version."""
    config = ExtractConfig()
    extract = extractor(config)
    return config.extractor, lambda body: extract(decode(body).text)


def libraries() -> dict[str, tuple[str, ExtractBytes]]:
    """Name to version and function of the libraries that are installed."""
    import trafilatura

    version = metadata.version("trafilatura")
    found: dict[str, tuple[str, ExtractBytes]] = {
        "trafilatura": (version, lambda body: trafilatura.extract(body, include_comments=False) or ""),
        "trafilatura-fast": (
            version,
            lambda body: trafilatura.extract(body, include_comments=False, fast=True) or "",
        ),
    }
    with contextlib.suppress(ImportError):
        from resiliparse.extract.html2text import extract_plain_text

        found["resiliparse"] = (
            metadata.version("resiliparse"),
            lambda body: extract_plain_text(
                decode(body).text, main_content=True, alt_texts=False, comments=False, post_meta=False
            ),
        )
    return found


def gold_pages(root: Path, source: str, limit: int) -> Iterator[GoldPage]:
    """Up to `limit` pages of a source that have a gold text, spread evenly over the order of their names."""
    with zstandard.open(root / "extraction" / "gold_dev.jsonl.zst", "rt", encoding="utf-8") as lines:
        rows: dict[str, dict[str, Any]] = {
            row["id"]: row for row in map(json.loads, lines) if row["source"] == source and row["text"]
        }
    names = sorted(rows)
    chosen = set(names[:: max(1, len(names) // limit)][:limit])
    bodies: dict[str, bytes] = {}
    with (
        zstandard.open(root / "extraction" / "pages_dev.tar.zst") as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for member in archive:
            name = Path(member.name).name.partition(".")[0]
            if name in chosen:
                handle = archive.extractfile(member)
                assert handle is not None
                bodies[name] = handle.read()
            if len(bodies) == len(chosen):
                break
    for name in sorted(bodies):
        yield GoldPage(name, source, rows[name]["url"], bodies[name], rows[name]["text"])


def _turn(pages: list[GoldPage], work: Callable[[Page], object], quality: Mapping[str, float]) -> Turn:
    for page in pages:
        work(Page(page.url, page.url, None, None, page.body))
    return Turn(len(pages), quality)


def _quality(pages: list[GoldPage], extract: ExtractBytes) -> dict[str, float]:
    return {
        key: round(scores((p.gold, extract(p.body)) for p in pages if p.source == source).f1, 3)
        for key, source in SOURCES.items()
    }


if __name__ == "__main__":
    main()
