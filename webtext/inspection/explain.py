"""The whole history of one page, from the submission to the tokens, on one screen.

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
from typing import Any

import numpy as np
import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.run import command
from corpus.snapshots.retirement import retirement
from corpus.snapshots.snapshot import SPLITS, TokenFile, read_head, read_snapshot, snapshots
from corpus.storage.store import Store, open_corpus, table_dir
from corpus.tables.elsewhere import is_elsewhere
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import find_row, iter_tables, locate_row, part_index, row_in_file
from corpus.tables.schemas import part_of_id
from corpus.tables.takedown_list import standing, together
from corpus.urls import UrlProblem, page_identity, target, with_scheme
from webtext.inspection.explain_text import render
from webtext.inspection.page_history import PageHistory, TokenPosition
from webtext.stages import needing


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.explain")


def _main(argv: Sequence[str] | None) -> int:
    parser = command.corpus_parser("webtext.explain", __doc__ or "")
    parser.add_argument(
        "page", metavar="URL-or-doc_id", help="an address, or the 32 digits of a doc_id"
    )
    args = parser.parse_args(argv)
    history = trace(open_corpus(args.corpus), args.page)
    print(render(history))
    if args.json:
        print(json.dumps(to_json(history), default=str, sort_keys=True))

    return 0


def trace(store: Store, asked: str) -> PageHistory:
    """Trace a page through every table.

    Raises: InputError for anything but an address or a doc_id.
    """
    names = batch_names(store)
    doc_id = page_id(asked)
    history = PageHistory(asked, doc_id)

    if doc_id is not None:
        _trace_takedown(store, history, asked)
        batch = _home(store, history, names)
        if batch is not None:
            _trace_batch(store, history, batch, names)
            return history

    if not re.fullmatch("[0-9a-f]{32}", asked):
        _trace_refusal(store, history, names)
    return history


def _home(store: Store, history: PageHistory, names: Sequence[str]) -> str | None:
    """The batch of the page: the one with its fetch, else the last to try."""
    assert history.doc_id is not None
    for batch in names:
        link = row_of(store, "links", batch, history.doc_id)
        if link is not None:
            history.link, history.batch = link, batch
            page = row_of(store, "pages", batch, history.doc_id)
            if page is None or page["reason"] is None:
                break

    return history.batch


def page_id(asked: str) -> str | None:
    """The doc_id of a page by its id or address; None for an unacceptable address."""
    if re.fullmatch("[0-9a-f]{32}", asked):
        return asked
    if "://" not in asked and "." not in asked:
        raise InputError(
            f"{asked!r}: neither an address such as http://example.org/page nor the 32 digits of a doc_id"
        )

    page = target(with_scheme(asked))
    return None if isinstance(page, UrlProblem) else page_identity(page).doc_id


def _trace_refusal(store: Store, history: PageHistory, names: Sequence[str]) -> None:
    """The rule refusing the address, under the settings of the latest batch made of dumps."""
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
    found = explain_refusal(with_scheme(history.asked), settings, made_under)
    history.refused = found.reason
    if found.doubt is not None:
        history.doubt = f"{found.doubt}; batch {latest} may have judged otherwise"


def _trace_takedown(store: Store, history: PageHistory, asked: str) -> None:
    for record in standing(store):
        listed = together([record])
        if history.doc_id in listed.doc_ids or listed.has_page(with_scheme(asked)):
            history.taken_down = f"{record.when[:10]}, take-down {record.id}" + (
                f" ({record.why})" if record.why else ""
            )


def _trace_batch(store: Store, history: PageHistory, batch: str, names: Sequence[str]) -> None:
    assert history.doc_id is not None
    history.page = row_of(store, "pages", batch, history.doc_id)
    if history.page is None:
        history.next_command = "crawl"
        return
    if history.page["reason"] is not None:
        return

    history.document = row_of(store, "documents", batch, history.doc_id)
    if history.document is None:
        history.dropped = row_of(store, "documents_dropped", batch, history.doc_id)
        history.next_command = None if history.dropped else "clean"
        return

    history.verdict = row_of(store, "verdicts", batch, history.doc_id)
    if history.verdict is None:
        history.next_command = "dedup"
        return

    if history.verdict["duplicate_of"] is not None:
        history.survivor = _survivor(store, history.verdict["duplicate_of"], names)
    if not history.verdict["kept"]:
        return

    history.copies = list(_copies(store, history.doc_id, names[names.index(batch) :]))
    history.place = _place(store, batch, history.doc_id)
    history.next_command = None if history.place else "shards"
    history.snapshots = [
        found
        for name in snapshots(store)
        if (found := _in_snapshot(store, name, batch, history)) is not None
    ]


def row_of(store: Store, table: str, batch: str, doc_id: str) -> dict[str, Any] | None:
    """A page's row of one table, or None."""
    manifest = find_manifest(store, table, batch)
    return find_row(store, table, manifest, doc_id) if manifest is not None else None


def _survivor(store: Store, doc_id: str, names: Sequence[str]) -> dict[str, Any]:
    if is_elsewhere(doc_id):
        return {"doc_id": doc_id, "batch": None, "url": None}
    for name in names:
        row = row_of(store, "links", name, doc_id)
        if row is not None:
            return {"doc_id": doc_id, "batch": name, "url": row["url"]}
    return {"doc_id": doc_id, "batch": None, "url": None}


def _copies(store: Store, doc_id: str, names: Sequence[str]) -> Any:
    """Pages removed in favour of this one. Reads one column of the verdicts."""
    for name in names:
        manifest = find_manifest(store, "verdicts", name)
        for part in manifest.parts if manifest else []:
            path = f"{table_dir('verdicts', name)}/{part.file}"
            for piece in iter_tables(store, path, ["doc_id", "duplicate_of", "similarity"]):
                hits = piece.filter(pc.fill_null(pc.equal(piece["duplicate_of"], doc_id), False))
                for row in hits.to_pylist():
                    yield {"doc_id": row["doc_id"], "batch": name, "similarity": row["similarity"]}


def _place(store: Store, batch: str, doc_id: str) -> TokenPosition | None:
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
) -> TokenPosition:
    split = next(name for name in SPLITS if f"/{name}/" in path)
    first = span["start"] // row_tokens
    ends = np.cumsum([rows for rows, _ in groups])
    row_group = int(np.searchsorted(ends, first, "right"))
    return TokenPosition(split, path, span["start"], span["num_tokens"], row_tokens, row_group)


def _in_snapshot(
    store: Store, name: str, batch: str, history: PageHistory
) -> dict[str, Any] | None:
    """The snapshot's name and where in it the page's tokens lie.

    None where it does not have them.
    """
    assert history.doc_id is not None
    if all(each.batch != batch for each in read_head(store, name).batches):
        return None

    snapshot = read_snapshot(store, name, [batch])
    retired = retirement(store, name)
    entry = {"name": name, "retired": retired.kind if retired else None}

    for split in SPLITS:
        for file in snapshot.splits[split].files:
            if not _may_hold(store, file, history):
                continue
            if history.place is not None and file.path == history.place.path:
                return {**entry, "path": file.path, "start": history.place.start}
            # A missing file is reported by `webtext verify`.
            if not store.exists(file.spans_path):
                continue
            span = row_in_file(store, file.spans_path, history.doc_id)
            if span is not None:
                return {**entry, "path": file.path, "start": span["start"]}

    return None


def _may_hold(store: Store, file: TokenFile, history: PageHistory) -> bool:
    manifest = find_manifest(store, "spans", file.batch)
    assert history.doc_id is not None
    return manifest is None or part_index(file.path) == part_of_id(
        history.doc_id, manifest.num_parts
    )


def to_json(history: PageHistory) -> dict[str, Any]:
    """Return the history for machines, with the length of the text instead of the text."""
    result = {
        name: getattr(history, name) for name in PageHistory.__dataclass_fields__ if name != "place"
    }
    if history.document is not None:
        result["document"] = {
            **history.document,
            "text": None,
            "num_chars": len(history.document["text"]),
        }

    if history.place is not None:
        place = history.place
        result["place"] = {
            "split": place.split,
            "path": place.path,
            "start": place.start,
            "num_tokens": place.num_tokens,
            "rows": place.rows,
            "row_group": place.row_group,
        }

    return result


if __name__ == "__main__":
    raise SystemExit(main())
