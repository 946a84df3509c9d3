"""The progress screen of a command: its stages as a list, with the steps of the one under way.

    2024-01 crawl    done  in 3:05
    2024-01 clean    now
      extract text   ━━━━━━━━━━━───────────  28 of 70 pages  3 pages/s  ETA 14 s
    2024-01 dedup
    2024-01 shards

A single stage is a list of one. Without a terminal the screen only logs the end of each stage, and
steps log their own lines.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from corpus.run.progress import Meter, duration, log, verbose

BAR_WIDTH = 24
LINE_EVERY_S = 10.0  # between lines in a log
REFRESH_PER_S = 4

# The open screens, the command's own last. Threads of the command ask for it as well.
_open: list[Screen] = []


@dataclass(slots=True)
class Stage:
    """A stage on the screen."""

    state: str = ""
    """Empty before its start, then `now`, then `done` or `stopped`."""
    started: float = 0.0
    took_s: float = 0.0
    steps: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class Step:
    """A step of the stage under way."""

    meter: Meter
    took_s: float | None = None
    """None while it runs."""


class Screen:
    """The stages of a command in order, live if stderr is a terminal."""

    def __init__(self, stages: Sequence[str], *, console: Console | None = None) -> None:
        self.stages = {name: Stage() for name in stages}
        self._console = console or Console(stderr=True)
        self._live: Live | None = None

    @property
    def is_live(self) -> bool:
        """True if lines are redrawn in a terminal."""
        return self._live is not None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Draw the screen for the length of the block, and leave its last state."""
        _open.append(self)
        live = Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=REFRESH_PER_S,
            # What goes to a file is not for the terminal. A closed stdout is None.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        is_terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        try:
            with live if is_terminal else contextlib.nullcontext():
                self._live = live if is_terminal else None
                yield
        finally:
            self._live = None
            _open.remove(self)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Mark a stage as under way during the block, then as done with the time that it took."""
        stage = self.stages.setdefault(name, Stage())
        stage.state, stage.started = "now", time.monotonic()
        try:
            yield
        except BaseException:
            self._end(name, "stopped")
            raise
        self._end(name, "done")

    @contextlib.contextmanager
    def step(self, meter: Meter) -> Iterator[None]:
        """Show a step of the stage under way. A finished detail leaves no line, except with -v."""
        running = [stage for stage in self.stages.values() if stage.state == "now"]
        steps = running[-1].steps if running else []
        step = Step(meter)
        steps.append(step)
        try:
            yield
        finally:
            step.took_s = time.monotonic() - meter.started
            if meter.is_detail and not verbose():
                steps.remove(step)

    def render(self) -> Table:
        """The list as it is now."""
        table = Table.grid(padding=(0, 1))
        for name, stage in self.stages.items():
            took = f"in {duration(stage.took_s)}" if stage.took_s else ""
            table.add_row(_cell(name), _cell(stage.state), _cell(took))
            # A finished stage of several is one line.
            if stage.state == "now" or len(self.stages) == 1:
                for step in stage.steps:
                    table.add_row(_cell(f"  {step.meter.job}"), *_cells(step))
        return table

    def _end(self, name: str, state: str) -> None:
        stage = self.stages[name]
        stage.state, stage.took_s = state, time.monotonic() - stage.started
        # A command that was refused has nothing to say but its error.
        if not self.is_live and (state == "done" or stage.steps):
            log.info("%s: %s in %s", name, state, duration(stage.took_s))


def current() -> Screen | None:
    """The screen of the running command, if it has one."""
    return _open[-1] if _open else None


def is_live() -> bool:
    """True if the command's screen redraws a terminal."""
    screen = current()
    return screen is not None and screen.is_live


@contextlib.contextmanager
def stages(names: Sequence[str]) -> Iterator[None]:
    """Show the stages of a whole command, such as a refresh: each is marked when it begins."""
    with Screen(names).open():
        yield


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Show a stage on the command's screen, or on one of its own if no command opened one."""
    screen = current()
    if screen is not None:
        with screen.stage(next_name(screen, name)):
            yield
        return

    screen = Screen([name])
    with screen.open(), screen.stage(name):
        yield


def next_name(screen: Screen, name: str) -> str:
    """The first stage of this name that has not begun: `dedup` is `2024-01 dedup` in a refresh."""
    waiting = [
        each for each, stage in screen.stages.items() if not stage.state and each.endswith(name)
    ]
    return waiting[0] if waiting else name


class Display:
    """Shows a meter; call `update` often."""

    def __init__(self, meter: Meter, *, logs: bool) -> None:
        self.meter = meter
        self._logs = logs
        self._next_line = time.monotonic() + LINE_EVERY_S

    def update(self) -> None:
        """Log a line every `LINE_EVERY_S`; a terminal is redrawn by its screen."""
        if self._logs and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            # A step that takes this long is worth a line, whatever it is.
            log.info("%s", self.meter.line())


_shown: list[Meter] = []


def note(text: str) -> None:
    """Add words to the line of the step under way, such as failures so far."""
    for meter in _shown[-1:]:
        meter.note = text


@contextlib.contextmanager
def show(meter: Meter) -> Iterator[Display]:
    """Show `meter` on the command's screen, or by log lines and a last line without a terminal."""
    logs = not is_live()
    screen = current() or Screen([])
    _shown.append(meter)
    try:
        with screen.step(meter):
            yield Display(meter, logs=logs)
        if logs:
            level = logging.DEBUG if meter.is_detail else logging.INFO
            log.log(level, "%s", meter.line(took_s=time.monotonic() - meter.started))
    finally:
        _shown.remove(meter)


def _cells(step: Step) -> tuple[ProgressBar | Text, Text]:
    meter = step.meter
    if step.took_s is not None:
        return _cell("done"), _cell(meter.words(took_s=step.took_s))

    total = meter.total_rows or meter.num_parts
    done = meter.rows if meter.total_rows else meter.parts_done
    bar = ProgressBar(total=total, completed=min(done, total), width=BAR_WIDTH)
    return bar, _cell(meter.words())


def _cell(words: str) -> Text:
    """One line whatever the width: a live screen that wraps would jump."""
    return Text(words, no_wrap=True, overflow="ellipsis")
