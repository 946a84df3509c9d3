"""Names to addresses: off the event loop, with a time limit, remembered; failures too.

`getaddrinfo` runs in threads of its own, so that dead domains of old links never hold up the default pool. A host
pattern of `connect_to` is answered without asking anyone. Addresses that the guard refuses are told apart from names
that don't exist; the dial itself is guarded again, on its own.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult

from crawl import addresses
from crawl.outcomes import Reason

NUM_THREADS = 32
CACHE_SIZE = 1 << 16
NOT_FOUND = frozenset(
    {socket.EAI_NONAME, *(code for code in (getattr(socket, "EAI_NODATA", None),) if code is not None)}
)
"""What `getaddrinfo` says of a name that does not exist or has no address."""


class Endpoint(NamedTuple):
    """An address to dial; `port` is None where the URL's own is meant."""

    ip: str
    port: int | None = None


class Resolved(NamedTuple):
    """What is known of a host: endpoints to dial, or why there are none."""

    endpoints: tuple[Endpoint, ...]
    reason: Reason | None = None


class Resolver(AbstractResolver):
    """Resolves hosts for the dispatcher (`lookup`) and, from the same memory, for aiohttp (`resolve`)."""

    def __init__(
        self,
        *,
        connect_to: dict[str, tuple[str, int]],
        networks: tuple[addresses.Network, ...],
        public: bool,
        timeout_s: float,
        cache_s: float,
    ) -> None:
        self._connect_to = connect_to
        self._networks = networks
        self._public = public
        self._timeout_s = timeout_s
        self._cache_s = cache_s
        self._known: OrderedDict[str, tuple[float, Resolved]] = OrderedDict()
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="dns")

    def known(self, host: str) -> Resolved | None:
        """The remembered answer for `host`, if it is fresh."""
        entry = self._known.get(host)
        if entry is None or entry[0] < time.monotonic():
            return None
        return entry[1]

    async def lookup(self, host: str) -> Resolved:
        """Endpoints of `host` that may be dialled, or the reason why there are none. Never raises."""
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
        """aiohttp's question. Raises OSError."""
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
        """Forget the threads; a look-up that hangs is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fixed(self, host: str) -> Resolved | None:
        for pattern, (ip, port) in self._connect_to.items():
            if fnmatchcase(host, pattern):
                return Resolved((Endpoint(ip, port),))
        bare = host.strip("[]")
        return Resolved((Endpoint(bare),)) if addresses.is_literal(bare) else None

    async def _ask(self, host: str) -> Resolved:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                infos = await loop.run_in_executor(self._threads, _getaddrinfo, host)
        except socket.gaierror as error:
            return Resolved((), Reason.DNS_NOT_FOUND if error.errno in NOT_FOUND else Reason.DNS_FAILED)
        except (OSError, UnicodeError, RuntimeError):
            # A time-out; a name that IDNA or the resolver refuses; threads that are shut down already.
            return Resolved((), Reason.DNS_FAILED)
        return Resolved(tuple(dict.fromkeys(Endpoint(str(info[4][0])) for info in infos)))

    def _judge(self, answer: Resolved) -> Resolved:
        """The answer without endpoints that the guard refuses."""
        if not answer.endpoints:
            return answer
        fine = tuple(
            endpoint
            for endpoint in answer.endpoints
            if addresses.refusal(endpoint.ip, self._networks, public=self._public) is None
        )
        return Resolved(fine) if fine else Resolved((), Reason.ADDRESS_REFUSED)


def _getaddrinfo(host: str) -> list[tuple[object, object, object, object, tuple[object, ...]]]:
    return [*socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
