"""Settings of how tasks run. They change no byte of any table."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from corpus.config import Section
from corpus.durations import parse_duration
from corpus.run.stragglers import Limits


class RunConfig(Section):
    """Settings of all stages' tasks."""

    common = frozenset({"task_timeout"})
    outside_corpus = frozenset({"metrics_file", "metrics_port"})

    task_timeout: str = "auto"
    """Time limit of a task, such as 30m or 2h. `auto` is 20 times the median of the step's finished
    tasks and at least 10 minutes, `none` no limit. A fetch has none."""
    first_timeout: str = "6h"
    """Time limit under `auto` while fewer than three of a step's tasks have finished, so that a step
    of one or two tasks, or one whose first tasks all hang, ends. `none` for no limit."""
    copies: bool = True
    """Give idle workers a copy of a task that takes far longer than others; the first one counts."""

    metrics_file: str = ""
    """A file for metrics in Prometheus' text format, such as one of node_exporter's textfile
    collector; written every 10 s and at the end."""
    metrics_port: int = Field(0, ge=0, le=65_535)
    """A port on 127.0.0.1 that answers /metrics while a command runs; 0 for none."""

    @field_validator("task_timeout", "first_timeout")
    @classmethod
    def _is_duration(cls, value: str, info: ValidationInfo) -> str:
        words = ("auto", "none") if info.field_name == "task_timeout" else ("none",)
        if value not in words:
            parse_duration(value)
        return value

    def limits(self) -> Limits:
        """The limits on the tasks of a step."""
        if self.task_timeout in ("auto", "none"):
            first_s = None if self.first_timeout == "none" else parse_duration(self.first_timeout)
            automatic = self.task_timeout == "auto"
            return Limits(automatic=automatic, first_s=first_s, copies=self.copies)
        return Limits(parse_duration(self.task_timeout), copies=self.copies)
