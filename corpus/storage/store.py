"""Where things are in a corpus, and how bytes appear there: all at once or not at all.

`Store` is the one seam between the project and a file system: a local folder or any URI that `pyarrow.fs`
opens (`s3://`, `gs://`, `file://`). Paths are relative to the corpus root and use `/`.

    corpus.json                                     the format of this corpus
    <table>/<batch>/part-00000.parquet, _manifest.json
    work/<batch>/...                                receipts, scratch tables and the lock of an unfinished batch
    snapshots/<name>.json, tokenizer/, runs/<run>/, reports/
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from corpus.errors import FatalError, InputError
from corpus.storage.conditional_write import (
    create_local,
    open_conditional,
    replace_local,
    temporary_name,
)

FORMAT = 1
TEMPORARY = ".tmp-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


class Store:
    """One corpus root. Cheap to make, safe to pickle: it holds the root's name and opens the rest anew."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"
        self._local = _local_root(self.root)
        if self._local is not None:
            self._fs: Any = pafs.LocalFileSystem()
            self._base = str(self._local)
        else:
            try:
                self._fs, self._base = pafs.FileSystem.from_uri(self.root)
            except (pa.ArrowInvalid, OSError, ValueError) as error:
                raise InputError(
                    f"--corpus {root}: not a path or URI that can be opened ({error})"
                ) from error

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.root,)

    @property
    def is_local(self) -> bool:
        """Whether the corpus lies in a local folder."""
        return self._local is not None

    def local_path(self, path: str) -> Path | None:
        """The local file behind `path`, for memory maps; None on an object store."""
        return self._local / path if self._local is not None else None

    @property
    def filesystem(self) -> Any:
        """The `pyarrow.fs` file system that `full_path` belongs to, for readers of many files at once."""
        return self._fs

    def full_path(self, path: str) -> str:
        """`path` as `filesystem` names it."""
        return self._full(path)

    def exists(self, path: str) -> bool:
        """Whether a file lies at `path`."""
        if self._local is None:
            try:
                return self.size(path) >= 0
            except FileNotFoundError:
                return False
        return bool(self._fs.get_file_info(self._full(path)).type == pafs.FileType.File)

    def size(self, path: str) -> int:
        """Bytes of the file at `path`. Raises FileNotFoundError."""
        if self._local is None and (found := open_conditional(self.root).size(path)) is not None:
            return found
        info = self._fs.get_file_info(self._full(path))
        if info.type != pafs.FileType.File:
            raise FileNotFoundError(f"{self.root}/{path}")
        return int(info.size)

    def read_bytes(self, path: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        if self._local is None and (found := open_conditional(self.root).read(path)) is not None:
            return found
        with self.open_input(path) as stream:
            data: bytes = stream.read()
            return data

    def read_json(self, path: str) -> Any:
        """The parsed JSON file. Raises FileNotFoundError, InputError when it is not JSON."""
        try:
            return json.loads(self.read_bytes(path))
        except ValueError as error:
            raise InputError(f"{self.root}/{path}: not JSON ({error})") from error

    def open_input(self, path: str) -> Any:
        """A random-access `pa.NativeFile`. Raises FileNotFoundError."""
        if (
            self._local is None
            and (small := open_conditional(self.root).read_small(path)) is not None
        ):
            return pa.BufferReader(small)
        return self._fs.open_input_file(self._full(path))

    @contextmanager
    def open_output(self, path: str) -> Iterator[Any]:
        """A binary stream whose bytes appear at `path` on a clean exit, and never in part.

        Local: a temporary name beside it, fsync, rename. Object store: one upload, visible once complete.
        """
        if self._local is None:
            with self._upload(path) as stream:
                yield stream
            return
        final = self._local / path
        temporary = temporary_name(final, TEMPORARY)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, final)
        except OSError as error:
            _discard(temporary)
            raise FatalError(
                f"cannot write {final}: {error.strerror or error}; free space or fix access, then run again"
            ) from error
        except BaseException:
            _discard(temporary)
            raise

    @contextmanager
    def _upload(self, path: str) -> Iterator[Any]:
        """A single upload through a local spool: a failure in between leaves nothing at `path`."""
        with tempfile.TemporaryFile() as spool:
            yield spool
            num_bytes = spool.tell()
            spool.seek(0)
            if open_conditional(self.root).write(path, spool, num_bytes):
                return
            try:
                # A signal's exception would close the stream, which makes visible what it has: it waits outside.
                with ThreadPoolExecutor(1) as uploader:
                    uploader.submit(self._send, spool, path).result()
            except OSError as error:
                raise FatalError(
                    f"cannot write {self.root}/{path}: {error}; check access, then run again"
                ) from error

    def _send(self, spool: Any, path: str) -> None:
        with self._fs.open_output_stream(self._full(path), compression=None) as target:
            shutil.copyfileobj(spool, target, 1 << 20)

    def write_bytes(self, path: str, data: bytes) -> None:
        """Replace the file at `path` as a whole."""
        with self.open_output(path) as stream:
            stream.write(data)

    def write_json(self, path: str, value: Any) -> None:
        """Replace the file at `path` by indented JSON with sorted keys."""
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
        self.write_bytes(path, text.encode() + b"\n")

    def create_exclusive(self, path: str, data: bytes) -> bool:
        """Write `path` only if nothing is there; False when something is.

        Of two writers exactly one wins; see `corpus.storage.conditional_write` for stores that can't promise that.
        """
        if self._local is not None:
            final = self._local / path
            return create_local(final, temporary_name(final, TEMPORARY), data)
        created = open_conditional(self.root).create(path, data)
        if created is not None:
            return created
        if self.exists(path):
            return False
        self.write_bytes(path, data)
        return self.read_bytes(path) == data

    def replace_exact(self, path: str, before: bytes, after: bytes) -> bool:
        """Replace the file at `path` only while its bytes are `before`; whether that was so."""
        if self._local is not None:
            final = self._local / path
            return replace_local(final, temporary_name(final, TEMPORARY), before, after)
        replaced = open_conditional(self.root).replace(path, before, after)
        if replaced is not None:
            return replaced
        try:
            if self.read_bytes(path) != before:
                return False
        except FileNotFoundError:
            return False
        self.write_bytes(path, after)
        return self.read_bytes(path) == after

    def files(self, folder: str, *, recursive: bool = False) -> list[tuple[str, int]]:
        """(path, bytes) of the files below `folder`, by name; temporary names are left out."""
        selector = pafs.FileSelector(self._full(folder), allow_not_found=True, recursive=recursive)
        prefix = self._base.rstrip("/") + "/"
        files = [
            (info.path.removeprefix(prefix), int(info.size))
            for info in self._fs.get_file_info(selector)
            if info.type == pafs.FileType.File
        ]
        return sorted(entry for entry in files if TEMPORARY not in entry[0])

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below `folder`, sorted."""
        selector = pafs.FileSelector(self._full(folder), allow_not_found=True)
        infos = self._fs.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory)

    def sweep(self, folder: str) -> None:
        """Remove what a killed run left below `folder` under temporary names. Call it under the lock."""
        if self._local is not None:
            for leftover in (self._local / folder).rglob(f"{TEMPORARY}*"):
                leftover.unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        """Remove the file at `path`; nothing there is fine."""
        if self._local is None and open_conditional(self.root).delete(path):
            return
        try:
            self._fs.delete_file(self._full(path))
        except FileNotFoundError:
            return
        except OSError:
            if self.exists(path):
                raise

    def delete_dir(self, folder: str) -> None:
        """Remove all below `folder`; nothing there is fine."""
        if self._fs.get_file_info(self._full(folder)).type == pafs.FileType.Directory:
            self._fs.delete_dir(self._full(folder))

    def _full(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base


def open_corpus(root: str, *, create: bool = False) -> Store:
    """The store of an existing corpus, or of a new one with `create`.

    Raises: InputError for a missing corpus, a folder that is something else, or an unknown format.
    """
    store = Store(root)
    try:
        document = store.read_json("corpus.json")
    except (FileNotFoundError, NotADirectoryError):
        if not create:
            raise InputError(
                f"--corpus {root}: no corpus there (corpus.json is missing); begin with `python -m crawl.run`"
            ) from None
        if store.files("") or store.folders(""):
            raise InputError(
                f"--corpus {root}: not a corpus (no corpus.json) and not empty; name an empty folder"
            ) from None
        document = {"format": FORMAT}
        try:
            store.write_json("corpus.json", document)
        except FatalError as error:
            raise InputError(f"--corpus {root}: {error}") from error
    found = document.get("format") if isinstance(document, dict) else document
    if found != FORMAT:
        raise InputError(
            f"--corpus {root}: format {found!r}, this version reads {FORMAT}; use the version that made it, or another folder"
        )
    return store


def check_name(option: str, name: str) -> str:
    """`name` if it can be a file name on every store. Raises InputError."""
    if not NAME.match(name):
        raise InputError(
            f"{option} {name!r}: use letters, digits, '.', '_' and '-', at most 100, beginning with a letter or digit"
        )
    return name


def table_dir(table: str, batch: str) -> str:
    """Where the committed parts and the manifest of one batch of `table` lie."""
    return f"{table}/{batch}"


def manifest_path(folder: str) -> str:
    """The file in a table's folder whose presence is the commit."""
    return f"{folder}/_manifest.json"


def work_dir(batch: str) -> str:
    """Receipts and scratch tables of an unfinished batch, and its lock."""
    return f"work/{batch}"


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink()


def _local_root(root: str) -> Path | None:
    if root.startswith("file://"):
        return Path(root.removeprefix("file://")).absolute()
    if re.match(r"[a-z][a-z0-9+.-]*://", root):
        return None
    return Path(root).expanduser().absolute()
