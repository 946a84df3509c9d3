"""Resolution of names: off the event loop, with a time limit, remembered with its failures.

Each name has its own thread for `getaddrinfo`. Dead domains of old links hang for half a minute;
such a thread is abandoned, so it blocks neither other names nor the end of the process, as a pool's
thread would. The time limit counts from the start of the thread, so a slow neighbour costs no name
its answer. Host patterns of `connect_to` need no look-up. Addresses refused by the guard are
distinguished from unknown names; the dial itself is guarded again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import OrderedDict
from fnmatch import fnmatchcase
from typing import NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult

from crawl.fetch.network import addresses
from crawl.outcomes import Reason

# Most simultaneous look-ups.
NUM_THREADS = 128
CACHE_SIZE = 1 << 16
# Seconds of remembering a resolved name, failures too; a tenth for transient ones.
DNS_CACHE_S = 300.0
# Errors of `getaddrinfo` for an unknown name, or one without an address.
NOT_FOUND = frozenset(
    {
        socket.EAI_NONAME,
        *(code for code in (getattr(socket, "EAI_NODATA", None),) if code is not None),
    }
)


# What `getaddrinfo` gives for an address; the last item begins with it.
AddressInfo = tuple[object, object, object, object, tuple[object, ...]]


class Endpoint(NamedTuple):
    """An address to dial; without `port`, the port of the URL is used."""

    ip: str
    port: int | None = None


class Resolved(NamedTuple):
    """The answer for a host: endpoints to dial, or the reason why there are none."""

    endpoints: tuple[Endpoint, ...]
    reason: Reason | None = None


class Resolver(AbstractResolver):
    """Resolves hosts for the dispatcher (`lookup`) and, from the same cache, for aiohttp."""

    def __init__(
        self,
        *,
        connect_to: dict[str, tuple[str, int]],
        networks: tuple[addresses.Network, ...],
        public: bool,
        timeout_s: float,
        cache_s: float | None = None,
    ) -> None:
        self._connect_to = connect_to
        self._networks = networks
        self._public = public
        self._timeout_s = timeout_s
        self._cache_s = DNS_CACHE_S if cache_s is None else cache_s
        self._known: OrderedDict[str, tuple[float, Resolved]] = OrderedDict()
        self._threads = asyncio.Semaphore(NUM_THREADS)

    def known(self, host: str) -> Resolved | None:
        """The cached answer for `host`, if it is fresh."""
        entry = self._known.get(host)
        if entry is None or entry[0] < time.monotonic():
            return None
        return entry[1]

    async def lookup(self, host: str) -> Resolved:
        """Allowed endpoints of `host`, or the reason why there are none.

        Never raises.
        """
        answer = self.known(host)
        if answer is None:
            answer = self._judge(self._fixed(host) or await self._ask(host))
            passing = answer.reason is Reason.DNS_FAILED
            keep_s = self._cache_s / 10 if passing else self._cache_s
            self._known[host] = (time.monotonic() + keep_s, answer)
            while len(self._known) > CACHE_SIZE:
                self._known.popitem(last=False)

        return answer

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve for aiohttp. Raises OSError."""
        answer = await self.lookup(host)
        if not answer.endpoints:
            raise OSError(None, f"{host}: {answer.reason}")

        return [
            ResolveResult(
                hostname=host,
                host=endpoint.ip,
                port=endpoint.port if endpoint.port is not None else port,
                family=socket.AF_INET6 if ":" in endpoint.ip else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for endpoint in answer.endpoints
        ]

    async def close(self) -> None:
        """Do nothing: a hanging look-up is abandoned."""

    def _fixed(self, host: str) -> Resolved | None:
        for pattern, (ip, port) in self._connect_to.items():
            if fnmatchcase(host, pattern):
                return Resolved((Endpoint(ip, port),))
        bare = host.strip("[]")
        return Resolved((Endpoint(bare),)) if addresses.is_literal(bare) else None

    async def _ask(self, host: str) -> Resolved:
        await self._threads.acquire()
        try:
            answer = self._begin(host)
            async with asyncio.timeout(self._timeout_s):
                infos = await answer
        except socket.gaierror as error:
            return Resolved(
                (), Reason.DNS_NOT_FOUND if error.errno in NOT_FOUND else Reason.DNS_FAILED
            )
        except (OSError, UnicodeError, RuntimeError):
            # A time-out; a name that IDNA or the resolver refuses; a machine without room for one more thread.
            return Resolved((), Reason.DNS_FAILED)

        return Resolved(tuple(dict.fromkeys(Endpoint(str(info[4][0])) for info in infos)))

    def _begin(self, host: str) -> asyncio.Future[list[AddressInfo]]:
        """Ask for a name in a thread. It holds one of `NUM_THREADS` places until it ends."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[AddressInfo]] = loop.create_future()

        def ended(infos: list[AddressInfo], error: Exception | None) -> None:
            self._threads.release()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(infos)

        def look_up() -> None:
            infos: list[AddressInfo] = []
            failure: Exception | None = None
            try:
                infos = _getaddrinfo(host)
            except (OSError, UnicodeError) as error:
                failure = error

            with contextlib.suppress(RuntimeError):  # the crawl has ended meanwhile
                loop.call_soon_threadsafe(ended, infos, failure)

        try:
            threading.Thread(target=look_up, name="dns", daemon=True).start()
        except RuntimeError:
            self._threads.release()
            raise

        return answer

    def _judge(self, answer: Resolved) -> Resolved:
        """Remove the endpoints refused by the guard."""
        if not answer.endpoints:
            return answer

        fine = tuple(
            endpoint
            for endpoint in answer.endpoints
            if addresses.refusal(endpoint.ip, self._networks, public=self._public) is None
        )
        return Resolved(fine) if fine else Resolved((), Reason.ADDRESS_REFUSED)


def _getaddrinfo(host: str) -> list[AddressInfo]:
    return [*socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
