"""Rights of the pages of a corpus: ask for them again, and report them.

    webtext rights check --corpus C [--batch B] [--older-than 180d] [--pages] [--apply]
    webtext rights report --corpus C [--json]

`check` asks the sites of stored pages for their robots.txt, tdmrep.json and licence documents, and
with `--pages` for the pages themselves by conditional requests, at the pace of a crawl. New evidence
is kept in WARC segments, the table `rights` is brought up to date, and changed answers are listed.
`--apply` takes the pages that say "no" now out of the next snapshots, as `webtext forget` does.

`report` counts answers by signal, domain and year, and writes the public summary that Article
53(1)(d) of the EU's AI Act asks for, as Markdown and JSON, from manifests and tables alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from corpus.durations import parse_duration
from corpus.errors import InputError
from corpus.run import command
from corpus.run.arguments import add_settings
from corpus.storage.store import open_corpus
from corpus.tables.inventory import batch_names
from crawl.config import CrawlConfig
from webtext.rights import check, report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command.run_command(_main, argv, stage="webtext.rights")


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    return _check(args) if args.action == "check" else _report(args)


def _check(args: argparse.Namespace) -> int:
    store = open_corpus(args.corpus)
    names = batch_names(store)
    chosen = args.batch or names
    if missing := [name for name in chosen if name not in names]:
        raise InputError(f"no batch {missing}; present: {', '.join(names) or 'none'}")

    config = command.config(CrawlConfig, "crawl", args)
    config.fetch.require_contact()
    before = datetime.now(UTC) - (_age(args.older_than) if args.older_than else timedelta())
    with command.interruptible():
        found = [
            check.check_batch(store, name, config, before, pages=args.pages) for name in chosen
        ]
        changes = [change for each in found for change in each.changes]
        takedown = check.apply_changes(store, changes, config) if args.apply else None

    num_checked = sum(each.num_checked for each in found)
    for change in changes:
        print(change.render())
    print(f"{num_checked:,} pages checked, {len(changes):,} changed")
    if takedown is not None:
        print(f"take-down {takedown}: pages that say no now are left out of new snapshots")
    elif any(change.refused for change in changes) and not args.apply:
        print("to take the pages that say no now out of the next snapshots, add --apply")
    if args.json:
        listed = [change._asdict() for change in changes]
        print(json.dumps({"checked": num_checked, "changes": listed, "takedown": takedown}))
    return 0


def _report(args: argparse.Namespace) -> int:
    store = open_corpus(args.corpus)
    found = report.rights_report(store)
    for path in report.write(store, found):
        print(f"{store.root}/{path}", flush=True)
    print(json.dumps(found) if args.json else report.render(found))
    return 0


def _age(text: str) -> timedelta:
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise InputError(f"--older-than {text}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = command.corpus_parser("webtext.rights", __doc__ or "")
    parser.add_argument(
        "action", choices=("check", "report"), help="ask for rights again, or report them"
    )
    add_settings(parser)
    parser.add_argument("--batch", action="append", help="only this batch (repeatable)")
    parser.add_argument(
        "--older-than", metavar="AGE", help="only answers older than this, as 180d (default: all)"
    )
    parser.add_argument(
        "--pages", action="store_true", help="ask for the pages as well, by conditional requests"
    )
    parser.add_argument(
        "--apply",
        action="store_true",
        help="take pages that say no now out of the next snapshots, as `webtext forget` does",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
