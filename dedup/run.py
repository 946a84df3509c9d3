"""The door: `python -m dedup.run --corpus C --batch B`, documents to verdicts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from corpus import cli
from corpus.runner import AnyStep
from dedup import lsh, near_steps, overlap_steps
from dedup.config import DedupConfig

log = logging.getLogger(__name__)


def stage_steps(config: DedupConfig) -> tuple[AnyStep, ...]:
    """The steps of the stage; those of overlap only where there are test sets."""
    with_overlap = bool(config.testsets)
    return (
        near_steps.SIGN,
        *(overlap_steps.steps() if with_overlap else ()),
        *near_steps.steps(overlap=with_overlap),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage on one batch; the exit code."""
    return cli.door(_run, argv, stage="dedup.run")


def _run(argv: Sequence[str] | None) -> int:
    args = cli.parser("dedup.run", __doc__ or "", DedupConfig, "dedup").parse_args(argv)
    config = cli.config(DedupConfig, "dedup", args)
    with cli.work(args, "dedup.run") as opened:
        log.info("%s", lsh.curve(config.lsh))
        result = cli.run_stage(opened, "dedup", config, stage_steps(config), rebuild=args.rebuild)
        return cli.finish(args, opened.store, "dedup", result)


if __name__ == "__main__":
    raise SystemExit(main())
