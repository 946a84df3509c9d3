"""Score maturity: were a dump's scores taken after the votes were in?

If an archive records a submission seconds after its posting, it sees a score of 1, and a rule
asking for 3 then silently keeps almost nothing. In one archive's 2023-08 to 2023-10, the mean score
is 1.0 and the lag between posting and retrieval 0 days; 2023-06 has a mean of 39.9 and a lag of
weeks. Months are not hard-coded, since other archives have the same months with later scores: every
dump is judged by its own numbers, and by its neighbours'.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from corpus.errors import InputError
from corpus.tables.external_files import in_order
from crawl.links.submissions import Number, whole_number

# WebText's threshold: immature dumps lack the share of scores from here on.
ADMITTED_SCORE = 3

SCORE_CAP = 1000
LAG_CAP_HOURS = 24 * 365
# Distinct values that wait to be understood, so that no dump, however made, fills the memory.
MAX_VALUES = 10 * SCORE_CAP

# Dumps with fewer scores are not judged: their shares say little.
MIN_SCORES = 1000

# Votes are nearly all in after a day.
MIN_LAG_HOURS = 24

# A share below this is immature for any lag: ordinary months are at 0.2 to 0.5, the early
# captures below 0.02.
FLOOR_SHARE = 0.05

# A share below this is immature where the lag is under MIN_LAG_HOURS as well.
EARLY_SHARE = 0.12

# A share below this part of the other dumps' median share is immature, with a low median score or
# a short lag.
NEIGHBOUR_RATIO = 1 / 3

# Dumps before and behind one, in the order of their names, that it is compared with: shares drift
# over the years.
NUM_NEIGHBOURS = 3


@dataclass(slots=True)
class ScoreStatistics:
    """Histograms of a dump's scores, without advertisements. They can be added up."""

    values: Counter[Number] = field(default_factory=Counter)
    """Submissions by their `score` field as it is in the rows; it is converted at the end."""
    lags: Counter[int] = field(default_factory=Counter)
    """Sampled submissions by whole hours between posting and the (last) retrieval, capped at a year."""
    truncated: bool = False
    """True if the dump was truncated; its readable rows were counted."""

    def add_scores(self, scores: Iterable[Number]) -> None:
        """Count submissions by their `score` fields."""
        self.values.update(scores)
        if len(self.values) > MAX_VALUES:
            self.values = Counter(self.scores)

    def add_lag(self, created_s: int, retrieved_s: int) -> None:
        """Count one sampled submission; both times in seconds since 1970."""
        self.lags[max(0, min((retrieved_s - created_s) // 3600, LAG_CAP_HOURS))] += 1

    def to_json(self) -> bytes:
        """The statistics as bytes, for another process."""
        histograms = {"scores": sorted(self.scores.items()), "lags": sorted(self.lags.items())}
        return json.dumps(histograms | {"truncated": self.truncated}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> ScoreStatistics:
        """Read the output of `to_json`."""
        found = json.loads(data)
        return cls(Counter(dict(found["scores"])), Counter(dict(found["lags"])), found["truncated"])

    @property
    def scores(self) -> Counter[int]:
        """Submissions by score, capped at SCORE_CAP; those without a number don't count."""
        found: Counter[int] = Counter()
        for value, count in self.values.items():
            score = whole_number(value)
            if score is not None:
                found[max(-SCORE_CAP, min(score, SCORE_CAP))] += count
        return found

    @property
    def num_scores(self) -> int:
        """Submissions with a score."""
        return self.scores.total()

    @property
    def admitted_share(self) -> float:
        """The fraction of submissions at ADMITTED_SCORE or above; 0 if there are none."""
        scores = self.scores
        return sum(count for score, count in scores.items() if score >= ADMITTED_SCORE) / max(
            1, scores.total()
        )

    @property
    def median_score(self) -> int:
        """The lower median; 0 if there are no scores."""
        return _median(self.scores) or 0

    @property
    def median_lag_hours(self) -> int | None:
        """The lower median, or None if no sampled row has a retrieval time."""
        return _median(self.lags)


@dataclass(frozen=True, slots=True)
class Immature:
    """The reason why a dump's scores are not mature."""

    name: str
    admitted_share: float
    median_score: int
    median_lag_hours: int | None
    why: str

    def __str__(self) -> str:
        lag = "unknown" if self.median_lag_hours is None else f"{self.median_lag_hours} h"
        return (
            f"{self.name}: scores were taken too early: {self.admitted_share:.1%} of submissions have a score >= "
            f"{ADMITTED_SCORE}, the median score is {self.median_score}, the median lag between posting and retrieval "
            f"{lag} ({self.why}); use a later release of this month, or --allow-immature-scores to go on with these"
        )


class ImmatureScoresError(InputError):
    """The dump's scores would let almost no link pass."""


def immature(
    name: str, statistics: ScoreStatistics, others: Mapping[str, ScoreStatistics] | None = None
) -> Immature | None:
    """The problem of the scores of dump `name`, or None.

    `others` are dumps to compare it with.
    """
    why = _own_reason(statistics) or _neighbour_reason(statistics, name, others or {})
    if why is None:
        return None

    return Immature(
        name, statistics.admitted_share, statistics.median_score, statistics.median_lag_hours, why
    )


def immature_among(dumps: Mapping[str, ScoreStatistics]) -> list[Immature]:
    """The dumps (by path) with immature scores, each compared with its neighbours by name."""
    names = in_order([*dumps])
    found = []
    for place, name in enumerate(names):
        around = names[max(0, place - NUM_NEIGHBOURS) : place + NUM_NEIGHBOURS + 1]
        verdict = immature(name, dumps[name], {other: dumps[other] for other in around})
        if verdict is not None:
            found.append(verdict)

    return found


def _own_reason(statistics: ScoreStatistics) -> str | None:
    if statistics.num_scores < MIN_SCORES:
        return None

    share, lag = statistics.admitted_share, statistics.median_lag_hours
    if share < FLOOR_SHARE:
        return f"expected a share of {FLOOR_SHARE:.0%} or more"
    if lag is not None and lag < MIN_LAG_HOURS and share < EARLY_SHARE:
        return f"expected a lag of {MIN_LAG_HOURS} h, or a share of {EARLY_SHARE:.0%} or more"

    return None


def _neighbour_reason(
    statistics: ScoreStatistics, name: str, others: Mapping[str, ScoreStatistics]
) -> str | None:
    shares = sorted(
        other.admitted_share
        for other_name, other in others.items()
        if other_name != name and other.num_scores >= MIN_SCORES
    )
    if len(shares) < 2 or statistics.num_scores < MIN_SCORES:
        return None

    usual = shares[len(shares) // 2]
    lag = statistics.median_lag_hours
    early = statistics.median_score <= 1 or (lag is not None and lag < MIN_LAG_HOURS)
    if early and statistics.admitted_share < usual * NEIGHBOUR_RATIO:
        return f"the other dumps' median share is {usual:.1%}"

    return None


def _median(histogram: Counter[int]) -> int | None:
    middle = (histogram.total() + 1) // 2
    seen = 0
    for value in sorted(histogram):
        seen += histogram[value]
        if seen >= middle:
            return value
    return None
