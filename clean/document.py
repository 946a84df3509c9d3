"""One page's way: decode, extract, normalise, tell the language, judge. Pure: bytes in, a document or a reason out.

Runs inside the sandbox's process (`clean.sandbox`), since any step of it may meet a page that was made to hurt.
Nothing is carried from one page to the next: a page gives the same result alone, first, last, or in any company.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import msgspec

from clean import detail, metadata, normalize
from clean.config import CleanConfig
from clean.decode import decode
from clean.extract import extractor
from clean.filters import language, personal, quality, wikipedia
from clean.reasons import Reason
from crawl.warc.kind import PLAIN_TEXT, content_kind, media_type


class Page(msgspec.Struct, frozen=True, array_like=True):
    """A stored response on its way to a document. `latest_day` is the ordinal of the day of the fetch."""

    url: str
    final_url: str
    content_type: str | None
    latest_day: int | None
    body: bytes


class Document(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The text of a page that stays. `notes` names what was seen on the way, for the counts."""

    text: str
    title: str | None
    language: str
    language_score: float
    num_words: int
    published_day: int | None
    extractor: str
    notes: list[str]


class Dropped(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Why a page gives no document; `detail` is the figure or name behind the reason."""

    reason: Reason
    detail: str | None = None
    notes: list[str] = []


Result = Document | Dropped
DocumentFunction = Callable[[Page], Result]


def document_function(config: CleanConfig) -> DocumentFunction:
    """The way of a page under `config`; extractor and language model are opened here, once."""
    extract = extractor(config.extract)
    language.detect("The language model is read when it is first asked.")

    def document(page: Page) -> Result:
        if reason := wikipedia.judge_address((page.url, page.final_url), config.wikipedia):
            return Dropped(reason, f"{page.final_url}: clean.wikipedia.remove")
        if not page.body.strip():
            return Dropped(Reason.BODY_EMPTY)
        if len(page.body) > config.extract.max_html_bytes:
            most = config.extract.max_html_bytes
            size = detail.above(len(page.body), most, "bytes", "extract.max_html_bytes")
            return Dropped(Reason.BODY_TOO_LARGE, size)
        kind = content_kind(page.content_type, page.body)
        if kind is None:
            return Dropped(Reason.CONTENT_TYPE, media_type(page.content_type) or "unknown")
        source = decode(page.body, page.content_type)
        notes = [f"charset:{source.source}"]
        if kind == PLAIN_TEXT:
            raw, title, published = source.text, None, None
        else:
            raw = extract(source.text)
            marks = metadata.head_marks(source.text)
            latest = date.fromordinal(page.latest_day) if page.latest_day else None
            title, published = (
                metadata.title(source.text, marks),
                metadata.published(source.text, marks, latest),
            )
        if not raw.strip():
            return Dropped(Reason.EXTRACT_EMPTY, None, notes)
        normal = normalize.normalize(raw, config.normalize)
        notes += [f"normalized:{change}" for change in normal.changes]
        if reason := normalize.judge(normal, config.normalize):
            return Dropped(reason, normalize.detail_of(reason, normal, config.normalize), notes)
        if reason := wikipedia.judge_content(source.text, normal.text, config.wikipedia):
            return Dropped(reason, "names Wikipedia as its source: clean.wikipedia.remove", notes)
        told = language.detect(normal.text)
        if reason := language.judge(told, config.language):
            return Dropped(reason, language.detail_of(reason, told, config.language), notes)
        judged = quality.judge(normal.text, config.quality)
        if judged.reason is not None:
            return Dropped(judged.reason, judged.detail, notes)
        text, shown = judged.text, _one_line(title, config)
        if config.personal.replace:
            replaced = personal.replace(text)
            text, shown = replaced.text, personal.replace(shown).text if shown else None
            notes += ["replaced:email"] * replaced.num_emails + ["replaced:ip"] * replaced.num_ips
        return Document(
            text=text,
            title=shown,
            language=told.label,
            language_score=told.score,
            num_words=len(text.split()),
            published_day=published.toordinal() if published else None,
            extractor=PLAIN_TEXT if kind == PLAIN_TEXT else config.extract.extractor,
            notes=notes,
        )

    return document


def program(config_json: str) -> Callable[[bytes], bytes]:
    """What the sandbox's process runs: a page's msgpack to a result's."""
    document = document_function(CleanConfig.model_validate_json(config_json))
    decode_page = msgspec.msgpack.Decoder(Page).decode
    encode_result = msgspec.msgpack.Encoder().encode

    def answer(request: bytes) -> bytes:
        return encode_result(document(decode_page(request)))

    return answer


def _one_line(title: str | None, config: CleanConfig) -> str | None:
    return " ".join(normalize.normalize(title or "", config.normalize).text.split()) or None
