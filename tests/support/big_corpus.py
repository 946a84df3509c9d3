"""A corpus of many batches: two real ones, the second repeated under other names and links.

Files of the repeated batches are hard links, so that 200 batches of 64 parts take a minute.

    python -m tests.support.big_corpus FOLDER [--batches 200] [--parts 64]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from corpus.snapshots.snapshot import Composer, write_snapshot
from corpus.storage.store import Store, open_store
from corpus.tables.manifest import Input, Manifest, find_manifest_in, sealed, serialized
from tests.support import grown_corpus

# Pages of a batch by part.
PAGES_PER_PART = 2


def build(folder: Path, num_batches: int, num_parts: int) -> Store:
    """The corpus below `folder`, with a snapshot after each batch."""
    root = str(folder / "corpus")
    sets = ["--set", f"crawl.links.num_parts={num_parts}"]
    for month in range(2):
        pages = grown_corpus.ordinary(PAGES_PER_PART * num_parts, month)
        dump = grown_corpus.write_dump(folder / f"RS_{batch_name(month)}.zst", pages, 10**6 * month)
        words = grown_corpus.arguments(
            root, batch_name(month), "--only", "links", "--dumps", str(dump)
        )
        assert grown_corpus.crawl_run.main([*words, *sets]) == 0
        store = open_store(root)
        grown_corpus.fetch(store, batch_name(month), pages)
        grown_corpus.refine(root, batch_name(month), "--set", "clean.quality.min_words=5")

    return extended(store, 2, num_batches)


def extended(store: Store, first: int, num_batches: int) -> Store:
    """The corpus with batches from `first` on, and a snapshot after each."""
    for month in range(first, num_batches):
        _repeat(Path(store.root), month)

    names = [batch_name(month) for month in range(num_batches)]
    composer = Composer(store)
    for month in range(first, num_batches):
        parents = [names[month - 1]]
        write_snapshot(store, names[month], names[: month + 1], parents=parents, composer=composer)
    return store


def batch_name(month: int) -> str:
    """The name of batch `month`, counted from 0."""
    return f"{2006 + month // 12}-{month % 12 + 1:02}"


def _repeat(root: Path, month: int) -> None:
    """Batch `month` as a copy of the second, after the one before it."""
    store = open_store(str(root))
    source, target = batch_name(1), batch_name(month)
    tables = sorted(path.name for path in root.iterdir() if (path / source).is_dir())
    manifests = {table: find_manifest_in(store, f"{table}/{source}") for table in tables}
    prints = {table: found.fingerprint for table, found in manifests.items() if found is not None}

    for table, manifest in manifests.items():
        for path in sorted((root / table / source).rglob("*")):
            copy = root / table / target / path.relative_to(root / table / source)
            if path.is_file() and path.name != "_manifest.json":
                copy.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, copy)
        if manifest is not None:
            renamed = serialized(sealed(_renamed(manifest, month, prints)))
            (root / table / target / "_manifest.json").write_bytes(renamed)


def _renamed(manifest: Manifest, month: int, prints: Mapping[str, str]) -> Manifest:
    """The manifest of the second batch as that of `month`, with all earlier batches as inputs."""
    inputs: list[Input] = []
    for given in manifest.inputs:
        if given.batch == batch_name(1):
            print_ = _numbered(given.fingerprint, month)
            inputs.append(Input(table=given.table, batch=batch_name(month), fingerprint=print_))
        else:
            inputs.append(given)
        if given.batch == batch_name(0):
            inputs += [
                Input(
                    table=given.table,
                    batch=batch_name(number),
                    fingerprint=_numbered(prints[given.table], number),
                )
                for number in range(1, month)
            ]

    return manifest.model_copy(
        update={
            "batch": batch_name(month),
            "sequence": month + 1,
            "fingerprint": _numbered(manifest.fingerprint, month),
            "inputs": inputs,
        }
    )


def _numbered(fingerprint: str, month: int) -> str:
    return f"{month:06x}{fingerprint[6:]}" if month > 1 else fingerprint


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--parts", type=int, default=64)
    args = parser.parse_args(argv)
    build(args.folder, args.batches, args.parts)


if __name__ == "__main__":
    main()
