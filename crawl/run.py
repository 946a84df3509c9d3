"""The crawl: Reddit dumps or WARC files to links, links to pages.

`webtext crawl --corpus C --batch B --dumps RS_2024-01.zst ...`, or `python -m crawl.run ...`;
`webtext crawl audit --ip` shows the pace of requests to IP addresses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from corpus.errors import InputError, Interrupted, WebtextError
from corpus.run import command, screen
from corpus.run.arguments import program
from corpus.run.plan import refuse_given
from corpus.run.progress import duration
from corpus.run.runner import StageResult
from corpus.run.step import AnyStep, Exchange
from corpus.storage.lease import owner
from corpus.storage.store import Store, check_name, open_corpus, open_store, work_dir
from corpus.tables.external_files import in_order
from corpus.tables.manifest import find_manifest
from crawl import domains as coverage
from crawl import plan
from crawl.captures import archive_step
from crawl.captures import plan as coverage_plan
from crawl.config import CrawlConfig
from crawl.fetch import frozen_settings, progress, stop_request
from crawl.fetch import steps as fetch_steps
from crawl.fetch.pace import ip_audit
from crawl.links import steps as link_steps
from crawl.warc import import_rights, import_step

log = logging.getLogger(__name__)

LINK_STEPS = (link_steps.STEP,)
FETCH_STEPS = fetch_steps.STEPS
LOG_EVERY_S = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; the exit code."""
    return command.run_command(_body, argv, stage="crawl.run")


def _body(argv: Sequence[str] | None) -> int:
    if argv and argv[0] == "audit":
        return _audit(argv[1:])

    args = _parser().parse_args(argv)
    args.sets += [
        f"crawl.links.{name}=true"
        for name in ("allow_truncated", "allow_immature_scores")
        if getattr(args, name)
    ]
    if args.stop:
        command.refuse_settings(args, "--stop")
        return _stop(open_corpus(args.corpus), check_name("--batch", args.batch))
    if args.status:
        command.refuse_settings(args, "--status")
        print(_status(open_corpus(args.corpus), check_name("--batch", args.batch)))
        return 0

    config = command.config(CrawlConfig, "crawl", args)
    listed = coverage.read_list(args.compare_domains) if args.compare_domains else {}
    sections, reason = _sections_read(args)
    command.warn_of_unread(args, "crawl", sections, reason)
    if args.warc:
        return _import(args, config)

    if args.only != "links" and not args.plan:
        config.fetch.require_contact()
    with command.open_batch(args, "crawl.run", create=bool(args.dumps)) as opened:
        import_step.refuse_imported(opened.store, opened.batch)
        result = _links(opened, args, config)
        if args.compare_domains:
            domains = plan.domains_of_batch(opened.store, opened.batch)
            print(coverage.render(coverage.coverage(domains, listed)))
        if args.plan:
            print(plan.of_batch(opened.store, opened.batch, config.fetch))
            if config.fetch.archive != "off":
                print(coverage_plan.of_batch(opened.store, opened.batch, config))
        elif args.only != "links":
            result = _pages(opened, args, config, result)
        return command.finish(
            args,
            opened.store,
            "crawl",
            result,
            left=_left(args, opened.store, up_to_date=result.up_to_date),
        )


def _status(store: Store, batch: str) -> str:
    """The progress of a running fetch, or the end of a finished one."""
    pages = find_manifest(store, "pages", batch)
    if pages is not None:
        reasons = Counter({reason: n for reason, n in pages.counts.items() if ":" not in reason})
        shown = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
        return (
            f"fetch of batch {batch} ended: {pages.rows:,} links in {duration(pages.wall_s)}\n"
            f"ended: {shown or 'none'}"
        )

    state = progress.read(store, batch, time.time())
    held = owner(store, f"{work_dir(batch)}/lock.json")
    if held is None or not held["alive"]:
        # Workers leave a last state behind. It looks like a running one for a while.
        state = state.stopped()
    if state.total:
        return "\n".join(state.lines())
    links = find_manifest(store, "links", batch)
    if links is None:
        return f"batch {batch} has no links yet; name its dumps with --dumps FILE ..."
    return f"fetch of batch {batch} has not begun: {links.rows:,} links wait"


def _left(args: argparse.Namespace, store: Store, *, up_to_date: bool) -> str:
    """The line about the steps not done, if only links were asked for."""
    if not args.plan and args.only != "links":
        return ""

    links = "links: up to date" if up_to_date else "links: done"
    pages = find_manifest(store, "pages", args.batch)
    if pages is not None:
        return f"{links}; their pages were fetched before ({pages.rows:,} rows)"
    again = program("crawl.run")
    return f"{links}, nothing was fetched; to fetch: {again} --corpus {args.corpus} --batch {args.batch}"


def _sections_read(args: argparse.Namespace) -> tuple[set[str], str]:
    """The sections of [crawl] read by this use of the command, and the reason for the others."""
    if args.warc:
        return {"warc"}, "pages of WARC files are imported, not linked and fetched"
    if args.only == "links":
        return {"links", "reading"}, "--only links fetches nothing"
    # Link rules hold for targets of redirects as well.
    return {
        "links",
        "reading",
        "fetch",
        "captures",
        "rights",
    }, "no WARC files are imported; they are named by --warc"


def _stop(store: Store, batch: str) -> int:
    """Ask a running crawl to stop. Its own command exits with 143 and says how to continue."""
    found = owner(store, f"{work_dir(batch)}/lock.json")
    if found is None or not found["alive"]:
        raise InputError(f"{store.root}: no run holds batch {batch!r}; nothing to stop")

    stop_request.request_stop(store, batch, "webtext crawl --stop")
    print(f"batch {batch}: process {found.get('pid')} on {found.get('host')} is asked to stop")
    return 0


def _audit(argv: Sequence[str]) -> int:
    """Print the pace of a batch's requests to IP addresses; nothing is changed."""
    parser = command.corpus_parser("crawl.run audit", ip_audit.__doc__ or "")
    parser.add_argument("--batch", required=True, help="name of the batch")
    parser.add_argument(
        "--ip",
        nargs="?",
        const="",
        required=True,
        metavar="ADDRESS",
        help="requests per IP address (IPv6 by /64): of all, or of one address",
    )
    parser.add_argument("--top", type=command.positive, default=ip_audit.NUM_SHOWN, help="lines")
    args = parser.parse_args(argv)
    loads = ip_audit.batch_loads(open_corpus(args.corpus), check_name("--batch", args.batch))
    if args.ip:
        loads = ip_audit.find_address(loads, args.ip)

    if args.json:
        print(json.dumps([load.to_json() for load in loads]))
    else:
        print(ip_audit.render(loads, num_shown=args.top))

    return 0


def _import(args: argparse.Namespace, config: CrawlConfig) -> int:
    """Bring `links` and `pages` of a batch of WARC files up to date; nothing is fetched."""
    for option in ("dumps", "only", "plan", "compare_domains"):
        if getattr(args, option):
            raise InputError(
                f"--{option.replace('_', '-')} and {import_step.OPTION} exclude each other: "
                "WARC files hold the pages already"
            )

    with command.open_batch(args, "crawl.run", create=True) as opened:
        import_step.refuse_crawled(opened.store, opened.batch)
        result = command.run_stage(
            opened,
            "crawl",
            config,
            (import_step.STEP, *_rights_step(opened, import_rights.STEP, args)),
            rebuild=args.rebuild,
            files=in_order(args.warc),
            num_parts=import_step.num_parts(opened.store, opened.batch, args.warc, config),
        )
        import_step.sweep(opened.store, opened.batch)
        return command.finish(args, opened.store, "crawl", result)


def _links(opened: command.OpenBatch, args: argparse.Namespace, config: CrawlConfig) -> StageResult:
    """Bring `links` up to date; without --dumps, or with --only fetch, they must be there."""
    if not args.dumps or args.only == "fetch":
        if find_manifest(opened.store, "links", opened.batch) is None:
            raise InputError(
                f"{args.corpus}: batch {args.batch!r} has no links yet; "
                "name its dumps with --dumps FILE ..."
            )
        refuse_given(
            opened.store,
            opened.batch,
            "crawl",
            config,
            link_steps.STEP,
            "name its dumps with --dumps FILE ... and --rebuild, or leave the setting out",
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
    opened: command.OpenBatch, args: argparse.Namespace, config: CrawlConfig, links: StageResult
) -> StageResult:
    config = frozen_settings.settled(
        config,
        opened.store,
        opened.batch,
        slots=opened.executor.slots,
        may_grow=opened.executor.window > opened.executor.slots + 1,
        now=time.time(),
        rebuild=args.rebuild,
    )
    stop_request.withdraw(opened.store, opened.batch)
    with _logged_progress(opened.store.root, opened.batch), _stop_passed_on(opened):
        rights = bool(_rights_step(opened, fetch_steps.RIGHTS_STEP, args))
        steps = page_steps(config, rights=rights)
        pages = command.run_stage(opened, "crawl", config, steps, rebuild=args.rebuild)

    stop_request.withdraw(opened.store, opened.batch)
    if config.fetch.archive == "only":
        archive_step.sweep(opened.store, opened.batch)
    return StageResult(links.up_to_date and pages.up_to_date, {**links.counts, **pages.counts})


def page_steps(config: CrawlConfig, *, rights: bool = True) -> tuple[AnyStep, ...]:
    """The steps from links to pages enabled by the settings."""
    mode = config.fetch.archive
    asking = FETCH_STEPS[: -len(fetch_steps.ENDING)]
    ending: tuple[Exchange, ...] = fetch_steps.ENDING if rights else fetch_steps.ENDING[1:]
    if mode == "off":
        return (*asking, *ending)

    archive = archive_step.ONLY_STEP
    if mode == "fallback":
        archive = archive_step.fallback_step(fetch_steps.SETTLED)
    ending = tuple(replace(step, reads=archive_step.ARCHIVED) for step in ending)
    return (archive, *ending) if mode == "only" else (*asking, archive, *ending)


@contextlib.contextmanager
def _stop_passed_on(opened: command.OpenBatch) -> Iterator[None]:
    """Leave a request to stop for workers out of reach of signals, if this run is stopped."""
    try:
        yield
    except Interrupted as error:
        with contextlib.suppress(OSError, WebtextError):
            stop_request.request_stop(opened.store, opened.batch, str(error))
        raise


def _rights_step(
    opened: command.OpenBatch, step: AnyStep, args: argparse.Namespace
) -> tuple[AnyStep, ...]:
    """The step for `rights`; none for a batch finished before the table existed."""
    done = find_manifest(opened.store, "pages", opened.batch) is not None
    known = find_manifest(opened.store, "rights", opened.batch) is not None
    return () if done and not known and not args.rebuild else (step,)


@contextlib.contextmanager
def _logged_progress(root: str, batch: str) -> Iterator[None]:
    """Show failures so far while the block runs, and log rates, domains and reasons now and then."""
    ended = threading.Event()

    def watch() -> None:
        log_at = time.monotonic() + LOG_EVERY_S
        while not ended.wait(progress.EVERY_S):
            try:
                state = progress.read(open_store(root), batch, time.time())
            except (OSError, WebtextError) as error:
                log.debug("no progress can be read: %s", error)
                continue

            screen.note(f"{state.num_failed:,} failed" if state.done else "")
            if state.running:
                state.publish()
            if stop_request.reason_to_stop(open_store(root), batch, None) and not ended.is_set():
                log.warning("batch %s: a stop was asked for", batch)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if state.running and time.monotonic() >= log_at:
                log_at = time.monotonic() + LOG_EVERY_S
                # A live screen has the rate and the failures; the rest is a detail there.
                level = logging.DEBUG if screen.is_live() else logging.INFO
                for line in state.lines():
                    log.log(level, "%s", line)

    thread = threading.Thread(target=watch, name="live", daemon=True)
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
        help="import pages from WARC files (Common Crawl, Heritrix, wget, ...) instead of "
        "fetching; paths or URIs",
    )
    parser.add_argument("--only", choices=("links", "fetch"), help="run only one half of the stage")
    parser.add_argument(
        "--plan",
        action="store_true",
        help="build the links, then print the estimated time and disk use and stop",
    )
    parser.add_argument(
        "--status", action="store_true", help="print the progress of a running fetch and stop"
    )
    parser.add_argument(
        "--stop",
        action="store_true",
        help="ask the batch's running crawl to save its state and stop, from any machine",
    )
    parser.add_argument(
        "--compare-domains",
        metavar="FILE",
        help="compare the domains of the links with a list: a name and at most one count a line",
    )
    parser.add_argument(
        "--allow-truncated",
        action="store_true",
        help="continue with the readable rows of a truncated dump",
    )
    parser.add_argument(
        "--allow-immature-scores",
        action="store_true",
        help="continue although scores were captured too early",
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
