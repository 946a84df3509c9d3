"""Tests a store, a cluster and this machine for what a corpus relies on, in some five seconds.

    webtext doctor --corpus s3://bucket/prefix [--json]

The store: access, conditional writes, listing after a write, the clock, large files, ranges and
speed, tried on temporary keys. With RAY_ADDRESS the cluster: an answer, versions on the nodes, the
token, and if every node sees the corpus. The machine: memory, disk, the cache of compiled code. The
exit code is 1 if something fails.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from corpus.errors import InputError, WebtextError
from corpus.run import command
from corpus.run.executors.opening import require_answer
from corpus.run.funnel import size
from corpus.storage.self_test import Finding, check_store
from corpus.storage.store import Store, open_store

MARKS = {"ok": "ok", "warning": "warning", "failure": "FAILURE"}
# Memory for a worker with the extractor and a part of pages (docs/scale.md), and for a spool.
LEAST_BYTES_PER_CORE = 1 << 30
LEAST_DISK_BYTES = 10 << 30
# Ports of Ray: without a token they run code for everybody.
RAY_PORTS = (6379, 8265, 10001)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run_command(_main, argv, stage="webtext.doctor")


def _main(argv: Sequence[str] | None) -> int:
    args = command.corpus_parser("webtext.doctor", __doc__ or "").parse_args(argv)
    store = open_store(args.corpus)
    with _no_new_folders(store):
        sections = {
            f"store {store.root}": check_store(store),
            "cluster": check_cluster(store, os.environ.get("RAY_ADDRESS", "")),
            "machine": check_machine(),
        }

    for title, findings in sections.items():
        if findings:
            print(title)
        for each in findings:
            print(f"  {each.subject:<20}{MARKS[each.state]:<9}{each.text}")

    found = [each for findings in sections.values() for each in findings]
    counts = Counter(each.state for each in found)
    print(f"{counts['failure']} failures, {counts['warning']} warnings")
    if args.json:
        print(json.dumps({title: [asdict(e) for e in each] for title, each in sections.items()}))
    return 1 if counts["failure"] else 0


@contextlib.contextmanager
def _no_new_folders(store: Store) -> Iterator[None]:
    """Remove the empty folders of a local corpus created since the start of the block."""
    folder = store.local_path("work")
    places = [] if folder is None else [folder, *folder.parents]
    new = list(itertools.takewhile(lambda place: not place.exists(), places))
    try:
        yield
    finally:
        # Something else may have put files there meanwhile.
        with contextlib.suppress(OSError):
            for place in new:
                place.rmdir()


def check_machine() -> list[Finding]:
    """Memory, disk and the cache of compiled code."""
    return [*_memory(), *_disk(), *_compiled(), *_ports()]


def _memory() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    state = "ok" if total >= cores * LEAST_BYTES_PER_CORE else "warning"
    hint = "" if state == "ok" else f": a worker takes up to 1 GB, so use fewer than {cores}"
    yield Finding("memory", state, f"{size(total)} for {cores} cores{hint}")  # type: ignore[arg-type]


def _disk() -> Iterator[Finding]:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    state = "ok" if free >= LEAST_DISK_BYTES else "warning"
    hint = "" if state == "ok" else ": uploads are spooled there; set TMPDIR to a larger disk"
    yield Finding("disk", state, f"{size(free)} free in {folder}{hint}")  # type: ignore[arg-type]


def _compiled() -> Iterator[Finding]:
    try:
        from corpus.compiled import folder
    except ImportError:
        return  # This machine has no stage that compiles.

    place = folder()
    if place is None:
        text = "kept nowhere, so every process compiles for 20 s; set NUMBA_CACHE_DIR"
        yield Finding("compiled code", "warning", text)
    else:
        yield Finding("compiled code", "ok", f"kept in {place}")


def _ports() -> Iterator[Finding]:
    """Ports of a Ray on this machine reachable from outside while no token is set."""
    if os.environ.get("RAY_AUTH_MODE") == "token":
        return

    try:
        outside = socket.gethostbyname(socket.gethostname())
    except OSError:
        return
    if outside.startswith("127."):
        return
    open_ports = [port for port in RAY_PORTS if _answers(outside, port)]
    if open_ports:
        text = (
            f"{', '.join(map(str, open_ports))} answer on {outside} and RAY_AUTH_MODE is not token: "
            "Ray runs code for everybody who reaches them"
        )
        yield Finding("open ports", "warning", text)


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.3)
        return probe.connect_ex((host, port)) == 0


def check_cluster(store: Store, address: str) -> list[Finding]:
    """The cluster at RAY_ADDRESS; nothing without one."""
    if not address:
        return []

    try:
        require_answer(address)
    except InputError as error:
        return [Finding("head", "failure", str(error))]

    findings = [Finding("head", "ok", f"{address} answers")]
    try:
        findings += _nodes(store)
    except (WebtextError, OSError, RuntimeError) as error:
        findings.append(Finding("nodes", "failure", f"{type(error).__name__}: {error}"))
    return findings


def _nodes(store: Store) -> Iterator[Finding]:
    # The home of Ray; it is installed where RAY_ADDRESS is of use.
    from corpus.run.executors.ray import RayExecutor

    executor = RayExecutor(None)
    try:
        reports = executor.on_every_node(look_around, store.root)
    finally:
        executor.close(cancel=True)

    yield Finding("nodes", "ok", f"{len(reports)} nodes, {executor.slots} CPUs")
    here = look_around(store.root)
    for name, wanted in here.items():
        other = sorted({str(each[name]) for each in reports if each[name] != wanted})
        state = "failure" if other else "ok"
        hint = f"; others have {', '.join(other)}" if other else ""
        if name == "sees the corpus" and other:
            hint = ": some nodes do not; use an object store or a shared path on all nodes"
        yield Finding(name, state, f"{wanted}{hint}")  # type: ignore[arg-type]

    token = os.environ.get("RAY_AUTH_MODE") == "token"
    text = "a token is asked for" if token else "RAY_AUTH_MODE is not token: the cluster is open"
    yield Finding("token", "ok" if token else "warning", text)


def look_around(root: str) -> dict[str, object]:
    """The versions of a node, and if it sees the corpus."""
    import platform
    from importlib import metadata

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "none"

    store = open_store(root)
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "webtext": version("webtext"),
        "ray": version("ray"),
        "pyarrow": version("pyarrow"),
        "sees the corpus": not store.is_local or os.path.isdir(root),
    }


if __name__ == "__main__":
    raise SystemExit(main())
