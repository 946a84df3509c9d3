"""The scheduled increment: every stage for every dump that no batch has yet, oldest first.

    webtext refresh --config webtext.toml [--dry-run]

The stages run as their own commands do. A refresh can be started at any time: it leaves finished
batches alone and continues an interrupted one. A lease refuses a second start while the first still
runs; a dead one is taken over and cannot commit afterwards. After each batch a summary
compares its numbers with those of earlier batches and is sent to the hooks. Take-downs waiting for
a batch are carried out once it is at rest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from corpus.config import load_config
from corpus.credentials import refuse_credentials
from corpus.durations import parse_duration
from corpus.errors import BusyError, InputError, Interrupted, StageError, WebtextError
from corpus.run import command as cli
from corpus.run import funnel, screen
from corpus.run.progress import duration
from corpus.snapshots.retirement import retirement
from corpus.snapshots.snapshot import snapshot_path
from corpus.storage.lease import hold
from corpus.storage.store import Store, is_name, open_corpus, open_store
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import batches, find_manifest
from corpus.tables.takedown_list import unfinished
from webtext.reports import html, summary
from webtext.reports.of_batch import refresh_path
from webtext.reports.summary import Summary
from webtext.rights import command as rights
from webtext.settings import check_settings, sets_of
from webtext.stages import stage_main
from webtext.takedown import command as forget
from webtext.takedown.copies import find_returned
from webtext.upkeep.hooks import STOP_TIMEOUT_S, Hooks, find_hooks, now
from webtext.upkeep.refresh_config import RefreshConfig

log = logging.getLogger(__name__)

STAGES = ("crawl", "clean", "dedup", "shards")
LEASE = "work/refresh.json"
ESTIMATED = ("links", "tokens", "bytes", "wall_s")
ESTIMATED_FROM = 3
"""Batches that an estimate rests on."""


@dataclass(frozen=True, slots=True)
class Increment:
    """A batch to be and its dumps."""

    batch: str
    dumps: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return cli.run_command(_refresh, argv, stage="webtext.refresh")


def _refresh(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    sets = [*args.sets, *([f"refresh.corpus={json.dumps(args.corpus)}"] if args.corpus else [])]
    if args.dry_run:
        config = _config(args.config, sets)
        return _dry_run(config, _checked_increments(config, args), args)

    hooks = find_hooks(args.config, sets)
    try:
        with cli.interruptible():
            config = _config(args.config, sets)
            return _run(config, _checked_increments(config, args), args, hooks)
    except Interrupted as error:
        hooks.send("stopped", {"error": str(error), "when": now()}, timeout_s=STOP_TIMEOUT_S)
        raise
    except BusyError as error:
        hooks.send("busy", {"error": str(error), "when": now()})
        raise
    except (WebtextError, OSError) as error:
        details = {"error": str(error), "when": now()}
        if batch := getattr(error, "batch_at_work", ""):
            details["batch"] = batch
        hooks.send("failure", details)
        raise


def _checked_increments(config: RefreshConfig, args: argparse.Namespace) -> list[Increment]:
    """The batches of the dumps, once the settings of all stages are checked.

    Raises: InputError for no dump at all: a wrong pattern or an unmounted folder looks like
    a corpus up to date.
    """
    increments = list(find_increments(config))
    if not increments:
        raise InputError(
            f"refresh.dumps = {config.dumps!r}: no file matches; mount the folder or correct the "
            "pattern"
        )

    check_settings(
        open_store(config.corpus),
        STAGES,
        increments[-1].batch,
        toml_path=args.config,
        sets=args.sets,
    )
    return increments


def _run(
    config: RefreshConfig, increments: Sequence[Increment], args: argparse.Namespace, hooks: Hooks
) -> int:
    store = open_corpus(config.corpus, create=True)
    missing = _missing(store, config, increments)
    _warn_of_late(store, increments, missing)
    summaries: list[Summary] = []

    if missing or unfinished(store) or find_returned(store, batch_names(store)):
        with hold(store, LEASE, what="webtext.refresh", wait_s=args.wait):
            # Looked at again under the lease: another run may have finished in between.
            missing = _missing(store, config, increments)
            chain = [f"{each.batch} {stage}" for each in missing for stage in STAGES]
            with screen.stages(chain):
                summaries = [_increment(store, config, each, args, hooks) for each in missing]
            _carry_out_takedowns(store)

    _check_rights(config, args, hooks)
    if not missing:
        _say_up_to_date(config, increments)
    overdue = not missing and _send_if_overdue(store, config, hooks)
    if not missing and not overdue:
        details = {"dumps": config.dumps, "num_batches": len(increments), "when": now()}
        hooks.send("nothing_to_do", details)
    if not overdue:
        hooks.beat()

    if args.json:
        made = [summary.to_json(each) for each in summaries]
        _print_json(config, missing, dry_run=False, summaries=made)

    return 0


def _config(toml_path: str | None, sets: Sequence[str]) -> RefreshConfig:
    """Load the settings, those of the corpus included: the first pass finds the corpus."""
    first = load_config(
        RefreshConfig, "refresh", toml_path=toml_path, sets=sets, environ=os.environ
    )

    return load_config(
        RefreshConfig,
        "refresh",
        corpus_toml=cli.corpus_settings(first.corpus),
        toml_path=toml_path,
        sets=sets,
        environ=os.environ,
    )


def _dry_run(
    config: RefreshConfig, increments: Sequence[Increment], args: argparse.Namespace
) -> int:
    """Print the plan. A corpus not yet started lacks everything."""
    store = open_store(config.corpus)
    present = store.exists("corpus.json")
    if present:
        open_corpus(config.corpus)
    missing = _missing(store, config, increments) if present else list(increments)
    _warn_of_late(store, increments, missing)
    estimates = []
    basis = estimate_basis(store, config) if present and missing else []

    for increment in missing:
        estimate = estimate_of(basis, config, increment)
        estimates.append(
            {
                "batch": increment.batch,
                "dumps": list(increment.dumps),
                "begun": find_manifest(store, "links", increment.batch) is not None,
                **estimate,
            }
        )
        print(
            f"would make batch {increment.batch} from {', '.join(increment.dumps)}{_estimate_text(estimate)}"
        )

    waiting = unfinished(store) if present else []
    for record in waiting:
        print(f"would continue take-down {record.id}")
    if not missing and not waiting:
        _say_up_to_date(config, increments)
    if args.json:
        _print_json(config, missing, dry_run=True, estimates=estimates)

    return 0


def _send_if_overdue(store: Store, config: RefreshConfig, hooks: Hooks) -> bool:
    """Warn if the latest batch is older than `refresh.expect_every`."""
    if not config.expect_every:
        return False

    made = [datetime.fromisoformat(manifest.created) for manifest in batches(store, "links")]
    latest = max(made, default=None)
    age_s = (datetime.now(UTC) - latest).total_seconds() if latest else 0.0
    if latest is None or age_s <= parse_duration(config.expect_every):
        return False

    days = age_s / 86_400
    log.warning(
        "overdue: the latest batch was begun %.1f days ago, refresh.expect_every is %s, and no new "
        "dump is in %s",
        days,
        config.expect_every,
        config.dumps,
    )
    hooks.send(
        "overdue",
        {
            "dumps": config.dumps,
            "expect_every": config.expect_every,
            "latest": latest.isoformat(),
            "age_days": round(days, 1),
            "when": now(),
        },
    )
    return True


def _say_up_to_date(config: RefreshConfig, increments: Sequence[Increment]) -> None:
    num_dumps = sum(len(each.dumps) for each in increments)
    print(
        f"up to date: {num_dumps} {'dump' if num_dumps == 1 else 'dumps'} in {config.dumps}, "
        "each has its batch"
    )


def _print_json(config: RefreshConfig, missing: Sequence[Increment], **more: Any) -> None:
    print(
        json.dumps({"corpus": config.corpus, "batches": [each.batch for each in missing], **more})
    )


def _missing(
    store: Store, config: RefreshConfig, increments: Sequence[Increment]
) -> list[Increment]:
    return [
        increment for increment in increments if not is_complete(store, config, increment.batch)
    ]


def _warn_of_late(
    store: Store, increments: Sequence[Increment], missing: Sequence[Increment]
) -> None:
    """Warn of dumps that came after their batch was made: it stays as it is."""
    for increment in increments:
        links = find_manifest(store, "links", increment.batch) if increment not in missing else None
        read = {given.batch for given in links.inputs if given.table == "dump"} if links else set()
        for path in increment.dumps:
            if read and path.rpartition("/")[2] not in read:
                log.warning(
                    "%s came after batch %s was made from %s, and is left out; "
                    "rename it so that refresh.batch gives it a batch of its own",
                    path,
                    increment.batch,
                    ", ".join(sorted(read)),
                )


def estimate_basis(
    store: Store, config: RefreshConfig
) -> list[tuple[dict[str, int], int, dict[str, float]]]:
    """For each of the last batches: bytes of all dumps by name, of its own, and its figures."""
    sizes = {
        path.rpartition("/")[2]: num_bytes for path, num_bytes in dump_sizes(config.dumps).items()
    }
    complete = (n for n in reversed(batch_names(store)) if is_complete(store, config, n))
    found = []
    for name in itertools.islice(complete, ESTIMATED_FROM):
        links = find_manifest(store, "links", name)
        inputs = links.inputs if links is not None else []
        theirs = sum(sizes.get(given.batch, 0) for given in inputs if given.table == "dump")
        found.append((sizes, theirs, summary.figures(store, name)))
    return found


def estimate_of(
    basis: Sequence[tuple[dict[str, int], int, dict[str, float]]],
    config: RefreshConfig,
    increment: Increment,
) -> dict[str, float]:
    """Estimate a batch's links, tokens, bytes and wall_s from the last ones and the dumps.

    Empty without an earlier batch. If the dumps of earlier batches are gone, the batch is assumed
    to be as large as they were.
    """
    scaled: dict[str, list[float]] = {}
    for sizes, theirs, figures in basis:
        mine = sum(sizes.get(path.rpartition("/")[2], 0) for path in increment.dumps)
        ratio = mine / theirs if theirs and mine else 1.0
        for figure, value in figures.items():
            if figure in ESTIMATED:
                scaled.setdefault(figure, []).append(value * ratio)

    return {figure: round(median(values), 1) for figure, values in scaled.items()}


def _estimate_text(estimate: dict[str, float]) -> str:
    if not estimate:
        return ""
    return f": about {estimate['links']:,.0f} links, {estimate['tokens']:,.0f} tokens, {funnel.size(int(estimate['bytes']))} of tables, {duration(estimate['wall_s'])}"


def find_increments(config: RefreshConfig) -> Iterator[Increment]:
    """The batches made from the dumps, oldest (by name) first.

    Raises: InputError when the folder cannot be listed or a file's name gives no batch.
    """
    by_batch: dict[str, list[str]] = {}
    for path in dump_sizes(config.dumps):
        name = path.rpartition("/")[2]
        match = re.search(config.batch, name)
        if match is None or not is_name(match[1] or ""):
            raise InputError(
                f"{path}: its name gives no batch by refresh.batch = {config.batch!r}; "
                "narrow refresh.dumps or change the expression"
            )
        by_batch.setdefault(match[1], []).append(path)

    for batch in sorted(by_batch):
        yield Increment(batch, tuple(by_batch[batch]))


def dump_sizes(pattern: str) -> dict[str, int]:
    """Sorted paths or URIs of the files matching `pattern`, with their sizes. Raises InputError."""
    refuse_credentials("refresh.dumps", pattern)
    folder, _, last = pattern.rpartition("/")
    scheme = re.match(r"[a-z][a-z0-9+.-]*://", folder)
    try:
        filesystem, base = (
            pafs.FileSystem.from_uri(folder)
            if scheme
            else (pafs.LocalFileSystem(), os.path.abspath(folder or "."))
        )
        infos = filesystem.get_file_info(pafs.FileSelector(base))
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"refresh.dumps = {pattern!r}: the folder cannot be listed ({error})"
        ) from error

    return {
        f"{folder if scheme else base}/{info.base_name}": int(info.size)
        for info in sorted(infos, key=lambda info: info.base_name)
        if info.type == pafs.FileType.File and fnmatch(info.base_name, last)
    }


def is_complete(store: Store, config: RefreshConfig, batch: str) -> bool:
    """True if the batch is finished and its summary has been sent."""
    return _is_made(store, config, batch) and not store.exists(_begun_path(batch))


def _is_made(store: Store, config: RefreshConfig, batch: str) -> bool:
    """True if the batch has its tokens and has, or had, its snapshot."""
    snapshot = config.snapshot.format(batch=batch)
    if find_manifest(store, "tokens", batch) is None:
        return False
    return store.exists(snapshot_path(snapshot)) or retirement(store, snapshot) is not None


def _begun_path(batch: str) -> str:
    """A file kept from the start of a batch until its summary is handed over."""
    return f"refresh/begun-{batch}.json"


def _increment(
    store: Store,
    config: RefreshConfig,
    increment: Increment,
    args: argparse.Namespace,
    hooks: Hooks,
) -> Summary:
    """Run one batch, and hand its summary to the hooks."""
    store.write_json(_begun_path(increment.batch), {"dumps": list(increment.dumps)})
    try:
        if not _is_made(store, config, increment.batch):
            _make(store, config, increment, args)
        if config.report:
            html.main([config.corpus])
    except (WebtextError, OSError) as error:
        error.batch_at_work = increment.batch  # type: ignore[union-attr]
        raise

    names = batch_names(store)
    found = summary.summarise(
        store, increment.batch, names[: names.index(increment.batch)], config.usual_factor
    )
    store.write_json(refresh_path(increment.batch), summary.to_json(found))
    print(summary.render(found))
    hooks.send("batch", summary.to_json(found))
    store.delete(_begun_path(increment.batch))

    return found


def _make(
    store: Store, config: RefreshConfig, increment: Increment, args: argparse.Namespace
) -> None:
    """Run all stages for one batch without tokens. Raises StageError at the first failure."""
    shared = ["--corpus", config.corpus, "--batch", increment.batch, "--executor", args.executor]
    shared += ["--config", args.config] if args.config else []
    shared += ["--workers", str(args.workers)] if args.workers else []
    shared += ["--wait", f"{args.wait:g}s"] if args.wait else []
    shared += ["-v"] if args.verbose else []
    shared += ["--rebuild"] if args.rebuild else []
    tokenized = find_manifest(store, "tokens", increment.batch) is not None

    for stage in STAGES[-1:] if tokenized else STAGES:
        extra: list[str] = []
        if stage == "crawl":
            extra = ["--dumps", *increment.dumps]
            if _carries_over(store, config, increment.batch):
                extra += ["--set", "crawl.links.carry_over=true"]
        elif stage == "shards":
            extra = ["--snapshot", config.snapshot.format(batch=increment.batch)]

        if not screen.is_live():
            log.info("batch %s: %s", increment.batch, stage)
        code = stage_main(stage)([*shared, *sets_of(stage, args.sets), *extra])
        if code in (130, 143):
            raise Interrupted(code - 128)
        if code != 0:
            raise StageError(increment.batch, stage, code)

    log.info("batch %s is complete\n%s", increment.batch, funnel.render(store, increment.batch))


def _carries_over(store: Store, config: RefreshConfig, batch: str) -> bool:
    """True if the batch takes over deferred pages; committed links keep their first setting."""
    links = find_manifest(store, "links", batch)
    if links is None:
        return config.retry_deferred
    return bool(links.config.get("links", {}).get("carry_over"))


def _carry_out_takedowns(store: Store) -> None:
    """Continue take-downs held up by an active batch."""
    if not unfinished(store) and not find_returned(store, batch_names(store)):
        return

    try:
        with hold(store, forget.LEASE, what="webtext.refresh"):
            for record in forget.carry_out(store):
                print(forget.audit_line(record))
    except BusyError as error:
        log.warning("%s", error)


def _check_rights(config: RefreshConfig, args: argparse.Namespace, hooks: Hooks) -> None:
    """Ask again for the rights of the oldest pages. A failure is an event and ends no refresh."""
    if not config.rights_older_than:
        return

    words = ["check", "--corpus", config.corpus, "--older-than", config.rights_older_than]
    words += ["--config", args.config] if args.config else []
    code = rights.main([*words, "--apply", *sets_of("crawl", args.sets)])
    if code in (130, 143):
        raise Interrupted(code - 128)
    if code != 0:
        log.warning("webtext rights check ended with exit code %d; the refresh goes on", code)
        hooks.send("rights_not_checked", {"exit_code": code, "when": now()})


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "webtext.refresh",
        __doc__ or "",
        RefreshConfig,
        "refresh",
        corpus_required=False,
        batch=False,
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say which batches would be made, make none"
    )

    return parser


if __name__ == "__main__":
    raise SystemExit(main())
