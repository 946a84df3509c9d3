"""Joining a cluster that may not answer: found out before Ray tries, and ended while it does.

Ray's client repeats its attempts for up to fourteen minutes inside compiled code, where a signal
waits until it returns. So the head is asked first, by a connection of ours, and a thread watches
the attempt itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from corpus.errors import InputError

# Seconds for the head to answer; one that is being started gets another attempt.
ANSWER_WITHIN_S = 8.0
RETRY_S = 0.5
# Seconds for Ray to join or start a cluster, of which a busy machine takes twenty.
OPEN_WITHIN_S = 120.0
# Seconds for the main thread to end by itself after a signal.
STOP_WITHIN_S = 2.0
# The client's first bytes of HTTP/2, which gRPC speaks, with empty settings (RFC 9113, 3.4).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
FRAME_HEADER_BYTES = 9
SETTINGS_FRAME = 4


def require_answer(address: str) -> None:
    """Ask the head at `host:port` for a sign of life. Raises: InputError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(
            f"RAY_ADDRESS={address}: expected host:port of the head, such as 10.0.0.5:6379"
        )

    deadline = time.monotonic() + ANSWER_WITHIN_S
    while True:
        problem = _problem(host.strip("[]"), int(port), deadline - time.monotonic())
        if problem is None:
            return
        if time.monotonic() + RETRY_S >= deadline:
            raise InputError(
                f"RAY_ADDRESS={address}: no cluster answers within {ANSWER_WITHIN_S:.0f} s "
                f"({problem}); start the head, correct the address, or unset it to run here"
            )
        time.sleep(RETRY_S)


def _problem(host: str, port: int, timeout_s: float) -> str | None:
    """A reason against the server, or None if it speaks HTTP/2, or TLS is asked for."""
    try:
        with socket.create_connection((host, port), max(0.1, timeout_s)) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return None

            connection.sendall(PREFACE)
            answer = b""
            while len(answer) < FRAME_HEADER_BYTES:
                piece = connection.recv(FRAME_HEADER_BYTES - len(answer))
                if not piece:
                    return "the connection was closed"
                answer += piece
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)

    return None if answer[3] == SETTINGS_FRAME else "it does not speak gRPC"


@contextlib.contextmanager
def watched(what: str) -> Iterator[None]:
    """End the process if the block neither returns in time nor obeys a signal.

    Nothing is held at this time: no lease of a batch, no task.
    """
    try:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    except ValueError:
        # Not the main thread: signals are the host program's.
        yield
        return

    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(ours, done, what), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        theirs.send(b"\0")  # wakes the thread
        thread.join()
        ours.close()
        theirs.close()


def _watch(signals: socket.socket, done: threading.Event, what: str) -> None:
    deadline = time.monotonic() + OPEN_WITHIN_S
    while not done.is_set():
        ready, _, _ = select.select([signals], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            _end(2, f"error: {what}: no end within {OPEN_WITHIN_S:.0f} s; look at the cluster")

        stop = {signal.SIGINT, signal.SIGTERM} & set(signals.recv(64))
        if stop and not done.wait(STOP_WITHIN_S):
            number = int(min(stop))
            _end(128 + number, f"stopped by signal {number}; nothing had begun")


def _end(code: int, line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    os._exit(code)
