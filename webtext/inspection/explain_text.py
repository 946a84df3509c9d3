"""The text of `webtext explain`: the history of a page, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corpus.printable import printable
from corpus.run.funnel import size
from corpus.tables.elsewhere import is_elsewhere
from webtext.inspection.page_history import PageHistory, TokenPosition

EXCERPT_CHARS = 300
MOST_COPIES = 5
# `pages.cause` of a failure after asking archives.
ARCHIVE_CAUSES = {
    "no_capture": "no capture in the archives",
    "capture_unreadable": "its captures in the archives cannot be read",
}
# `pages.capture` of a page sent by its own site.
LIVE = "live"


def render(history: PageHistory) -> str:
    """Return the history for people, a fact a line."""
    lines = [history.link["url"] if history.link else history.asked]
    if history.doc_id is not None:
        key = (
            f"  key {history.link['url_key']}  domain {history.link['domain']}"
            if history.link
            else ""
        )
        lines.append(f"  doc_id {history.doc_id}{key}")

    if history.taken_down:
        lines.append(_entry("taken down", f"on {history.taken_down}; it never comes back"))
    if history.link is None:
        lines.append(_entry("never", _never(history)))
        if history.doubt is not None:
            lines.append(_entry("in doubt", history.doubt))
        return "\n".join(lines)

    lines += _link_lines(history.link, history.batch)
    if history.page is not None:
        lines += _page_lines(history.page)

    if history.dropped is not None:
        detail = f": {history.dropped['detail']}" if history.dropped["detail"] else ""
        lines.append(
            _entry(
                "dropped", f"at {history.dropped['step']} by {history.dropped['reason']}{detail}"
            )
        )

    if history.document is not None:
        lines += _document_lines(history.document)
    if history.verdict is not None:
        lines += _verdict_lines(history)
    if history.place is not None:
        lines += position_lines(history.place, history.snapshots)

    if history.next_command is not None:
        lines.append(
            _entry("next", f"webtext {history.next_command} has not run on batch {history.batch}")
        )

    return "\n".join(lines)


def _never(history: PageHistory) -> str:
    if history.taken_down:
        return "no batch has it any more"
    if history.refused:
        return f"linked by no batch; it would be refused: {history.refused}"
    if history.asked == history.doc_id:
        return "linked by no batch; ask with its address to learn which rule would refuse it"
    return "linked by no batch, and no rule refuses it: no dump so far has a submission of it with enough karma"


def _link_lines(link: dict[str, Any], batch: str | None) -> list[str]:
    adult = ", over 18" if link["over_18"] else ""
    return [
        _entry(
            "linked",
            f"in batch {batch}: karma {link['score']} (sum {link['score_sum']} of {link['num_submissions']} submissions{adult})",
        ),
        _entry(
            "",
            f"best {link['submission_id']} in r/{link['subreddit']} on {link['created']:%Y-%m-%d %H:%M:%S} UTC: {_excerpt(link['title'], 80)}",
        ),
    ]


def _page_lines(page: dict[str, Any]) -> list[str]:
    at = f" on {page['fetched_at']:%Y-%m-%d %H:%M:%S} UTC" if page["fetched_at"] else ""
    status = f", status {page['status']}" if page["status"] is not None else ""
    tries = f", {page['attempts']} attempts" if page["attempts"] != 1 else ""

    if page["reason"] is not None:
        lines = [_entry("not fetched", f"{page['reason']}{status}{at}{tries}")]
        if page.get("cause") in ARCHIVE_CAUSES:
            lines.append(_entry("", ARCHIVE_CAUSES[page["cause"]]))
    else:
        cut = ", cut off" if page["truncated"] else ""
        body = f", {page['content_type']}, {size(page['body_bytes'] or 0)}{cut}"
        from_ip = f"from {page['ip']}" if page["ip"] else "from an archive"
        lines = [_entry("fetched", f"{from_ip}{at}{status}{body}{tries}")]

    if page["capture"] not in (None, LIVE):
        captured = f" on {page['captured_at']:%Y-%m-%d}" if page["captured_at"] else ""
        record = f", record {page['original_record_id']}" if page["original_record_id"] else ""
        lines.append(_entry("", printable(f"captured by {page['capture']}{captured}{record}")))

    lines += [_entry("", f"hop {hop}") for hop in page["redirects"]]
    if page["final_url"] not in (None, page["url"]):
        lines.append(_entry("", f"at  {page['final_url']}"))

    if page["warc_file"] is not None:
        lines.append(
            _entry(
                "",
                f"WARC {page['warc_file']} at {page['warc_offset']}, {page['warc_length']} bytes",
            )
        )

    return lines


def _document_lines(row: dict[str, Any]) -> list[str]:
    title = f", {_excerpt(row['title'], 60)}" if row["title"] else ""
    day = f", published {row['published']}" if row["published"] else ""
    return [
        _entry(
            "document",
            f"{row['num_words']:,} words in {row['language']} ({row['language_score']:.2f}) by {row['extractor']}{day}{title}",
        ),
        _entry("", _excerpt(row["text"], EXCERPT_CHARS)),
    ]


def _verdict_lines(history: PageHistory) -> list[str]:
    verdict = history.verdict
    assert verdict is not None
    if verdict["kept"]:
        lines = [_entry("kept", "by dedup")]
    elif history.survivor is None:
        lines = [_entry("removed", f"by dedup: {verdict['reason']}")]
    else:
        other = history.survivor
        where = (
            f"{other['url']} (batch {other['batch']})"
            if other["url"]
            else "a document outside the corpus (dedup.against)"
            if is_elsewhere(other["doc_id"])
            else "a page that was taken down"
        )
        lines = [
            _entry(
                "removed",
                f"by dedup: {verdict['reason']} of {other['doc_id']}, similarity {verdict['similarity']:.3f}",
            ),
            _entry("", where),
        ]

    if verdict["testsets"]:
        cut = sum(each["end"] - each["start"] for each in verdict["cuts"])
        cuts = f", {len(verdict['cuts'])} cuts of {cut:,} characters" if verdict["cuts"] else ""
        lines.append(
            _entry(
                "test sets",
                f"{', '.join(verdict['testsets'])}: {verdict['overlap_ngrams']} n-grams{cuts}",
            )
        )

    if history.copies:
        named = ", ".join(
            f"{each['doc_id']} ({each['similarity']:.3f})" for each in history.copies[:MOST_COPIES]
        )
        lines.append(_entry("copies", f"{len(history.copies)} pages removed for it: {named}"))

    return lines


def position_lines(place: TokenPosition, found: Sequence[dict[str, Any]]) -> list[str]:
    """The lines about a page's tokens and the snapshots that have them."""
    first, last = place.rows
    lines = [_entry("tokens", f"{place.num_tokens:,} in {place.path}")]
    if place.num_tokens:
        end = place.start + place.num_tokens - 1
        where = f"tokens {place.start:,} to {end:,}, rows {first} to {last}"
        lines.append(_entry("", f"{place.split}: {where}, row group {place.row_group}"))
    else:
        lines.append(_entry("", f"{place.split}: nothing is left of its text"))

    names = [each["name"] + (f" ({each['retired']})" if each["retired"] else "") for each in found]
    lines.append(_entry("snapshots", ", ".join(names) or "none"))
    lines += [
        _entry("", f"{each['name']}: {each['path']}")
        for each in found
        if each["path"] != place.path
    ]

    return lines


def _entry(label: str, words: str) -> str:
    return f"  {label:<12}{words}"


def _excerpt(words: str, limit: int) -> str:
    """One line of somebody's text, free of control characters for terminals."""
    line = " ".join(words[: 2 * limit].split())
    line = printable(line)
    return line if len(line) <= limit else line[: limit - 1] + "…"
