"""The scheduled increment: every stage for every dump that no batch has yet, oldest first.

    python -m corpus.refresh --config webtext.toml

The stages are called through their own doors, so what one by hand does, this does. It can be started at any time: a
finished batch is left alone, an interrupted one goes on where it stopped, and a second start while the first still
runs is refused by the lock.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import pyarrow as pa
import pyarrow.fs as pafs
from pydantic import Field, field_validator

from corpus import cli, funnel
from corpus.config import Section, load_config
from corpus.doors import stage_door
from corpus.errors import InputError, Interrupted, StageError
from corpus.layout import NAME, Store, open_corpus
from corpus.lock import hold
from corpus.manifest import find_manifest

log = logging.getLogger(__name__)

STAGES = ("crawl", "clean", "dedup", "shards")


class RefreshConfig(Section):
    """What a refresh brings in."""

    corpus: str = Field(min_length=1)
    """The corpus: a folder or URI. Required here or as --corpus."""
    dumps: str = Field(min_length=1)
    """Where dumps appear: a folder or URI whose last part is a pattern, such as /data/reddit/RS_*.zst."""
    batch: str = r"RS_(?:v2_)?(.+?)\."
    """Regular expression over a dump's file name; its first group names the batch (RS_2024-01.zst: 2024-01)."""
    snapshot: str = "{batch}"
    """Name of the snapshot after each batch; {batch} stands for the batch."""
    report: bool = True
    """Whether the HTML report is made anew after each batch."""

    @field_validator("batch")
    @classmethod
    def _has_one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"expected one group, found {groups}")
        return pattern


@dataclass(frozen=True, slots=True)
class Increment:
    """A batch to be and its dumps."""

    batch: str
    dumps: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """The door."""
    return cli.door(_refresh, argv, stage="corpus.refresh")


def _refresh(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    sets = [*args.sets, *([f"refresh.corpus={json.dumps(args.corpus)}"] if args.corpus else [])]
    config = load_config(RefreshConfig, "refresh", toml_path=args.config, sets=sets, environ=os.environ)
    increments = list(find_increments(config))
    store = open_corpus(config.corpus, create=not args.dry_run)
    missing = [increment for increment in increments if not is_complete(store, config, increment.batch)]
    if args.dry_run:
        for increment in missing:
            print(f"would make batch {increment.batch} from {', '.join(increment.dumps)}")
    elif missing:
        with hold(store, "work/refresh.json", what="corpus.refresh"), cli.interruptible():
            for increment in missing:
                _make(store, config, increment, args)
    if not missing:
        print(f"up to date: {len(increments)} dumps in {config.dumps}, each has its batch")
    if args.json:
        print(
            json.dumps(
                {"corpus": config.corpus, "batches": [i.batch for i in missing], "dry_run": args.dry_run}
            )
        )
    return 0


def find_increments(config: RefreshConfig) -> Iterator[Increment]:
    """The batches that the dumps make, oldest (by name) first.

    Raises: InputError when the folder cannot be listed or a file's name gives no batch.
    """
    by_batch: dict[str, list[str]] = {}
    for path in list_dumps(config.dumps):
        name = path.rpartition("/")[2]
        match = re.search(config.batch, name)
        if match is None or not NAME.match(match[1] or ""):
            raise InputError(
                f"{path}: its name gives no batch by refresh.batch = {config.batch!r}; narrow refresh.dumps or change the expression"
            )
        by_batch.setdefault(match[1], []).append(path)
    for batch in sorted(by_batch):
        yield Increment(batch, tuple(by_batch[batch]))


def list_dumps(pattern: str) -> list[str]:
    """Paths or URIs of the files that match `pattern`, sorted. Raises InputError."""
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
        raise InputError(f"refresh.dumps = {pattern!r}: the folder cannot be listed ({error})") from error
    names = sorted(
        info.base_name for info in infos if info.type == pafs.FileType.File and fnmatch(info.base_name, last)
    )
    return [f"{folder if scheme else base}/{name}" for name in names]


def is_complete(store: Store, config: RefreshConfig, batch: str) -> bool:
    """Whether the batch went all the way: its tokens and its snapshot are there."""
    snapshot = config.snapshot.format(batch=batch)
    return find_manifest(store, "tokens", batch) is not None and store.exists(f"snapshots/{snapshot}.json")


def _make(store: Store, config: RefreshConfig, increment: Increment, args: argparse.Namespace) -> None:
    """All stages for one batch. Raises StageError at the first that fails."""
    shared = ["--corpus", config.corpus, "--batch", increment.batch, "--executor", args.executor]
    shared += ["--config", args.config] if args.config else []
    shared += ["--workers", str(args.workers)] if args.workers else []
    shared += [word for setting in args.sets for word in ("--set", setting)]
    for stage in STAGES:
        extra: list[str] = []
        if stage == "crawl":
            extra = ["--dumps", *increment.dumps]
        elif stage == "shards":
            extra = ["--snapshot", config.snapshot.format(batch=increment.batch)]
        log.info("batch %s: %s", increment.batch, stage)
        code = stage_door(stage)([*shared, *extra])
        if code in (130, 143):
            raise Interrupted(code - 128)
        if code != 0:
            raise StageError(increment.batch, stage, code)
    if config.report:
        stage_door("corpus", "report")([config.corpus])
    log.info("batch %s is complete\n%s", increment.batch, funnel.text(store, increment.batch))


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "corpus.refresh", __doc__ or "", RefreshConfig, "refresh", corpus_required=False, batch=False
    )
    parser.add_argument("--dry-run", action="store_true", help="say which batches would be made, make none")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
