"""A full-text index of the documents in SQLite (FTS5), made on demand and kept outside the corpus.

The index has no copy of the texts. It is kept in the user's cache under the digest of the
documents' files. Adding or rebuilding a batch and taking pages down change the digest, and the old
index is deleted.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from corpus.errors import InputError
from corpus.storage.store import Store, table_dir
from corpus.tables.manifest import batches, fingerprint
from corpus.tables.parquet import iter_tables

FOUND_SHOWN = 50


class FullTextIndex:
    """The index of a corpus: absent, in the making, or ready."""

    def __init__(self, store: Store, folder: Path | None = None) -> None:
        self._store = store
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._folder = (folder or cache / "webtext" / "look") / fingerprint(store.root)

        self._lock = threading.Lock()
        self._making: threading.Thread | None = None
        self.num_documents = 0
        """Documents indexed so far, while the index is being made."""

    @property
    def path(self) -> Path:
        """The file of the index of the documents as they are now."""
        # Not the fingerprints: a take-down leaves them as they are.
        made_of = [
            [manifest.batch, [part.digest for part in manifest.parts]]
            for manifest in batches(self._store, "documents")
        ]
        return self._folder / f"{fingerprint(*made_of)}.sqlite"

    @property
    def is_ready(self) -> bool:
        """True if the documents can be searched. An index of other documents is deleted."""
        return self.delete_old().exists()

    @property
    def is_being_made(self) -> bool:
        """True while a thread writes the index."""
        return self._making is not None and self._making.is_alive()

    def delete_old(self) -> Path:
        """Delete indexes of documents as they were, which may have the words of a removed page.

        Returns the file of the present documents' index.
        """
        path = self.path
        for old in self._folder.glob("*.sqlite"):
            if old != path:
                old.unlink(missing_ok=True)
        return path

    def start(self) -> None:
        """Make the index in a thread, unless it is made or being made."""
        with self._lock:
            if not self.is_ready and not self.is_being_made:
                self._making = threading.Thread(target=self.make, daemon=True)
                self._making.start()

    def make(self) -> None:
        """Write the index. It appears whole under its name; older ones go."""
        path = self.path
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        unfinished.unlink(missing_ok=True)
        connection = sqlite3.connect(unfinished)
        try:
            self._fill(connection)
        except BaseException:
            unfinished.unlink()
            raise
        finally:
            connection.close()

        unfinished.replace(path)
        self.delete_old()

    def _fill(self, connection: sqlite3.Connection) -> None:
        # The file is thrown away if the process dies, so it needs no journal.
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE pages (doc_id TEXT, batch TEXT, url TEXT, title TEXT);"
            "CREATE VIRTUAL TABLE words USING fts5(title, text, content='');"
        )

        number = 0
        for manifest in batches(self._store, "documents"):
            for part in manifest.parts:
                path = f"{table_dir('documents', manifest.batch)}/{part.file}"
                for piece in iter_tables(self._store, path, ["doc_id", "url", "title", "text"]):
                    rows = list(enumerate(piece.to_pylist(), number + 1))
                    connection.executemany(
                        "INSERT INTO pages (rowid, doc_id, batch, url, title) VALUES (?, ?, ?, ?, ?)",
                        [
                            (key, row["doc_id"], manifest.batch, row["url"], row["title"])
                            for key, row in rows
                        ],
                    )
                    connection.executemany(
                        "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
                        [(key, row["title"], row["text"]) for key, row in rows],
                    )
                    number += len(rows)
                    self.num_documents = number

        connection.commit()

    def search(self, asked: str, limit: int = FOUND_SHOWN) -> list[dict[str, Any]]:
        """The documents with all words, or with the "phrases in quotes", the best first (BM25).

        Raises: InputError if the index is not ready.
        """
        if not self.is_ready:
            raise InputError("the index is not made yet")
        condition = match_expression(asked)
        if not condition:
            return []

        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            # The best are chosen first: an earlier join would visit every match.
            rows = connection.execute(
                "SELECT doc_id, batch, url, title FROM (SELECT rowid AS number FROM words "
                "WHERE words MATCH ? ORDER BY rank LIMIT ?) JOIN pages ON pages.rowid = number",
                (condition, limit),
            )
            return [dict(row) for row in rows]
        finally:
            connection.close()


def match_expression(asked: str) -> str:
    """Words and phrases as FTS5 writes them. Its operators are searched for as words."""
    found = []
    for number, piece in enumerate(asked.split('"')):
        found += [piece] if number % 2 else piece.split()
    return " ".join(f'"{each}"' for each in found if each.strip())
