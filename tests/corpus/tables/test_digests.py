"""Damage is found and named."""

from __future__ import annotations

from pathlib import Path

from xxhash import xxh3_128_hexdigest as digest

from corpus.storage.store import open_store
from corpus.tables.checksums import find_damage
from corpus.tables.manifest import Part


def test_damage_of_a_part(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write_bytes("t/b/x", b"0123456789")
    groups = [
        {
            "offset": at,
            "bytes": 3,
            "digest": digest(b"0123456789"[at : at + 3]),
            "rows": 1,
            "values_offset": None,
        }
        for at in (2, 5)
    ]
    whole = Part(
        file="x", rows=1, bytes=10, digest=digest(b"0123456789"), metadata={"row_groups": groups}
    )
    assert find_damage(store, "t/b", whole) is None
    for data, message in [
        (b"01x3456789", "row group 0 of 2"),
        (b"01234567x9", "outside its row groups"),
        (b"012345x789", "row group 1 of 2"),
        (b"012", "3 bytes, expected 10"),
    ]:
        store.write_bytes("t/b/x", data)
        assert message in str(find_damage(store, "t/b", whole))
    store.delete("t/b/x")
    assert find_damage(store, "t/b", whole) == "t/b/x: missing"
