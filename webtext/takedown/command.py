"""Takes pages down, everywhere and for good.

    webtext forget --corpus C --url http://example.org/page --why "request of 2024-05-02"
    webtext forget --corpus C --domain example.org --why TEXT --yes     do not ask
    webtext forget --corpus C --list FILE --why TEXT          addresses, doc_ids or domains, one per line
    webtext forget --corpus C                      continue interrupted or waiting take-downs
    webtext forget --corpus C --prove ID           search every byte for what was taken down
    webtext forget --corpus C --revoke ID          let the pages of a take-down come again

WARC records are blanked in place, rows leave every table, tokens are cut out of the shards by their
spans, and no later batch links the pages again. Snapshots with them are withdrawn and replaced;
token files of these snapshots alone are deleted, unless `--keep-withdrawn`. Pages that were removed
as duplicates of a taken-down page are its copies and go with it, unless `--keep-copies`. Later copies
are recognised by content: `webtext dedup` leaves them out, and this command without an address, or the
next refresh, erases them. Interrupted at any point, the same command completes. An active batch
waits: its pages go when it is at rest, by this command or by the next refresh.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from xxhash import xxh3_64_hexdigest

from corpus.bulk import read_many
from corpus.errors import BusyError, InputError
from corpus.printable import printable
from corpus.run import command
from corpus.storage import lease
from corpus.storage.store import Store, open_corpus, work_dir
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import manifests_read_once
from corpus.tables.takedown_list import (
    Forgotten,
    Takedown,
    load_forgotten,
    takedowns,
    together,
    unfinished,
    write_takedown,
)
from crawl.captures.groups import remove_groups
from webtext.confirm import confirm
from webtext.look.full_text import FullTextIndex
from webtext.look.labels import remove_answers
from webtext.reports import html
from webtext.takedown import find, proof
from webtext.takedown.batch import remove_from_batch
from webtext.takedown.copies import contents, digests, find_copies, find_returned
from webtext.takedown.leftovers import batches_with_leftovers, sweep, sweep_batch
from webtext.takedown.snapshots import exports_of, runs_on, withdraw_snapshots

log = logging.getLogger(__name__)

LEASE = "work/forget.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.forget")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    if args.prove:
        return proof.main(store, args.prove, as_json=args.json)
    if args.revoke:
        return _revoke(store, args.revoke)

    asked = find.read_request(args.url, args.domain, args.list)
    if not asked and not unfinished(store) and not find_returned(store, batch_names(store)):
        raise InputError(
            "nothing to take down: name pages with --url, --domain or --list; no take-down is unfinished"
        )
    if args.dry_run:
        with manifests_read_once(store):
            found = _pages(store, asked, keep_copies=args.keep_copies)
            # Later copies of earlier pages go with every take-down.
            found |= find_returned(store, batch_names(store))
        _print_names("would take down", found)
        print(f"{len(found):,} pages; {len(unfinished(store))} unfinished take-downs")
        return 0

    if asked:
        if not args.why:
            raise InputError("--why is missing: the record of a take-down names its reason")
        with manifests_read_once(store):
            if not args.in_advance:
                _refuse_unknown(store, asked)
            pages = _pages(store, asked, keep_copies=args.keep_copies)
        num_pages = len(pages)
        _print_names("will take down", pages)
        confirm(
            f"{num_pages:,} {'page' if num_pages == 1 else 'pages'} of {', '.join(asked)} will be "
            "taken down for good, in every table and snapshot",
            yes=args.yes,
            command="the same command with --yes; --dry-run lists the pages",
        )

    with lease.hold(store, LEASE, what="webtext.forget"), command.interruptible():
        if asked:
            with manifests_read_once(store):
                _note(store, asked, args.why, keep_copies=args.keep_copies)
        records = carry_out(store, keep_withdrawn=args.keep_withdrawn)

    for record in records:
        if record.finished:
            _print_names("took down", record.url_keys)
        print(audit_line(record))
    waiting = unfinished(store)

    if args.json:
        print(
            json.dumps(
                {
                    "takedowns": [each.model_dump() for each in records],
                    "waiting": [each.id for each in waiting],
                }
            )
        )

    if not records:
        print("nothing new: all of it was taken down before")
    return 1 if waiting else 0


def carry_out(store: Store, *, keep_withdrawn: bool = False) -> list[Takedown]:
    """Complete every unfinished take-down as far as batches are at rest; their records.

    Copies added since are taken down as well. The caller holds a lease.
    """
    with manifests_read_once(store):
        _note_returned(store)
    return [_complete(store, record, keep_withdrawn) for record in unfinished(store)]


def audit_line(record: Takedown) -> str:
    """One line with the removals and their time."""
    what = (
        ", ".join(
            f"{count:,} {name.replace('_', ' ')}" for name, count in record.removed.items() if count
        )
        or "nothing was here"
    )
    snapshots = (
        ", ".join(f"{old} (now {new or 'none'})" for old, new in record.withdrawn.items()) or "none"
    )
    why = f" for {record.why!r}" if record.why else ""
    end = (
        f"finished {record.finished}"
        if record.finished
        else "waits for batches at work; run it again"
    )

    return f"take-down {record.id} of {', '.join(record.asked)}{why}: {len(record.url_keys):,} {'page' if len(record.url_keys) == 1 else 'pages'} listed; removed {what}; snapshots withdrawn: {snapshots}; {end}"


def _print_names(verb: str, pages: Mapping[str, str]) -> None:
    """Name every page, before it goes and after."""
    for doc_id, key in sorted(pages.items(), key=lambda item: item[1]):
        print(f"{verb} {doc_id}  {printable(key)}")


def _pages(store: Store, asked: Sequence[str], *, keep_copies: bool) -> dict[str, str]:
    """The requested pages and their copies."""
    pages = find.find_pages(store, asked)
    copies = {} if keep_copies else find_copies(store, pages, batch_names(store))
    return {**copies, **pages}


def _refuse_unknown(store: Store, asked: Sequence[str]) -> None:
    """Refuse addresses unknown to every batch: most are mistyped.

    A batch at work may know them, and a corpus without batches has nothing to compare with.
    """
    names = batch_names(store)
    if not names or _begun(store):
        return

    listed = load_forgotten(store)
    known = find.known(store, asked, names)
    unknown = [each for each in asked if each not in known and not find.is_listed(each, listed)]
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise InputError(
            f"{shown}: no batch has a page of that address, and nothing was taken down; check it "
            "with `webtext explain`, or add --in-advance to keep it out of later batches"
        )


def _note(store: Store, asked: Sequence[str], why: str, *, keep_copies: bool) -> None:
    """Record the pages before removing any; nothing if all were taken down before."""
    known = load_forgotten(store)
    pages = {
        doc_id: key
        for doc_id, key in _pages(store, asked, keep_copies=keep_copies).items()
        if doc_id not in known.doc_ids
    }
    domains = [name for name in find.domains(asked) if name not in known.domains]
    if pages or domains:
        _write_record(store, asked, pages, domains, why, keep_copies=keep_copies)


def _note_returned(store: Store) -> None:
    """Record the copies of taken-down pages brought and left out by later batches."""
    known = {doc_id for record in unfinished(store) for doc_id in record.url_keys}
    pages = {
        doc_id: key
        for doc_id, key in find_returned(store, batch_names(store)).items()
        if doc_id not in known
    }
    if pages:
        asked = sorted(pages)
        why = "copies of pages that were taken down"
        _write_record(store, asked, pages, [], why, keep_copies=False)


def _write_record(
    store: Store,
    asked: Sequence[str],
    pages: dict[str, str],
    domains: Sequence[str],
    why: str,
    *,
    keep_copies: bool,
) -> None:
    now = datetime.now(UTC)
    number = xxh3_64_hexdigest(json.dumps([sorted(pages), list(domains)]).encode())[:8]
    names = batch_names(store)
    record = Takedown(
        id=f"{now:%Y%m%dT%H%M%SZ}-{number}",
        asked=list(asked),
        when=now.isoformat(timespec="seconds"),
        url_keys=pages,
        domains=list(domains),
        why=why,
        keep_copies=keep_copies,
        opened=[],
        contents=[] if keep_copies else contents(store, pages, names),
        digests=digests(store, pages, names),
    )
    write_takedown(store, record)


def _with_batch(store: Store, record: Takedown, batch: str) -> Takedown:
    """The record with the pages of a batch now at rest, and the contents identifying their copies.

    A batch at work at the time of the request may have gained pages since: of a requested domain,
    redirected into it, or copies.
    """
    pages = {**find.in_batch(store, batch, _asked_again(record)), **record.url_keys}
    if not record.keep_copies:
        pages = {**find_copies(store, pages, [batch]), **pages}

    told = {each.content_hash: each for each in record.contents}
    if not record.keep_copies:
        told |= {each.content_hash: each for each in contents(store, pages, [batch])}
    return record.model_copy(
        update={
            "url_keys": pages,
            "contents": [told[key] for key in sorted(told)],
            "digests": sorted({*record.digests, *digests(store, pages, [batch])}),
            "opened": None if record.opened is None else sorted({*record.opened, batch}),
        }
    )


def _asked_again(record: Takedown) -> Forgotten:
    """The pages and domains of a take-down, to look for them in a batch."""
    return Forgotten(frozenset(record.url_keys), frozenset(record.domains))


def _revoke(store: Store, takedown_id: str) -> int:
    """Withdraw a take-down for the future: its pages may return with later batches."""
    found = {record.id: record for record in takedowns(store)}
    record = found.get(takedown_id)
    if record is None:
        raise InputError(f"no take-down {takedown_id!r}; there are: {', '.join(found) or 'none'}")
    if record.finished is None:
        raise InputError(
            f"take-down {takedown_id} is not finished; complete it with "
            f"`webtext forget --corpus {store.root}` first"
        )

    with lease.hold(store, LEASE, what="webtext.forget"):
        if record.revoked is None:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            record = record.model_copy(update={"revoked": when})
            write_takedown(store, record)

    print(
        f"take-down {record.id} is withdrawn since {record.revoked}: its pages may come again with "
        "later batches; what it removed stays removed"
    )
    return 0


def _complete(store: Store, record: Takedown, keep_withdrawn: bool) -> Takedown:
    # First the active batches, then all: a batch committing its links in between is in one of them.
    begun = _begun(store)
    names = batch_names(store)
    removed = Counter(record.removed)
    if gone := remove_groups(store, together([record]).has_page):
        removed["revived_groups"] += gone
        record = record.model_copy(update={"removed": dict(removed)})

    resting = [name for name in names if name not in begun]
    tried: set[str] = set()
    while True:
        known = record.url_keys
        free = set(_untouched(store, record, resting))
        for batch in names:
            if batch not in {*record.done, *free, *tried}:
                record = _complete_batch(store, record, batch)
                tried.add(batch)
        if record.url_keys == known:
            break
        # A batch formerly at work brought pages, and others may have copies of them.

    if answers := remove_answers(store, record.url_keys):
        removed = Counter(record.removed)
        removed["labels"] += answers
        record = record.model_copy(update={"removed": dict(removed)})
    record = record.model_copy(
        update={"done": [name for name in names if name in {*record.done, *free}]}
    )
    with manifests_read_once(store):
        withdrawn = withdraw_snapshots(store, record, keep_files=keep_withdrawn)
    record = record.model_copy(update={"withdrawn": {**record.withdrawn, **withdrawn}})
    for batch in begun - set(names):
        log.warning("batch %s is being linked: what it has of this goes when that is done", batch)

    if begun | set(names) <= set(record.done):
        record = _finish(store, record)
    write_takedown(store, record)
    return record


def _untouched(store: Store, record: Takedown, names: Sequence[str]) -> list[str]:
    """Batches at rest with none of the pages. They need no lease and no removal.

    The record is durable already, so any run starting on such a batch now reads it first.
    """
    if record.opened is None:
        return []
    idle = [name for name in names if name not in {*record.done, *record.opened}]
    left = batches_with_leftovers(store, idle)
    asked = _asked_again(record)

    def is_free(batch: str) -> bool:
        pages = find.in_batch(store, batch, asked)
        return not pages and (
            record.keep_copies or not find_copies(store, record.url_keys, [batch])
        )

    candidates = [name for name in idle if name not in left]
    with manifests_read_once(store):
        free = read_many(store, candidates, is_free)
    return [name for name, each in zip(candidates, free, strict=True) if each]


def _complete_batch(store: Store, record: Takedown, batch: str) -> Takedown:
    """Remove the pages from one batch, unless it is at work; the record of it."""
    removed = Counter(record.removed)
    try:
        with lease.hold(store, f"{work_dir(batch)}/lock.json", what="webtext.forget"):
            if store.folders(work_dir(batch)):
                log.warning("batch %s has unfinished steps: its pages go when they are done", batch)
                return record

            # A killed worker's file may hold rows of these pages.
            if swept := sweep_batch(store, batch):
                removed["leftover_files"] += swept
            record = _with_batch(store, record, batch)
            write_takedown(store, record)
            removed.update(remove_from_batch(store, batch, frozenset(record.url_keys)))
    except BusyError as error:
        log.warning("%s; its pages go when it is done", error)
        return record

    record = record.model_copy(update={"done": [*record.done, batch], "removed": dict(removed)})
    write_takedown(store, record)
    return record


def _finish(store: Store, record: Takedown) -> Takedown:
    """The record of a take-down after its last batch."""
    removed = Counter(record.removed)
    if swept := sweep(store):
        removed["leftover_files"] += swept
    record = record.model_copy(
        update={
            "removed": dict(removed),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    _renew_report(store)
    FullTextIndex(store).delete_old()

    names = list(record.withdrawn)
    record = record.model_copy(
        update={"runs": runs_on(store, names), "exports": exports_of(store, names)}
    )
    for run in record.runs:
        log.warning("run %s was trained on a snapshot that is withdrawn now", run)
    for export in record.exports:
        log.warning("a snapshot that is withdrawn now was exported: %s", export)
    return record


def _begun(store: Store) -> set[str]:
    """Active or unfinished batches: their links may have been read before the take-down."""

    def is_begun(batch: str) -> bool:
        if store.folders(work_dir(batch)):
            return True
        return bool((lease.owner(store, f"{work_dir(batch)}/lock.json") or {}).get("alive"))

    names = store.folders("work")
    begun = read_many(store, names, is_begun)
    return {name for name, each in zip(names, begun, strict=True) if each}


def _renew_report(store: Store) -> None:
    """The report shows addresses' domains and samples: it is made again."""
    if store.exists(html.PATH):
        html.write(store)


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.forget", __doc__ or "")
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        metavar="URL",
        help="a page, by any of its addresses or its doc_id; may be repeated",
    )
    parser.add_argument(
        "--domain",
        action="append",
        default=[],
        metavar="D",
        help="a registered domain or host and all below it; may be repeated",
    )
    parser.add_argument(
        "--list",
        metavar="FILE",
        help="addresses, doc_ids and domains, one a line; # begins a comment",
    )
    parser.add_argument(
        "--why", default="", metavar="TEXT", help="the reason, for the record; required"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--dry-run", action="store_true", help="say which pages would go; nothing is written"
    )
    parser.add_argument(
        "--keep-copies",
        action="store_true",
        help="leave pages that were removed as duplicates of these, and let later copies come",
    )
    parser.add_argument(
        "--in-advance",
        action="store_true",
        help="take addresses that no batch knows, to keep them out of later ones",
    )
    parser.add_argument(
        "--prove",
        metavar="ID",
        help="search every byte of the corpus for a take-down's pages, print a receipt, and stop",
    )
    parser.add_argument(
        "--revoke",
        metavar="ID",
        help="withdraw a mistaken take-down for the future, and stop",
    )
    parser.add_argument(
        "--keep-withdrawn",
        action="store_true",
        help="leave the token files of withdrawn snapshots until webtext.prune",
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
