"""Entry points of the stages, imported only when called.

A node needs the extras of the stages it runs and no others. A missing one becomes an error with its
name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from corpus.errors import InputError

Main = Callable[[Sequence[str] | None], int]


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn an ImportError inside the block into an InputError with the missing extra."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{error.name or extra} cannot be imported ({error}); run `pip install webtext[{extra}]`"
        ) from error


def stage_main(stage: str) -> Main:
    """Import a stage's command and return its `main`. Raises InputError without its extra."""
    with needing(stage):
        if stage == "crawl":
            from crawl.run import main
        elif stage == "clean":
            from clean.run import main
        elif stage == "dedup":
            from dedup.run import main
        elif stage == "shards":
            from shards.run import main
        elif stage == "train":
            from train.run import main
        else:
            raise InputError(
                f"{stage!r} is not a stage; stages are crawl, clean, dedup, shards, train"
            )

        return main
