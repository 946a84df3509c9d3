"""Conservation is checked at the commit: a table that lost or gained a row is not committed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from corpus.errors import FatalError
from corpus.storage.store import Store, open_store
from corpus.tables.commit import commit_table
from corpus.tables.manifest import find_manifest
from corpus.tables.parquet import write_part
from corpus.tables.schemas import DOCUMENTS_DROPPED, TABLES, Table
from tests.support import toy_stage

COUNTED = ("pages", "documents", "verdicts", "spans")


def commit(store: Store, table: Table, rows: int, **counts: int) -> None:
    """Commit a part that claims `rows`; the laws look at manifests."""
    empty = write_part(store, table.folder("b"), "part-00000.parquet", table, [])
    commit_table(store, table, "b", [empty.model_copy(update={"rows": rows})], counts=counts)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = toy_stage.make_corpus(str(tmp_path), num_rows=10)
    commit(store, DOCUMENTS_DROPPED, 3)
    return store


def commit_all(store: Store, wrong: str = "") -> None:
    rows = {"pages": 10, "documents": 5, "verdicts": 5, "spans": 4}
    counts = {"pages": {"fetched": 8}, "verdicts": {"kept": 4}}
    for name in COUNTED:
        commit(store, TABLES[name], rows[name] + (name == wrong), **counts.get(name, {}))


def test_a_whole_corpus_passes(store: Store) -> None:
    commit_all(store)
    assert all(find_manifest(store, name, "b") for name in COUNTED)


@pytest.mark.parametrize("wrong", COUNTED)
def test_one_row_too_many_is_refused(store: Store, wrong: str) -> None:
    with pytest.raises(FatalError, match="conservation broken"):
        commit_all(store, wrong)
    assert find_manifest(store, wrong, "b") is None


def test_a_submission_without_a_fate_or_with_two_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    links = TABLES["links"]
    part = write_part(store, links.folder("b"), "part-00000.parquet", links, [])
    counts = {"kept": 3, "self_post": 4, "dump:truncated": 1}
    for read in (6, 8):
        with pytest.raises(FatalError, match=f"{read} submissions read became 7 counted"):
            commit_table(store, links, "b", [part], counts=counts, details={"rows_read": read})
    commit_table(store, links, "b", [part], counts=counts, details={"rows_read": 7})

    # Submissions carried over from the batch before are counted, though no dump was read for them.
    counts["carried:submissions"] = 2
    for read in (7, 9):
        with pytest.raises(FatalError, match="conservation broken"):
            commit_table(store, links, "b", [part], counts=counts, details={"rows_read": read})
    commit_table(store, links, "b", [part], counts=counts, details={"rows_read": 5})


def test_schemas_of_the_contract_write_and_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for table in TABLES.values():
        assert (
            write_part(
                store, "t", f"{table.name}.parquet", table, [table.schema.empty_table()]
            ).rows
            == 0
        )
        assert isinstance(table.schema, pa.Schema)
