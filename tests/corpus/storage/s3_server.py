"""A server on loopback that speaks S3, and compares and writes in one step as S3 does."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from moto.moto_server import threaded_moto_server


class _OneWriteAtATime(threaded_moto_server.DomainDispatcherApplication):
    """Passes writes on one after the other.

    moto looks at what is there and writes some lines later: of two conditional writes at the same
    moment both succeeded, in one of 150 contests of six threads.
    """

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self._guard = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return super().__call__(environ, start_response)
        with self._guard:
            return super().__call__(environ, start_response)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The address of a server that is listening."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line per request
    server = threaded_moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    before = threaded_moto_server.DomainDispatcherApplication
    threaded_moto_server.DomainDispatcherApplication = _OneWriteAtATime
    try:
        server.start()
    finally:
        threaded_moto_server.DomainDispatcherApplication = before

    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
