"""Compile every loop beforehand, so that no first run waits for it: `python -m webtext.precompile`, the end of `make setup`.

Whoever installs with pip pays at the first use of each stage instead, half a minute in all, or calls this. Two processes
compile at a time; what is compiled already is only read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from corpus import compiled as machinecode
from webtext.stages import needing

STAGES = ("clean", "dedup")
"""Stages with compiled loops; the longest first."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a stage's loops could not be compiled. Where no place takes machine code, nothing is done."""
    parser = argparse.ArgumentParser(
        prog="webtext.precompile", description=(__doc__ or "").partition(":")[0]
    )
    parser.parse_args(argv)
    if machinecode.folder() is None:
        print(
            "No folder takes compiled loops; every process compiles its own. Set NUMBA_CACHE_DIR to keep them."
        )
        return 0
    code = 0
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for stage, compiled in zip(
            STAGES, [pool.submit(run, each) for each in STAGES], strict=True
        ):
            try:
                print(f"loops of {stage} are compiled ({compiled.result():.0f} s)", flush=True)
            except Exception as error:
                print(
                    f"loops of {stage} are not compiled ({type(error).__name__}: {error}); its first run will try again",
                    file=sys.stderr,
                )
                code = 1
    return code


def run(stage: str) -> float:
    """Compile every loop of one stage and return the seconds taken.

    Raises InputError if the stage is not installed, else what the loops raise.
    """
    begun = time.monotonic()
    with needing(stage):
        if stage == "clean":
            from clean.learned.extraction import extractor

            extractor()
        else:
            from dedup import loops

            loops.run_loops()
    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
