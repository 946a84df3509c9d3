"""Compiles all loops so that no first run waits: `python -m webtext.precompile`.

`make setup` ends with it. After `pip install`, the first run of each stage compiles its own loops,
half a minute in all. Two processes compile at a time; loops in the cache are only read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from corpus import compiled as machinecode
from corpus.compiled_registry import EXAMPLES
from corpus.errors import InputError
from webtext.stages import needing, stage_main

# Stages with compiled loops. The slowest comes first: the two processes end together.
STAGES = ("clean", "dedup")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 if a stage's loops could not be compiled.

    Nothing is done if no folder can keep the compiled code.
    """
    parser = argparse.ArgumentParser(
        prog="webtext.precompile", description=(__doc__ or "").partition(":")[0]
    )
    parser.parse_args(argv)
    if machinecode.folder() is None:
        print(
            "No folder can keep compiled loops; every process compiles its own. "
            "Set NUMBA_CACHE_DIR to keep them."
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
                    f"loops of {stage} are not compiled ({type(error).__name__}: {error}); "
                    "its first run will try again",
                    file=sys.stderr,
                )
                code = 1

    return code


def run(stage: str) -> float:
    """Compile every loop of one stage and return the seconds taken.

    Raises: InputError if the stage is not installed, else the errors of the loops.
    """
    begun = time.monotonic()
    with needing(stage):
        if stage not in STAGES:
            raise InputError(f"{stage!r} has no compiled loops; stages with some: {STAGES}")
        stage_main(stage)
        for example in EXAMPLES:
            if example.__module__.startswith(f"{stage}."):
                example()

    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
