"""The door: `python -m clean.run --corpus C --batch B`. WARC to documents; needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from clean import pages
from clean.config import CleanConfig
from corpus import cli

STEPS = (pages.STEP,)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage; the exit code."""
    return cli.stage_door("clean", CleanConfig, STEPS, argv, "Stored pages to documents in plain text.")


if __name__ == "__main__":
    raise SystemExit(main())
