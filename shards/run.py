"""The command of this stage: documents and verdicts of a batch to tokens, spans and a snapshot."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from corpus.errors import ConfigError
from corpus.run import command
from corpus.snapshots.snapshot import batches_up_to, check_free, snapshots_of, write_snapshot
from corpus.snapshots.snapshot_remarks import warn_of_remarks
from corpus.storage.store import Store, check_name
from corpus.tables.manifest import batches, read_manifest
from corpus.tables.staleness import require_current
from shards import write_step
from shards.config import ShardsConfig
from shards.pin_tokenizer import check_pin, ensure_tokenizer

log = logging.getLogger(__name__)

STEPS = (write_step.STEP,)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the batch's tokens, then the snapshot of all batches up to it."""
    return command.run_command(_body, argv, stage="shards.run")


def _body(argv: Sequence[str] | None) -> int:
    parser = command.parser(
        "shards.run", "Documents to token shards and a snapshot.", ShardsConfig, "shards"
    )
    parser.add_argument(
        "--snapshot", metavar="NAME", help="name of the snapshot (default: the batch's)"
    )
    parser.add_argument(
        "--no-snapshot", action="store_true", help="tokens only; no snapshot is written"
    )
    args = parser.parse_args(argv)
    config = command.config(ShardsConfig, "shards", args)
    option = "--snapshot" if args.snapshot else "--batch"
    name = check_name(option, args.snapshot or args.batch)

    with command.open_batch(args, "shards.run", is_small=command.has_few_documents) as opened:
        inputs = ("documents", "verdicts")
        for table in inputs:
            read_manifest(opened.store, table, opened.batch)
        # The runner checks this as well, but the tokenizer is trained before it.
        require_current(
            opened.store,
            [(table, opened.batch) for table in inputs],
            f"shards of batch {opened.batch!r}",
        )
        if not args.no_snapshot:
            check_free(opened.store, name, opened.batch)
        config = _with_share_of_corpus(opened.store, opened.batch, config)
        check_settings(opened.store, opened.batch, config)
        ensure_tokenizer(opened.store, config.tokenizer, [opened.batch], config.writer.val_frac)
        result = command.run_stage(opened, "shards", config, STEPS, rebuild=args.rebuild)
        if not args.no_snapshot:
            _snapshot(opened.store, opened.batch, name)

        return command.finish(args, opened.store, "shards", result)


def _with_share_of_corpus(store: Store, batch: str, config: ShardsConfig) -> ShardsConfig:
    """Take the validation share of the earlier batches, unless one is given."""
    if "val_frac" in config.writer.model_fields_set:
        return config
    for manifest in batches(store, "tokens"):
        found = manifest.config.get("writer", {}).get("val_frac")
        if found is not None and manifest.batch != batch:
            writer = config.writer.model_copy(update={"val_frac": found})
            return config.model_copy(update={"writer": writer})
        break
    return config


def check_settings(store: Store, batch: str, config: ShardsConfig) -> None:
    """Refuse settings ruled out by earlier batches of the corpus. Raises: ConfigError."""
    _check_val_frac(store, batch, config.writer.val_frac)
    check_pin(store, config.tokenizer)


def _check_val_frac(store: Store, batch: str, val_frac: float) -> None:
    """Refuse another validation share than the first batch's: pages would change sides between batches."""
    for manifest in batches(store, "tokens"):
        if manifest.batch == batch:
            return
        found = manifest.config.get("writer", {}).get("val_frac", val_frac)
        if found != val_frac:
            raise ConfigError(
                f"shards.writer.val_frac = {val_frac:g}, batch {manifest.batch!r} has {found:g}: "
                "a page that is validation in one batch would be trained on in another; "
                f"use {found:g}, or change it in all batches: first --batch {manifest.batch} with "
                "--rebuild, then the later ones"
            )


def _snapshot(store: Store, batch: str, name: str) -> None:
    """Write the snapshot of all batches up to this one."""
    names = batches_up_to(store, batch)
    for each in names:
        # A first batch rebuilt with another share leaves the later ones behind.
        val_frac = read_manifest(store, "tokens", each).config.get("writer", {}).get("val_frac")
        if val_frac is not None:
            _check_val_frac(store, each, val_frac)

    snapshot = write_snapshot(store, name, names, parents=snapshots_of(store, names[:-1]))
    totals = ", ".join(
        f"{split} {part.num_tokens:,} tokens" for split, part in snapshot.splits.items()
    )
    log.info("snapshot %s: %s (%s)", snapshot.name, totals, snapshot.digest)
    warn_of_remarks(store, snapshot.name)

    if not snapshot.splits["val"].num_tokens:
        log.warning(
            "snapshot %s: no document fell to validation, and training wants some: "
            "add --rebuild --set shards.writer.val_frac=0.05 and another --snapshot name",
            snapshot.name,
        )


if __name__ == "__main__":
    raise SystemExit(main())
