"""Makes the document of one page: decode, extract, tell soft failures, normalise, detect the
language, judge.

A pure function of bytes to a document or a reason. It runs in the sandbox's process
(`clean.sandbox`), since a page may be hostile to any of its steps. Nothing is carried from one page
to the next, so a page gives the same result alone, first, last, or in any company.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

import msgspec

from clean import detail, normalize, plugins
from clean.config import CleanConfig
from clean.extract import Extracted, page_extractor
from clean.filters import language, personal, quality, wikipedia
from clean.page_source import metadata
from clean.page_source.decode import decode
from clean.page_source.embedded import is_plain
from clean.reasons import Reason
from clean.soft_failures.addresses import SoftFailure, StoredAnswer
from clean.soft_failures.judge import JudgedPage, judge, judge_answer, prepare
from crawl.warc.kind import PLAIN_TEXT, content_kind, is_binary, media_type


class Page(msgspec.Struct, frozen=True, array_like=True):
    """A stored response. `latest_day` is the ordinal of the day of the fetch."""

    url: str
    final_url: str
    content_type: str | None
    latest_day: int | None
    body: bytes
    status: int | None = None
    headers: list[tuple[str, str]] = []
    redirects: list[str] = []
    as_missing: bool = False
    """See `StoredAnswer`."""


class Document(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The text of a kept page. `notes` names observations for the counts."""

    text: str
    title: str | None
    language: str
    language_score: float
    num_words: int
    published_day: int | None
    extractor: str
    notes: list[str]
    visible_words: int = 0


class Dropped(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The reason to drop a page. `detail` is the value or name behind it."""

    reason: Reason
    detail: str | None = None
    notes: list[str] = []


Result = Document | Dropped
DocumentFunction = Callable[[Page], Result]


class _Source(NamedTuple):
    """Text of a page as it was found: normal form, language and quality are not judged yet."""

    html: str
    raw: str
    visible_words: int
    title: str | None
    published: date | None
    extractor: str
    markdown: str | None = None


def document_function(config: CleanConfig) -> DocumentFunction:
    """The function of a page under `config`. It opens extractor, judge and language model once."""
    extract = _extractor(config)
    filters = plugins.load_filters(config.plugins)
    language.detect("The language model is read when it is first asked.")
    if config.soft_failures.remove:
        prepare()

    def document(page: Page) -> Result:
        kind = _kind(page, config)
        if isinstance(kind, Dropped):
            return kind

        decoded = decode(page.body, page.content_type)
        notes = [f"charset:{decoded.source}"]
        source = _source(page, kind, decoded.text, extract, config)
        if isinstance(source, SoftFailure):
            return Dropped(Reason(source.kind), source.detail, notes)
        if not source.raw.strip():
            return Dropped(Reason.EXTRACT_EMPTY, None, notes)

        judged = _judged(source, notes, config)
        return _filtered(judged, page, filters) if filters else judged

    return document


def _extractor(config: CleanConfig) -> Callable[[str, str], Extracted]:
    """The extractor of (HTML, address): ours, or the plugin's text with our blocks."""
    ours = page_extractor(config.extract)
    theirs = plugins.load_extractor(config.plugins)
    if theirs is None:
        return lambda html, url: ours(html)
    return lambda html, url: ours(html)._replace(text=theirs(html, url))


def _filtered(result: Result, page: Page, filters: Sequence[plugins.Filter]) -> Result:
    """The document, or the first filter's reason to drop it."""
    if not isinstance(result, Document):
        return result
    seen = plugins.PageText(result.text, page.final_url, result.title, result.language)
    for each in filters:
        if (reason := each(seen)) is not None:
            return Dropped(Reason.PLUGIN, reason, result.notes)
    return result


def _kind(page: Page, config: CleanConfig) -> str | Dropped:
    """The kind of a page's content, or the reason not to read it."""
    if reason := wikipedia.judge_address((page.url, page.final_url), config.wikipedia):
        return Dropped(reason, f"{page.final_url}: clean.wikipedia.remove")
    if not page.body.strip():
        return Dropped(Reason.BODY_EMPTY)

    most = config.extract.max_html_bytes
    if len(page.body) > most:
        size = detail.above(len(page.body), most, "bytes", "extract.max_html_bytes")
        return Dropped(Reason.BODY_TOO_LARGE, size)

    kind = content_kind(page.content_type, page.body)
    if kind is None:
        return Dropped(Reason.CONTENT_TYPE, media_type(page.content_type) or "unknown")

    return kind


def _source(
    page: Page,
    kind: str,
    html: str,
    extract: Callable[[str, str], Extracted],
    config: CleanConfig,
) -> _Source | SoftFailure:
    """The main text of a page and its metadata, or the kind of soft failure."""
    answer = StoredAnswer(
        page.url, page.final_url, page.status, page.headers, page.redirects, page.as_missing
    )
    if kind == PLAIN_TEXT or (is_plain(html) and not is_binary(page.body)):
        refused = judge_answer(answer, config.soft_failures)
        return refused or _Source(html, html, len(html.split()), None, None, PLAIN_TEXT)

    found = extract(html, page.final_url)
    marks = metadata.head_marks(html)
    title = metadata.title(html, marks)
    judged = JudgedPage(found.blocks, html, title, marks, len(found.text.split()))
    if failure := judge(answer, judged, config.soft_failures):
        return failure

    latest = date.fromordinal(page.latest_day) if page.latest_day else None
    return _Source(
        html,
        found.text,
        found.visible_words,
        title,
        metadata.published(html, marks, latest),
        config.plugins.extractor or config.extract.extractor,
        found.markdown,
    )


def _judged(source: _Source, notes: list[str], config: CleanConfig) -> Result:
    """The document of a text, or the first reason to drop it."""
    normal = normalize.normalize(source.raw, config.normalize)
    notes += [f"normalized:{change}" for change in normal.changes]
    if reason := normalize.judge(normal, config.normalize):
        return Dropped(reason, normalize.detail_of(reason, normal, config.normalize), notes)
    if reason := wikipedia.judge_content(source.html, normal.text, config.wikipedia):
        return Dropped(reason, "names Wikipedia as its source: clean.wikipedia.remove", notes)

    spoken = language.detect(normal.text)
    # The page's own word counts only for a text that is not sure by itself.
    is_sure = spoken.score >= config.language.min_score
    declared = None if is_sure else metadata.language(source.html)
    if reason := language.judge(spoken, config.language, declared):
        found = language.detail_of(reason, spoken, config.language, declared)
        return Dropped(reason, found, notes)

    judged = quality.judge(normal.text, config.quality)
    if judged.reason is not None:
        return Dropped(judged.reason, judged.detail, notes)

    text, title = judged.text, _one_line(source.title, config)
    if source.markdown is not None:
        text = normalize.normalize(source.markdown, config.normalize).text
    if config.personal.replace:
        replaced = personal.replace(text)
        text, title = replaced.text, personal.replace(title).text if title else None
        notes += ["replaced:email"] * replaced.num_emails + ["replaced:ip"] * replaced.num_ips

    return Document(
        text=text,
        title=title,
        language=spoken.label,
        language_score=spoken.score,
        num_words=len(text.split()),
        visible_words=source.visible_words,
        published_day=source.published.toordinal() if source.published else None,
        extractor=source.extractor,
        notes=notes,
    )


def program(config_json: str) -> Callable[[bytes], bytes]:
    """Returns the function run by the sandbox's process: a page's msgpack to a result's."""
    document = document_function(CleanConfig.model_validate_json(config_json))
    decode_page = msgspec.msgpack.Decoder(Page).decode
    encode_result = msgspec.msgpack.Encoder().encode

    def answer(request: bytes) -> bytes:
        return encode_result(document(decode_page(request)))

    return answer


def _one_line(title: str | None, config: CleanConfig) -> str | None:
    return " ".join(normalize.normalize(title or "", config.normalize).text.split()) or None
