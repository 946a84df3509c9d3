"""A bounded folder of fetched or decoded row groups, each mapped like a local plain file.

Names are the digests of the row groups' bytes, so snapshots, ranks and runs on one machine share
them. A file is the tokens and their xxh3-128, so remains of a crash or a full disk are noticed and
replaced. Files unused longest are deleted first, before the limit is passed. A file deleted while
mapped stays readable, and keeps using disk space, until it is unmapped: readers compare their maps
with `keys` whenever files have come or gone.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import re
import secrets
from pathlib import Path

import numpy as np
from xxhash import xxh3_128_digest

from corpus.errors import InputError

log = logging.getLogger(__name__)

LIMIT_BYTES = 16 << 30
DIGEST_BYTES = 16
_OURS = re.compile(r"[0-9a-f]{32}\.tokens(\.[0-9a-f]+)?\Z")


def default_folder() -> Path:
    """`webtext/tokens` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache).

    Raises InputError for a user without a home.
    """
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    except RuntimeError as error:
        raise InputError(
            "token cache: this user has no home folder; set XDG_CACHE_HOME to a folder that can "
            "be written"
        ) from error

    return root / "webtext" / "tokens"


def bytes_for_window(window: int, row_group_bytes: int) -> int:
    """The cache that a window of row groups needs: three times its size."""
    return 3 * window * (row_group_bytes + DIGEST_BYTES)


class TokenCache:
    """Decoded row groups in `folder`, at most `limit_bytes` of them.

    Several processes may share the folder: each keeps the limit as it sees it. Together they may
    exceed it for a moment, by one row group per process. Files of other names in the folder are
    left alone and not counted.
    """

    def __init__(self, folder: str | Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        if limit_bytes < 1:
            raise InputError(f"token cache of {limit_bytes} bytes: expected at least 1")

        self.folder = default_folder() if folder is None else Path(folder)
        self.limit_bytes = limit_bytes
        self._refused = False

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"token cache {self.folder}: {error.strerror}; name a folder that can be written"
            ) from error

    def get(self, key: str, dtype: np.dtype, num_tokens: int) -> np.ndarray | None:
        """The tokens of a row group as a map, or None where they are not here whole.

        Shape (num_tokens,).
        """
        path = self._path(key)
        size = num_tokens * dtype.itemsize
        try:
            with path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size != size + DIGEST_BYTES:
                    return None
                data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError:
            return None

        with contextlib.suppress(
            OSError
        ):  # gone just now, or in somebody else's folder: the map is good
            os.utime(path)

        content = memoryview(data)
        if xxh3_128_digest(content[:size]) != content[size:]:
            log.warning("%s: damaged, fetched anew", path)
            return None

        return np.frombuffer(data, dtype, num_tokens)

    def put(self, key: str, tokens: np.ndarray) -> np.ndarray | None:
        """Keep the tokens of a row group; the map of them, or None where the disk refuses.

        Shape (num_tokens,).
        """
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            self._make_room(tokens.nbytes + DIGEST_BYTES)
            with temporary.open("wb") as stream:
                stream.write(tokens.data)
                stream.write(xxh3_128_digest(tokens.data))

            temporary.replace(path)
        except OSError as error:
            if not self._refused:
                log.warning(
                    "token cache %s: %s; going on without", self.folder, error.strerror or error
                )
            self._refused = True
            with contextlib.suppress(OSError):
                temporary.unlink()
            return None

        return self.get(key, tokens.dtype, len(tokens))

    def window_for(self, num_bytes: int, row_group_bytes: int) -> int:
        """The window for streaming a split of `num_bytes` through this cache; 0 if all of it fits.

        A window's row groups, the one before and the one after are wanted at once: a third of the
        cache each.
        """
        if num_bytes <= self.limit_bytes:
            return 0
        return max(1, self.limit_bytes // bytes_for_window(1, row_group_bytes))

    def version(self) -> int:
        """A number that changes when files are added or removed."""
        try:
            return os.stat(self.folder).st_mtime_ns
        except OSError:
            return 0

    def keys(self) -> set[str]:
        """The cached row groups."""
        try:
            return {name.removesuffix(".tokens") for name in os.listdir(self.folder)}
        except OSError:
            return set()

    def num_bytes(self) -> int:
        """Bytes of all cached row groups."""
        return sum(size for _, size, _ in self._files())

    def _make_room(self, num_bytes: int) -> None:
        files = self._files()
        total = sum(size for _, size, _ in files) + num_bytes
        for _, size, path in sorted(files):
            if total <= self.limit_bytes:
                return
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            total -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        """(time of last use, bytes, path), with half-written files of killed processes."""
        found = []
        for entry in os.scandir(self.folder):
            if _OURS.match(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, Path(entry.path)))

        return found

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.tokens"
