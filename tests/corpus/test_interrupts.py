"""An interrupt at any moment ends a command with one line and its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from corpus.errors import Interrupted, WebtextError
from corpus.run import command
from corpus.run.early_interrupt import LINE

PROGRAM = """
import os, signal, sys
from corpus.run.early_interrupt import end_at_once, raise_again
# The tests themselves may run in the background of a shell, where it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
end_at_once()
if sys.argv[1] == "late":
    raise_again()
try:
    os.kill(os.getpid(), int(sys.argv[2]))
except KeyboardInterrupt:
    sys.exit(7)
sys.exit(8)
"""


@pytest.mark.parametrize(
    ("when", "number", "code", "line"),
    [
        ("early", signal.SIGINT, 130, LINE),
        ("early", signal.SIGTERM, 143, LINE),
        ("late", signal.SIGINT, 7, b""),
        ("late", signal.SIGTERM, -15, b""),
    ],
)
def test_a_signal_among_imports_is_one_line(
    when: str, number: signal.Signals, code: int, line: bytes
) -> None:
    """Ctrl-C in the first second was a traceback of the import system."""
    words = [sys.executable, "-c", PROGRAM, when, str(int(number))]
    done = subprocess.run(words, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (code, line)


def test_nothing_slow_is_imported_before_the_handler_is_set() -> None:
    """Ctrl-C in the first tenth of a second was a traceback of the reader of package metadata."""
    program = "import sys; import webtext.cli; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    slow = {"importlib.metadata", "email", "numpy", "pyarrow", "pydantic", "logging", "json"}
    assert slow.isdisjoint(done.stdout.split()), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_handler_of_failures_swallows_an_interrupt(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """The writer of TensorBoard's curves did: `train` went on, and ignored every further signal."""
    assert threading.current_thread() is threading.main_thread()
    reached = []

    def body(argv: object) -> int:
        with command.interruptible():
            try:
                os.kill(os.getpid(), number)
                signal.pause()
            except (Exception, WebtextError, OSError):
                reached.append("a handler of failures")
        return 0

    assert command.run_command(body, ["--corpus", "c"], stage="clean.run") == 128 + number
    assert reached == []
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith(
        f"stopped by signal {int(number)}; finished work is kept"
    )
    assert not issubclass(Interrupted, Exception)
