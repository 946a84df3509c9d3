"""Labelled pages for the judge of soft failures. They lie outside the repository.

`softfail/softfail_*.tar.zst` hold real answers that are not pages, by kind, and genuine pages.
`extraction` and `extraction2` hold genuine pages with gold text.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import zstandard

from clean.learned.blocks import blocks
from clean.learned.extraction import Use, chances, extracted, model
from clean.page_source import metadata
from clean.page_source.decode import decode
from clean.rewrite import rewritten
from clean.soft_failures.judge import JudgedPage

# Labels of the data to reasons of the judge.
KINDS: Final = {
    "maintenance": "error_page",
    "redirect": "redirect_stub",
    "spam": "hijacked",
    "pay_wall": "paywall_teaser",
}
# Pages of the extraction sets that are soft failures themselves.
MISLABELLED: Final = frozenset(
    [
        "wcxb-5511",
        "wcxb-0551",
        "wcxb-4352",
        "cleaneval-727",
        "cleaneval-270",
        "cleaneval-82",
        "cleaneval-795",
        "cleaneval-471",
        "sf-1736",
    ]
)
MAX_PAGE_BYTES: Final = 3_000_000


@dataclass(frozen=True, slots=True)
class Labelled:
    """A page with its label. `kind` is None for a genuine one."""

    id: str
    kind: str | None
    family: str
    url: str
    title: str | None
    gold: str
    body: bytes

    @property
    def failure(self) -> bool:
        """True for a soft failure."""
        return self.kind is not None

    def page(self, html: str | None = None) -> JudgedPage:
        """The page, or other HTML in its place, as the extractor leaves it."""
        return extracted_page(decode(self.body, "text/html").text if html is None else html)


@cache
def _chances() -> Any:
    return chances(model())


def extracted_page(html: str) -> JudgedPage:
    """A page cut into blocks, with the number of words that the extractor keeps."""
    cut = blocks(rewritten(html).encode("utf-8", "replace"))
    text = extracted(cut, _chances()(cut), Use.BALANCED)
    marks = metadata.head_marks(html)
    return JudgedPage(cut, html, metadata.title(html, marks), marks, len(text.split()))


def labelled_pages(folder: Path) -> Iterator[Labelled]:
    """Soft failures and genuine pages of all archives in `softfail`."""
    for path in sorted((folder / "softfail").glob("softfail_*.tar.zst")):
        yield from _labelled_pages(path)


def _labelled_pages(path: Path) -> Iterator[Labelled]:
    labels: dict[str, dict[str, Any]] = {}
    for name, data in _members(path):
        if name.endswith("labels.jsonl"):
            labels = {row["id"]: row for row in map(json.loads, data.decode().splitlines())}
        elif (row := labels.get(Path(name).stem)) and row["id"] not in MISLABELLED:
            kind = None if row["kind"] == "ok" else KINDS.get(row["kind"], row["kind"])
            url = row["url"] or "http://unknown.test/"
            family = row["family"] if kind else _domain(url, row["id"])
            yield Labelled(row["id"], kind, family, url, row["title"], "", data)


def genuine_pages(folder: Path) -> Iterator[Labelled]:
    """Pages of both extraction sets."""
    for name, gold_name, pages_name in (
        ("extraction", "gold_dev.jsonl.zst", "pages_dev.tar.zst"),
        ("extraction2", "gold_dev2.jsonl.zst", "pages_dev2.tar.zst"),
    ):
        gold = {}
        with open(folder / name / gold_name, "rb") as stream:
            reader = zstandard.ZstdDecompressor().stream_reader(stream)
            for line in io.TextIOWrapper(reader, "utf-8"):
                row = json.loads(line)
                gold[row["id"]] = row
        for member, data in _members(folder / name / pages_name):
            row = gold.get(Path(member).name.removesuffix(".gz").removesuffix(".html"))
            if row is None or row["id"] in MISLABELLED or len(data) > MAX_PAGE_BYTES:
                continue
            yield Labelled(
                row["id"],
                None,
                _domain(row["url"] or "", row["id"]),
                row["url"] or "http://unknown.test/",
                row.get("title"),
                row.get("text") or "",
                data,
            )


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    with (
        open(path, "rb") as stream,
        decompressor.stream_reader(stream) as reader,
        tarfile.open(fileobj=reader, mode="r|") as archive,
    ):
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                yield member.name, file.read()


def _domain(url: str, fallback: str) -> str:
    host = url.partition("//")[2].partition("/")[0]
    return "domain:" + ".".join(host.split(".")[-2:]) if host else fallback
