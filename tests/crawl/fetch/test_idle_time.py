"""Seconds in which a worker has nothing to do: few before its first request and after its last."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from crawl.fetch.dispatcher import Dispatcher
from crawl.fetch.fleet.tending import AGAIN_S, LOOK_S, REMOTE_LOOK_S, Tender
from crawl.fetch.jobs import Link, Resume
from crawl.fetch.network.resolver import Endpoint, Resolved
from crawl.fetch.settings import FetchConfig
from tests.crawl.fetch.test_dispatch import Notes
from tests.crawl.fetch.virtual_clock import VirtualLoop


class Looking(Tender):
    """A worker whose links end at a time, with the times of its looks.

    Of the looks without links left the first makes outcomes durable, the second marks shards as
    done, and the third finds that all are.
    """

    def __init__(self, busy_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._began_at = loop.time()
        self._busy_s = busy_s
        self.is_finished = self.has_changed = False
        self.looks: list[float] = []
        self._idle_looks = 0

    @property
    def is_idle(self) -> bool:
        return self._clock() - self._began_at >= self._busy_s

    async def look(self) -> float:
        self.looks.append(self._clock() - self._began_at)
        self.has_changed = len(self.looks) == 1
        if self.is_idle:
            self._idle_looks += 1
            self.has_changed = self._idle_looks == 2
            self.is_finished = self._idle_looks == 3
        return LOOK_S

    async def _is_alone(self) -> bool:
        return True


def run(work: Any) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


async def tended(busy_s: float, *, is_local: bool) -> list[float]:
    tender = Looking(busy_s)
    await tender.tend(is_local=is_local)
    return tender.looks


@pytest.mark.parametrize("busy_s", [0.0, 0.02, 0.95, 1.0, 3.33, 7.5])
def test_a_local_batch_ends_soon_after_its_last_page(busy_s: float) -> None:
    looks = run(tended(busy_s, is_local=True))
    busy, idle = [at for at in looks if at < busy_s], [at for at in looks if at >= busy_s]
    assert len(idle) == 3
    assert idle[-1] <= busy_s + 4 * AGAIN_S
    # As long as there are links, a look a second.
    assert busy == pytest.approx([LOOK_S * number for number in range(len(busy))])
    assert busy_s - LOOK_S <= (busy[-1] if busy else 0.0)


@pytest.mark.parametrize("busy_s", [0.5, 33.0])
def test_an_object_store_is_not_asked_more_often(busy_s: float) -> None:
    """A look takes several requests there."""
    looks = run(tended(busy_s, is_local=False))
    assert min(late - early for early, late in itertools.pairwise(looks)) >= LOOK_S
    assert len(looks) <= 5 + busy_s / REMOTE_LOOK_S


def test_an_idle_worker_looks_ever_later() -> None:
    """Others may be at work for hours."""

    class Waiting(Looking):
        async def look(self) -> float:
            await super().look()
            self.has_changed, self.is_finished = False, self._clock() - self._began_at > 60
            return LOOK_S

    async def looks() -> list[float]:
        tender = Waiting(0.0)
        await tender.tend(is_local=True)
        return tender.looks

    assert len(run(looks())) <= 63


class OneAddress:
    """Knows every host."""

    def known(self, host: str) -> Resolved:
        return Resolved((Endpoint("1.1.1.1"),))


@pytest.mark.parametrize("way", ["rows", "resumed"])
def test_links_that_are_added_wake_a_waiting_dispatcher(way: str) -> None:
    """It slept for up to a second, although all that it waits for had come."""

    async def waited_s() -> float:
        loop = asyncio.get_running_loop()
        link = Link("0" * 32, "http://a.test/x")
        config = FetchConfig(contact="https://example.org/", delay_s=0.0)
        resolver: Any = OneAddress()
        dispatcher = Dispatcher(config, resolver, Notes(), lambda row: link, total=0)
        dispatcher.expects_more = True
        asking = asyncio.ensure_future(dispatcher.next_permit())
        await asyncio.sleep(0.25)
        began_at = loop.time()
        dispatcher.expect(0, 1)
        if way == "rows":
            dispatcher.add_rows("a.test", [0])
        else:
            dispatcher.add_resumed("a.test", 0, Resume(1, 1, 0.0))
        assert await asking is not None
        return loop.time() - began_at

    assert run(waited_s()) == 0.0
