"""Takes pages down, everywhere and for good.

    webtext forget --corpus C --url http://example.org/page --why "request of 2024-05-02"
    webtext forget --corpus C --domain example.org --why TEXT --yes     do not ask
    webtext forget --corpus C --list FILE --why TEXT          addresses, doc_ids or domains, one per line
    webtext forget --corpus C                      continue interrupted or waiting take-downs

WARC records are blanked in place, rows leave every table, tokens are cut out of the shards by their
spans, and no later batch links the pages again. Snapshots with them are withdrawn and replaced;
token files of these snapshots alone are deleted, unless `--keep-withdrawn`. Pages removed as
duplicates of a taken-down page stay removed: they are its copies. Interrupted at any point, the
same command completes. An active batch waits: its pages go when it is at rest, by this command or
by the next refresh.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from xxhash import xxh3_64_hexdigest

from corpus.errors import BusyError, InputError
from corpus.run import command
from corpus.storage import lease
from corpus.storage.store import Store, open_corpus, work_dir
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import EXTRA_TABLES
from corpus.tables.schemas import TABLES
from corpus.tables.takedown_list import Takedown, load_forgotten, unfinished, write_takedown
from webtext.confirm import confirm
from webtext.reports import html
from webtext.takedown import find
from webtext.takedown.batch import remove_from_batch
from webtext.takedown.snapshots import runs_on, withdraw_snapshots

log = logging.getLogger(__name__)

LEASE = "work/forget.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.forget")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    store = open_corpus(args.corpus)
    asked = find.read_request(args.url, args.domain, args.list)
    if not asked and not unfinished(store):
        raise InputError(
            "nothing to take down: name pages with --url, --domain or --list; no take-down is unfinished"
        )
    if args.dry_run:
        found = find.find_pages(store, asked)
        for doc_id, key in sorted(found.items(), key=lambda item: item[1]):
            print(f"would take down {doc_id}  {key}")
        print(f"{len(found):,} pages; {len(unfinished(store))} unfinished take-downs")
        return 0

    if asked:
        if not args.why:
            raise InputError("--why is missing: the record of a take-down names its reason")
        num_pages = len(find.find_pages(store, asked))
        confirm(
            f"{num_pages:,} {'page' if num_pages == 1 else 'pages'} of {', '.join(asked)} will be "
            "taken down for good, in every table and snapshot",
            yes=args.yes,
            command="the same command with --yes; --dry-run lists the pages",
        )

    with lease.hold(store, LEASE, what="webtext.forget"), command.interruptible():
        if asked:
            _note(store, asked, args.why)
        records = carry_out(store, keep_withdrawn=args.keep_withdrawn)

    for record in records:
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

    The caller holds a lease.
    """
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


def _note(store: Store, asked: Sequence[str], why: str) -> None:
    """Record the pages before removing any; nothing if all were taken down before."""
    known = load_forgotten(store)
    pages = {
        doc_id: key
        for doc_id, key in find.find_pages(store, asked).items()
        if doc_id not in known.doc_ids
    }
    domains = [name for name in find.domains(asked) if name not in known.domains]
    if not pages and not domains:
        return

    now = datetime.now(UTC)
    number = xxh3_64_hexdigest(json.dumps([sorted(pages), domains]).encode())[:8]
    record = Takedown(
        id=f"{now:%Y%m%dT%H%M%SZ}-{number}",
        asked=list(asked),
        when=now.isoformat(timespec="seconds"),
        url_keys=pages,
        domains=domains,
        why=why,
    )
    write_takedown(store, record)


def _complete(store: Store, record: Takedown, keep_withdrawn: bool) -> Takedown:
    # First who is at work, then which batches there are: one whose links are committed in between is among the two.
    begun = _begun(store)
    names = batch_names(store)
    removed = Counter(record.removed)

    for batch in names:
        if batch in record.done:
            continue

        try:
            with lease.hold(store, f"{work_dir(batch)}/lock.json", what="webtext.forget"):
                if store.folders(work_dir(batch)):
                    log.warning(
                        "batch %s has unfinished steps: its pages go when they are done", batch
                    )
                    continue
                # A batch that was at work when it was asked for may have pages since of a domain, or that led there.
                for table in (*TABLES, *EXTRA_TABLES):
                    # A killed worker's file may hold rows of these pages.
                    store.sweep(f"{table}/{batch}")
                asked = [*record.url_keys, *(f"{find.DOMAIN}{name}" for name in record.domains)]
                pages = find.find_pages(store, asked, [batch])
                record = record.model_copy(update={"url_keys": {**pages, **record.url_keys}})
                write_takedown(store, record)
                removed.update(remove_from_batch(store, batch, frozenset(record.url_keys)))
        except BusyError as error:
            log.warning("%s; its pages go when it is done", error)
            continue

        record = record.model_copy(update={"done": [*record.done, batch], "removed": dict(removed)})
        write_takedown(store, record)

    withdrawn = withdraw_snapshots(store, record, keep_files=keep_withdrawn)
    record = record.model_copy(update={"withdrawn": {**record.withdrawn, **withdrawn}})
    for batch in begun - set(names):
        log.warning("batch %s is being linked: what it has of this goes when that is done", batch)

    if begun | set(names) <= set(record.done):
        record = record.model_copy(
            update={"finished": datetime.now(UTC).isoformat(timespec="seconds")}
        )
        _renew_report(store)
        for run in runs_on(store, list(record.withdrawn)):
            log.warning("run %s was trained on a snapshot that is withdrawn now", run)

    write_takedown(store, record)
    return record


def _begun(store: Store) -> set[str]:
    """Active or unfinished batches: their links may have been read before the take-down."""
    return {
        batch
        for batch in store.folders("work")
        if store.folders(work_dir(batch))
        or (lease.owner(store, f"{work_dir(batch)}/lock.json") or {}).get("alive", False)
    }


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
        "--keep-withdrawn",
        action="store_true",
        help="leave the token files of withdrawn snapshots until webtext.prune",
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
