"""Pages drawn at random by a seed, and neighbours in the order of `doc_id`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import InputError
from corpus.storage.store import Store, table_dir
from corpus.tables.inventory import batch_names
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import open_file

SIZE = 50
# Tables with a reason per page, by the stage of the funnel.
TABLES = {"pages": "pages", "documents": "documents_dropped", "verdicts": "verdicts"}
KEPT = "kept"


def draw(
    store: Store, stage: str, reason: str, seed: int, *, batch: str = "", size: int = SIZE
) -> tuple[list[dict[str, Any]], int]:
    """Draw pages of one reason without replacement; return them and the number of all such pages.

    One column of the table is read, and then only the row groups of the drawn rows.
    Raises: InputError for a stage without reasons.
    """
    if stage not in TABLES:
        raise InputError(f"{stage!r}: expected a stage of {', '.join(TABLES)}")

    groups = list(_matching(store, stage, reason, batch))
    total = sum(len(rows) for *_, rows in groups)
    chosen = sorted(
        random.Random(f"{seed}/{stage}/{reason}").sample(range(total), min(size, total))
    )
    found: list[dict[str, Any]] = []
    first = 0
    for name, path, group, rows in groups:
        here = [rows[index - first] for index in chosen if first <= index < first + len(rows)]
        first += len(rows)
        if here:
            with open_file(store, path) as file:
                wanted = [each for each in _SHOWN if each in file.schema_arrow.names]
                table = file.read_row_group(group, wanted).take(pa.array(here))
            found += [dict.fromkeys(_SHOWN) | row | {"batch": name} for row in table.to_pylist()]

    add_addresses(store, [row for row in found if row["url"] is None])
    random.Random(seed).shuffle(found)
    return found, total


_SHOWN = ("doc_id", "url", "status", "detail", "step", "duplicate_of", "similarity")


def add_addresses(store: Store, rows: list[dict[str, Any]]) -> None:
    """Give rows of tables without addresses those of the links; each row group is read once."""
    for batch in {row["batch"] for row in rows}:
        wanted = {row["doc_id"]: row for row in rows if row["batch"] == batch}
        manifest = find_manifest(store, "links", batch)
        for part in manifest.parts if manifest else []:
            with open_file(store, f"{table_dir('links', batch)}/{part.file}") as file:
                for group in range(file.num_row_groups):
                    low, high = _range(file, group)
                    ids = [doc_id for doc_id in wanted if low <= doc_id <= high]
                    if ids:
                        table = file.read_row_group(group, ["doc_id", "url"])
                        chosen = pc.is_in(table["doc_id"], pa.array(ids))
                        for found in table.filter(chosen).to_pylist():
                            wanted[found["doc_id"]]["url"] = found["url"]


def with_addresses(store: Store, doc_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with `doc_id`, `url` and `batch` of pages of any batch, in their order.

    Pages that no batch links to, such as those taken down, have neither address nor batch.
    """
    rows: dict[str, dict[str, Any]] = {
        doc_id: {"doc_id": doc_id, "url": None, "batch": None} for doc_id in doc_ids
    }

    for batch in reversed(batch_names(store)):
        unknown = [row for row in rows.values() if row["url"] is None]
        for row in unknown:
            row["batch"] = batch
        add_addresses(store, unknown)

    for row in rows.values():
        if row["url"] is None:
            row["batch"] = None
    return list(rows.values())


def _matching(store: Store, stage: str, reason: str, batch: str) -> Any:
    """Batch, path, row group and the numbers of its rows with the reason."""
    table = "documents" if (stage, reason) == ("documents", KEPT) else TABLES[stage]
    for name in [batch] if batch else batch_names(store):
        manifest = find_manifest(store, table, name)
        for part in manifest.parts if manifest else []:
            path = f"{table_dir(table, name)}/{part.file}"
            with open_file(store, path) as file:
                for group in range(file.num_row_groups):
                    if table == "documents":
                        rows = np.arange(file.metadata.row_group(group).num_rows)
                    else:
                        column = file.read_row_group(group, ["reason"])["reason"]
                        same = pc.is_null(column) if reason == KEPT else pc.equal(column, reason)
                        rows = np.flatnonzero(pc.fill_null(same, False).to_numpy())
                    if rows.size:
                        yield name, path, group, rows


def neighbour(store: Store, batch: str, doc_id: str, step: int) -> str | None:
    """The page before (-1) or after (1) another in the order of the table `links`, or None."""
    manifest = find_manifest(store, "links", batch)
    # Parts, row groups and rows are in the order of ids: walk them in the direction asked for.
    for part in (manifest.parts if manifest else [])[::step]:
        with open_file(store, f"{table_dir('links', batch)}/{part.file}") as file:
            for group in range(file.num_row_groups)[::step]:
                low, high = _range(file, group)
                if (step > 0 and high <= doc_id) or (step < 0 and low >= doc_id):
                    continue
                ids = file.read_row_group(group, ["doc_id"])["doc_id"].to_pylist()[::step]
                return next(each for each in ids if (each > doc_id if step > 0 else each < doc_id))

    return None


def _range(file: Any, group: int) -> tuple[str, str]:
    found: tuple[str, str] | None = file.id_range(group)
    return found or ("", "g")
