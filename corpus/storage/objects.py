"""A corpus on an object store (`s3://`, `gs://` and other URIs that `pyarrow.fs` opens).

An object is uploaded as a whole and visible once complete. `corpus.storage.conditional_write` has
the client for conditional writes, and on S3 for whole objects; `pyarrow.fs` does the rest.
"""

from __future__ import annotations

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
from corpus.storage.conditional_write import ConditionalStore, open_conditional
from corpus.storage.interface import Store


class ObjectStore(Store):
    """A store below one URI."""

    def __init__(self, root: str) -> None:
        super().__init__(root.rstrip("/"))
        try:
            self._fs, self._base = pafs.FileSystem.from_uri(self.root)
        except (pa.ArrowInvalid, OSError, ValueError) as error:
            raise InputError(
                f"--corpus {root}: not a path or URI that can be opened ({error})"
            ) from error

    @property
    def is_local(self) -> bool:
        return False

    @property
    def is_conditional(self) -> bool:
        return self._client.is_conditional

    @property
    def filesystem(self) -> Any:
        return self._fs

    @property
    def _client(self) -> ConditionalStore:
        return open_conditional(self.root)

    def _full_path(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    def _local_path(self, path: str) -> Path | None:
        return None

    def _exists(self, path: str) -> bool:
        try:
            return self._size(path) >= 0
        except FileNotFoundError:
            return False

    def _size(self, path: str) -> int:
        if (found := self._client.size(path)) is not None:
            return found
        info = self._fs.get_file_info(self._full_path(path))
        if info.type != pafs.FileType.File:
            raise FileNotFoundError(f"{self.root}/{path}")
        return int(info.size)

    def _read_bytes(self, path: str) -> bytes:
        if (found := self._client.read(path)) is not None:
            return found
        with self._open_input(path) as stream:
            data: bytes = stream.read()
        return data

    def _read_range(self, path: str, offset: int, num_bytes: int) -> bytes:
        if (found := self._client.read_range(path, offset, num_bytes)) is not None:
            return found
        return super()._read_range(path, offset, num_bytes)

    def _open_input(self, path: str) -> Any:
        if (small := self._client.read_small(path)) is not None:
            return pa.BufferReader(small)
        return self._fs.open_input_file(self._full_path(path))

    @contextmanager
    def _open_output(self, path: str) -> Iterator[Any]:
        # A local spool, so that a failure before the upload leaves nothing at `path`.
        with tempfile.TemporaryFile() as spool:
            yield spool
            num_bytes = spool.tell()
            spool.seek(0)
            if self._client.write(path, spool, num_bytes):
                return

            try:
                # A signal's exception would close the stream and publish a part: it waits outside.
                with ThreadPoolExecutor(1) as uploader:
                    uploader.submit(self._send, spool, path).result()
            except OSError as error:
                raise FatalError(
                    f"cannot write {self.root}/{path}: {error}; check access, then run again"
                ) from error

    def _send(self, spool: Any, path: str) -> None:
        with self._fs.open_output_stream(self._full_path(path), compression=None) as target:
            shutil.copyfileobj(spool, target, 1 << 20)

    def _create_exclusive(self, path: str, data: bytes) -> bool:
        created = self._client.create(path, data)
        if created is not None:
            return created

        # Without conditional writes, two writers within one round trip may not see each other.
        if self._exists(path):
            return False

        self.write_bytes(path, data)
        return self._holds(path, data)

    def _replace_exact(self, path: str, before: bytes, after: bytes) -> bool:
        replaced = self._client.replace(path, before, after)
        if replaced is not None:
            return replaced

        if not self._holds(path, before):
            return False

        self.write_bytes(path, after)
        return self._holds(path, after)

    def _holds(self, path: str, data: bytes) -> bool:
        """True if the file at `path` has these bytes; another process may have deleted it."""
        try:
            return self._read_bytes(path) == data
        except FileNotFoundError:
            return False

    def _files(self, folder: str, recursive: bool) -> list[tuple[str, int]]:
        prefix = self._base.rstrip("/") + "/"
        return [
            (info.path.removeprefix(prefix), int(info.size))
            for info in self._infos(folder, recursive)
            if info.type == pafs.FileType.File
        ]

    def _folders(self, folder: str) -> list[str]:
        return [
            info.base_name
            for info in self._infos(folder, recursive=False)
            if info.type == pafs.FileType.Directory
        ]

    def _infos(self, folder: str, recursive: bool) -> list[Any]:
        selector = pafs.FileSelector(
            self._full_path(folder), allow_not_found=True, recursive=recursive
        )
        return list(self._fs.get_file_info(selector))

    def _sweep(self, folder: str) -> None:
        """Nothing to remove: an upload that was cut short is not visible."""

    def _move(self, path: str, to: str) -> None:
        # Through this machine, not by a copy inside the store: that ends at 5 GB on S3, and other stores have none.
        with self._open_input(path) as source, self._open_output(to) as target:
            shutil.copyfileobj(source, target, 1 << 22)
        self._delete(path)

    def _delete(self, path: str) -> None:
        if self._client.delete(path):
            return

        try:
            self._fs.delete_file(self._full_path(path))
        except FileNotFoundError:
            return
        except OSError:
            if self._exists(path):
                raise

    def _delete_dir(self, folder: str) -> None:
        if self._fs.get_file_info(self._full_path(folder)).type == pafs.FileType.Directory:
            self._fs.delete_dir(self._full_path(folder))
