"""Ends a command that is interrupted while it still imports: one line, and the usual exit code.

Imports take up to two seconds. A KeyboardInterrupt among them is a traceback, or an ImportError of
compiled code that no handler recognises. Nothing is begun at that time, so the process just ends.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

LINE = b"interrupted before anything was begun; run the same command again\n"


def end_at_once() -> None:
    """Let SIGINT and SIGTERM end the process until `raise_again` is called."""
    if threading.current_thread() is not threading.main_thread():
        return  # A notebook or a test owns its signals.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def raise_again() -> None:
    """Restore Python's own handlers, after which a command ends by itself."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is _end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: Any) -> None:
    os.write(2, LINE)
    os._exit(128 + number)
