"""A lossy network between this machine and an object store: some answers are lost.

A request is passed on whole, and for a share of them the connection is closed when the answer
comes: the store has acted, and the client does not know. An endpoint of plain HTTP is reached by
another address, one of HTTPS by a tunnel, so nothing is decrypted and no signature changes.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 16
# Seconds to reach the store, and for the header of a tunnel.
CONNECT_S = 20.0
MOST_HEADER_BYTES = 8192
LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class LossyNetwork:
    """A listening port on loopback and its counts."""

    share: float
    rng: random.Random
    upstream: tuple[str, int] | None
    """Address of the store; None if each client names it for a tunnel."""
    listener: socket.socket = field(default_factory=lambda: socket.create_server((LOOPBACK, 0)))
    answers: int = 0
    lost: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """The port on loopback."""
        return int(self.listener.getsockname()[1])

    def environment(self) -> dict[str, str]:
        """The variables that lead a command's requests through here."""
        address = f"http://{LOOPBACK}:{self.port}"
        if self.upstream is not None:
            return {"AWS_ENDPOINT_URL": address}
        return {"HTTPS_PROXY": address, "https_proxy": address}

    def loses_answer(self) -> bool:
        """Decide about one answer."""
        with self._guard:
            self.answers += 1
            lost = self.rng.random() < self.share
            self.lost += lost
            return lost

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            address = self.upstream or _tunnel(client)
            with socket.create_connection(address, CONNECT_S) as store:
                if self.upstream is None:
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._pass_on(client, store)

    def _pass_on(self, client: socket.socket, store: socket.socket) -> None:
        asked = False
        while True:
            for ready in select.select([client, store], [], [])[0]:
                data = ready.recv(CHUNK_BYTES)
                if not data:
                    return
                if ready is client:
                    asked = True
                    store.sendall(data)
                    continue

                # The first bytes of an answer decide about all of it.
                if asked and self.loses_answer():
                    return
                asked = False
                client.sendall(data)


def _tunnel(client: socket.socket) -> tuple[str, int]:
    """The target of the tunnel requested by a client. Raises: OSError."""
    head = b""
    client.settimeout(CONNECT_S)
    while b"\r\n\r\n" not in head:
        data = client.recv(CHUNK_BYTES)
        if not data or len(head) > MOST_HEADER_BYTES:
            raise OSError("no tunnel was asked for")
        head += data

    client.settimeout(None)
    method, place, *_ = head.split(b" ")
    host, _, port = place.decode("latin-1").rpartition(":")
    if method != b"CONNECT" or not port.isdigit():
        raise OSError("no tunnel was asked for")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def losing_answers(share: float, rng: random.Random) -> Iterator[LossyNetwork]:
    """Run such a network to the store named in the environment."""
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    plain = endpoint.scheme == "http" and endpoint.hostname is not None
    upstream = (str(endpoint.hostname), endpoint.port or 80) if plain else None
    network = LossyNetwork(share, rng, upstream)
    thread = threading.Thread(target=network.serve, daemon=True)
    thread.start()
    try:
        yield network
    finally:
        # A thread waiting in accept() does not notice a close.
        with contextlib.suppress(OSError):
            network.listener.shutdown(socket.SHUT_RDWR)
        network.listener.close()
        thread.join()
