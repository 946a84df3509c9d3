"""Groups of revived links: a WARC segment and a receipt each, below `revived/<batch>/`.

The receipt is written after the segment and deleted after it, so a receipt's captures are all
there, and a take-down cut short finds the group again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from corpus.storage.store import Store

ROOT: Final = "revived"
RECEIPT, SEGMENT = ".json", ".warc.gz"


def folder(batch: str) -> str:
    """The folder of a batch's revived captures."""
    return f"{ROOT}/{batch}"


def path_of(batch: str, number: int, ending: str) -> str:
    """The file of a group: its receipt or its segment."""
    return f"{folder(batch)}/part-{number:05}{ending}"


def receipts(store: Store, batch: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and content of each receipt of a batch, by number."""
    for path, _ in sorted(store.files(folder(batch))):
        if path.endswith(RECEIPT):
            yield path, store.read_object(path)


def remove_groups(store: Store, has_page: Callable[[str], bool]) -> int:
    """Delete the groups naming a page, and return their number. `revive` makes them again."""
    removed = 0
    for batch in store.folders(ROOT):
        for path, receipt in receipts(store, batch):
            if any(has_page(each["url"]) for each in receipt["links"]):
                segment = path.removesuffix(RECEIPT) + SEGMENT
                if store.exists(segment):
                    store.delete(segment)
                store.delete(path)
                removed += 1

    return removed
