"""The view of one page: its history, the stored response, blocks, differences and tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.parquet import open_file
from webtext.inspection.explain import row_of, trace
from webtext.inspection.page_history import PageHistory, TokenPosition
from webtext.inspection.why import THRESHOLD
from webtext.look.text_marks import (
    TOKENS_SHOWN,
    MarkedText,
    coloured_tokens,
    with_cuts,
    word_diff,
)
from webtext.reports.runs import runs_of
from webtext.stages import needing

BLOCKS_SHOWN = 1000
# Settings of the extractor to compare on a page.
SETTINGS = (
    "learned precision",
    "learned balanced",
    "learned recall",
    "trafilatura",
    "trafilatura-fast",
)


class JudgedBlock(NamedTuple):
    """A block of the page with the extractor's probability of content."""

    text: str
    probability: float
    kept: bool

    @property
    def shade(self) -> int:
        """The probability in tenths. It selects the colour."""
        return min(9, int(self.probability * 10))


@dataclass(slots=True)
class PageLife:
    """A page from link to tokens, prepared for the template."""

    history: PageHistory
    response: Any = None
    problem: str = ""
    """The reason why the stored response cannot be shown."""
    text: list[MarkedText] = field(default_factory=list)
    rule: dict[str, str] | None = None
    """The rule that dropped the page, with its value and threshold, where it has them."""
    difference: tuple[list[MarkedText], list[MarkedText]] | None = None
    tokens: list[MarkedText] = field(default_factory=list)
    rights: dict[str, Any] | None = None
    runs: list[str] = field(default_factory=list)
    """Runs that train on one of the page's snapshots."""


def life(store: Store, asked: str) -> PageLife:
    """Follow a page. Raises: InputError for anything but an address or a doc_id."""
    history = trace(store, asked)
    found = PageLife(history)
    if history.batch is not None and history.doc_id is not None:
        found.rights = row_of(store, "rights", history.batch, history.doc_id)

    _add_response(store, found)
    if history.dropped is not None:
        match = THRESHOLD.fullmatch(history.dropped["detail"] or "")
        found.rule = match.groupdict() if match else None

    if history.document is not None:
        cuts = history.verdict["cuts"] if history.verdict else []
        found.text = with_cuts(history.document["text"], cuts)
        found.difference = _difference(store, history)
    if history.place is not None:
        found.tokens = coloured_tokens(_token_bytes(store, history.place))
        found.runs = runs_of(store, {each["name"] for each in history.snapshots})
    return found


def _add_response(store: Store, found: PageLife) -> None:
    page = found.history.page
    if page is None or page["warc_file"] is None:
        return

    response = stored_response(store, page)
    if isinstance(response, str):
        found.problem = response
        return
    found.response = response


def stored_response(store: Store, page: dict[str, Any]) -> Any:
    """The response as stored, or the reason why it cannot be read."""
    with needing("crawl"):
        from crawl.warc.records import WarcError, read_response
    try:
        return read_response(store, page["warc_file"], page["warc_offset"], page["warc_length"])
    except WarcError as error:
        return str(error)


def stored_html(store: Store, history: PageHistory) -> Any | None:
    """The stored response of a page, if it can be read and is HTML."""
    if history.page is None or history.page["warc_file"] is None:
        return None
    response = stored_response(store, history.page)
    return response if not isinstance(response, str) and is_html(response) else None


def content_type(response: Any) -> str | None:
    """The media type stated first by the server, as the fetch took it."""
    stated = (value for name, value in response.headers if name.lower() == "content-type")
    return next(stated, None)


def is_html(response: Any) -> bool:
    """True if the pipeline reads the response as HTML."""
    with needing("crawl"):
        from crawl.warc.kind import PLAIN_TEXT, content_kind
    return content_kind(content_type(response), response.body) not in (None, PLAIN_TEXT)


def judged_blocks(body: bytes, stated: str | None) -> list[JudgedBlock]:
    """The blocks of a page with the learned extractor's probabilities, in page order."""
    with needing("clean"):
        from clean.learned import extraction
        from clean.learned.blocks import blocks
        from clean.learned.layout import END, START
        from clean.page_source.decode import decode
        from clean.rewrite import rewritten_bytes

    page = blocks(rewritten_bytes(decode(body, stated).text))
    probability = extraction.chances(extraction.model())(page)
    kept = extraction.kept(page, probability, extraction.Use("balanced")).blocks
    places = page.place[:BLOCKS_SHOWN, [START, END]].tolist()
    return [
        JudgedBlock(
            page.text[start:end].tobytes().decode("utf-8", "replace"),
            float(probability[number]),
            bool(kept[number]),
        )
        for number, (start, end) in enumerate(places)
    ]


def extracted_text(response: Any, setting: str) -> str:
    """The text of a page under one of `SETTINGS`. Raises: InputError for another one."""
    if setting not in SETTINGS:
        raise InputError(f"setting {setting!r}: expected one of {', '.join(SETTINGS)}")
    with needing("clean"):
        from clean.extract import ExtractConfig, page_extractor
        from clean.page_source.decode import decode

    extractor, _, threshold = setting.partition(" ")
    values = {"extractor": extractor} | ({"threshold": threshold} if threshold else {})
    extract = page_extractor(ExtractConfig.model_validate(values))
    return extract(decode(response.body, content_type(response)).text).text


def _difference(
    store: Store, history: PageHistory
) -> tuple[list[MarkedText], list[MarkedText]] | None:
    """The words of a duplicate beside those of its survivor."""
    if history.survivor is None or history.survivor["batch"] is None or not history.document:
        return None
    other = row_of(store, "documents", history.survivor["batch"], history.survivor["doc_id"])
    return word_diff(history.document["text"], other["text"]) if other else None


def _token_bytes(store: Store, place: TokenPosition) -> list[bytes]:
    """The bytes of a page's first tokens. Row groups before and after them are not read."""
    with needing("shards"):
        from shards.tokenizer.encode import load_tokenizer

    wanted = min(place.num_tokens, TOKENS_SHOWN)
    first, last = place.start // place.row_tokens, (place.start + wanted - 1) // place.row_tokens
    pieces = []
    with open_file(store, place.path) as file:
        row = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row <= last and row + rows > first:
                values = file.read_row_group(group)["tokens"]
                pieces += values.slice(max(0, first - row), last + 1 - max(first, row)).to_pylist()
            row += rows

    width = len(pieces[0]) // place.row_tokens
    ids = np.frombuffer(b"".join(pieces), f"<u{width}")[place.start - first * place.row_tokens :]
    known = load_tokenizer(store).tokens
    return [known.get(token, b"") for token in ids[:wanted].tolist()]
