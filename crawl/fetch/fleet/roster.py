"""Owners of a batch's shards, and the rules for changing owners. Pure.

A roster is one small object in the corpus. Every change of it replaces exactly the version it is
based on, so two workers never own a shard, and only a worker aware of everything up to this version
marks a shard done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

FREE = -1
# A move costs a robots.txt per host and a commit, so small differences stay.
UNEVEN_FRAC = 0.1
# Links fewer than this are not worth a move: any worker ends them while domains rest.
LEAST_GAP = 64.0
# Between the estimates of two owners, and of one over some minutes.
MOST_DRIFT = 2.0
# Workers that a shard may lose before its links are suspected of killing them.
MOST_LOST = 20


@dataclass(slots=True)
class Roster:
    """One entry per shard, and the workers of the batch by their life numbers."""

    owners: list[int]
    """The life that owns each shard, or `FREE`."""
    is_done: list[bool]
    """True if all known links of the shard have ended, and hand-overs have arrived."""
    weights: list[float]
    """Links that could be fetched before the end, as the last owner counted them. 0: not counted."""
    lives: list[list[int]]
    """Lives that ever owned the shard: their states have its retry times and paces."""
    num_lost: list[int]
    """Owners that the shard lost to crashes."""
    num_left: list[int] = field(default_factory=list)
    """All links left, counted with `weights`."""
    servable: float = 0.0
    """Links of one domain that count in `weights`: those that could be fetched before the end."""
    members: list[int] = field(default_factory=list)
    next_life: int = 0
    version: int = 0

    def __post_init__(self) -> None:
        self.num_left = self.num_left or [0] * len(self.owners)

    @classmethod
    def empty(cls, num_shards: int) -> Roster:
        """A roster of shards without owners."""
        return cls(
            owners=[FREE] * num_shards,
            is_done=[False] * num_shards,
            weights=[0.0] * num_shards,
            lives=[[] for _ in range(num_shards)],
            num_lost=[0] * num_shards,
        )

    @classmethod
    def parse(cls, data: bytes) -> Roster:
        """The roster in `data`, as written by `dump`."""
        return cls(**json.loads(data))

    def dump(self) -> bytes:
        """The roster as JSON."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields, separators=(",", ":")).encode()

    @property
    def is_finished(self) -> bool:
        """True if nothing is left to fetch."""
        return all(self.is_done)

    def owned_by(self, life: int) -> list[int]:
        """Shards of a worker."""
        return [shard for shard, owner in enumerate(self.owners) if owner == life]

    def own(self, shard: int, life: int) -> None:
        """Give a shard to a worker."""
        self.owners[shard] = life
        if life not in self.lives[shard]:
            self.lives[shard].append(life)

    def reopen(self, shard: int) -> None:
        """Mark a shard as not done: a link came."""
        self.is_done[shard] = False
        self.weights[shard] = max(1.0, self.weights[shard])

    def count_up_to(self, servable: float) -> None:
        """Let another number of links per domain count, unless it differs little.

        All owners then count anew, so that loads of one version are comparable.
        """
        if not self.servable / MOST_DRIFT <= servable <= self.servable * MOST_DRIFT:
            self.servable = servable
            self.weights = [0.0] * len(self.owners)

    def remove(self, life: int, *, lost: bool) -> None:
        """Take a worker off, and free its shards. `lost`: it crashed and did not leave."""
        self.members = [member for member in self.members if member != life]
        for shard in self.owned_by(life):
            self.owners[shard] = FREE
            self.num_lost[shard] += lost and not self.is_done[shard]

    def claims(self, life: int, most: int, order: Sequence[int]) -> Iterator[int]:
        """Free shards for a worker to take now: its fair share, and `most` at a time.

        For a batch's first worker, `most` keeps the others' shares free while they start. `order`
        is the order of offering shards.
        """
        load = {s: max(1.0, self.weights[s]) for s, done in enumerate(self.is_done) if not done}
        fair = sum(load.values()) / max(1, len(self.members))
        mine = sum(load[shard] for shard in load if self.owners[shard] == life)

        for shard in order:
            if mine >= fair or most <= 0:
                return
            if self.owners[shard] == FREE and shard in load:
                mine += load[shard]
                most -= 1
                yield shard

    def moves(self) -> dict[int, int]:
        """Shards to change owners, with their next owners; the same for every worker.

        None while shards are free or not counted: their weights may decide otherwise.
        """
        entries = zip(self.owners, self.is_done, self.weights, strict=True)
        if any(not done and (owner == FREE or not load) for owner, done, load in entries):
            return {}

        owners = np.array(self.owners)
        weights = np.where(self.is_done, 0.0, self.weights)
        num_left = np.where(self.is_done, 0, self.num_left).sum()
        # While hosts rest, only some of their links count as load. The gap is one of links.
        least = LEAST_GAP * weights.sum() / max(1, num_left)

        return balance(owners, weights, self.members, least=least)


def balance(
    owners: np.ndarray, weights: np.ndarray, members: Sequence[int], *, least: float
) -> dict[int, int]:
    """Shards to move, with their next owners, until the loads of members are even.

    The member with most work gives one shard to the member with least: the largest one that makes
    them more even. Shapes: `owners` (shards,) int64, `weights` (shards,) float64.
    """
    names = sorted(members)
    if len(names) < 2:
        return {}

    owners = owners.copy()
    sums = np.array([weights[owners == name].sum() for name in names])
    moves: dict[int, int] = {}
    for _ in range(len(owners)):
        rich, poor = int(sums.argmax()), int(sums.argmin())
        gap = sums[rich] - sums[poor]
        movable = np.flatnonzero((owners == names[rich]) & (weights > 0) & (weights <= gap / 2))
        if gap < max(least, UNEVEN_FRAC * sums.mean()) or not len(movable):
            break

        shard = int(movable[weights[movable].argmax()])
        owners[shard] = moves[shard] = names[poor]
        sums[rich] -= weights[shard]
        sums[poor] += weights[shard]

    return moves
