"""Names of documents outside the corpus in `verdicts.duplicate_of`.

A page may duplicate a document of another collection (`dedup.against`). Such a name is
`SOURCE/FILE#ROW` with rows from 1, or `SOURCE#DOC_ID` for a document of another corpus. A `doc_id`
has no `#`.
"""

from __future__ import annotations

MARK = "#"
# The table of such inputs in manifests.
AGAINST = "against"


def is_elsewhere(name: str) -> bool:
    """True for the name of a document outside the corpus, False for a `doc_id`."""
    return MARK in name


def source_of(name: str) -> str:
    """The source in the name of a document: the last part of its path or URI."""
    return name.partition(MARK)[0].partition("/")[0]
