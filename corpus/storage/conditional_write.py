"""Conditional writes: a file appears, or changes, only if nobody else was there first.

Local: a hard link fails on an existing name; a change compares under a lock of the folder. S3,
Google Cloud and Azure: conditional PUT (`If-None-Match: *`, `If-Match: <etag>`), which `pyarrow.fs`
lacks and obstore has (one wheel, nothing else with it). Some servers and gateways answer such a PUT
with success and ignore its condition (s3rver 3.7, several emulators), so the first one is preceded
by a probe: a second creation of the same key must fail. Stores without these headers get a look, a
write and a look again; the log says so once.

On S3 the same client reads, writes and deletes whole objects: in one request each, where
`pyarrow.fs` takes two to three, and with more patience for failures of the store.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from datetime import timedelta
from functools import lru_cache
from typing import Any, BinaryIO, TypeVar
from urllib.parse import parse_qsl, urlsplit

from corpus.errors import FatalError, RetryableError, first_line

log = logging.getLogger(__name__)

TIMEOUT_S = 20
# Of a request that was refused for now: waits that about double from 0.1 s to `MOST_WAIT_S`, some
# 20 s together.
MAX_RETRIES = 8
MOST_WAIT_S = 8
# A wait is drawn from 0.1 s to so many times the one before; its mean doubles.
BACKOFF_BASE = 4
RETRY_WITHIN_S = 60
# Objects up to this size are written by one PUT; larger ones in pieces, several at a time.
ONE_REQUEST_BYTES = 8 << 20
# Objects up to this size are read whole where they are opened: one request instead of four for a
# small Parquet file.
SMALL_BYTES = 256 << 10
PIECE_BYTES = 16 << 20
PIECES_AT_A_TIME = 4
# On top of obstore's own: it does not repeat a conditional PUT whose answer was lost.
PUT_ATTEMPTS = 3
# Of a PUT that met another request for the same key (HTTP 409, "retry the upload" by S3's manual):
# waits double from 0.05 s, some 6 s together.
CONFLICT_ATTEMPTS = 8
CONFLICT_WAIT_S = 0.05
# The folder of the probe's key; listings leave temporary names out.
PROBE_PREFIX = "work/.tmp-probe-"
# Where obstore's errors that have no class of their own tell the store's answer.
STATUS = re.compile(r"status code: (\d{3})")
# No range of an empty object can be had; a request that the store does not know.
REFUSALS = ("416", "501")
# What obstore says before the reason: the address, the time and the number of attempts.
REQUEST = re.compile(r"Error performing \S+ \S+ in .*? - ")

T = TypeVar("T")


class ConditionalStore:
    """Conditional PUTs below one URI. Raises: FatalError where the store stays unreachable."""

    def __init__(self, root: str) -> None:
        self._store = _open(root)
        self._root = root
        # Whether whole objects go through here: where that is tested.
        self._whole = self._store is not None and root.startswith("s3://")
        # What was last written at a path, and its version: a renewal then needs no look before it.
        self._written: dict[str, tuple[bytes, dict[str, str]]] = {}
        # True if the store obeys conditions, False if it ignores them, None before the probe.
        self._obeys: bool | None = None
        self._probing = threading.Lock()

    @property
    def is_conditional(self) -> bool:
        """True if the store obeys the conditions of a PUT. Asks it once per process.

        Raises: FatalError if the store does not answer.
        """
        if self._store is None:
            return False

        with self._probing:
            if self._obeys is None:
                self._obeys = self._probe()
        return self._obeys

    def _probe(self) -> bool:
        """Try both conditions on a key of this process: each must be refused once."""
        path = f"{PROBE_PREFIX}{secrets.token_hex(8)}"
        try:
            if self._put(path, b"1", "create") is None:
                return False  # Refused, which has been logged.

            created = self._put(path, b"2", "create")
            # No object of S3 has this version; other stores count versions in their own ways.
            stale = {"e_tag": '"00000000000000000000000000000000"'}
            replaced = self._put(path, b"3", stale) if self._whole else False
        finally:
            with contextlib.suppress(Exception):
                self._store.delete(path)

        self._written.pop(path, None)
        if created or replaced:
            condition = "If-None-Match" if created else "If-Match"
            _say_once(self._root, f"the store ignores {condition}")
        return created is False and replaced is False

    def read(self, path: str) -> bytes | None:
        """The whole object; None where `pyarrow.fs` has to be asked.

        Raises: FileNotFoundError, RetryableError.
        """
        return self._ask("read", path, lambda: bytes(self._store.get(path).bytes()))

    def read_small(self, path: str) -> bytes | None:
        """The whole object if it has 1 to `SMALL_BYTES`; None for any other.

        Raises: FileNotFoundError, RetryableError.
        """

        def request() -> bytes | None:
            found = self._store.get(path, options={"range": (0, SMALL_BYTES)})
            return bytes(found.bytes()) if found.meta["size"] <= SMALL_BYTES else None

        return self._ask("read", path, request)

    def read_range(self, path: str, offset: int, num_bytes: int) -> bytes | None:
        """A range of the object by one request; None where `pyarrow.fs` has to be asked.

        Raises: FileNotFoundError, RetryableError.
        """

        def request() -> bytes:
            return bytes(self._store.get_range(path, start=offset, length=num_bytes))

        return self._ask("read", path, request) if num_bytes else None

    def size(self, path: str) -> int | None:
        """Bytes of the object; None where `pyarrow.fs` has to be asked.

        Raises: FileNotFoundError, RetryableError.
        """
        return self._ask("found", path, lambda: int(self._store.head(path)["size"]))

    def modified(self, path: str) -> float | None:
        """The time that the store gave to an object; None where it cannot be asked.

        Raises: FileNotFoundError, RetryableError.
        """
        return self._ask(
            "found", path, lambda: float(self._store.head(path)["last_modified"].timestamp())
        )

    def write(self, path: str, stream: BinaryIO, num_bytes: int) -> bool:
        """Write a whole object, never visible in part; False where `pyarrow.fs` has to do it.

        Raises: RetryableError.
        """

        def request() -> bool:
            if num_bytes <= ONE_REQUEST_BYTES:
                self._store.put(path, stream.read(), use_multipart=False)
            else:
                pieces = {"chunk_size": PIECE_BYTES, "max_concurrency": PIECES_AT_A_TIME}
                self._store.put(path, stream, use_multipart=True, **pieces)
            return True

        try:
            written = self._ask("written", path, request)
        except FileNotFoundError:  # no bucket: Arrow's message names it
            written = None

        if not written:
            stream.seek(0)
        return bool(written)

    def delete(self, path: str) -> bool:
        """Delete an object, or find none; False where `pyarrow.fs` has to do it.

        Raises: RetryableError.
        """

        def request() -> bool:
            self._store.delete(path)
            return True

        try:
            return bool(self._ask("deleted", path, request))
        except FileNotFoundError:
            return True

    def _ask(self, verb: str, path: str, request: Callable[[], T]) -> T | None:
        """Send a request and return its result; None if this client does not ask, or is refused."""
        if not self._whole:
            return None

        try:
            return request()
        except FileNotFoundError:
            raise FileNotFoundError(f"{self._root}/{path}") from None
        except Exception as error:
            if _may_pass(error):
                raise RetryableError(
                    f"{self._root}/{path} cannot be {verb}: {_line(error)}; finished work is kept, run again"
                ) from error
            return None

    def create(self, path: str, data: bytes) -> bool | None:
        """Create `path` with `data`: True if it was free, False if taken, None if the store can't tell."""
        return self._put(path, data, "create") if self.is_conditional else None

    def replace(self, path: str, before: bytes, after: bytes) -> bool | None:
        """Replace exactly `before` by `after`: True if done, None if the store can't tell."""
        if not self.is_conditional:
            return None

        written = self._written.get(path)
        if written is not None and written[0] == before:
            return self._put(path, after, written[1])

        try:
            found = self._store.get(path)
            if bytes(found.bytes()) != before:
                return False
        except FileNotFoundError:
            return False
        except Exception as error:
            self._unable(path, error)
            return None

        return self._put(path, after, _version(found.meta))

    def _put(self, path: str, data: bytes, mode: Any) -> bool | None:
        """Write, and repeat a PUT with a lost answer, which may meet itself: the bytes there decide."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        failures = conflicts = 0
        while True:
            try:
                made = self._store.put(path, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError) as error:
                self._written.pop(path, None)
                found = self._object_at(path)
                if found is not None and found[0] == data:
                    return True
                if not _is_unchanged(found, mode):
                    return False

                # The condition holds, so this was a conflict (409) with a request under way.
                conflicts += 1
                if conflicts == CONFLICT_ATTEMPTS:
                    raise RetryableError(
                        f"{self._root}/{path} cannot be written: the store reported a conflict "
                        f"{conflicts} times ({_line(error)}); finished work is kept, run again"
                    ) from error
                time.sleep(CONFLICT_WAIT_S * 2 ** (conflicts - 1))
            except Exception as error:
                failures += 1
                if failures == PUT_ATTEMPTS or not _may_pass(error):
                    self._unable(path, error)
                    return None
                log.warning("%s/%s: %s; trying again", self._root, path, _line(error))
                found = self._object_at(path)
                if found is not None and found[0] == data:
                    return True
            else:
                if version := _version(made):
                    self._written[path] = (data, version)
                return True

    def _object_at(self, path: str) -> tuple[bytes, dict[str, str]] | None:
        """The bytes and the version at `path`; None without an object."""
        try:
            found = self._store.get(path)
            return bytes(found.bytes()), _version(found.meta)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise FatalError(
                f"{self._root}/{path}: cannot be read ({_line(error)}); run again"
            ) from error

    def _unable(self, path: str, error: Exception) -> None:
        """Return where the store refuses such requests; raise where it fails to answer."""
        if _may_pass(error):
            raise FatalError(
                f"cannot write {self._root}/{path}: {_line(error)}; check the store, then run again"
            ) from error
        _say_once(self._root, _line(error))


def _may_pass(error: Exception) -> bool:
    """True if the store failed to answer, rather than refused."""
    from obstore import exceptions as refused

    kinds = (refused.NotSupportedError, refused.PermissionDeniedError, refused.UnauthenticatedError)
    status = STATUS.search(str(error))
    return not isinstance(error, kinds) and not (status and status[1] in REFUSALS)


def _is_unchanged(found: tuple[bytes, dict[str, str]] | None, mode: Any) -> bool:
    """True if the condition of a refused PUT is fulfilled all the same."""
    if mode == "create":
        return found is None
    return found is not None and found[1].get("e_tag") == mode.get("e_tag")


def _version(meta: Any) -> dict[str, str]:
    """The version that must still be there for the PUT to succeed."""
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


def _line(error: Exception) -> str:
    """The reason alone: our messages name the address themselves."""
    return REQUEST.sub("", first_line(error))[:200]


@lru_cache(maxsize=8)
def open_conditional(root: str) -> ConditionalStore:
    """The conditional writer of a URI; opened once per process."""
    return ConditionalStore(root)


def _open(root: str) -> Any:
    try:
        from obstore.store import from_url
    except ImportError:
        _say_once(root, "obstore is not installed; pip install webtext[s3]")
        return None

    parts = urlsplit(root)
    query = dict(parse_qsl(parts.query))
    names = {"endpoint_override": "endpoint", "region": "region"}
    config = {ours: query[theirs] for theirs, ours in names.items() if theirs in query}
    if "endpoint" in config and "://" not in config["endpoint"]:
        config["endpoint"] = f"{query.get('scheme', 'https')}://{config['endpoint']}"

    if parts.scheme == "s3" and "AWS_ACCESS_KEY_ID" not in os.environ:
        config |= _profile()

    plain = config.get("endpoint", os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http://")
    try:
        return from_url(
            f"{parts.scheme}://{parts.netloc}{parts.path}",
            client_options={"allow_http": plain, "timeout": f"{TIMEOUT_S}s"},
            retry_config={
                "max_retries": MAX_RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_WITHIN_S),
                "backoff": {"base": BACKOFF_BASE, "max_backoff": timedelta(seconds=MOST_WAIT_S)},
            },
            **config,
        )
    except Exception as error:
        _say_once(root, _line(error))
        return None


def _profile() -> dict[str, str]:
    """The keys of the shared credentials file, which obstore does not read and pyarrow does.

    {} without one, or if it cannot be read.
    """
    path = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", os.path.expanduser("~/.aws/credentials"))
    # A percent sign in a key is itself, and of two equal lines the last one counts, as in the SDK.
    profiles = ConfigParser(interpolation=None, strict=False)
    try:
        profiles.read(path, "utf-8")
    except (ConfigParserError, UnicodeDecodeError) as error:
        log.warning("%s: not read (%s)", path, type(error).__name__)
        return {}

    name = os.environ.get("AWS_PROFILE", "default")
    if not profiles.has_section(name):
        return {}

    names = ("access_key_id", "secret_access_key", "session_token")
    return {key: profiles[name][f"aws_{key}"] for key in names if f"aws_{key}" in profiles[name]}


@lru_cache(maxsize=32)
def _say_once(root: str, why: str) -> None:
    log.warning(
        "%s: no conditional writes (%s); two starts at the same moment may not see each other. "
        "`webtext doctor` tests a store; start one command at a time",
        root,
        why,
    )
