"""Advice for a disk that cannot take a checkpoint."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from pathlib import Path

# Errors of a disk without room, and of a quota that is used up.
FULL = (errno.ENOSPC, errno.EDQUOT)


def advice(error: OSError, folder: Path | None, num_bytes: int, steps: Sequence[int]) -> str:
    """The part of an error message with the remedy for `error`.

    `num_bytes` is the size of the checkpoint; `steps` are the checkpoints of the run.
    """
    if error.errno not in FULL or folder is None:
        return "free space or fix access, then run again"

    free = shutil.disk_usage(folder).free if folder.exists() else 0
    kept = ", ".join(str(step) for step in steps) or "none"
    return (
        f"free space: a checkpoint takes {num_bytes / 1e6:,.1f} MB, {folder} has {free / 1e6:,.1f} MB left; "
        f"this run keeps the steps {kept} (train.runtime.keep_last=1 keeps fewer), and webtext prune "
        "deletes what no snapshot needs; then run again"
    )
