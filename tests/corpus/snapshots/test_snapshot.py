from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import InputError, SchemaError
from corpus.snapshots.file_lists import FOLDER, list_path
from corpus.snapshots.retirement import retire
from corpus.snapshots.snapshot import (
    batches_up_to,
    check_free,
    read_head,
    read_snapshot,
    snapshot_path,
    snapshots,
    snapshots_of,
    write_revision,
    write_snapshot,
)
from corpus.storage.store import Store, open_corpus
from corpus.tables.commit import commit_table
from corpus.tables.generations import pinned_files, retire_files
from corpus.tables.manifest import Part
from corpus.tables.schemas import TOKENS


def part(file: str, tokens: int, **change: Any) -> Part:
    """The record of a token file that nobody opens here."""
    metadata = {
        "num_tokens": tokens, "num_documents": 2, "num_bytes": 4 * tokens, "row_tokens": 8, "dtype": "uint16",
        "content": f"c{tokens}", "row_groups": [],
        "tokenizer": {"fingerprint": "f", "vocab_size": 300, "end_of_text": 299},
    }  # fmt: skip
    return Part(file=file, rows=1, bytes=9, digest=f"d{tokens}", metadata=metadata | change)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_corpus(str(tmp_path / "corpus"), create=True)
    for number, batch in enumerate(("zeta", "alpha")):
        parts = [
            part("train/part-00000.parquet", 100 + number),
            part("val/part-00000.parquet", 7 * number),
        ]
        commit_table(store, TOKENS, batch, parts)
    return store


def test_totals_order_and_reading_back(store: Store) -> None:
    assert batches_up_to(store, "alpha") == ["zeta", "alpha"]
    made = write_snapshot(store, "s", batches_up_to(store, "alpha"), parents=["r"])
    assert made == read_head(store, "s")
    found = read_snapshot(store, "s")
    assert (found.digest, found.batches, found.parents) == (made.digest, made.batches, ["r"])
    assert snapshots(store) == ["s"]
    assert found.splits["train"].num_tokens == made.splits["train"].num_tokens == 201
    assert found.splits["val"].num_documents == made.splits["val"].num_documents == 4
    assert [file.path for file in found.splits["val"].files] == [
        "tokens/alpha/val/part-00000.parquet"
    ]
    assert [batch.batch for batch in read_snapshot(store, "s", ["alpha"]).batches][-1] == "alpha"
    assert {f.batch for f in read_snapshot(store, "s", ["alpha"]).splits["train"].files} == {
        "alpha"
    }
    assert found.splits["train"].files[0].spans_path == "spans/zeta/train/part-00000.parquet"
    assert [batch.splits["val"].num_tokens for batch in made.batches] == [0, 7]


def test_snapshots_of_the_same_tokens_are_found_by_any_name(store: Store) -> None:
    assert snapshots_of(store, ["zeta"]) == []
    for name, batches in (("first", ["zeta"]), ("both", ["zeta", "alpha"]), ("again", ["zeta"])):
        write_snapshot(store, name, batches)
    assert snapshots_of(store, ["zeta"]) == ["again", "first"]
    assert snapshots_of(store, []) == []
    commit_table(store, TOKENS, "zeta", [part("train/part-00000.parquet", 99)])
    assert snapshots_of(store, ["zeta"]) == []


def test_a_snapshot_never_changes(store: Store) -> None:
    first = write_snapshot(store, "s", ["zeta"])
    assert write_snapshot(store, "s", ["zeta"]) == first
    data = store.read_bytes(snapshot_path("s"))
    with pytest.raises(InputError, match="never changes"):
        write_snapshot(store, "s", ["zeta", "alpha"])
    assert store.read_bytes(snapshot_path("s")) == data
    assert write_snapshot(store, "t", ["zeta"]).digest == first.digest
    assert (
        write_snapshot(store, "u", ["alpha", "zeta"]).digest
        != write_snapshot(store, "v", ["zeta", "alpha"]).digest
    )


def test_wrong_requests(store: Store) -> None:
    for batches, message in [
        ([], "at least one"),
        (["zeta", "zeta"], "each of them once"),
        (["none"], "no committed batch"),
    ]:
        with pytest.raises(InputError, match=message):
            write_snapshot(store, "s", batches)
    other = {"fingerprint": "g", "vocab_size": 300, "end_of_text": 299}
    commit_table(store, TOKENS, "other", [part("train/part-00000.parquet", 1, tokenizer=other)])
    with pytest.raises(InputError, match="different tokenizers"):
        write_snapshot(store, "s", ["zeta", "other"])
    with pytest.raises(InputError, match="present: none"):
        read_snapshot(store, "s")
    with pytest.raises(InputError, match="--snapshot"):
        read_snapshot(store, "../s")


def test_a_name_is_refused_before_the_work(store: Store) -> None:
    write_snapshot(store, "s", ["zeta"])
    check_free(store, "s", "zeta")
    check_free(store, "free", "alpha")
    with pytest.raises(
        InputError, match=r"with batches \['zeta'\], not one that ends with 'alpha'"
    ):
        check_free(store, "s", "alpha")


def test_a_name_that_was_given_up_stays_its_own(store: Store) -> None:
    first = write_snapshot(store, "s", ["zeta"])
    retire(store, "s", "pruned", "webtext.prune")
    assert write_snapshot(store, "s", ["zeta"]) == first  # its file is still there
    store.delete(snapshot_path("s"))
    for attempt in (
        lambda: write_snapshot(store, "s", ["zeta"]),
        lambda: check_free(store, "s", "zeta"),
    ):
        with pytest.raises(InputError, match="'s' was pruned on .* choose another"):
            attempt()
    assert write_revision(store, "s", ["zeta"]).name == "s.2"


def test_edited_and_foreign_files_are_refused(store: Store) -> None:
    write_snapshot(store, "s", ["zeta"])
    document = store.read_json(snapshot_path("s"))
    for change, message in [
        ({"vocab_size": 301}, "was edited"),
        ({"format": 3}, "format 3, this version reads 2"),
        ({"format": 1}, "webtext shards --snapshot NAME"),
        ({"splits": {}}, "was edited"),
        ({"batches": 3}, "not a snapshot"),
    ]:
        store.write_bytes(snapshot_path("s"), json.dumps({**document, **change}).encode())
        with pytest.raises(InputError, match=message):
            read_snapshot(store, "s")


def test_snapshots_share_the_lists_of_their_batches(store: Store) -> None:
    """Each repeated all files of all batches: 50 snapshots of 200 batches were 415 MB."""
    write_snapshot(store, "a", ["zeta"])
    lists = store.files(FOLDER)
    write_snapshot(store, "b", ["zeta", "alpha"])
    write_snapshot(store, "c", ["alpha"])
    assert len(lists) == 1
    assert len(store.files(FOLDER)) == 2
    assert pinned_files(store) == {
        path
        for name in "abc"
        for split in read_snapshot(store, name).splits.values()
        for file in split.files
        for path in (file.path, file.spans_path)
    }
    assert pinned_files(store, without=["b", "c"]) < pinned_files(store)


def test_a_lost_file_of_a_snapshot_does_not_stop_a_rebuild(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The new tokens are committed before the old ones are moved."""
    write_snapshot(store, "s", ["zeta"])
    files = [file for split in read_snapshot(store, "s").splits.values() for file in split.files]
    lost, *rest = [file.path.removeprefix("tokens/zeta/") for file in files]
    store.delete(f"tokens/zeta/{lost}")
    retire_files(store, "tokens/zeta", [lost, *rest])
    assert f"{lost} is gone, and a snapshot names it" in caplog.text
    moved = [path for path, _ in store.files("earlier", recursive=True)]
    assert moved == sorted(f"earlier/tokens/zeta/{file}" for file in rest)


@pytest.mark.parametrize("damage", ["missing", "edited", "of another batch"])
def test_a_list_that_is_not_the_one_meant_is_refused(store: Store, damage: str) -> None:
    """Its paths decide on deletions."""
    head = write_snapshot(store, "s", ["zeta", "alpha"])
    ours, theirs = (list_path(each.files) for each in head.batches)
    if damage == "missing":
        store.delete(ours)
    elif damage == "edited":
        store.write_bytes(ours, store.read_bytes(ours).replace(b"zeta/train", b"zeta/other"))
    else:
        store.write_bytes(ours, store.read_bytes(theirs))
    for call in (lambda: read_snapshot(store, "s"), lambda: pinned_files(store)):
        with pytest.raises(SchemaError, match=ours):
            call()
    assert read_snapshot(store, "s", ["alpha"]).splits["train"].files
