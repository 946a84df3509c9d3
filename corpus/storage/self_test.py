"""A test of a store by use: the properties that the corpus relies on, tried on keys of its own.

The keys have temporary names, so no reader of a corpus lists them, and they are deleted at the end.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from corpus.credentials import blotted
from corpus.errors import WebtextError
from corpus.storage.conditional_write import ONE_REQUEST_BYTES, open_conditional
from corpus.storage.interface import TEMPORARY, Store

log = logging.getLogger(__name__)

# A file of two pieces, so that it is uploaded in several requests.
LARGE_BYTES = ONE_REQUEST_BYTES + (1 << 20)
# Half of the time after which a silent lease is watched: a clock that differs by more makes the
# lease of a living run look old.
MOST_SKEW_S = 45.0
SMALL_FILES = 5

State = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a test's result."""

    subject: str
    state: State
    text: str


def check_store(store: Store, *, quick: bool = False) -> list[Finding]:
    """Test a store, which need not hold a corpus yet. Writes and deletes some 20 MB, unless `quick`."""
    folder = f"work/{TEMPORARY}doctor-{secrets.token_hex(8)}"
    findings: list[Finding] = []
    try:
        for subject, check in CHECKS.items():
            if quick and subject in LARGE_CHECKS:
                continue
            findings.append(_run(subject, check, store, folder))
            if findings[-1].state == "failure" and subject == "access":
                return findings  # All else would fail for the same reason.
    finally:
        with contextlib.suppress(OSError, WebtextError):
            store.delete_dir(folder)
    return findings


def warn_at_first_use(store: Store) -> None:
    """Log what a new corpus's store lacks; nothing if all is well."""
    for finding in check_store(store, quick=True):
        if finding.state != "ok":
            log.warning("%s: %s: %s", store.root, finding.subject, finding.text)


def _run(
    subject: str, check: Callable[[Store, str], Iterator[str | Finding]], store: Store, folder: str
) -> Finding:
    try:
        for found in check(store, folder):
            if isinstance(found, Finding):
                return found
            text = found
    except (OSError, WebtextError) as error:
        return Finding(subject, "failure", blotted(str(error)))
    return Finding(subject, "ok", text)


def _access(store: Store, folder: str) -> Iterator[str | Finding]:
    store.write_bytes(f"{folder}/small", b"webtext")
    if store.read_bytes(f"{folder}/small") != b"webtext":
        yield Finding("access", "failure", "other bytes came back than were written")
    store.delete(f"{folder}/small")
    if store.exists(f"{folder}/small"):
        yield Finding("access", "failure", "a deleted file is still there")
    yield "write, read and delete"


def _conditional(store: Store, folder: str) -> Iterator[str | Finding]:
    if not store.is_conditional:
        yield Finding(
            "conditional writes",
            "warning",
            "the store refuses or ignores them: leases are looked at before and after they are "
            "written; start one command on a batch at a time",
        )
    created = [store.create_exclusive(f"{folder}/once", data) for data in (b"1", b"2")]
    replaced = [store.replace_exact(f"{folder}/once", data, b"3") for data in (b"2", b"1")]
    if created != [True, False] or replaced != [False, True]:
        yield Finding("conditional writes", "failure", f"created {created}, replaced {replaced}")
    yield "of two writers one wins"


def _listing(store: Store, folder: str) -> Iterator[str | Finding]:
    names = {f"{folder}/list/{number}" for number in range(SMALL_FILES)}
    for name in names:
        store.write_bytes(name, b"x")
        found = {path for path, _ in store.files(f"{folder}/list", leftovers=True)}
        if name not in found:
            yield Finding("listing", "failure", "a file is not listed right after it was written")
    store.delete(min(names))
    found = {path for path, _ in store.files(f"{folder}/list", leftovers=True)}
    if min(names) in found:
        yield Finding("listing", "failure", "a file is listed right after it was deleted")
    yield "a file is listed right after it was written, and not after it was deleted"


def _clock(store: Store, folder: str) -> Iterator[str | Finding]:
    before = time.time()
    store.write_bytes(f"{folder}/clock", b"x")
    after = time.time()
    stamped = _modified(store, f"{folder}/clock")
    if stamped is None:
        yield Finding("clock", "warning", "the store tells no time of a file")
        return

    # S3 gives whole seconds.
    skew = max(0.0, before - 1 - stamped, stamped - after - 1)
    if skew > MOST_SKEW_S:
        yield Finding(
            "clock",
            "warning",
            f"differs from the store's by {skew:,.0f} s, which makes living leases look dead: set "
            "the clocks by NTP",
        )
    yield f"within {skew + 1:.0f} s of the store's"


def _modified(store: Store, path: str) -> float | None:
    local = store.local_path(path)
    if local is not None:
        return local.stat().st_mtime
    return open_conditional(store.root).modified(path)


def _large(store: Store, folder: str) -> Iterator[str | Finding]:
    data = secrets.token_bytes(1 << 10) * (LARGE_BYTES >> 10)
    store.write_bytes(f"{folder}/large", data)
    if store.size(f"{folder}/large") != len(data):
        yield Finding("large files", "failure", "a file in several pieces has another size")
    for start, count in ((0, 10), (ONE_REQUEST_BYTES - 5, 10), (len(data) - 5, 10)):
        if store.read_range(f"{folder}/large", start, count) != data[start : start + count]:
            yield Finding("large files", "failure", f"range {start}+{count} has other bytes")
    yield "uploads in pieces, reads of ranges"


def _speed(store: Store, folder: str) -> Iterator[str | Finding]:
    data = bytes(LARGE_BYTES)
    began = time.monotonic()
    store.write_bytes(f"{folder}/speed", data)
    written = time.monotonic()
    store.read_bytes(f"{folder}/speed")
    read = time.monotonic()
    for _ in range(SMALL_FILES):
        store.exists(f"{folder}/speed")
    asked_s = (time.monotonic() - read) / SMALL_FILES
    size = LARGE_BYTES / 1e6
    yield (
        f"writes {size / (written - began):,.0f} MB/s, reads {size / (read - written):,.0f} MB/s, "
        f"answers in {1000 * asked_s:,.1f} ms"
    )


# Checks that write large files.
LARGE_CHECKS = ("large files", "speed")
CHECKS: dict[str, Callable[[Store, str], Iterator[str | Finding]]] = {
    "access": _access,
    "conditional writes": _conditional,
    "listing": _listing,
    "clock": _clock,
    "large files": _large,
    "speed": _speed,
}
