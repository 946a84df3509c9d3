"""Metrics of a running command in Prometheus' text format: a file, and an address if one is asked for.

`run.metrics_file` suits the textfile collector of node_exporter, `run.metrics_port` a scrape. Both
are of the driver, for every stage and executor; nothing is sent anywhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

log = logging.getLogger(__name__)

WRITE_EVERY_S = 10.0
# Every metric, with its type and its meaning.
METRICS = {
    "webtext_step_rows": ("gauge", "rows of the running step that are done"),
    "webtext_step_rows_expected": ("gauge", "rows of the running step in all, if known"),
    "webtext_step_rows_per_second": ("gauge", "rows per second in this run"),
    "webtext_step_tasks": ("gauge", "tasks of the running step by state"),
    "webtext_step_failed_attempts": ("gauge", "attempts at tasks of the running step that failed"),
    "webtext_step_copies": ("gauge", "second copies of slow tasks that were started"),
    "webtext_table_rows": ("gauge", "rows of a committed table by reason"),
    "webtext_table_bytes": ("gauge", "bytes of a committed table"),
    "webtext_crawl_queue": ("gauge", "links and domains of the crawl by state"),
    "webtext_crawl_pages_per_second": ("gauge", "pages per second over all workers"),
    "webtext_crawl_ended": ("gauge", "links of running shards that ended, by reason"),
    "webtext_lease_held": ("gauge", "1 while the command holds the batch"),
    "webtext_run_started_seconds": ("gauge", "start of the command, Unix time"),
    "webtext_last_success_seconds": ("gauge", "last end with success, Unix time"),
    "webtext_last_exit_ok": ("gauge", "1 if the last end was a success"),
}

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Values by metric and labels; safe to set from any thread."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, float]] = {}
        self._guard = threading.Lock()

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set one value."""
        if name not in METRICS:
            raise KeyError(name)
        with self._guard:
            self._values.setdefault(name, {})[tuple(sorted(labels.items()))] = value

    def set_all(self, name: str, label: str, values: Mapping[str, float], **labels: str) -> None:
        """Set one value for each key of `values`, as the label `label`."""
        for key, value in values.items():
            self.set(name, value, **labels, **{label: key})

    def clear(self, *names: str) -> None:
        """Remove the values of some metrics."""
        with self._guard:
            for name in names:
                self._values.pop(name, None)

    def render(self) -> str:
        """All values in the text format 0.0.4."""
        with self._guard:
            lines = []
            for name, (kind, meaning) in METRICS.items():
                found = self._values.get(name)
                if not found:
                    continue
                lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
                for labels, value in sorted(found.items()):
                    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
                    lines.append(f"{name}{{{shown}}} {value!r}" if shown else f"{name} {value!r}")
        return "\n".join(lines) + "\n"

    def write(self, path: str) -> None:
        """Replace the file as a whole, as node_exporter asks for. A failure is a warning."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            temporary.write_text(self.render())
            temporary.replace(target)
        except OSError as error:
            log.warning("run.metrics_file = %r: %s", path, error)


CURRENT = Metrics()


@contextlib.contextmanager
def published(path: str, port: int, *, stage: str, batch: str) -> Iterator[Metrics]:
    """Publish the metrics of a command while the block runs, and how it ended."""
    labels = {"stage": stage, "batch": batch}
    CURRENT.set("webtext_run_started_seconds", time.time(), **labels)
    CURRENT.set("webtext_lease_held", 1.0, **labels)
    ended = threading.Event()
    server = _serve(port) if port else None
    writer = threading.Thread(target=_write_often, args=(path, ended), daemon=True)
    if path:
        writer.start()

    succeeded = False
    try:
        yield CURRENT
        succeeded = True
    finally:
        CURRENT.set("webtext_lease_held", 0.0, **labels)
        CURRENT.set("webtext_last_exit_ok", float(succeeded), **labels)
        if succeeded:
            CURRENT.set("webtext_last_success_seconds", time.time(), **labels)
        ended.set()
        if path:
            writer.join()
            CURRENT.write(path)
        if server is not None:
            server.shutdown()
            server.server_close()


def _write_often(path: str, ended: threading.Event) -> None:
    while not ended.is_set():
        CURRENT.write(path)
        ended.wait(WRITE_EVERY_S)


def _serve(port: int) -> ThreadingHTTPServer | None:
    """Answer GET /metrics on loopback; a port that is taken is a warning."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    except OSError as error:
        log.warning("run.metrics_port = %d: %s", port, error)
        return None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/metrics":
            self.send_error(404)
            return
        data = CURRENT.render().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        """Nothing: a scrape every few seconds is no news."""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
