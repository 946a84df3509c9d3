"""The door: `python -m crawl.run --corpus C --batch B --dumps RS_2024-01.zst ...`: dumps to links, links to pages."""

from __future__ import annotations

import argparse
import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence

from corpus.errors import InputError, WebtextError
from corpus.run import command
from corpus.run.runner import StageResult
from corpus.storage.store import check_name, open_corpus, open_store
from corpus.tables.external_files import in_order
from corpus.tables.manifest import find_manifest
from crawl import domains as coverage
from crawl import plan
from crawl.config import CrawlConfig
from crawl.fetch import frozen_settings, progress
from crawl.fetch import steps as fetch_steps
from crawl.links import steps as link_steps
from crawl.warc import import_step

log = logging.getLogger(__name__)

LINK_STEPS = (link_steps.STEP,)
FETCH_STEPS = fetch_steps.STEPS
TELL_EVERY_S = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; the exit code."""
    return command.door(_body, argv, stage="crawl.run")


def _body(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    args.sets += [
        f"crawl.links.{name}=true"
        for name in ("allow_truncated", "allow_immature_scores")
        if getattr(args, name)
    ]
    if args.status:
        for line in progress.read(
            open_corpus(args.corpus), check_name("--batch", args.batch), time.time()
        ).lines():
            print(line)
        return 0

    config = command.config(CrawlConfig, "crawl", args)
    listed = coverage.read_list(args.compare_domains) if args.compare_domains else {}
    if args.warc:
        return _import(args, config)

    if args.only != "links" and not args.plan:
        config.fetch.require_contact()
    with command.work(args, "crawl.run", create=bool(args.dumps)) as opened:
        import_step.refuse_imported(opened.store, opened.batch)
        result = _links(opened, args, config)
        if args.compare_domains:
            domains = plan.domains_of_batch(opened.store, opened.batch)
            print(coverage.text(coverage.coverage(domains, listed)))
        if args.plan:
            print(plan.of_batch(opened.store, opened.batch, config.fetch))
        elif args.only != "links":
            result = _pages(opened, args, config, result)
        return command.finish(args, opened.store, "crawl", result)


def _import(args: argparse.Namespace, config: CrawlConfig) -> int:
    """Bring `links` and `pages` of a batch of WARC files up to date; nothing is fetched."""
    for option in ("dumps", "only", "plan", "compare_domains"):
        if getattr(args, option):
            raise InputError(
                f"--{option.replace('_', '-')} and {import_step.OPTION} exclude each other: "
                "WARC files hold the pages already"
            )

    with command.work(args, "crawl.run", create=True) as opened:
        import_step.refuse_crawled(opened.store, opened.batch)
        result = command.run_stage(
            opened,
            "crawl",
            config,
            (import_step.STEP,),
            rebuild=args.rebuild,
            files=in_order(args.warc),
            num_parts=import_step.num_parts(opened.store, opened.batch, args.warc, config),
        )
        import_step.sweep(opened.store, opened.batch)
        return command.finish(args, opened.store, "crawl", result)


def _links(opened: command.Work, args: argparse.Namespace, config: CrawlConfig) -> StageResult:
    """Bring `links` up to date; without --dumps, or with --only fetch, they must be there."""
    if not args.dumps or args.only == "fetch":
        if find_manifest(opened.store, "links", opened.batch) is None:
            raise InputError(
                f"{args.corpus}: batch {args.batch!r} has no links yet; name its dumps with --dumps FILE ..."
            )
        return StageResult(True)

    link_steps.require_memory(args.dumps, config.reading.limit_bytes())
    num_parts = link_steps.num_parts(opened.store, opened.batch, args.dumps, config)
    return command.run_stage(
        opened,
        "crawl",
        config,
        LINK_STEPS,
        rebuild=args.rebuild,
        files=in_order(args.dumps),
        num_parts=num_parts,
    )


def _pages(
    opened: command.Work, args: argparse.Namespace, config: CrawlConfig, links: StageResult
) -> StageResult:
    config = frozen_settings.settled(
        config,
        opened.store,
        opened.batch,
        slots=opened.executor.slots,
        now=time.time(),
        rebuild=args.rebuild,
    )
    with _told(opened.store.root, opened.batch):
        pages = command.run_stage(opened, "crawl", config, FETCH_STEPS, rebuild=args.rebuild)

    return StageResult(links.up_to_date and pages.up_to_date, {**links.counts, **pages.counts})


@contextlib.contextmanager
def _told(root: str, batch: str) -> Iterator[None]:
    """Log how the fetch stands while the block runs: rates, domains with the most links left, failures by reason."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(TELL_EVERY_S):
            try:
                state = progress.read(open_store(root), batch, time.time())
            except (OSError, WebtextError) as error:  # a look that fails is no reason to stop
                log.debug("no live state: %s", error)
                continue
            if state.running:
                for line in state.lines():
                    log.info("%s", line)

    thread = threading.Thread(target=tell, name="live", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("crawl.run", __doc__ or "", CrawlConfig, "crawl")
    parser.add_argument(
        "--dumps",
        nargs="+",
        metavar="FILE",
        default=[],
        help="submission dumps: .zst, .xz, .bz2, .gz or plain lines; paths or URIs",
    )
    parser.add_argument(
        import_step.OPTION,
        nargs="+",
        metavar="FILE",
        default=[],
        help="import pages from WARC files (Common Crawl, Heritrix, wget, ...) instead of fetching; paths or URIs",
    )
    parser.add_argument("--only", choices=("links", "fetch"), help="one half of the stage")
    parser.add_argument(
        "--plan",
        action="store_true",
        help="after the links: what the crawl would take; nothing is fetched",
    )
    parser.add_argument(
        "--status", action="store_true", help="how a fetch that runs stands; nothing is done"
    )
    parser.add_argument(
        "--compare-domains",
        metavar="FILE",
        help="after the links: how their domains compare with a list, a name and at most one count a line",
    )
    parser.add_argument(
        "--allow-truncated",
        action="store_true",
        help="go on with what was read of a dump that breaks off",
    )
    parser.add_argument(
        "--allow-immature-scores",
        action="store_true",
        help="go on where scores were captured too early",
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
