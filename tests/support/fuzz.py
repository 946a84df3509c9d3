"""Runs a target of `fuzz_targets` under atheris, guided by the coverage of our readers.

    python -m tests.support.fuzz TARGET CORPUS [options of libFuzzer]

Inputs are mutated as JSON and as bytes. Those that reach new code are kept and mutated again.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
from pathlib import Path

import atheris

# The readers are instrumented while they are imported, so nothing of ours is imported above.
with atheris.instrument_imports(
    include=[
        "corpus",
        "shards",
        "crawl.warc",
        "train.checkpoints",
        "train.gpt2",
        "webtext.import_documents",
        "webtext.inspection",
        "webtext.settings",
        "webtext.reports",
        "webtext.publish",
    ],
    exclude=["corpus.compiled"],
):
    from tests.support import fuzz_targets


def main(argv: list[str]) -> None:
    """Run a target until the time of its options is over."""
    name, root, *options = argv
    logging.disable(logging.CRITICAL)
    fuzzed = fuzz_targets.Fuzzed(name, Path(root).resolve())
    first = Path(tempfile.mkdtemp()) / "seed"
    first.write_bytes(fuzzed.seed)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.4:
            return bytes(atheris.Mutate(data, max_size))
        return fuzzed.mutated(data or fuzzed.seed, rng)[:max_size]

    options = [*options, f"-max_len={4 * len(fuzzed.seed)}", str(first.parent)]
    atheris.Setup([sys.argv[0], *options], fuzzed.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
