"""The folder of a run: identity, measurements, end.

runs/<run>/config.json      identity; a rerun must have the same
runs/<run>/metrics.jsonl    a line per logged step and evaluation, one curve over interruptions
runs/<run>/tensorboard/     the same for TensorBoard
runs/<run>/page.html        loss curves and newest samples, without a server
runs/<run>/samples/         texts sampled at each evaluation
runs/<run>/scores.json      train.evaluate: scores of the checkpoint scored last
runs/<run>/scores/          the same for every checkpoint, with an outcome per entry
runs/<run>/evaluating.json  only during an evaluation: its step, and how often it was begun
runs/<run>/summary.json     written last: the run is done
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from corpus.errors import InputError, SchemaError
from corpus.json_values import json_value
from corpus.storage.store import Store, check_name

log = logging.getLogger(__name__)

# Settings that say when a run ends. They decide the schedule of the steps that are left.
LENGTH_SETTINGS = frozenset({"max_steps", "epochs"})
_STEP = re.compile(r"step-([0-9]{1,18})")


class Board(Protocol):
    """A display of curves besides metrics.jsonl."""

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Begin or continue the run; `lines` are the valid ones of metrics.jsonl."""

    def add(self, line: Mapping[str, Any]) -> None:
        """One more line."""

    def flush(self) -> None:
        """Make all of it visible."""

    def close(self) -> None:
        """No more lines."""


class CountingBoard(Board, Protocol):
    """A board that does not raise, but counts its failures."""

    name: str
    num_failures: int


class RunFolder:
    """`runs/<run>/` of a corpus."""

    def __init__(self, store: Store, run: str) -> None:
        self.store = store
        self.run = check_name("--run", run)
        self.path = f"runs/{run}"
        self._lines: list[str] = []
        self._file: Path | None = None
        # True while the file lacks lines that could not be appended to it.
        self._behind = False
        self._boards: Sequence[CountingBoard] = ()

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None when it is not there."""
        try:
            document: dict[str, Any] = self.store.read_object(f"{self.path}/{name}")
        except FileNotFoundError:
            return None
        return document

    def read_identity(self) -> dict[str, Any] | None:
        """The identity of a run that has begun, else None."""
        described = self.read("config.json")
        if described is None:
            return None

        identity: dict[str, Any] | None = described.get("identity")
        settings = identity.get("settings", {}) if isinstance(identity, dict) else None
        if not isinstance(settings, dict) or not isinstance(settings.get("max_steps"), int | None):
            raise SchemaError(
                f"{self.store.root}/{self.path}/config.json: not the settings of a run; restore "
                "it, or choose another --run name"
            )
        return identity

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a JSON file of the folder."""
        self.store.write_json(f"{self.path}/{name}", dict(value))

    def forget(self, name: str) -> None:
        """Remove a file of the folder; nothing there is fine."""
        self.store.delete(f"{self.path}/{name}")

    def claim(
        self, identity: Mapping[str, Any], described: Mapping[str, Any], *, rebuild: bool
    ) -> None:
        """Make the folder this run's: new, or begun with the same identity. `described` is kept beside it.

        A run that was refused before its first step has begun nothing, and is described anew. Raises: InputError when it was begun with another one, naming each difference with both
        values.
        """
        if rebuild:
            self.clear()
        previous = self.read_identity()

        if previous is not None and self._is_begun():
            found = list(differences(previous, identity))
            if found and "imported_from" in previous:
                raise InputError(
                    f"{self.store.root}/{self.path}: an imported model, which is not trained in place; "
                    f"train on it as another run: --run NAME --set train.init_from={self.run}"
                )
            if found and not only_length_differs(previous, identity):
                raise InputError(
                    f"{self.store.root}/{self.path}: begun otherwise: {'; '.join(found)}; "
                    "choose another --run name, or --rebuild to begin it again"
                )
            if found:
                raise InputError(
                    f"{self.store.root}/{self.path}: begun with another length: "
                    f"{'; '.join(found)}; to take more steps add --extend, or choose another --run "
                    "name, or --rebuild to begin it again"
                )

        self.write("config.json", {"identity": identity, **described})

    def _is_begun(self) -> bool:
        """True if there is something that other settings would spoil."""
        return bool(
            self.read("summary.json")
            or self.store.folders(f"{self.path}/checkpoints")
            or self.metrics()
        )

    def extend(self, identity: Mapping[str, Any], described: Mapping[str, Any]) -> None:
        """Give the run another length, also a finished one; its other settings stay.

        Raises: InputError if there is no such run, or it has taken as many steps already.
        """
        previous = self.read_identity()
        if previous is None:
            raise InputError(
                f"{self.store.root}/{self.path}: no run to extend; leave --extend out to begin it"
            )
        if not only_length_differs(previous, identity):
            return  # `claim` names what differs

        before, now = (each["settings"] for each in (previous, identity))
        taken = (self.read("summary.json") or {}).get("steps", 0)
        if not isinstance(taken, int):
            raise SchemaError(
                f"{self.store.root}/{self.path}/summary.json: steps is {taken!r}, expected a "
                "number; restore it, or choose another --run name"
            )

        if before == now and not taken:
            return
        # A run that is not finished has taken the steps of its checkpoints.
        steps = max([taken, *self._saved_steps()])
        if before == now or (now["max_steps"] is not None and now["max_steps"] <= steps):
            raise InputError(
                f"{self.store.root}/{self.path}: --extend: the run has taken {steps} steps; "
                f"name more with --set train.max_steps={2 * steps}"
            )

        # The new length first: a kill in between leaves a run that the same command continues.
        self.write("config.json", {"identity": identity, **described})
        self.forget("summary.json")

    def _saved_steps(self) -> list[int]:
        """The steps of all checkpoints, by the names of their folders."""
        names = self.store.folders(f"{self.path}/checkpoints")
        return [int(found[1]) for name in names if (found := _STEP.fullmatch(name))]

    def clear(self) -> None:
        """Remove the run's files, the commit first. The lock stays."""
        for name in (
            "summary.json",
            "scores.json",
            "scores.md",
            "config.json",
            "metrics.jsonl",
            "wandb.json",
            "trackio.json",
            "page.html",
            "evaluating.json",
        ):
            self.forget(name)

        for folder in ("checkpoints", "samples", "scores", "tensorboard"):
            self.store.delete_dir(f"{self.path}/{folder}")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl as they are stored; none before the first."""
        try:
            stored = self.store.read_bytes(f"{self.path}/metrics.jsonl").splitlines()
        except FileNotFoundError:
            return []
        return [values for values in map(_parsed, stored) if values is not None]

    def open_metrics(
        self, stands: Callable[[Mapping[str, Any]], bool], boards: Sequence[CountingBoard] = ()
    ) -> None:
        """Continue metrics.jsonl without the lines of steps about to be repeated."""
        path = f"{self.path}/metrics.jsonl"
        try:
            old = self.store.read_bytes(path).splitlines()
        except FileNotFoundError:
            old = []

        found = [(line, _parsed(line)) for line in old]
        self._lines = [
            line.decode() for line, values in found if values is not None and stands(values)
        ]
        self.store.write_bytes(path, "".join(f"{line}\n" for line in self._lines).encode())
        self._file = self.store.local_path(path)
        self._boards = boards
        lines = [json_value(line) for line in self._lines]
        for board in boards:
            board.begin(lines)

    def log(self, **values: Any) -> None:
        """One line of metrics.jsonl, with the time.

        On an object store it appears at the next `flush`.
        """
        values["time"] = round(time.time(), 3)
        line = json.dumps(values)
        for board in self._boards:
            board.add(values)
        self._lines.append(line)
        if self._file is None or self._behind:
            return

        try:
            with self._file.open("a") as stream:
                stream.write(line + "\n")
        except OSError as error:
            # The next flush writes the whole file, which also mends a line cut short.
            self._behind = True
            log.warning("%s: %s; its lines are written at the next checkpoint", self._file, error)

    def flush(self) -> None:
        """Make all logged lines visible. Raises: FatalError if they cannot be written."""
        if self._file is None or self._behind:
            text = "".join(f"{line}\n" for line in self._lines)
            self.store.write_bytes(f"{self.path}/metrics.jsonl", text.encode())
            self._behind = False
        for board in self._boards:
            board.flush()

    def close_metrics(self) -> None:
        """All lines are visible and no more come."""
        try:
            self.flush()
        finally:
            for board in self._boards:
                board.close()

    def board_failures(self) -> Counter[str]:
        """Failures of the boards of this start, by their names."""
        return Counter(
            {board.name: board.num_failures for board in self._boards if board.num_failures}
        )

    def write_samples(self, step: int, texts: list[str]) -> None:
        """Keep texts sampled after `step` steps."""
        body = "\n\n=====\n\n".join(texts)
        self.store.write_bytes(f"{self.path}/samples/step-{step:08}.txt", body.encode() + b"\n")

    def samples(self, most: int) -> list[tuple[int, str]]:
        """The newest texts with their steps, the newest first, of at most `most` evaluations."""
        steps = sorted(
            {line["step"] for line in map(json.loads, self._lines) if "val_loss" in line}
        )
        found: list[tuple[int, str]] = []
        for step in reversed(steps):
            path = f"{self.path}/samples/step-{step:08}.txt"
            if len(found) < most and self.store.exists(path):
                found.append((step, self.store.read_bytes(path).decode(errors="replace")))
        return found


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """Yield `key: a there, b now` for every leaf with two different values in nested settings."""
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}: {old!r} there, {new!r} now"


def without_length(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without the settings that only say when a run ends."""
    settings = {
        name: value
        for name, value in identity.get("settings", {}).items()
        if name not in LENGTH_SETTINGS
    }
    return {**identity, "settings": settings}


def only_length_differs(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """True if two runs are alike up to their number of steps."""
    return not list(differences(without_length(before), without_length(now)))


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Parse a metrics line; None if a kill cut it short, it is damaged, or it has no step."""
    try:
        values = json_value(line.decode())
    except ValueError:
        return None
    return values if isinstance(values, dict) and isinstance(values.get("step"), int) else None
