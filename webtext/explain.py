"""The whole fate of one page, from the submission to the tokens, on one screen.

    webtext explain --corpus C URL-or-doc_id [--json]

Any address of the page will do: it is reduced to the page's identity as the links stage does it.
For a page that no batch has, the rule that would have refused it is named, under the settings of
the latest batch. Reads one row group of each table, so a batch of millions answers like one of
thousands; only "who is a duplicate of it" reads a column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.printable import printable
from corpus.run import command
from corpus.run.funnel import size
from corpus.storage.store import Store, open_corpus, table_dir
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import find_row, iter_tables, locate_row, part_index, row_in_file
from corpus.tables.retirement import retirement
from corpus.tables.schemas import part_of_id
from corpus.tables.snapshot import SPLITS, Snapshot, TokenFile, read_snapshot, snapshots
from corpus.tables.takedown_list import takedowns, together
from corpus.urls import UrlProblem, page_identity, target
from webtext.stages import needing

EXCERPT_CHARS = 300
MOST_COPIES = 5


@dataclass(slots=True)
class Place:
    """The place of a page's tokens."""

    split: str
    path: str
    start: int
    num_tokens: int
    row_tokens: int
    row_group: int

    @property
    def rows(self) -> tuple[int, int]:
        """First and last Parquet row that hold some of them."""
        return self.start // self.row_tokens, (self.start + self.num_tokens - 1) // self.row_tokens


@dataclass(slots=True)
class Story:
    """All that the corpus knows of one page."""

    asked: str
    doc_id: str | None
    batch: str | None = None
    refused: str | None = None
    """Which rule would have refused it; None also where none would."""
    doubt: str | None = None
    """Why the latest batch may have judged otherwise than the rules that are there now."""
    taken_down: str | None = None
    link: dict[str, Any] | None = None
    page: dict[str, Any] | None = None
    document: dict[str, Any] | None = None
    dropped: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    survivor: dict[str, Any] | None = None
    """Of a duplicate: the batch and address of the page that stayed."""
    copies: list[dict[str, Any]] = field(default_factory=list)
    """Pages that were removed as duplicates of this one."""
    place: Place | None = None
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    next_door: str | None = None
    """What has still to run before more is known."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.explain")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.corpus_parser("webtext.explain", __doc__ or "")
    parser.add_argument(
        "page", metavar="URL-or-doc_id", help="an address, or the 32 digits of a doc_id"
    )
    args = parser.parse_args(argv)
    story = tell(open_corpus(args.corpus), args.page)
    print(text(story))
    if args.json:
        print(json.dumps(document(story), default=str, sort_keys=True))

    return 0


def tell(store: Store, asked: str) -> Story:
    """The story of a page.

    Raises: InputError for something that is neither an address nor a doc_id.
    """
    names = batch_names(store)
    doc_id = _identify(asked)
    story = Story(asked, doc_id)

    if doc_id is not None:
        _tell_takedown(store, story, asked)
        batch = _home(store, story, names)
        if batch is not None:
            _tell_batch(store, story, batch, names)
            return story

    if not re.fullmatch("[0-9a-f]{32}", asked):
        _tell_refusal(store, story, names)
    return story


def _home(store: Store, story: Story, names: Sequence[str]) -> str | None:
    """The batch that has the page: the one that fetched it, where several have tried.

    The last to try otherwise.
    """
    assert story.doc_id is not None
    for batch in names:
        link = _row(store, "links", batch, story.doc_id)
        if link is not None:
            story.link, story.batch = link, batch
            page = _row(store, "pages", batch, story.doc_id)
            if page is None or page["reason"] is None:
                break

    return story.batch


def _identify(asked: str) -> str | None:
    """The doc_id of what was asked for; None for an address that can be no page."""
    if re.fullmatch("[0-9a-f]{32}", asked):
        return asked
    if "://" not in asked and "." not in asked:
        raise InputError(
            f"{asked!r}: neither an address such as http://example.org/page nor the 32 digits of a doc_id"
        )

    page = target(_with_scheme(asked))
    return None if isinstance(page, UrlProblem) else page_identity(page).doc_id


def _with_scheme(asked: str) -> str:
    return asked if re.match("[a-zA-Z][a-zA-Z0-9+.-]*:", asked) else f"http://{asked}"


def _tell_refusal(store: Store, story: Story, names: Sequence[str]) -> None:
    """The rule that refuses the address, under the settings of the latest batch that was made of dumps."""
    settings, made_under, latest = None, None, ""
    for batch in reversed(names):
        manifest = find_manifest(store, "links", batch)
        if manifest is not None and "links" in manifest.config:
            settings, latest = manifest.config["links"], batch
            made_under = next(
                (each.fingerprint for each in manifest.inputs if each.table == "rules"), None
            )
            break

    with needing("crawl"):
        from crawl.links.refusal import explain_refusal
    found = explain_refusal(_with_scheme(story.asked), settings, made_under)
    story.refused = found.reason
    if found.doubt is not None:
        story.doubt = f"{found.doubt}; batch {latest} may have judged otherwise"


def _tell_takedown(store: Store, story: Story, asked: str) -> None:
    for record in takedowns(store):
        listed = together([record])
        if story.doc_id in listed.doc_ids or listed.has_page(_with_scheme(asked)):
            story.taken_down = f"{record.when[:10]}, take-down {record.id}" + (
                f" ({record.why})" if record.why else ""
            )


def _tell_batch(store: Store, story: Story, batch: str, names: Sequence[str]) -> None:
    assert story.doc_id is not None
    story.page = _row(store, "pages", batch, story.doc_id)
    if story.page is None:
        story.next_door = "crawl.run"
        return
    if story.page["reason"] is not None:
        return

    story.document = _row(store, "documents", batch, story.doc_id)
    if story.document is None:
        story.dropped = _row(store, "documents_dropped", batch, story.doc_id)
        story.next_door = None if story.dropped else "clean.run"
        return

    story.verdict = _row(store, "verdicts", batch, story.doc_id)
    if story.verdict is None:
        story.next_door = "dedup.run"
        return

    if story.verdict["duplicate_of"] is not None:
        story.survivor = _survivor(store, story.verdict["duplicate_of"], names)
    if not story.verdict["kept"]:
        return

    story.copies = list(_copies(store, story.doc_id, names[names.index(batch) :]))
    story.place = _place(store, batch, story.doc_id)
    story.next_door = None if story.place else "shards.run"
    story.snapshots = [
        found
        for name in snapshots(store)
        if (found := _in_snapshot(store, read_snapshot(store, name), batch, story)) is not None
    ]


def _row(store: Store, table: str, batch: str, doc_id: str) -> dict[str, Any] | None:
    manifest = find_manifest(store, table, batch)
    return find_row(store, table, manifest, doc_id) if manifest is not None else None


def _survivor(store: Store, doc_id: str, names: Sequence[str]) -> dict[str, Any]:
    for name in names:
        row = _row(store, "links", name, doc_id)
        if row is not None:
            return {"doc_id": doc_id, "batch": name, "url": row["url"]}
    return {"doc_id": doc_id, "batch": None, "url": None}


def _copies(store: Store, doc_id: str, names: Sequence[str]) -> Any:
    """Pages that were removed in favour of this one: one column of the verdicts is read."""
    for name in names:
        manifest = find_manifest(store, "verdicts", name)
        for part in manifest.parts if manifest else []:
            path = f"{table_dir('verdicts', name)}/{part.file}"
            for piece in iter_tables(store, path, ["doc_id", "duplicate_of", "similarity"]):
                hits = piece.filter(pc.fill_null(pc.equal(piece["duplicate_of"], doc_id), False))
                for row in hits.to_pylist():
                    yield {"doc_id": row["doc_id"], "batch": name, "similarity": row["similarity"]}


def _place(store: Store, batch: str, doc_id: str) -> Place | None:
    spans, tokens = find_manifest(store, "spans", batch), find_manifest(store, "tokens", batch)
    if spans is None or tokens is None:
        return None

    found = locate_row(store, "spans", spans, doc_id)
    if found is None:
        return None

    part = next(part for part in tokens.parts if _same_part(part.file, found[0].file))
    groups = [(int(group["rows"]), int(group["offset"])) for group in part.metadata["row_groups"]]
    return _make_place(
        f"{table_dir('tokens', batch)}/{part.file}", found[1], part.metadata["row_tokens"], groups
    )


def _same_part(left: str, right: str) -> bool:
    return left.partition("/")[0] == right.partition("/")[0] and part_index(left) == part_index(
        right
    )


def _make_place(
    path: str, span: dict[str, Any], row_tokens: int, groups: Sequence[tuple[int, int]]
) -> Place:
    split = next(name for name in SPLITS if f"/{name}/" in path)
    first = span["start"] // row_tokens
    ends = np.cumsum([rows for rows, _ in groups])
    row_group = int(np.searchsorted(ends, first, "right"))
    return Place(split, path, span["start"], span["num_tokens"], row_tokens, row_group)


def _in_snapshot(
    store: Store, snapshot: Snapshot, batch: str, story: Story
) -> dict[str, Any] | None:
    """The snapshot's name and where in it the page's tokens lie.

    None where it does not have them.
    """
    assert story.doc_id is not None
    retired = retirement(store, snapshot.name)
    told = {"name": snapshot.name, "retired": retired.kind if retired else None}

    for split in SPLITS:
        for file in snapshot.splits[split].files:
            if file.batch != batch or not _may_hold(store, file, story):
                continue
            if story.place is not None and file.path == story.place.path:
                return {**told, "path": file.path, "start": story.place.start}
            # A file that is missing here is reported by `webtext verify`.
            if not store.exists(file.spans_path):
                continue
            span = row_in_file(store, file.spans_path, story.doc_id)
            if span is not None:
                return {**told, "path": file.path, "start": span["start"]}

    return None


def _may_hold(store: Store, file: TokenFile, story: Story) -> bool:
    manifest = find_manifest(store, "spans", file.batch)
    assert story.doc_id is not None
    return manifest is None or part_index(file.path) == part_of_id(story.doc_id, manifest.num_parts)


# ---- telling -------------------------------------------------------------------------------------------------------


def document(story: Story) -> dict[str, Any]:
    """The story for machines; of the text only its length."""
    result = {name: getattr(story, name) for name in Story.__dataclass_fields__ if name != "place"}
    if story.document is not None:
        result["document"] = {
            **story.document,
            "text": None,
            "num_chars": len(story.document["text"]),
        }

    if story.place is not None:
        place = story.place
        result["place"] = {
            "split": place.split,
            "path": place.path,
            "start": place.start,
            "num_tokens": place.num_tokens,
            "rows": place.rows,
            "row_group": place.row_group,
        }

    return result


def text(story: Story) -> str:
    """The story for people."""
    lines = [story.link["url"] if story.link else story.asked]
    if story.doc_id is not None:
        key = f"  key {story.link['url_key']}  domain {story.link['domain']}" if story.link else ""
        lines.append(f"  doc_id {story.doc_id}{key}")

    if story.taken_down:
        lines.append(_entry("taken down", f"on {story.taken_down}; it never comes back"))
    if story.link is None:
        lines.append(_entry("never", _never(story)))
        if story.doubt is not None:
            lines.append(_entry("in doubt", story.doubt))
        return "\n".join(lines)

    lines += _link_lines(story.link, story.batch)
    if story.page is not None:
        lines += _page_lines(story.page)

    if story.dropped is not None:
        detail = f": {story.dropped['detail']}" if story.dropped["detail"] else ""
        lines.append(
            _entry("dropped", f"at {story.dropped['step']} by {story.dropped['reason']}{detail}")
        )

    if story.document is not None:
        lines += _document_lines(story.document)
    if story.verdict is not None:
        lines += _verdict_lines(story)
    if story.place is not None:
        lines += _place_lines(story.place, story.snapshots)

    if story.next_door is not None:
        lines.append(
            _entry("next", f"python -m {story.next_door} has not run on batch {story.batch}")
        )

    return "\n".join(lines)


def _never(story: Story) -> str:
    if story.taken_down:
        return "no batch has it any more"
    if story.refused:
        return f"linked by no batch; it would be refused: {story.refused}"
    if story.asked == story.doc_id:
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
    else:
        cut = ", cut off" if page["truncated"] else ""
        body = f", {page['content_type']}, {size(page['body_bytes'] or 0)}{cut}"
        lines = [_entry("fetched", f"from {page['ip']}{at}{status}{body}{tries}")]

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


def _verdict_lines(story: Story) -> list[str]:
    verdict = story.verdict
    assert verdict is not None
    if verdict["kept"]:
        lines = [_entry("kept", "by dedup")]
    elif story.survivor is None:
        lines = [_entry("removed", f"by dedup: {verdict['reason']}")]
    else:
        other = story.survivor
        where = (
            f"{other['url']} (batch {other['batch']})"
            if other["url"]
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

    if story.copies:
        named = ", ".join(
            f"{each['doc_id']} ({each['similarity']:.3f})" for each in story.copies[:MOST_COPIES]
        )
        lines.append(_entry("copies", f"{len(story.copies)} pages removed for it: {named}"))

    return lines


def _place_lines(place: Place, found: Sequence[dict[str, Any]]) -> list[str]:
    first, last = place.rows
    lines = [
        _entry("tokens", f"{place.num_tokens:,} in {place.path}"),
        _entry(
            "",
            f"{place.split}: tokens {place.start:,} to {place.start + place.num_tokens - 1:,}, rows {first} to {last}, row group {place.row_group}",
        ),
    ]
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
    """One line of somebody's text, nothing in it that moves a terminal's cursor."""
    line = " ".join(words[: 2 * limit].split())
    line = printable(line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


if __name__ == "__main__":
    raise SystemExit(main())
