"""Settings that differ between batches, read from the manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corpus.storage.store import Store
from corpus.tables.manifest import find_manifest

# Tables whose settings decide about the text of a corpus.
SETTLED_IN = ("links", "documents", "verdicts", "tokens")
# Settings about one run: its tolerance, its retries, its limits, and where lists are.
OF_ONE_RUN = frozenset(
    {
        "allow_truncated",
        "allow_immature_scores",
        "blocked_hosts_file",
        "blocked_subreddits_file",
        "retry_failed",
        "sandbox",
    }
)


def mixed_settings(store: Store, batches: Sequence[str]) -> list[str]:
    """Describe each setting in which the last of the batches differs from an earlier one."""
    found: list[str] = []
    for table in SETTLED_IN:
        manifests = [each for name in batches if (each := find_manifest(store, table, name))]
        if len(manifests) < 2 or manifests[-1].batch != batches[-1]:
            continue

        last = manifests[-1]
        told: set[str] = set()
        for earlier in reversed(manifests[:-1]):
            for key, ours, theirs in _differences(last.config, earlier.config):
                if key not in told:
                    told.add(key)
                    found.append(
                        f"{last.stage}.{key} is {ours!r} in batch {last.batch}, "
                        f"{theirs!r} in batch {earlier.batch}"
                    )
    return found


def mixed_among(store: Store, batches: Sequence[str]) -> list[str]:
    """Describe each setting that is not the same in all of the batches."""
    found = [
        line for end in range(2, len(batches) + 1) for line in mixed_settings(store, batches[:end])
    ]
    first_of = {line.partition(" is ")[0]: line for line in reversed(found)}
    return list(reversed(first_of.values()))


def _differences(ours: Any, theirs: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Values that both have and that differ. Imported batches lack the settings of a crawl."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted(ours.keys() & theirs.keys() - OF_ONE_RUN):
            yield from _differences(ours[key], theirs[key], f"{prefix}.{key}" if prefix else key)
    elif ours != theirs:
        yield prefix, ours, theirs
