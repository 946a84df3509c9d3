"""Errors, named by the runner's next action.

An unusable page is never one of these: it is a row with a reason. Messages are one line: the
offending value, the expected one, and the next command.
"""

from __future__ import annotations

from typing import Any


class WebtextError(Exception):
    """Anything this project raises on purpose; the doors print it as one line."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes, not by constructor arguments, so that workers can send errors."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[WebtextError], arguments: tuple[Any, ...], state: dict[str, Any]
) -> WebtextError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class FatalError(WebtextError):
    """The run cannot continue (a full disk, an unwritable target). Committed work stays."""


class InputError(FatalError):
    """Wrong use or wrong input: nothing was done. Exit code 2."""

    exit_code = 2


class ConfigError(InputError):
    """A config key or value refused before any work."""


class SchemaError(InputError):
    """A table or file in another format than expected."""


class StaleError(InputError):
    """A table built from one that has been rebuilt since."""


class PathError(InputError):
    """A path out of the corpus. Nothing was read, written or deleted."""


class BusyError(InputError):
    """Somebody else holds the lock."""


class LostLeaseError(FatalError):
    """The lease went to another run: this one may not commit any more."""


class PartitionError(WebtextError):
    """This partition fails; the rest goes on and the run ends with exit code 1."""


class RetryableError(PartitionError):
    """Something passing (a time-out, a lost connection): try the partition again."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM; finished work is kept. Exit code 130 or 143.

    Like KeyboardInterrupt it is not an Exception, so that no handler of failures swallows it: a
    writer of curves did, and the training went on.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class StageError(WebtextError):
    """A stage's command failed and has printed the reason."""

    def __init__(self, batch: str, stage: str, code: int) -> None:
        super().__init__(
            f"batch {batch}: {stage} ended with exit code {code} (its message is above); finished "
            "work is kept, run the same command to continue"
        )
        self.exit_code = code


def first_line(error: BaseException) -> str:
    """The first line of another library's message, or the error's kind if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
