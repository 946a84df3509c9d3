"""Commits tables: the manifest is written last, under the lease, after the invariants hold.

Parts have their own names already. Until the manifest is written, no reader sees them; then they
are the table, and the previous generation is retired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any

from corpus.errors import FatalError
from corpus.storage import lease
from corpus.storage.store import Store, manifest_path
from corpus.tables import conservation
from corpus.tables.generations import retire_files
from corpus.tables.manifest import (
    Input,
    Manifest,
    Part,
    batches,
    find_manifest_in,
    fingerprint,
    sealed,
    serialized,
)
from corpus.tables.schemas import Table


def commit_table(
    store: Store,
    table: Table,
    batch: str,
    parts: Sequence[Part],
    *,
    stage: str = "",
    counts: Mapping[str, int] | None = None,
    num_parts: int | None = None,
    config: Mapping[str, Any] | None = None,
    inputs: Sequence[Input] = (),
    given_fingerprint: str | None = None,
    wall_s: float = 0.0,
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Commit a table: check the invariants and write its manifest."""
    settings = dict(config or {})
    folder = table.folder(batch)
    previous = find_manifest_in(store, folder)
    manifest = Manifest(
        table=table.name,
        batch=batch,
        stage=stage,
        schema_version=table.version,
        fingerprint=given_fingerprint
        or fingerprint(
            table.name, settings, [i.model_dump() for i in inputs], [p.digest for p in parts]
        ),
        config=settings,
        inputs=list(inputs),
        num_parts=num_parts if num_parts is not None else len(parts),
        parts=list(parts),
        counts=dict(sorted((counts or {}).items())),
        code_version=code_version(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_s=round(wall_s, 3),
        sequence=_sequence(store, table, previous),
        details=dict(details or {}),
    )
    if not table.scratch:
        conservation.check(store, {table.name: manifest}, batch)
    manifest = sealed(manifest)
    _write_fenced(store, folder, previous, manifest)
    if previous is not None:
        kept = {part.file for part in manifest.parts}
        retire_files(store, folder, [p.file for p in previous.parts if p.file not in kept])

    return manifest


def _write_fenced(store: Store, folder: str, previous: Manifest | None, manifest: Manifest) -> None:
    """Write the manifest if the leases of this process still hold and nobody has committed since we
    looked.

    Raises: LostLeaseError; FatalError when another run committed something else meanwhile.
    """
    path = manifest_path(folder)
    data = serialized(manifest)
    lease.confirm(store)

    if previous is None:
        written = store.create_exclusive(path, data)
    else:
        before = store.read_bytes(path)
        written = find_manifest_in(store, folder) == previous and store.replace_exact(
            path, before, data
        )

    if written:
        return

    present = find_manifest_in(store, folder)
    if present is None or (present.fingerprint, present.parts) != (
        manifest.fingerprint,
        manifest.parts,
    ):
        raise FatalError(
            f"{store.root}/{path}: another run committed this table meanwhile; nothing was "
            "overwritten. Run the same command again"
        )


@cache
def code_version() -> str:
    """The installed version of this project, or `source` when it runs from a plain checkout."""
    try:
        return metadata.version("webtext")
    except metadata.PackageNotFoundError:
        return "source"


def _sequence(store: Store, table: Table, previous: Manifest | None) -> int:
    if previous is not None:
        return previous.sequence
    if table.scratch:
        return 0
    return max((manifest.sequence for manifest in batches(store, table.name)), default=0) + 1
