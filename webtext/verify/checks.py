"""Checks of a corpus on its bytes and rows: digests, invariants, joins.

Each check yields lines, none if all is well. The rows of one part of all tables cover the same ids,
so joins are checked part by part, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_hexdigest

from corpus.errors import FatalError, InputError, SchemaError
from corpus.snapshots.snapshot import SPLITS, Snapshot
from corpus.storage.store import Store, table_dir
from corpus.tables import conservation
from corpus.tables.checksums import find_damage, find_file_damage
from corpus.tables.elsewhere import AGAINST, MARK
from corpus.tables.manifest import Manifest, find_manifest, sealed
from corpus.tables.mentions import COLUMNS, may_mention, mentioned
from corpus.tables.parquet import iter_tables, part_index, read_file
from corpus.tables.schemas import part_of

# Ids named in a line.
MOST_NAMED = 3
EMPTY = pa.array([], pa.string())


def seal_problems(manifest: Manifest) -> list[str]:
    """A line if the manifest is not as it was written."""
    if manifest.seal and sealed(manifest).seal != manifest.seal:
        return [
            f"{table_dir(manifest.table, manifest.batch)}/_manifest.json: not as it was written (its seal differs)"
        ]
    return []


def conservation_problems(store: Store, batch: str) -> list[str]:
    """Conservation between the tables of a batch."""
    found = []
    for table in ("pages", "documents", "verdicts", "spans"):
        manifest = find_manifest(store, table, batch)
        if manifest is None:
            continue
        try:
            conservation.check(store, {table: manifest}, batch)
        except FatalError as error:
            found.append(f"{table} {batch}: {str(error).partition(';')[0]}")

    return found


def file_problems(store: Store, manifest: Manifest, number: int) -> list[str]:
    """Problems of a table's file: missing, or with other bytes than written."""
    damage = find_damage(store, table_dir(manifest.table, manifest.batch), manifest.parts[number])
    return [damage] if damage else []


def mention_problems(store: Store, manifest: Manifest, number: int) -> list[str]:
    """A reference of a part's rows denied by its filter: a take-down would not find it."""
    part = manifest.parts[number]
    path = f"{table_dir(manifest.table, manifest.batch)}/{part.file}"
    try:
        rows = read_file(store, path, COLUMNS[manifest.table])
    except (SchemaError, OSError):
        return []  # Its digest says so already.

    denied = [key for key in mentioned(manifest.table, rows) if not may_mention(part, [key])]
    if not denied:
        return []
    return [
        f"{path}: the manifest's filter denies references to {len(denied):,} pages, such as "
        f"{denied[0]}, so a take-down would miss them"
    ]


def pinned_damage(store: Store, snapshot: Snapshot, batch: str) -> list[str]:
    """Damage of a snapshot's token files of one batch that its manifest does not name."""
    manifest = find_manifest(store, "tokens", batch)
    current = (
        {f"{table_dir('tokens', batch)}/{part.file}" for part in manifest.parts}
        if manifest
        else set()
    )
    return [
        damage
        for split in SPLITS
        for file in snapshot.splits[split].files
        if file.batch == batch
        and file.path not in current
        and (damage := find_file_damage(store, file.path, file.bytes, file.digest, file.row_groups))
    ]


def part_problems(store: Store, batch: str, number: int) -> list[str]:
    """Rows of part `number` of all tables of a batch: in their place, joined, and adding up."""
    reader = _Reader(store, batch, number)
    try:
        return [
            *_link_problems(reader),
            *_page_problems(reader),
            *_document_problems(reader),
            *_span_problems(reader),
        ]
    except (SchemaError, InputError, pa.ArrowInvalid, OSError) as error:
        return [f"batch {batch} part {number}: cannot be read ({error})"]


def duplicate_problems(
    store: Store, batch: str, earlier: Sequence[str], forgotten: Sequence[str]
) -> list[str]:
    """Duplicates without a kept page of this or an earlier batch, or a taken-down one.

    Documents elsewhere must be of a source that the verdicts name; their files need not be here.
    """
    named, elsewhere = [EMPTY], [EMPTY]
    for piece in _pieces(store, "verdicts", batch, ["kept", "duplicate_of"]):
        dropped = pc.and_(pc.invert(piece["kept"]), pc.is_valid(piece["duplicate_of"]))
        survivors = _flat(piece["duplicate_of"].filter(dropped))
        is_outside = pc.match_substring(survivors, MARK)
        named.append(survivors.filter(pc.invert(is_outside)))
        elsewhere.append(survivors.filter(is_outside))

    wanted = pc.unique(pa.concat_arrays(named))
    found = [pa.array(sorted(forgotten), pa.string())]
    for name in [*earlier, batch] if len(wanted) else []:
        for piece in _pieces(store, "verdicts", name, ["doc_id", "kept"]):
            kept = _flat(piece["doc_id"].filter(piece["kept"]))
            found.append(kept.filter(pc.is_in(kept, wanted)))

    missing = wanted.filter(pc.invert(pc.is_in(wanted, pa.concat_arrays(found))))
    unknown = _of_no_source(store, batch, pc.unique(pa.concat_arrays(elsewhere)))
    return [
        *_named(f"verdicts {batch}", missing, "named as the page that stays, and kept nowhere"),
        *_named(f"verdicts {batch}", unknown, "named elsewhere, in no source of dedup.against"),
    ]


def _of_no_source(store: Store, batch: str, names: pa.Array) -> pa.Array:
    """The names of documents elsewhere in no file that is an input of the verdicts."""
    manifest = find_manifest(store, "verdicts", batch)
    inputs = manifest.inputs if manifest is not None else []
    files = {each.batch for each in inputs if each.table == AGAINST}
    known = files | {file.partition("/")[0] for file in files}
    places = pc.list_element(pc.split_pattern(names, MARK), 0)
    return names.filter(pc.invert(pc.is_in(places, pa.array(sorted(known), pa.string()))))


def band_problems(store: Store, batch: str) -> list[str]:
    """Differences between the index of survivors and the survivors with words."""
    kept = [EMPTY]
    for piece in _pieces(store, "verdicts", batch, ["doc_id", "kept"]):
        kept.append(_flat(piece["doc_id"].filter(piece["kept"])))
    listed = [EMPTY]
    for piece in _pieces(store, "bands", batch, ["doc_id"]):
        listed.append(_flat(pc.unique(piece["doc_id"])))
    survivors, indexed = pa.concat_arrays(kept), pc.unique(pa.concat_arrays(listed))

    return _named(
        f"bands {batch}", _minus(indexed, survivors), "in the index, and not kept"
    ) + _named(f"bands {batch}", _minus(survivors, indexed), "kept, and not in the index")


class _Reader:
    """Columns of one part of a batch's tables; None for a missing table."""

    def __init__(self, store: Store, batch: str, number: int) -> None:
        self.store, self.batch, self.number = store, batch, number

    def manifest(self, table: str) -> Manifest | None:
        return find_manifest(self.store, table, self.batch)

    def read(self, table: str, columns: Sequence[str]) -> pa.Table | None:
        manifest = self.manifest(table)
        if manifest is None:
            return None

        files = [part for part in manifest.parts if part_index(part.file) == self.number]
        tables = [
            read_file(self.store, f"{table_dir(table, self.batch)}/{part.file}", columns)
            for part in files
        ]

        for part, rows in zip(files, tables, strict=True):
            if table != "tokens" and part.rows != rows.num_rows:
                raise SchemaError(
                    f"{table}/{self.batch}/{part.file}: {rows.num_rows:,} rows, the manifest says {part.rows:,}"
                )

        return pa.concat_tables(tables).combine_chunks() if tables else None

    def name(self, table: str) -> str:
        return f"{table} {self.batch} part {self.number}"


def _link_problems(reader: _Reader) -> list[str]:
    rows = reader.read("links", ["doc_id", "url_key"])
    if rows is None:
        return []

    keys = rows["url_key"].to_pylist()
    right = pa.array([xxh3_128_hexdigest(key.encode()) for key in keys], pa.string())
    wrong = _flat(rows["doc_id"]).filter(pc.not_equal(_flat(rows["doc_id"]), right))

    return _place_problems(reader, "links", rows) + _named(
        reader.name("links"), wrong, "not the hash of its url_key"
    )


def _page_problems(reader: _Reader) -> list[str]:
    links, pages = reader.read("links", ["doc_id"]), reader.read("pages", ["doc_id"])
    if links is None or pages is None:
        return []
    return _place_problems(reader, "pages", pages) + _same(
        reader.name("pages"), pages["doc_id"], links["doc_id"], "links"
    )


def _document_problems(reader: _Reader) -> list[str]:
    documents, dropped = (
        reader.read("documents", ["doc_id", "text"]),
        reader.read("documents_dropped", ["doc_id"]),
    )
    if documents is None or dropped is None:
        return []

    problems = _place_problems(reader, "documents", documents)
    pages = reader.read("pages", ["doc_id", "reason"])
    if pages is not None:
        fetched = pages["doc_id"].filter(pc.is_null(pages["reason"]))
        made = pa.chunked_array([_flat(documents["doc_id"]), _flat(dropped["doc_id"])])
        if len(pc.unique(made)) != len(made):
            problems.append(f"{reader.name('documents')}: pages that are both kept and dropped")
        problems += _same(
            reader.name("documents and documents_dropped"), made, fetched, "fetched pages"
        )

    for table in ("marks", "signatures", "verdicts"):
        rows = reader.read(table, ["doc_id"])
        if rows is not None:
            problems += _same(reader.name(table), rows["doc_id"], documents["doc_id"], "documents")

    verdicts = reader.read("verdicts", ["doc_id", "cuts"])
    if verdicts is not None:
        problems += _cut_problems(reader, documents, verdicts)

    return problems


def _cut_problems(reader: _Reader, documents: pa.Table, verdicts: pa.Table) -> list[str]:
    cut = verdicts.filter(pc.greater(pc.list_value_length(verdicts["cuts"]), 0))
    lengths = pc.utf8_length(documents["text"]).take(
        pc.index_in(cut["doc_id"], _flat(documents["doc_id"]))
    )
    wrong = []

    for doc_id, cuts, length in zip(
        cut["doc_id"].to_pylist(), cut["cuts"].to_pylist(), lengths.to_pylist(), strict=True
    ):
        bounds = [
            0,
            *(place for each in cuts for place in (each["start"], each["end"])),
            length or 0,
        ]
        if sorted(bounds) != bounds:
            wrong.append(doc_id)

    return _named(
        reader.name("verdicts"),
        pa.array(wrong, pa.string()),
        "cuts outside the text or out of order",
    )


def _span_problems(reader: _Reader) -> list[str]:
    spans, verdicts = (
        reader.read("spans", ["doc_id", "start", "num_tokens"]),
        reader.read("verdicts", ["doc_id", "kept"]),
    )
    if spans is None:
        return []

    problems = []
    if verdicts is not None:
        kept = verdicts["doc_id"].filter(verdicts["kept"])
        problems += _same(reader.name("spans"), spans["doc_id"], kept, "kept verdicts")

    tokens, listed = reader.manifest("tokens"), reader.manifest("spans")
    assert listed is not None
    if tokens is None:
        return problems

    totals = {
        part.file.partition("/")[0]: part
        for part in tokens.parts
        if part_index(part.file) == reader.number
    }

    for part in listed.parts:
        split = part.file.partition("/")[0]
        if part_index(part.file) != reader.number or split not in totals:
            continue

        rows = read_file(
            reader.store, f"{table_dir('spans', reader.batch)}/{part.file}", ["start", "num_tokens"]
        )
        counts = rows["num_tokens"].to_numpy().astype(np.int64)

        if not np.array_equal(rows["start"].to_numpy(), np.cumsum(counts) - counts):
            problems.append(
                f"{reader.name('spans')} {split}: documents do not lie one behind the other"
            )

        expected = int(totals[split].metadata["num_tokens"])
        if int(counts.sum()) != expected:
            problems.append(
                f"{reader.name('spans')} {split}: {int(counts.sum()):,} tokens, their file holds {expected:,}"
            )

    return problems


def _place_problems(reader: _Reader, table: str, rows: pa.Table) -> list[str]:
    """Ids ascend, none twice, and all belong to this part."""
    manifest = reader.manifest(table)
    ids = _flat(rows["doc_id"])
    assert manifest is not None
    problems = []
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        problems.append(f"{reader.name(table)}: ids do not ascend")
    strangers = ids.filter(pa.array(part_of(ids, manifest.num_parts) != reader.number))
    return problems + _named(reader.name(table), strangers, "of another part")


def _same(name: str, ours: Any, theirs: Any, other: str) -> list[str]:
    """Lines where two sets of ids differ."""
    left, right = _flat(ours), _flat(theirs)
    return _named(name, _minus(left, right), f"not in {other}") + _named(
        name, _minus(right, left), f"only in {other}"
    )


def _minus(left: Any, right: Any) -> Any:
    return left.filter(pc.invert(pc.is_in(left, right)))


def _named(name: str, ids: Any, what: str) -> list[str]:
    if not len(ids):
        return []
    shown = ", ".join(ids[:MOST_NAMED].to_pylist()) + (", ..." if len(ids) > MOST_NAMED else "")
    return [f"{name}: {len(ids):,} pages {what} ({shown})"]


def _pieces(store: Store, table: str, batch: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    manifest = find_manifest(store, table, batch)
    for part in manifest.parts if manifest is not None else []:
        yield from iter_tables(store, f"{table_dir(table, batch)}/{part.file}", columns)


def _flat(values: Any) -> Any:
    """A column as one array of plain strings."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
