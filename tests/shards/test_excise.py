"""What a take-down cuts out of the shards, seen from this stage; the whole of it is in tests/corpus/test_forget.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.errors import SchemaError
from corpus.tables.checksums import find_damage
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from shards.excise import excise
from tests.support.document_corpus import commit_batch, documents, make_shards
from webtext.takedown.batch import remove_from_batch


def test_a_damaged_file_gets_no_new_digests(tmp_path: Path) -> None:
    """A byte that flipped unseen must not come back in a file that is whole by its manifest."""
    root = str(tmp_path / "corpus")
    docs = documents(40)
    store = commit_batch(root, "b1", docs)
    make_shards(root, "b1")
    doc_id = read_table(store, "spans", "b1", ["doc_id"])["doc_id"][0].as_py()
    for table in ("spans", "tokens"):
        path = Path(root, table, "b1", read_manifest(store, table, "b1").parts[0].file)
        whole = path.read_bytes()
        data = bytearray(whole)
        # Bytes that a reader takes as they are: a token, or the name of the writer in the footer.
        data[len(data) // 2 if table == "tokens" else data.rindex(b"parquet-cpp")] ^= 1
        path.write_bytes(data)
        with pytest.raises(
            SchemaError, match=r" digest .*webtext shards --corpus .* --batch b1 --rebuild"
        ):
            excise(store, "b1", frozenset({doc_id}))
        make_shards(root, "b1", "--rebuild")
        assert path.read_bytes() == whole

    made = excise(store, "b1", frozenset({doc_id}))
    assert made.num_documents == 1
    for name, parts in (("tokens", made.tokens), ("spans", made.spans)):
        assert [find_damage(store, f"{name}/b1", part) for part in parts] == [None] * len(parts)


def test_counts_are_those_of_a_batch_that_never_had_the_documents(tmp_path: Path) -> None:
    """Of those that stayed and of those that did not, one kind after the other."""
    docs = documents(40)
    counts = []
    for name, present in (("taken", docs), ("never", docs[12:])):
        root = str(tmp_path / name)
        store = commit_batch(root, "b1", present)
        make_shards(root, "b1")
        for kept in (True, False):
            listed = frozenset(doc.doc_id for doc in docs[:12] if doc.kept is kept)
            assert listed
            remove_from_batch(store, "b1", listed)
        counts.append(read_manifest(store, "tokens", "b1").counts)
    assert counts[0] == counts[1]
    assert counts[0]["not_kept"] > 0
