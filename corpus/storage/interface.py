"""The interface of a store of keys, and the rule for keys.

`Store` is the only way from the project to a file system. A key is relative to the corpus root and
uses `/`; the store itself refuses a key that would leave the root, for reading, writing and
deleting. So a path in a file of a stranger's corpus reaches nothing else, whoever passes it on.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corpus.errors import InputError, PathError

TEMPORARY = ".tmp-"

# The longest key of S3; Linux allows 4,096 bytes for a path.
MAX_KEY_BYTES = 1024
# Common file systems allow 255, of which a temporary name takes up to 30 more than the final one.
MAX_SEGMENT_BYTES = 200

CHUNK_BYTES = 4 << 20


class Store(ABC):
    """One corpus root: a local folder or an object store. `open_store` chooses the implementation.

    Cheap to make and safe to pickle: it holds the root's name and opens the rest again. Public
    methods check the key and call the method of the same name with an underscore, which an
    implementation provides.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)

    @property
    @abstractmethod
    def is_local(self) -> bool:
        """True if the corpus is in a local folder."""

    @property
    def is_conditional(self) -> bool:
        """True if of two conditional writes exactly one wins, False if they may miss each other."""
        return True

    @property
    @abstractmethod
    def filesystem(self) -> Any:
        """The `pyarrow.fs` file system of `full_path`, for readers of many files at once."""

    def full_path(self, path: str) -> str:
        """`path` as `filesystem` names it."""
        return self._full_path(self._checked(path))

    def local_path(self, path: str) -> Path | None:
        """The local file behind `path`, for memory maps; None on an object store."""
        return self._local_path(self._checked(path))

    def exists(self, path: str) -> bool:
        """True if `path` is a file."""
        return self._exists(self._checked(path))

    def size(self, path: str) -> int:
        """Bytes of the file at `path`. Raises FileNotFoundError."""
        return self._size(self._checked(path))

    def read_bytes(self, path: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        return self._read_bytes(self._checked(path))

    def read_json(self, path: str) -> Any:
        """The parsed JSON file. Raises: FileNotFoundError; InputError if it is not JSON."""
        return parse_json(self.read_bytes(path), f"{self.root}/{path}")

    def read_object(self, path: str) -> dict[str, Any]:
        """The parsed JSON file, an object.

        Raises: FileNotFoundError; InputError if it is anything else.
        """
        value = self.read_json(path)
        if not isinstance(value, dict):
            raise InputError(f"{self.root}/{path}: expected a JSON object; restore the file")
        return value

    def open_input(self, path: str) -> Any:
        """A random-access `pa.NativeFile`. Raises FileNotFoundError."""
        return self._open_input(self._checked(path))

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, a few megabytes at a time. Raises FileNotFoundError."""
        with self.open_input(path) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    def read_range(self, path: str, offset: int, num_bytes: int) -> bytes:
        """`num_bytes` from `offset` on, fewer at the file's end. Raises FileNotFoundError."""
        return self._read_range(self._checked(path), offset, num_bytes)

    @contextmanager
    def open_output(self, path: str) -> Iterator[Any]:
        """Give a binary stream whose bytes appear at `path` on a clean exit, and never in part."""
        with self._open_output(self._checked(path)) as stream:
            yield stream

    def write_bytes(self, path: str, data: bytes) -> None:
        """Replace the file at `path` as a whole."""
        with self.open_output(path) as stream:
            stream.write(data)

    def write_json(self, path: str, value: Any) -> None:
        """Replace the file at `path` by indented JSON with sorted keys."""
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
        self.write_bytes(path, text.encode() + b"\n")

    def create_exclusive(self, path: str, data: bytes) -> bool:
        """Write `path` only if nothing is there; False if something is.

        Of two writers exactly one wins.
        """
        return self._create_exclusive(self._checked(path), data)

    def replace_exact(self, path: str, before: bytes, after: bytes) -> bool:
        """Replace the file at `path` only while its bytes are `before`; False if they are not."""
        return self._replace_exact(self._checked(path), before, after)

    def files(
        self, folder: str, *, recursive: bool = False, leftovers: bool = False
    ) -> list[tuple[str, int]]:
        """(path, bytes) of the files below `folder`, by name.

        Temporary names, which killed runs leave, come only with `leftovers`. Links that lead to a
        folder or out of the root are left out.
        """
        found = self._files(self._checked(folder), recursive)
        return sorted(entry for entry in found if leftovers or not is_leftover(entry[0]))

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly below `folder`, sorted."""
        return sorted(self._folders(self._checked(folder)))

    def sweep(self, folder: str) -> None:
        """Remove files that a killed run left below `folder` under temporary names.

        Call it under the lock.
        """
        self._sweep(self._checked(folder))

    def move(self, path: str, to: str) -> None:
        """Move a file, replacing one at `to`. At every moment the whole file is at one of the places.

        Raises FileNotFoundError. Nothing at `path` but a file at `to` is a move that was done
        before.
        """
        self._checked(path)
        self._checked(to)
        try:
            self._move(path, to)
        except FileNotFoundError:
            if not self.exists(to):
                raise

    def delete(self, path: str) -> None:
        """Remove the file at `path`; nothing there is fine."""
        if not path:
            raise PathError(f"{self.root}: refused to delete the corpus itself")
        self._delete(self._checked(path))

    def delete_dir(self, folder: str) -> None:
        """Remove all below `folder`; nothing there is fine."""
        if not folder:
            raise PathError(f"{self.root}: refused to delete the corpus itself")
        self._delete_dir(self._checked(folder))

    def _checked(self, key: str) -> str:
        """`key` if it stays below the root. Raises: PathError."""
        if (problem := key_problem(key)) is not None:
            raise PathError(
                f"{self.root}: refused the path {key!r}, which {problem}; paths in a corpus are relative to its folder. "
                "Find the file that holds it with `webtext verify`"
            )
        return key

    @abstractmethod
    def _full_path(self, path: str) -> str: ...

    @abstractmethod
    def _local_path(self, path: str) -> Path | None: ...

    @abstractmethod
    def _exists(self, path: str) -> bool: ...

    @abstractmethod
    def _size(self, path: str) -> int: ...

    @abstractmethod
    def _read_bytes(self, path: str) -> bytes: ...

    @abstractmethod
    def _open_input(self, path: str) -> Any: ...

    def _read_range(self, path: str, offset: int, num_bytes: int) -> bytes:
        with self._open_input(path) as stream:
            stream.seek(offset)
            data: bytes = stream.read(num_bytes)
        return data

    @abstractmethod
    def _open_output(self, path: str) -> Any: ...

    @abstractmethod
    def _create_exclusive(self, path: str, data: bytes) -> bool: ...

    @abstractmethod
    def _replace_exact(self, path: str, before: bytes, after: bytes) -> bool: ...

    @abstractmethod
    def _files(self, folder: str, recursive: bool) -> list[tuple[str, int]]: ...

    @abstractmethod
    def _folders(self, folder: str) -> list[str]: ...

    @abstractmethod
    def _sweep(self, folder: str) -> None: ...

    @abstractmethod
    def _move(self, path: str, to: str) -> None: ...

    @abstractmethod
    def _delete(self, path: str) -> None: ...

    @abstractmethod
    def _delete_dir(self, folder: str) -> None: ...


def is_leftover(path: str) -> bool:
    """True for the temporary name of a file that is being written, or was left by a killed run.

    A part of the path begins so. A batch may be named `a.tmp-b`.
    """
    return f"/{TEMPORARY}" in f"/{path}"


def key_problem(key: object) -> str | None:
    """A reason why `key` is not the key of a file or folder in a store, or None.

    The root itself is ''.
    """
    if not isinstance(key, str):
        return "is not a string"
    if not key:
        return None
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"

    if len(encoded) > MAX_KEY_BYTES:
        return f"has more than {MAX_KEY_BYTES} bytes"
    if not key.isprintable() or "\\" in key:
        return "has a control character or a backslash"
    segments = key.split("/")
    if "" in segments:
        return "is absolute or has an empty part"
    if "." in segments or ".." in segments:
        return "has a part '.' or '..'"
    if any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return f"has a part of more than {MAX_SEGMENT_BYTES} bytes"
    return None


def parse_json(data: bytes, where: str) -> Any:
    """The value of a JSON text from a file named `where`.

    Raises: InputError if it is not JSON, nests too deeply, has the same key twice in one object or
    half of a surrogate pair in a string.
    """
    try:
        # Python would let halves through, which no file can be written with.
        text = data.decode(json.detect_encoding(data))
        value = json.loads(text, object_pairs_hook=_unique)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error

    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of distinct keys: readers differ in which of two equal keys they take.

    Raises: ValueError.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice!r} twice in one object")
    return found
