"""The command `python -m clean.run --corpus C --batch B`: WARC files to documents, offline."""

from __future__ import annotations

from collections.abc import Sequence

from clean import marks, pages
from clean.config import CleanConfig
from clean.filters import boilerplate_steps
from corpus.run import command
from corpus.run.step import AnyStep

STEPS: tuple[AnyStep, ...] = (pages.STEP,)


def steps(config: CleanConfig) -> tuple[AnyStep, ...]:
    """The steps enabled by the settings."""
    repeated = config.soft_failures.remove and config.soft_failures.repeated
    exchanged = config.boilerplate.remove or repeated
    documents = boilerplate_steps.steps(config) if exchanged else STEPS
    return (*documents, marks.STEP) if config.marks else documents


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the stage and returns the exit code."""
    return command.run_command(_body, argv, stage="clean.run")


def _body(argv: Sequence[str] | None) -> int:
    parser = command.parser(
        "clean.run", "Stored pages to documents in plain text.", CleanConfig, "clean"
    )
    args = parser.parse_args(argv)
    config = command.config(CleanConfig, "clean", args)
    with command.open_batch(args, "clean.run") as opened:
        result = command.run_stage(opened, "clean", config, steps(config), rebuild=args.rebuild)
        return command.finish(args, opened.store, "clean", result)


if __name__ == "__main__":
    raise SystemExit(main())
