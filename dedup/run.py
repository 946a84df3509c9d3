"""The command of the stage, `webtext dedup --corpus C --batch B`: documents to verdicts.

`--explain URL-or-DOC_ID` shows a page of the batch next to the page it duplicates; `--sample` draws 20
removals for review, `--sample N` as many.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from corpus.run import command
from corpus.run.step import AnyStep
from corpus.snapshots.snapshot import read_snapshot, snapshots
from corpus.storage.store import Store, check_name, open_corpus
from corpus.tables.dedup_reports import overlap_path
from corpus.tables.manifest import batches, find_manifest
from dedup import passage_steps, report, review, verdict_steps
from dedup.against.sources import known_files, refuse_own
from dedup.against.steps import known_step
from dedup.config import DedupConfig
from dedup.contamination import overlap_steps
from dedup.near_duplicates import candidate_steps, groups, lsh, signature_steps, survivor_steps

log = logging.getLogger(__name__)

SAMPLE_PAGES = 20


def stage_steps(config: DedupConfig) -> tuple[AnyStep, ...]:
    """The steps of the stage.

    Those of overlap only where there are test sets, and first: a broken set is found at once.
    """
    with_overlap, with_passages = bool(config.testsets), bool(config.passages.min_words)
    index_step = signature_steps.INDEX
    if with_passages:
        index_step = replace(index_step, sections=(*index_step.sections, "passages"))
    steps: tuple[AnyStep, ...] = (
        *((known_step(passages=with_passages),) if config.against else ()),
        *(overlap_steps.steps()[:1] if with_overlap else ()),
        signature_steps.SIGN,
        *(overlap_steps.steps()[1:] if with_overlap else ()),
        signature_steps.keys_step(overlap=with_overlap),
        *candidate_steps.STEPS,
        *survivor_steps.STEPS,
        *(passage_steps.steps(overlap=with_overlap) if with_passages else ()),
        verdict_steps.verdicts_step(overlap=with_overlap, passages=with_passages),
        *(overlap_steps.last_steps() if with_overlap else ()),
        index_step,
    )

    # A setting that is off changes no fingerprint.
    contained = ("dedup/compare", "dedup/survivors", "dedup/decisions", "dedup/verdicts")
    added = {
        "containment": contained if config.containment else (),
        # Names of documents have the paths of the sources, and a person looks them up by these.
        "against": ("dedup/decisions", "dedup/verdicts") if config.against else (),
    }
    for section, names in added.items():
        steps = tuple(
            replace(step, sections=(*step.sections, section)) if step.name in names else step
            for step in steps
        )
    return steps


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage on one batch; the exit code."""
    return command.run_command(_run, argv, stage="dedup.run")


def _run(argv: Sequence[str] | None) -> int:
    parser = command.parser("dedup.run", __doc__ or "", DedupConfig, "dedup")
    looks = parser.add_mutually_exclusive_group()
    looks.add_argument(
        "--explain",
        metavar="URL-or-DOC_ID",
        help="show a page of the batch beside its survivor, and stop",
    )
    looks.add_argument(
        "--sample",
        type=int,
        nargs="?",
        const=SAMPLE_PAGES,
        metavar="N",
        help=f"show N removed pages beside their survivors, and stop (default: {SAMPLE_PAGES})",
    )
    parser.add_argument(
        "--similarity",
        metavar="LOW-HIGH",
        help="with --sample: pairs of a similarity in this range, kept ones too if it begins under the threshold",
    )
    args = parser.parse_args(argv)
    if args.similarity is not None and args.sample is None:
        parser.error("--similarity chooses among the pairs of --sample; add --sample")
    if args.explain is not None or args.sample is not None:
        command.refuse_settings(args, "--explain and --sample")
        store = open_corpus(args.corpus)
        batch = check_name("--batch", args.batch)
        band = groups.Band.parse(args.similarity) if args.similarity is not None else None
        print(
            review.explanation(store, batch, args.explain)
            if args.explain is not None
            else review.sample(store, batch, args.sample, band)
        )
        return 0

    config = command.config(DedupConfig, "dedup", args)
    # Known documents are mostly far more than those of a batch.
    is_small = None if config.against else command.has_few_documents
    with command.open_batch(args, "dedup.run", is_small=is_small) as opened:
        log.debug("%s", lsh.curve(config.lsh))
        refuse_own(config.against, opened.store.root)
        result = command.run_stage(
            opened,
            "dedup",
            config,
            stage_steps(config),
            rebuild=args.rebuild,
            files=known_files(config.against),
        )

        if not result.up_to_date or not report.are_written(opened.store, args.batch):
            for path in report.write_reports(opened.store, args.batch, config.testsets):
                log.info("report: %s/%s", opened.store.root, path)
            if args.rebuild:
                _warn_of_what_is_left(opened.store, args.batch)

        if config.testsets:
            print(report.render(opened.store.read_object(overlap_path(args.batch))))
        return command.finish(args, opened.store, "dedup", result)


def _warn_of_what_is_left(store: Store, batch: str) -> None:
    """Log tables and snapshots made from the previous verdicts."""
    for name in snapshots_of(store, batch):
        log.warning(
            "snapshot %s holds batch %s as it was before; write a new one with "
            "`webtext shards --corpus %s --batch %s --rebuild --snapshot NEW`",
            name,
            batch,
            store.root,
            batch,
        )

    for name in later_batches(store, batch):
        log.warning(
            "batch %s met batch %s as it was before; make it new with "
            "`webtext dedup --corpus %s --batch %s --rebuild` and the same settings",
            name,
            batch,
            store.root,
            name,
        )


def later_batches(store: Store, batch: str) -> list[str]:
    """The later batches with verdicts."""
    names = [manifest.batch for manifest in batches(store, "links")]
    return [
        name for name in names[names.index(batch) + 1 :] if find_manifest(store, "verdicts", name)
    ]


def snapshots_of(store: Store, batch: str) -> list[str]:
    """The snapshots with the batch, outdated by new verdicts."""
    return [
        name
        for name in snapshots(store)
        if any(each.batch == batch for each in read_snapshot(store, name).batches)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
