"""Proof of a take-down: a search of every byte of the corpus, and a receipt of it.

Searched are tables (their ids and addresses, and the words of documents), WARC records (addresses
and payload digests), tokens (decoded and compared by content), exports still at their place,
temporary files of killed runs, and all other files byte by byte. The list of take-downs itself
names the pages and is left out. An address in another page's text is not the page: it is counted,
and is not a finding.

The receipt names no page: addresses and ids appear as salted hashes. The person who asked can
recompute them. Searched files are listed with their SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.errors import InputError
from corpus.snapshots.export_log import exports
from corpus.storage.store import Store
from corpus.tables.takedown_list import FOLDER, Takedown, takedowns
from corpus.urls import UrlProblem, page_identity, target
from dedup import doc_ids
from dedup.near_duplicates import lsh, minhash
from dedup.taken_down import TakenPages, taken_pages
from shards.tokenizer.encode import Tokenizer, load_tokenizer
from webtext.stages import needing
from webtext.takedown.exported_tokens import exported_tokens, is_plain, table_tokens
from webtext.takedown.leftovers import leftovers

# Columns with mere mentions of an address.
TEXT_COLUMNS = frozenset({"text", "title"})


@dataclass(slots=True)
class Receipt:
    """The result of a search."""

    takedown: str
    when: str
    salt: str
    pages: list[str]
    """SHA-256 of the salt and each page's id."""
    num_files: int = 0
    num_bytes: int = 0
    searched: str = ""
    """SHA-256 over the names and digests of all searched files."""
    files: dict[str, str] = field(default_factory=dict)
    """File to its SHA-256."""
    mentions: int = 0
    """Files in which another page's text names an address."""
    findings: list[str] = field(default_factory=list)
    not_searched: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The receipt for machines."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def render(self) -> str:
        """The receipt for people."""
        lines = [
            f"take-down {self.takedown}: searched {self.num_files:,} files, "
            f"{self.num_bytes:,} bytes, on {self.when}",
            f"pages {len(self.pages):,} (salted SHA-256; salt {self.salt})",
            f"searched (SHA-256 of all names and digests) {self.searched}",
        ]
        lines += [f"not searched: {each}" for each in self.not_searched]
        if self.mentions:
            lines.append(f"{self.mentions:,} files in which other pages mention an address")
        lines += [f"FOUND {each}" for each in self.findings]
        end = " in what was searched" if self.not_searched else ""
        lines.append(
            f"nothing of it was found{end}" if not self.findings else "the take-down is not whole"
        )
        return "\n".join(lines)


def main(store: Store, takedown_id: str, *, as_json: bool) -> int:
    """Search for a take-down's pages; 1 if something was found."""
    found = {record.id: record for record in takedowns(store)}
    if takedown_id not in found:
        raise InputError(
            f"--prove {takedown_id}: no such take-down; there are: {', '.join(found) or 'none'}"
        )

    receipt = prove(store, found[takedown_id])
    print(json.dumps(receipt.to_json()) if as_json else receipt.render())
    return 1 if receipt.findings else 0


def prove(store: Store, record: Takedown) -> Receipt:
    """Search every byte of the corpus for the removed pages of a take-down."""
    salt = secrets.token_hex(16)
    hashes = [hashlib.sha256(f"{salt}{doc_id}".encode()) for doc_id in sorted(record.url_keys)]
    receipt = Receipt(
        takedown=record.id,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        salt=salt,
        pages=[each.hexdigest() for each in hashes],
    )
    search = _Search(store, record, receipt)

    for path, _ in store.files("", recursive=True):
        if not path.startswith(f"{FOLDER}/"):
            search.file(path, store.read_bytes(path))
    for left in leftovers(store):
        search.file(f"left-over {left.name}", left.read_bytes())
    for export in exports(store):
        search.export(export)

    receipt.num_files = len(receipt.files)
    names = "\n".join(f"{name} {digest}" for name, digest in sorted(receipt.files.items()))
    receipt.searched = hashlib.sha256(names.encode()).hexdigest()
    return receipt


class _Search:
    """Searches one file after the other, and writes its findings into the receipt."""

    def __init__(self, store: Store, record: Takedown, receipt: Receipt) -> None:
        self._store = store
        self._receipt = receipt
        self._ids = frozenset(record.url_keys)
        self._digests = frozenset(record.digests)
        names = {*record.url_keys, *(key for key in record.url_keys.values() if key)}
        # Columns and manifests have addresses as JSON, which escapes a backslash of a query.
        needles = sorted(names | {json.dumps(name)[1:-1] for name in names})
        self._needles = re.compile(b"|".join(re.escape(each.encode()) for each in needles))
        self._addresses = frozenset(key for key in record.url_keys.values() if key)
        self._contents = [_Contents(group) for group in _alike(record)]
        self._tokenizer: Tokenizer | None = None

    def file(self, path: str, data: bytes) -> None:
        """Search a file of the corpus."""
        self._note(path, data)
        if path.endswith(".parquet"):
            self._parquet(path, data)
        elif path.endswith(".warc.gz"):
            self._warc(path, data)
        elif self._needles.search(data):
            self._found(path, "names a page")

    def export(self, record: dict[str, Any]) -> None:
        """Search an export, if it is still there."""
        place = Path(str(record.get("place", "")))
        name = f"export {record.get('format')} to {place}"
        if not place.exists():
            self._receipt.not_searched.append(f"{name}: not there, or not on this machine")
            return

        for path in sorted(each for each in place.rglob("*") if each.is_file()):
            data = path.read_bytes()
            self._note(f"{name}/{path.relative_to(place)}", data)
            if path.suffix == ".parquet":
                self._parquet(str(path), data)
            elif (ids := exported_tokens(str(record.get("format")), path, data)) is not None:
                self._tokens(str(path), ids)
            elif self._needles.search(data):
                self._found(str(path), "names a page")
            elif not is_plain(path):
                self._receipt.not_searched.append(f"{path}: not a file of a format known here")

    def _note(self, path: str, data: bytes) -> None:
        self._receipt.files[path] = hashlib.sha256(data).hexdigest()
        self._receipt.num_bytes += len(data)

    def _found(self, path: str, what: str) -> None:
        self._receipt.findings.append(f"{path}: {what}")

    def _parquet(self, path: str, data: bytes) -> None:
        try:
            table = pq.read_table(io.BytesIO(data))
        except (pa.ArrowException, OSError):
            if self._needles.search(data):
                self._found(path, "names a page")
            self._receipt.not_searched.append(f"{path}: not readable as Parquet")
            return

        if table.column_names == ["tokens"]:
            stream = b"".join(table["tokens"].to_pylist())
            wide = (table.schema.metadata or {}).get(b"dtype") == b"uint32"
            self._tokens(path, np.frombuffer(stream, "<u4" if wide else "<u2"))
            return
        if (ids := table_tokens(data)) is not None:
            self._tokens(path, ids)
            return

        mentioned = False
        for name in table.column_names:
            text = json.dumps(table[name].to_pylist(), default=str, ensure_ascii=False).encode(
                "utf-8", "surrogatepass"
            )
            if self._needles.search(text) is None:
                continue
            if name in TEXT_COLUMNS:
                mentioned = True
            else:
                self._found(path, f"column {name} names a page")

        self._receipt.mentions += mentioned
        if "text" in table.column_names:
            self._texts(path, [text or "" for text in table["text"].to_pylist()])

    def _warc(self, path: str, data: bytes) -> None:
        with needing("crawl"):
            from crawl.warc.erase import readable_records
        mentioned, end, unread = False, 0, 0
        for (offset, length), record in readable_records(data):
            unread, end = unread + offset - end, offset + length
            if self._is_page(record.fields.get("warc-target-uri", "").strip("<>")):
                self._found(path, "a record of a page")
            if record.fields.get("warc-payload-digest") in self._digests:
                self._found(path, "a record with the bytes of a page")
            mentioned = mentioned or self._needles.search(record.block) is not None

        self._receipt.mentions += mentioned
        if unread := unread + len(data) - end:
            self._receipt.not_searched.append(f"{path}: {unread:,} bytes of damaged records")

    def _is_page(self, url: str) -> bool:
        page = target(url)
        return not isinstance(page, UrlProblem) and page_identity(page).doc_id in self._ids

    def _tokens(self, path: str, ids: np.ndarray) -> None:
        if not self._contents:
            return
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._store)
        tokenizer = self._tokenizer
        ends = np.flatnonzero(ids == tokenizer.end_of_text)
        starts = np.concatenate([[0], ends + 1])
        texts = []
        for start, end in zip(starts, np.concatenate([ends, [len(ids)]]), strict=True):
            if end > start:
                try:
                    raw = tokenizer.decode_bytes(ids[start:end].tolist())
                except InputError as error:
                    # An export of another tokenizer, or a damaged file: the rest is searched.
                    self._receipt.not_searched.append(f"{path}: tokens from {start:,}: {error}")
                    continue
                texts.append(raw.decode("utf-8", "replace"))
        self._texts(path, texts)

    def _texts(self, path: str, texts: list[str]) -> None:
        count = sum(each.count(texts) for each in self._contents) if texts else 0
        if count:
            self._found(path, f"{count:,} documents with the words of a page")


class _Contents:
    """Contents of pages, all signed with the same settings."""

    def __init__(self, record: Takedown) -> None:
        with needing("dedup"):
            from dedup.config import DedupConfig
        first = record.contents[0]
        num_perm = len(base64.b64decode(first.signature)) // 4
        self._config = DedupConfig.model_validate(
            {"shingles": {"n": first.shingles}, "minhash": {"seed": first.seed}}
        )
        alike = [each for each in record.contents if each.signature]
        usable = num_perm == self._config.lsh.num_perm
        self._pages: TakenPages = taken_pages(
            record.contents, alike if usable else [], self._config
        )
        self._perms = minhash.permutations(self._config.lsh.num_perm, first.seed)

    def count(self, texts: list[str]) -> int:
        """The number of copies among the texts."""
        config = self._config
        signed = minhash.sign(pa.array(texts, pa.string()), config.shingles.n, self._perms)
        content = doc_ids.hashes_to_bytes(signed.content)
        bands = lsh.band_keys(signed.values, config.lsh)
        matches = self._pages.match(content, signed.values, bands)
        return int((matches & (signed.num_shingles > 0)).sum())


def _alike(record: Takedown) -> Iterator[Takedown]:
    """The record once for each signature setting of its contents."""
    settings = sorted({(each.shingles, each.seed) for each in record.contents})
    for each in settings:
        alike = [one for one in record.contents if (one.shingles, one.seed) == each]
        yield record.model_copy(update={"contents": alike})
