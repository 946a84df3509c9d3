"""Counts bot walls among the answers of a crawl, to show a rising share while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crawl.fetch.requests import FetchResult
from crawl.warc.refusals import is_wall

# Answers of one window; the recent ones are those of the last full window and the running one.
WINDOW: Final = 200
# A share worth a warning: of the recent answers, against the earlier ones, and at least so many.
LEAST_SHARE: Final = 0.05
RISE: Final = 1.5
HIGH_SHARE: Final = 0.2
LEAST_WALLS: Final = 10
# `pages.cause` of a stored answer that is a wall, in a crawl that asks archives for it.
BOT_WALL: Final = "bot_wall"
NAMES: Final = ("answers", "walls", "recent_answers", "recent_walls")


class WallCounter:
    """The share of bot walls among the answers of one worker, in all and of late."""

    def __init__(self) -> None:
        self.answers = 0
        self.walls = 0
        self._last = (0, 0)
        self._running = [0, 0]

    def note(self, result: FetchResult) -> bool:
        """Count an answer. True if it is a wall."""
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in result.headers
        ]
        wall = is_wall(headers, result.body)
        self.answers += 1
        self.walls += wall
        self._running[0] += 1
        self._running[1] += wall

        if self._running[0] == WINDOW:
            self._last = (self._running[0], self._running[1])
            self._running = [0, 0]
        return wall

    def state(self) -> dict[str, int]:
        """The counts for the progress of a crawl."""
        return {
            "answers": self.answers,
            "walls": self.walls,
            "recent_answers": self._last[0] + self._running[0],
            "recent_walls": self._last[1] + self._running[1],
        }


def warning(counts: Mapping[str, Any]) -> str | None:
    """The warning about walls, by the sum of the workers' counts."""
    answers, walls, recent, recent_walls = (int(counts.get(name, 0)) for name in NAMES)
    if recent_walls < LEAST_WALLS or recent_walls < LEAST_SHARE * recent:
        return None

    share = recent_walls / recent
    earlier_answers = answers - recent
    earlier = (walls - recent_walls) / earlier_answers if earlier_answers else 0.0
    if share < HIGH_SHARE and share < RISE * earlier:
        return None

    before = f", {earlier:.0%} before" if earlier_answers else ""
    return (
        f"warning: bot walls in {share:.0%} of the last {recent:,} answers{before}: raise "
        "crawl.fetch.delay_s or check crawl.fetch.user_agent"
    )
