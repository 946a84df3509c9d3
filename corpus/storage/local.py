"""A corpus in a local folder.

Files appear by a rename, and conditional writes by hard links and folder locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from corpus.errors import FatalError, PathError
from corpus.storage.interface import TEMPORARY, Store


class LocalStore(Store):
    """A store in a local folder. Symbolic links out of the folder are refused."""

    def __init__(self, root: str) -> None:
        super().__init__(root.rstrip("/") or "/")
        folder = local_root(self.root)
        if folder is None:
            raise ValueError(f"{root}: not a local path")
        self._folder = folder
        self._real_root = os.path.realpath(folder)
        self._fs = pafs.LocalFileSystem()

    @property
    def is_local(self) -> bool:
        return True

    @property
    def filesystem(self) -> Any:
        return self._fs

    def _inside(self, path: str) -> Path:
        """The file or folder at `path`. Raises: PathError if links on the way lead out of the root.

        Somebody who changes links while this runs is not held off; they can write to the corpus
        anyway.
        """
        found = self._folder / path if path else self._folder
        real = os.path.realpath(found)
        if not _is_below(real, self._real_root):
            # The root itself may be a link that was changed since.
            self._real_root = os.path.realpath(self._folder)
        if not _is_below(real, self._real_root):
            raise PathError(
                f"{self.root}: refused {path!r}, a link to {real} outside of the corpus; copy the data into it, or mount it there"
            )

        return found

    def _full_path(self, path: str) -> str:
        return str(self._inside(path))

    def _local_path(self, path: str) -> Path | None:
        return self._inside(path)

    def _exists(self, path: str) -> bool:
        return self._inside(path).is_file()

    def _size(self, path: str) -> int:
        found = self._inside(path)
        if not found.is_file():
            raise FileNotFoundError(f"{self.root}/{path}")
        return found.stat().st_size

    def _read_bytes(self, path: str) -> bytes:
        with self._open_input(path) as stream:
            data: bytes = stream.read()
        return data

    def _open_input(self, path: str) -> Any:
        return self._fs.open_input_file(str(self._inside(path)))

    @contextmanager
    def _open_output(self, path: str) -> Iterator[Any]:
        final = self._inside(path)
        temporary = temporary_name(final)
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

    def _create_exclusive(self, path: str, data: bytes) -> bool:
        final = self._inside(path)
        temporary = temporary_name(final)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            _write_durably(temporary, data)
            return _link(temporary, final)
        except OSError as error:
            raise FatalError(f"cannot write {final}: {error.strerror or error}") from error
        finally:
            _discard(temporary)

    def _replace_exact(self, path: str, before: bytes, after: bytes) -> bool:
        final = self._inside(path)
        temporary = temporary_name(final)
        try:
            with _locked(final.parent):
                if not final.is_file() or final.read_bytes() != before:
                    return False
                _write_durably(temporary, after)
                os.replace(temporary, final)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise FatalError(f"cannot write {final}: {error.strerror or error}") from error
        finally:
            _discard(temporary)

        return True

    def _files(self, folder: str, recursive: bool) -> list[tuple[str, int]]:
        found = []
        for entry in self._entries(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if recursive:
                    found += self._files(path, recursive)
            elif self._is_file_inside(entry, path):
                found.append((path, entry.stat().st_size))

        return found

    def _folders(self, folder: str) -> list[str]:
        return [
            entry.name for entry in self._entries(folder) if entry.is_dir(follow_symlinks=False)
        ]

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._inside(folder)) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _is_file_inside(self, entry: os.DirEntry[str], path: str) -> bool:
        """False for dangling links, and links to a folder or out of the root."""
        try:
            return self._inside(path).is_file() if entry.is_symlink() else entry.is_file()
        except (OSError, PathError):
            return False

    def _sweep(self, folder: str) -> None:
        for parent, _, names in os.walk(self._inside(folder)):
            for name in names:
                if name.startswith(TEMPORARY):
                    Path(parent, name).unlink(missing_ok=True)

    def _move(self, path: str, to: str) -> None:
        final = self._inside(to)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._inside(path), final)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FatalError(
                f"cannot move {path} to {final}: {error.strerror or error}; free space or fix access, then run again"
            ) from error

    def _delete(self, path: str) -> None:
        self._inside(path).unlink(missing_ok=True)

    def _delete_dir(self, folder: str) -> None:
        found = self._inside(folder)
        if found.is_symlink():
            found.unlink()
        elif found.is_dir():
            shutil.rmtree(found)


def local_root(root: str) -> Path | None:
    """The folder of a path or a `file://` URI; None for other URIs."""
    if root.startswith("file://"):
        return Path(root.removeprefix("file://")).absolute()
    if re.match(r"[a-z][a-z0-9+.-]*://", root):
        return None
    return Path(root).expanduser().absolute()


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def temporary_name(final: Path) -> Path:
    """A name beside `final`, unique to this process."""
    return final.with_name(f"{TEMPORARY}{final.name}-{os.getpid()}-{secrets.token_hex(4)}")


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _link(temporary: Path, final: Path) -> bool:
    """Name a file `final`; False if the name is taken, unnoticed by a rename."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    return True


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock of a folder among the processes of this host.

    None on file systems without locks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
