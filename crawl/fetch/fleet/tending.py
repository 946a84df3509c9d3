"""The shards of one worker: claimed, filled, given away and marked done while it fetches.

The roster is polled every second; on an object store every ten, sooner after a change and while
there is nothing to fetch. A pass reads the other workers'
rows, decides on changes, and writes all of them as one replacement of the roster just read. If
another worker was first, nothing has changed, and the next pass decides again.

A shard is done when its links have ended, their outcomes are durable, and each link handed over has
an outcome of its receiver. So a batch with all shards done has nothing left.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from corpus.errors import FatalError, LostLeaseError
from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.fleet.journals import (
    Arrival,
    History,
    Journals,
    Sent,
    acknowledged,
    acknowledged_by,
)
from crawl.fetch.fleet.link_tables import LinkTables, Start, links_left, restore_paces
from crawl.fetch.fleet.membership import Membership, Seen
from crawl.fetch.fleet.roster import FREE, MOST_LOST, Roster
from crawl.fetch.jobs import Link
from crawl.outcomes import Outcome, Reason

log = logging.getLogger(__name__)

# Seconds between passes over a local corpus.
LOOK_S = 1.0
# The same on an object store, where a look takes several requests.
REMOTE_LOOK_S = 10.0
# Seconds in which all other workers look, their slow requests to the store included.
JOIN_S = 1.5 * REMOTE_LOOK_S
# Seconds until the next look after another worker changed the roster first, and on a local corpus
# until the first looks of a worker without links left.
AGAIN_S = 0.2
WEIGH_S = 60.0
# Pages per second of a worker (docs/crawl.md), to estimate the time left.
PAGES_PER_S = 256.0

Call = Callable[..., Awaitable[Any]]


class Storage(Protocol):
    """Blocking access to the files of a batch."""

    def links(self, shards: Sequence[int]) -> Mapping[int, pa.Table]:
        """All links of some shards."""

    def states(self, lives: Iterable[int]) -> list[dict[str, Any]]:
        """The saved states of lives (`Dispatcher.state`)."""

    def save(self, state: dict[str, Any]) -> None:
        """Make this worker's journal, and its state, readable for others."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Fixed numbers of a batch's fetch, as one worker has them."""

    num_shards: int
    expected: int
    """Workers that are likely to start at the same time."""
    first: Sequence[int]
    """Shards in the order in which this worker would take them."""
    rest_s: float
    """Seconds until a domain may be asked that another worker may just have asked."""
    delay_s: float
    cap: int
    """Links per domain; 0: all."""


class Tender:
    """Keeps a worker's dispatcher in step with the roster. Runs in the dispatcher's event loop."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        membership: Membership,
        journals: Journals,
        storage: Storage,
        tables: LinkTables,
        terms: Terms,
        *,
        share: Callable[[int], None] = lambda workers: None,
        call: Call,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`share(workers)` is called with the number of workers of the batch at each look.

        `call(function, *arguments)` runs a blocking function, as `asyncio.to_thread` does.
        """
        self._dispatcher = dispatcher
        self._membership = membership
        self._journals = journals
        self._storage = storage
        self._tables = tables
        self._terms = terms
        self._share = share
        self._call = call
        self._clock = clock
        self._wall = wall

        # Redirects behind the last known hop of each link, per open shard.
        self._hops: dict[int, dict[str, int]] = {}
        # Hand-overs of open shards without an outcome of the receiver.
        self._sent: dict[tuple[str, int], Sent] = {}
        # Links for shards already marked done: these have to be reopened first.
        self._held: list[Arrival] = []
        # Outcomes that became durable while shards were being opened: the journals may have been
        # read before. None at other times.
        self._late: list[Outcome] | None = None
        # Shards being given away, with their next owners.
        self._leaving: dict[int, int] = {}
        self._is_done: set[int] = set()
        self._past: dict[str, Any] = {}
        self._weighed_at = self._clock()
        self._weighed_for: list[int] = []
        self.is_finished = False
        self.has_changed = False
        """True if the last look changed the roster."""

        dispatcher.handed_over = self._hand_over
        dispatcher.committed = self._note_committed
        dispatcher.expects_more = True

    @property
    def num_shards(self) -> int:
        """Shards open in this worker."""
        return len(self._hops)

    def state(self) -> dict[str, Any]:
        """The state to save: of the open shards, and of those given away by this worker.

        Their next owners may read it only later.
        """
        return merged_states([self._past, self._dispatcher.state(self._clock(), self._wall())])

    @property
    def is_idle(self) -> bool:
        """True if this worker has nothing left to fetch."""
        return self._dispatcher.done >= self._dispatcher.total

    async def tend(self, *, is_local: bool) -> None:
        """Take, fill and give away shards until none of the batch has links left."""
        longest_s = LOOK_S if is_local else REMOTE_LOOK_S
        if not is_local and not await self._is_alone():
            # The others divide the pace of addresses by one more worker from their next look on.
            await asyncio.sleep(JOIN_S)

        pause_s = AGAIN_S / 2 if is_local else LOOK_S
        while not self.is_finished:
            if await self.look() < LOOK_S:
                await asyncio.sleep(AGAIN_S * (1 + random.random()))
                continue

            # Soon after a change, since it often allows the next one; ever later while idle.
            if self.has_changed:
                pause_s = AGAIN_S if is_local and self.is_idle else LOOK_S
            else:
                pause_s = min(longest_s, 2 * pause_s) if self.is_idle else longest_s
            if is_local and not self.is_idle:
                pause_s = await self._work(pause_s)
            else:
                await asyncio.sleep(pause_s)

    async def _work(self, longest_s: float) -> float:
        """Wait while there are links to fetch, for `longest_s` at most.

        Returns a pause, of which twice as much passes before the look after the next one. A batch's
        last page would otherwise be followed by two or three seconds in which nothing happens.
        """
        until = self._clock() + longest_s
        while (left_s := until - self._clock()) > 0:
            await asyncio.sleep(min(left_s, AGAIN_S / 2))
            if self.is_idle:
                return AGAIN_S / 2
        return longest_s

    async def _is_alone(self) -> bool:
        """True if no other worker is in the roster now."""
        seen: Seen = await self._call(self._membership.look)
        return {*seen.roster.members} <= {self._membership.life}

    async def leave(self) -> None:
        """Free all shards, once everything is durable."""
        await self._call(self._storage.save, self.state())
        await self._call(self._membership.leave)

    async def look(self) -> float:
        """Take one look; seconds until the next one. Raises: LostLeaseError, FatalError."""
        await self._call(self._membership.renew)
        seen = await self._call(self._membership.look)
        self._dispatcher.valid_until = self._membership.valid_until
        self._check(seen.roster)
        self._share(len(seen.roster.members))

        # Read after the roster: the rows then include all causes of this version.
        rows = await self._call(self._journals.read_new, self._membership.life)
        for key in [*acknowledged(rows, self._sent)]:
            self._sent.pop(key, None)
        for arrival in self._journals.arrivals(rows):
            self._arrive(arrival)

        if seen.roster.is_finished:
            self.is_finished = True
            self._dispatcher.expect_no_more()
            return LOOK_S
        return LOOK_S if await self._change(seen) else AGAIN_S

    async def _change(self, seen: Seen) -> bool:
        """Make the due changes; False if another worker changed the roster first."""
        life, roster = self._membership.life, Roster.parse(seen.data)
        self._begin_leaving(seen.roster)
        self._commit_if_idle()

        gone = {shard for shard in self._leaving if self._dispatcher.has_left(shard)}
        for shard in gone:
            to = self._leaving[shard]
            roster.owners[shard] = FREE
            if to in roster.members:
                roster.own(shard, to)

        most = -(-self._terms.num_shards // max(1, self._terms.expected))
        for shard in [*roster.claims(life, most, self._terms.first)]:
            roster.own(shard, life)
        self._mark(roster)
        self._weigh(roster)

        self.has_changed = roster != seen.roster
        if self.has_changed:
            if gone or roster.is_done != seen.roster.is_done:
                await self._call(self._storage.save, self.state())
            if not await self._call(self._membership.replace, seen, roster):
                return False

        for shard in gone:
            self._forget(shard)
        self._is_done = {shard for shard in self._hops if roster.is_done[shard]}
        held, self._held = self._held, []
        for arrival in held:
            self._arrive(arrival)
        await self._open([s for s in roster.owned_by(life) if s not in self._hops], roster)
        return True

    def _check(self, roster: Roster) -> None:
        """Raise LostLeaseError if this worker's shards are another's, as after a freeze."""
        life = self._membership.life
        if life not in roster.members or any(roster.owners[s] != life for s in self._hops):
            raise LostLeaseError(
                f"crawl worker {life} was silent for too long; others have its shards, and it keeps "
                "no more pages"
            )

        refuse_deadly(roster)

    # Links that change shards

    def _hand_over(self, sender: int, link: Link) -> None:
        receiver = self._journals.shard_of_url(link.target or link.url)
        if receiver is None:
            return
        arrival = Arrival(receiver, link, sender)
        self._sent[arrival.key] = Sent(sender, receiver)
        if receiver in self._hops:
            self._arrive(arrival)

    def _arrive(self, arrival: Arrival) -> None:
        """Continue a link handed over by another shard, each hop once."""
        hops = self._hops.get(arrival.shard)
        doc_id, num_redirects = arrival.key
        if hops is None or arrival.shard in self._leaving:
            return  # its next owner finds it in the journals
        if num_redirects <= hops.get(doc_id, -1):
            return
        if arrival.shard in self._is_done:
            self._held.append(arrival)
            return

        hops[doc_id] = num_redirects
        self._dispatcher.expect(arrival.shard, 1)
        self._dispatcher.add_job(arrival.link.job())

    def _note_committed(self, outcomes: Sequence[Outcome]) -> None:
        if self._late is not None:
            self._late += outcomes
            return

        for outcome in outcomes:
            num_redirects = len(outcome.redirects)
            for key in [*acknowledged_by(outcome.shard, outcome.doc_id, num_redirects, self._sent)]:
                self._sent.pop(key, None)
            if outcome.reason is Reason.HANDED_OVER and outcome.final_url is not None:
                # The receiver may have come to this worker meanwhile.
                receiver = self._journals.shard_of_url(outcome.final_url)
                redirects = tuple(outcome.redirects)
                link = Link(outcome.doc_id, outcome.url, outcome.final_url, redirects)
                if receiver is not None:
                    self._arrive(Arrival(receiver, link, outcome.shard))

    # Shards that come and go

    async def _open(self, shards: Sequence[int], roster: Roster) -> None:
        """Fill the dispatcher with the links left of newly owned shards."""
        if not shards:
            return

        life = self._membership.life
        others = {shard for shard in shards if set(roster.lives[shard]) - {life}}
        self._late = []
        history: History = await self._call(self._journals.history, shards)
        tables = await self._call(self._storage.links, shards)
        lives = sorted({each for shard in shards for each in roster.lives[shard]})
        state = merged_states(await self._call(self._storage.states, lives))

        now = self._clock()
        for shard in shards:
            hops = self._hops[shard] = history.hops[shard]
            done = pa.array([*hops], pa.string())
            left = links_left(tables[shard], done, self._terms.cap)
            quiet = now + self._terms.rest_s if shard in others else 0.0
            start = Start(quiet, now - self._wall(), self._only(state, shard))
            self._dispatcher.expect(shard, left.num_rows, quiet)
            self._tables.add(shard, left, self._dispatcher, start)
            restore_paces(self._dispatcher, start)
            for doc_id in left["doc_id"].to_pylist():
                hops.setdefault(doc_id, 0)

        self._sent |= history.sent
        self._is_done |= {shard for shard in shards if roster.is_done[shard]}
        for arrival in history.arrivals:
            self._arrive(arrival)
        late, self._late = self._late, None
        self._note_committed(late)

    def _only(self, state: dict[str, Any], shard: int) -> dict[str, Any]:
        """The part of a state about the domains of a shard, and all retry times."""
        shard_of = self._dispatcher.shard_of
        return {
            name: values
            if name == "retrying"
            else {key: value for key, value in values.items() if shard_of(key) == shard}
            for name, values in state.items()
        }

    def _begin_leaving(self, roster: Roster) -> None:
        moves = {
            shard: to
            for shard, to in roster.moves().items()
            if shard in self._hops and shard not in self._leaving
        }
        if moves:
            self._leaving |= moves
            self._dispatcher.begin_leaving(set(moves))
            self._dispatcher.commit()

    def _forget(self, shard: int) -> None:
        del self._leaving[shard]
        hops = self._hops.pop(shard)
        past = self._only(self._dispatcher.state(self._clock(), self._wall()), shard)
        past["retrying"] = {key: at for key, at in past["retrying"].items() if key in hops}
        self._past = merged_states([self._past, past])
        self._dispatcher.forget(shard, hops)
        self._tables.forget(shard)
        self._sent = {key: each for key, each in self._sent.items() if each.sender != shard}

    # Ends

    def _commit_if_idle(self) -> None:
        """Make outcomes durable soon if another worker waits for them."""
        dispatcher = self._dispatcher
        if dispatcher.done >= dispatcher.total or any(
            dispatcher.has_open(shard) for shard in self._leaving
        ):
            dispatcher.commit()
        elif self._sent:
            dispatcher.flush()

    def _mark(self, roster: Roster) -> None:
        """Mark finished shards, and reopen those with new links."""
        senders = Counter(each.sender for each in self._sent.values())
        awaited = {arrival.shard for arrival in self._held}
        for shard in self._hops.keys() - self._leaving.keys():
            if shard in awaited:
                roster.reopen(shard)
            elif not (
                self._dispatcher.left[shard] or self._dispatcher.has_open(shard) or senders[shard]
            ):
                roster.is_done[shard] = True

        for each in self._sent.values():
            if roster.is_done[each.receiver] and roster.owners[each.receiver] == FREE:
                roster.reopen(each.receiver)

    def _weigh(self, roster: Roster) -> None:
        now = self._clock()
        own = self._hops.keys() - self._leaving.keys() - self._is_done
        is_recent = now - self._weighed_at < WEIGH_S and roster.members == self._weighed_for
        if is_recent and all(roster.weights[shard] for shard in own):
            return

        self._weighed_at, self._weighed_for = now, [*roster.members]
        for shard in own:
            roster.num_left[shard] = self._dispatcher.left[shard]
        # Not of the weights: an earlier estimate has cut them, and would repeat itself.
        left = sum(n for n, done in zip(roster.num_left, roster.is_done, strict=True) if not done)
        horizon_s = left / (max(1, len(roster.members)) * PAGES_PER_S)
        roster.count_up_to(max(1.0, horizon_s / max(0.05, self._terms.delay_s)))

        weights = self._dispatcher.weights(roster.servable)
        for shard in own:
            roster.weights[shard] = max(1.0, float(weights[shard]))


def refuse_deadly(roster: Roster) -> None:
    """Raise FatalError if a shard has lost too many workers: one of its pages may kill them."""
    for shard, num_lost in enumerate(roster.num_lost):
        if num_lost > MOST_LOST and not roster.is_done[shard]:
            raise FatalError(
                f"shard {shard} has lost {num_lost} workers, more than {MOST_LOST}: one of its "
                "pages may end them. The log of the run says how they ended; to fetch the rest, "
                "leave out the domain with crawl.links.blocked_hosts_file and --rebuild"
            )


def merged_states(states: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """One state of several. If they share domains, the longest rest counts."""
    merged: dict[str, dict[str, Any]] = {}
    for state in states:
        for name, values in state.items():
            known = merged.setdefault(name, {})
            for key, value in values.items():
                known[key] = max(value, known.get(key, value))
    return merged
