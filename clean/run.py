"""The door: `python -m clean.run --corpus C --batch B`. WARC to documents; needs no network.

With `--warc FILE ...` the batch is made of WARC files from elsewhere first.
"""

from __future__ import annotations

from collections.abc import Sequence

from clean import boilerplate_steps, intake, marks, pages
from clean.config import CleanConfig
from corpus import cli
from corpus.runner import AnyStep
from corpus.sources import in_order

STEPS: tuple[AnyStep, ...] = (pages.STEP,)


def steps(config: CleanConfig) -> tuple[AnyStep, ...]:
    """The steps that the settings ask for."""
    documents = boilerplate_steps.STEPS if config.boilerplate.remove else STEPS
    return (*documents, marks.STEP) if config.marks else documents


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; the exit code."""
    return cli.door(_body, argv, stage="clean.run")


def _body(argv: Sequence[str] | None) -> int:
    parser = cli.parser("clean.run", "Stored pages to documents in plain text.", CleanConfig, "clean")
    parser.add_argument(
        intake.OPTION,
        nargs="+",
        metavar="FILE",
        default=[],
        help="make the batch of WARC files from elsewhere (Common Crawl's, Heritrix's, ...); paths or URIs",
    )
    args = parser.parse_args(argv)
    config = cli.config(CleanConfig, "clean", args)
    with cli.work(args, "clean.run", create=bool(args.warc)) as opened:
        if args.warc:
            _take_in(opened, args.warc, config, rebuild=args.rebuild)
        result = cli.run_stage(opened, "clean", config, steps(config), rebuild=args.rebuild)
        return cli.finish(args, opened.store, "clean", result)


def _take_in(opened: cli.Work, files: Sequence[str], config: CleanConfig, *, rebuild: bool) -> None:
    """Bring `links` and `pages` of a batch of WARC files up to date."""
    intake.refuse_crawled(opened.store, opened.batch)
    num_parts = intake.num_parts(opened.store, opened.batch, files, config)
    cli.run_stage(
        opened, "clean", config, (intake.STEP,), rebuild=rebuild, files=in_order(files), num_parts=num_parts
    )
    intake.sweep(opened.store, opened.batch)


if __name__ == "__main__":
    raise SystemExit(main())
