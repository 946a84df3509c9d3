"""The folder of a batch's WARC segments: `warc/<batch>/`.

It is apart from the table `pages`, so every Parquet reader can open the table's folder.
"""

from __future__ import annotations

import re

from corpus.storage.store import Store

SUFFIX = ".warc.gz"

# The folder beside the tables with the WARC segments of `pages`.
SEGMENTS = "warc"


def warc_dir(batch: str) -> str:
    """The folder of a batch's segments."""
    return f"{SEGMENTS}/{batch}"


def segment_files(store: Store, batch: str) -> list[tuple[str, int]]:
    """(path, bytes) of every WARC segment of a batch, by name."""
    # Segments were in pages/<batch>/ until 2026-11-30, and a crawl cannot be repeated.
    folders = (warc_dir(batch), f"pages/{batch}")
    files = [entry for folder in folders for entry in store.files(folder)]
    return sorted(entry for entry in files if entry[0].endswith(SUFFIX))


def is_segment(path: str, batch: str | None = None) -> bool:
    """True for a name that this code gives to a segment of the batch, or of any batch without one.

    A row of a stranger's table may name any file of the corpus.
    """
    found = _SEGMENT.fullmatch(path)
    return found is not None and batch in (None, found["batch"])


_SEGMENT = re.compile(r"(?:warc|pages)/(?P<batch>[^/]+)/[^/]+" + re.escape(SUFFIX))
