"""Settings that differ between batches, read from the manifests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from corpus.storage.store import Store
from corpus.tables.manifest import find_manifest, find_manifests

# Tables whose settings decide about the text of a corpus.
SETTLED_IN = ("links", "documents", "verdicts", "tokens")
# Settings about one run: its tolerance, its retries, its limits, and where lists are. All that
# sections leave out of their identity are here.
OF_ONE_RUN = frozenset(
    {
        "allow_truncated",
        "allow_immature_scores",
        "allowed_hosts_file",
        "blocked_hosts_file",
        "blocked_subreddits_file",
        "carry_over",
        "pages_per_task",
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
    return SettingsOfBatches(store, batches).mixed(batches)


class SettingsOfBatches:
    """The settings of many batches, read once. Batches of one corpus mostly share theirs."""

    def __init__(self, store: Store, batches: Iterable[str]) -> None:
        names = list(dict.fromkeys(batches))
        found = find_manifests(store, [(table, name) for table in SETTLED_IN for name in names])
        self._distinct: list[dict[str, Any]] = []
        numbers: dict[str, int] = {}
        # Table and batch to the stage and the number of its settings.
        self._number: dict[tuple[str, str], tuple[str, int]] = {}

        for key, manifest in found.items():
            if manifest is None:
                continue
            text = json.dumps(manifest.config, sort_keys=True)
            if text not in numbers:
                numbers[text] = len(self._distinct)
                self._distinct.append(dict(_flat(manifest.config)))
            self._number[key] = manifest.stage, numbers[text]

    def mixed(self, batches: Sequence[str]) -> list[str]:
        """Describe each setting that is not the same in all of these batches."""
        return [line for table in SETTLED_IN for line in self._mixed_in(table, batches)]

    def _mixed_in(self, table: str, batches: Sequence[str]) -> Iterator[str]:
        present = [
            (name, *self._number[table, name]) for name in batches if (table, name) in self._number
        ]
        if len({number for _, _, number in present}) < 2:
            return

        values: dict[str, Any] = {}
        seen: set[int] = set()
        told: set[str] = set()
        for index, (name, stage, number) in enumerate(present):
            if number in seen:
                continue
            seen.add(number)
            for key, ours in self._distinct[number].items():
                if key in told or values.setdefault(key, ours) == ours:
                    continue
                told.add(key)
                before = next(
                    each
                    for each, _, other in reversed(present[:index])
                    if key in self._distinct[other]
                )
                yield f"{stage}.{key} is {ours!r} in batch {name}, {values[key]!r} in batch {before}"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their full key, without those of one run."""
    for key in sorted(value.keys() - OF_ONE_RUN):
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value[key], Mapping):
            yield from _flat(value[key], name)
        else:
            yield name, value[key]


def _differences(ours: Any, theirs: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Values that both have and that differ. Imported batches lack the settings of a crawl."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted(ours.keys() & theirs.keys() - OF_ONE_RUN):
            yield from _differences(ours[key], theirs[key], f"{prefix}.{key}" if prefix else key)
    elif ours != theirs:
        yield prefix, ours, theirs
