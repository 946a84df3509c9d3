"""Write a folder of files that belong together whole, or leave none that could be opened."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from corpus.errors import FatalError

STAGED = ".exporting"


def replace_files(folder: Path, write: Callable[[Path], None], opened_by: str) -> None:
    """Let `write` make files in an empty folder, then move them into `folder`, made if missing.

    `opened_by` is the file without which readers refuse the folder. It goes first and comes last,
    so that a stop in between never leaves new settings beside old weights. Files of other names
    stay. Raises: FatalError if the disk refuses.
    """
    staged = folder / STAGED
    try:
        shutil.rmtree(staged, ignore_errors=True)  # of an export that was killed
        staged.mkdir(parents=True)
        try:
            write(staged)
            names = sorted(path.name for path in staged.iterdir())
            (folder / opened_by).unlink(missing_ok=True)
            for name in sorted(names, key=lambda name: name == opened_by):
                os.replace(staged / name, folder / name)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise FatalError(
            f"cannot write {folder}: {error}; free space or fix access, then run again"
        ) from error
