"""WACZ 1.1.1: segments, index and list of pages of a batch in one ZIP, replayable anywhere.

Segments are stored as they are, so a player reads a page's record by a range of the file. The index
is compressed in blocks with a list of their first lines (ZipNum), for the same reason.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from corpus.storage.store import Store
from corpus.tables.parquet import iter_tables, part_paths
from corpus.tables.segments import segment_files
from webtext import __version__
from webtext.captures.cdxj import index_lines
from webtext.captures.whole_file import appearing

LINES_A_BLOCK = 3000


def write_wacz(store: Store, batch: str, path: Path, *, title: str) -> dict[str, int]:
    """Write the package of a batch to `path`, whole or not at all; return its counts.

    Raises: OSError from the disk.
    """
    counts: dict[str, int] = {}
    with appearing(path) as partial, zipfile.ZipFile(partial, "w", allowZip64=True) as package:
        made = _Package(package)
        segments = segment_files(store, batch)
        for segment, _ in segments:
            made.add(f"archive/{PurePosixPath(segment).name}", store.chunks(segment))

        blocks: list[str] = []
        counts["captures"] = made.add_index(index_lines(store, batch), blocks)
        made.add("indexes/index.idx", (line.encode() for line in blocks))
        pages = list(_pages(store, batch))
        made.add("pages/pages.jsonl", (line.encode() for line in pages))
        made.finish(title)
        counts |= {"segments": len(segments), "pages": len(pages) - 1}
    return counts


class _Package:
    """The files of a package, with the size and digest of each."""

    def __init__(self, package: zipfile.ZipFile) -> None:
        self._package = package
        self._resources: list[dict[str, Any]] = []

    def add(self, path: str, chunks: Iterable[bytes]) -> None:
        """Store a file without compression: players read ranges of it."""
        digest, size = hashlib.sha256(), 0
        info = zipfile.ZipInfo(path, datetime.now(UTC).timetuple()[:6])
        info.external_attr = 0o644 << 16
        with self._package.open(info, "w", force_zip64=True) as stream:
            for chunk in chunks:
                stream.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self._list(path, size, digest.hexdigest())

    def add_index(self, lines: Iterator[str], blocks: list[str]) -> int:
        """Store the index in compressed blocks, list each of them in `blocks`; return its lines."""
        name, count = "index.cdx.gz", 0
        head = {"format": "cdxj-gzip-1.0", "filename": name}
        blocks.append(f"!meta 0 {json.dumps(head)}\n")

        def compressed() -> Iterator[bytes]:
            nonlocal count
            offset = 0
            while block := list(islice(lines, LINES_A_BLOCK)):
                count += len(block)
                data = gzip.compress("".join(f"{line}\n" for line in block).encode(), mtime=0)
                place = {
                    "offset": offset,
                    "length": len(data),
                    "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
                    "filename": name,
                }
                key, time, _ = block[0].split(" ", 2)
                blocks.append(f"{key} {time} {json.dumps(place)}\n")
                offset += len(data)
                yield data

        self.add(f"indexes/{name}", compressed())
        return count

    def finish(self, title: str) -> None:
        """Store the list of files, and its digest."""
        record = {
            "profile": "data-package",
            "wacz_version": "1.1.1",
            "title": title,
            "software": f"webtext {__version__}",
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resources": self._resources,
        }
        data = json.dumps(record, indent=2).encode()
        self._package.writestr("datapackage.json", data)
        digest = {
            "path": "datapackage.json",
            "hash": f"sha256:{hashlib.sha256(data).hexdigest()}",
        }
        self._package.writestr("datapackage-digest.json", json.dumps(digest, indent=2))

    def _list(self, path: str, size: int, digest: str) -> None:
        # Names of resources may hold lower-case letters, digits, `.`, `_` and `-` alone.
        name = PurePosixPath(path).name.lower()
        self._resources.append(
            {"name": name, "path": path, "hash": f"sha256:{digest}", "bytes": size}
        )


def _pages(store: Store, batch: str) -> Iterator[str]:
    """Lines of the list of pages: the stored ones, by their final address and time."""
    yield json.dumps({"format": "json-pages-1.0", "id": "pages", "title": "All pages"}) + "\n"
    columns = ["doc_id", "final_url", "fetched_at", "warc_file"]
    for path in part_paths(store, "pages", batch):
        for piece in iter_tables(store, path, columns):
            for row in piece.to_pylist():
                if row["warc_file"] is not None:
                    at = row["fetched_at"].strftime("%Y-%m-%dT%H:%M:%SZ")
                    page = {"id": row["doc_id"], "url": row["final_url"], "ts": at}
                    yield json.dumps(page) + "\n"
