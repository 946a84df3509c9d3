"""Faults that a stranger may put into the files of a corpus, with seals and digests as the code would write them."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xxhash import xxh3_128, xxh3_128_hexdigest

from corpus.snapshots.snapshot import SnapshotHead, _digest
from corpus.storage.store import Store
from corpus.tables.manifest import Manifest, record_seal, sealed, serialized

HUGE = 1 << 62

VALUES: tuple[Any, ...] = (
    "../victim/precious.txt", "../../victim/precious.txt", "../../../victim/precious.txt", "{outside}/precious.txt",
    "links/2024-01/_manifest.json", "..", ".", "", "/", "\0", "a\x1b]0;owned\x07b", "\ud800", "x" * 5000, "CON", "=1+1",
    0, -1, HUGE, 1 << 100, 1.5, float("inf"), None, True, [], {}, [[[[[]]]]], {"path": "../victim/precious.txt"},
)  # fmt: skip
"""Put in the place of one value of a JSON file; `{outside}` becomes the absolute path beside the corpus."""


def plant_canary(root: Path) -> Path:
    """Make the folder beside the corpus that no command may touch."""
    outside = root.parent / "victim"
    outside.mkdir(exist_ok=True)
    (outside / "precious.txt").write_text("precious")
    (outside / "part-00000.parquet").write_text("precious")
    return outside


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of all values of a JSON document, inner ones too."""
    yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*place, index))


def put(document: Any, place: Sequence[Any], value: Any) -> Any:
    """The document with another value at a place."""
    if not place:
        return value
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return document


def write(path: Path, document: Any) -> None:
    """Write JSON with the seal or digest that our own code would give it, where it can have one."""
    try:
        if path.name == "_manifest.json":
            data = serialized(sealed(Manifest.model_validate({**document, "seal": ""})))
        elif path.parent.name == "snapshots":
            head = SnapshotHead.model_validate(document)
            data = head.model_copy(update={"digest": _digest(head)}).model_dump_json().encode()
        elif path.parent.parent.name == "snapshots" and path.parent.name == "files":
            data = json.dumps(document).encode()
            _rename_list(path, data)
            return
        elif isinstance(document, dict) and "seal" in document:
            data = json.dumps({**document, "seal": record_seal(document)}).encode()
        else:
            data = json.dumps(document).encode("utf-8", "surrogatepass")
    except Exception:  # cannot be sealed: as an author of hostile files would leave it
        data = json.dumps(document, ensure_ascii=True).encode()
    path.write_bytes(data)


def _rename_list(path: Path, data: bytes) -> None:
    """Put a list of files under the digest that it has now, and name it in every snapshot."""
    digest = xxh3_128_hexdigest(data)
    path.unlink()
    path.with_name(f"{digest}.json").write_bytes(data)
    for head in path.parent.parent.glob("*.json"):
        text = head.read_text()
        if path.stem in text:
            write(head, json.loads(text.replace(path.stem, digest)))


def corrupt_json(root: Path, outside: Path, rng: random.Random) -> str:
    """Change one value of one JSON file; gives a description."""
    paths = sorted(path for path in root.rglob("*.json") if path.is_file())
    path = rng.choice(paths)
    document = json.loads(path.read_bytes())
    place = rng.choice([*leaves(document)])
    value = rng.choice(VALUES)
    if isinstance(value, str):
        value = value.replace("{outside}", str(outside))
    write(path, put(document, place, value))
    return f"{path.relative_to(root)}: {place} = {value!r}"[:300]


def corrupt_bytes(root: Path, outside: Path, rng: random.Random) -> str:
    """Change bytes of a Parquet file, most often in its footer, and give the manifest its new digest."""
    path = rng.choice(sorted(root.rglob("*.parquet")))
    data = bytearray(path.read_bytes())
    last = int.from_bytes(data[-8:-4], "little") + 8 if len(data) > 12 else len(data)
    for _ in range(rng.randint(1, 4)):
        position = len(data) - 1 - rng.randrange(max(1, min(last, len(data))))
        data[position] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    path.write_bytes(bytes(data))
    redigest(path)
    return f"{path.relative_to(root)}: bytes"


def redigest(path: Path) -> None:
    """Make the manifest name a part as it is now."""
    folder = path.parent
    while not (folder / "_manifest.json").is_file():
        folder = folder.parent
        if len(folder.parts) < 3:
            return
    document = json.loads((folder / "_manifest.json").read_bytes())
    # An earlier fault may have left something else than a manifest.
    with contextlib.suppress(TypeError, KeyError, AttributeError):
        for part in document["parts"]:
            if folder / part["file"] == path:
                part["digest"] = xxh3_128(path.read_bytes()).hexdigest()
                part["bytes"] = path.stat().st_size
        write(folder / "_manifest.json", document)


def link_out(root: Path, outside: Path, rng: random.Random) -> str:
    """Put a symbolic link that leads out in the place of a file or folder, or beside one."""
    path = rng.choice(sorted(path for path in root.rglob("*") if path != root))
    target = outside if path.is_dir() else outside / "part-00000.parquet"
    name = path.with_name(path.name + "-x") if rng.random() < 0.5 else path
    if name == path:
        path.rename(root.parent / f"moved-{rng.getrandbits(32)}")
    name.symlink_to(target)
    return f"{name.relative_to(root)} -> {target.name}"


FAULTS = (corrupt_json, corrupt_json, corrupt_json, corrupt_bytes, link_out)


def store_root(store: Store) -> Path:
    """The folder of a local store."""
    path = store.local_path("")
    assert path is not None
    return path
