"""Pages that say "no" to training, dropped by `clean.rights.policy`.

The crawl leaves such pages out by default. With `crawl.rights.policy = "record"` they are stored,
and so they are by imports; then this policy decides which of them become documents. It reads the
table `rights` of the batch, which is an input of `documents` if the policy refuses something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc

from clean.config import CleanConfig
from corpus.rights.rows import read_signal
from corpus.rights.statements import Answer, Signal, refusals
from corpus.run.step import Context
from corpus.storage.store import Store
from corpus.tables.manifest import Input, find_manifest, read_manifest
from corpus.tables.parquet import iter_tables
from corpus.tables.schemas import RIGHTS


def refused_pages(config: CleanConfig, context: Context) -> Mapping[str, str]:
    """The pages of the batch dropped by the policy: `doc_id` to the refusing signals."""
    manifest = find_manifest(context.store, RIGHTS.name, context.batch)
    obeyed = config.rights.obeyed
    if manifest is None or not _may_refuse(manifest.counts, obeyed):
        return {}
    key = (context.store.root, context.batch, manifest.fingerprint, manifest.created, obeyed)
    if key not in _KNOWN:
        _KNOWN.clear()
        _KNOWN[key] = _read_refused(context.store, context.batch, obeyed)
    return _KNOWN[key]


def rights_input(config: CleanConfig, context: Context) -> list[Input]:
    """The table and the policy as inputs, if the policy may drop pages of this batch."""
    manifest = find_manifest(context.store, RIGHTS.name, context.batch)
    obeyed = config.rights.obeyed
    if manifest is None or not _may_refuse(manifest.counts, obeyed):
        return []
    policy = "+".join(sorted(obeyed))
    return [
        Input(table=RIGHTS.name, batch=context.batch, fingerprint=manifest.fingerprint),
        Input(table="rights_policy", batch="", fingerprint=policy),
    ]


def _may_refuse(counts: Mapping[str, int], obeyed: frozenset[Signal]) -> bool:
    return any(counts.get(f"{signal}:{Answer.NO}") for signal in obeyed)


# Of the last batch: a process makes many parts of it.
_KNOWN: dict[tuple[Any, ...], Mapping[str, str]] = {}


def _read_refused(store: Store, batch: str, obeyed: frozenset[Signal]) -> Mapping[str, str]:
    found = {}
    for part in read_manifest(store, RIGHTS.name, batch).parts:
        path = f"{RIGHTS.folder(batch)}/{part.file}"
        for piece in iter_tables(store, path, ["doc_id", "signals"]):
            said = piece.filter(pc.greater(pc.list_value_length(piece["signals"]), 0))
            for row in said.to_pylist():
                signals = refusals(map(read_signal, row["signals"]), obeyed)
                if signals:
                    found[row["doc_id"]] = ",".join(signals)

    return found
