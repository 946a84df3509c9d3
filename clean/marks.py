"""The table `marks`: licences and opt-outs stated by pages, beside `documents`.

It is made by a step of its own over the stored pages, so asking for it later extracts nothing
again. The step drops nothing. The user of the corpus decides what a mark means.

Opt-outs, by the words of the sites: robots directives (`noai`, `noimageai`, `noindex`, `none`,
`noarchive`) in `<meta name=robots>`, in the meta of a named crawler or in `X-Robots-Tag`; the TDM
reservation protocol (W3C community report, 2024). Licences: Creative Commons addresses linked by
the page, as `by-sa/4.0`. If some are marked rel=license, only those count.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from clean.config import CleanConfig
from clean.page_source.metadata import metas
from clean.pages import fetched
from corpus.run.step import Context, Joins, Map, MapFunction, Output
from corpus.tables.schemas import DOCUMENTS, MARKS, PAGES
from crawl.warc import records

DIRECTIVES = frozenset({"noai", "noimageai", "noindex", "none", "noarchive"})
_ROBOTS_NAME = re.compile(r"robots|[\w-]{0,40}bot|google-extended")
_DIRECTIVE = re.compile(r"[\w-]{2,40}")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w-]+)", re.I)
# UTF-32 first: its little-endian mark begins with that of UTF-16.
WIDE_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WIDE_LABELS = {
    "utf-16": "utf-16-le", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
    "utf-32": "utf-32-le", "utf-32le": "utf-32-le", "utf-32be": "utf-32-be",
}  # fmt: skip
_LICENSE = re.compile(
    r"creativecommons\.org/(?:licenses|publicdomain)/([a-z][a-z+-]{1,20}/\d\.\d)", re.I
)
_TAG_WITH_LICENSE = re.compile(
    r"<(?:a|link)\s[^<>]{0,600}?rel\s*=\s*[\"']?[^\"'<>]{0,60}\blicense\b[^<>]{0,600}>", re.I
)


def opt_outs(html: str, headers: records.Headers) -> list[str]:
    """Opt-outs of a page: directives, and `tdm-reservation` if it is 1. Sorted, each once."""
    said = [content for name, content in metas(html) if _ROBOTS_NAME.fullmatch(name)]
    said += [value for name, value in headers if name.lower() == "x-robots-tag"]
    found = {word for each in said for word in _DIRECTIVE.findall(each.lower())} & DIRECTIVES
    fields = [*metas(html), *((name.lower(), value) for name, value in headers)]
    if any(name == "tdm-reservation" and value.strip() == "1" for name, value in fields):
        found.add("tdm-reservation")
    return sorted(found)


def readable(body: bytes, headers: records.Headers) -> str:
    """A page's bytes as text for reading marks.

    All marks are ASCII, so only wide charsets are decoded.
    """
    charset = next((codec for mark, codec in WIDE_BOMS if body.startswith(mark)), None)
    if charset is None:
        types = (value for name, value in headers if name.lower() == "content-type")
        label = next((found[1].lower() for value in types if (found := _CHARSET.search(value))), "")
        # The standard reads utf-16 without a byte order mark as little-endian.
        charset = WIDE_LABELS.get(label)
    if charset is None:
        # Markup without any declaration: every other byte of its first characters is zero.
        start = body.lstrip(b"\0\t\n\r ")[:2]
        big_endian = body[:1] == b"\0"
        charset = (
            ("utf-16-be" if big_endian else "utf-16-le")
            if start[:1] == b"<" and (start[1:] == b"\0")
            else "latin-1"
        )
    return body.decode(charset, "replace")


def licenses(html: str) -> list[str]:
    """Creative Commons licences named by a page, as `by-sa/4.0`. Sorted, each once."""
    if "creativecommons.org/" not in html.lower():
        return []
    marked = _licenses(match[0] for match in _TAG_WITH_LICENSE.finditer(html))
    return sorted(marked or _licenses([html]))


def _licenses(texts: Iterable[str]) -> set[str]:
    return {match[1].lower() for text in texts for match in _LICENSE.finditer(text)}


def _load(config: CleanConfig, context: Context) -> MapFunction:
    def apply(pages: pa.Table, joins: Joins) -> Output:
        kept = pages.filter(
            pc.is_in(pages["doc_id"], joins[DOCUMENTS.name]["doc_id"].combine_chunks())
        )
        rows = []
        counts: Counter[str] = Counter()

        for row in kept.to_pylist():
            response = records.read_response(
                context.store,
                row["warc_file"],
                row["warc_offset"],
                row["warc_length"],
                context.batch,
            )
            html = readable(response.body, response.headers)
            asked, licensed = opt_outs(html, response.headers), licenses(html)
            counts.update(
                [*(f"opt_out:{each}" for each in asked), *(f"license:{each}" for each in licensed)]
            )
            rows.append({"doc_id": row["doc_id"], "opt_outs": asked, "licenses": licensed})

        return Output({MARKS.name: pa.Table.from_pylist(rows, MARKS.schema)}, counts)

    return apply


STEP = Map(
    name="clean/marks",
    reads=PAGES,
    columns=("doc_id", "reason", "warc_file", "warc_offset", "warc_length"),
    where=fetched,
    joins={DOCUMENTS: ("doc_id",)},
    writes=(MARKS,),
    load=_load,
)
