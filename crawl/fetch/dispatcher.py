"""From links to outcomes: which request is made next, and what its answer means.

A link becomes a job. A job waits in the frontier; leased, it passes the gates in order (URL, host, address, robots.txt,
IP limit) and becomes a request, or ends. What a request brought makes the job end, retry later, or go on at a
redirect's target. robots.txt files are jobs as well: they are fetched under the pace of their own host, and the links
that wait for one are parked until it is there.

Redirects go the same way as all else: the link rules are asked about the target, then its robots.txt, guard and pace
apply. A target in a domain that another shard owns is not requested here: the link ends as `handed_over`, and
`crawl.fetch` brings it to the owner, so that a domain is asked by one process at any time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from scrapy.exceptions import IgnoreRequest

from corpus.errors import FatalError
from crawl.fetch import addresses, robots
from crawl.fetch.body_budget import ALL_BODIES_BYTES, Allowance
from crawl.fetch.breaker import Breaker
from crawl.fetch.frontier import Frontier, Lease
from crawl.fetch.ip_slots import IpSlots
from crawl.fetch.jobs import Item, Job, Link, Place, Resume, locate, redirect_target
from crawl.fetch.pace import Pace
from crawl.fetch.requests import REDIRECTS, Exchange, ProxyLostError, Ticket
from crawl.fetch.resolver import Resolver
from crawl.fetch.retry import backoff_s, may_pass
from crawl.fetch.robots import PATH, Robots, url_path
from crawl.fetch.robots_cache import RobotsCache
from crawl.fetch.robots_meta import is_tagged
from crawl.fetch.segment_ledger import Committer, Ledger
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Outcome, Reason

log = logging.getLogger(__name__)

YIELD_EVERY = 64
"""Leases settled without a request after which the event loop gets its turn."""
MAX_LOOKUPS = 256
"""Names that are looked up, or wait for it, at the same time."""
_GIVEN_UP_ADDRESS = frozenset({Reason.DNS_NOT_FOUND, Reason.ADDRESS_REFUSED})
"""Answers about a host that hold for all its links."""


class Dispatcher:
    """The work of one shard. Everything but the commits runs in one event loop; nothing here blocks it."""

    def __init__(
        self,
        config: FetchConfig,
        resolver: Resolver,
        ledger: Ledger,
        links: Callable[[int], Link],
        *,
        total: int,
        owns: Callable[[str], bool] = lambda key: True,
        excluded: Callable[[str], bool] = lambda url: False,
    ) -> None:
        """`links(row)` gives a link; `total` is the number of links that must end.

        `owns(key)`: whether this worker paces a key, or hands over what leads there. `excluded(url)`: whether the link
        rules leave out the target of a redirect.
        """
        self.config = config
        self.resolver = resolver
        self.allowance = Allowance(ALL_BODIES_BYTES)
        self.frontier: Frontier[Item] = Frontier()
        self.reasons: Counter[str] = Counter()
        self.total = total
        self.done = 0
        self.in_flight = 0
        self.num_bytes = 0
        self.num_noted = 0
        """Retry times and rests noted so far: what `state` must not miss."""
        self.error: FatalError | None = None
        self.stopping = False
        self._closed = False
        self._links = links
        self._owns = owns
        self._excluded = excluded
        self._ledger = ledger
        self._committer = Committer(ledger, self.fail)
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._through: deque[tuple[Lease[Item], str | None]] = deque()
        """Leases that go on now, after waiting for a name, or for a place at the IP address that stands beside them."""
        self._robots = RobotsCache(config.robots_cache_s, config.robots_cache_bytes)
        self._parked: dict[str, list[tuple[str, Job]]] = {}
        """Jobs by the origin whose robots.txt is being fetched, with their keys."""
        self._host_ends: dict[str, Reason] = {}
        self._breaker = Breaker(
            failures=config.breaker_failures,
            open_s=config.breaker_open_s,
            openings=config.breaker_openings,
        )
        self._pace = Pace(config)
        self._refused_tags = frozenset(tag.lower() for tag in config.refuse_robots_tags)
        self._ip_slots: IpSlots[Lease[Item]] = IpSlots(config.max_in_flight_per_ip)
        self._retrying: dict[str, tuple[int, int, float]] = {}

    # --- filling -------------------------------------------------------------------------------------------------

    def add_rows(self, key: str, rows: Sequence[int], *, ready_at: float = 0.0) -> None:
        """Rows of one pace key that have not begun, best first."""
        self.frontier.add(key, rows, ready_at=ready_at)

    def add_resumed(self, key: str, row: int, resume: Resume) -> None:
        """A row that was tried before."""
        link = self._links(row)
        job = link.job()
        job.attempts, job.num_tries = resume.attempts, resume.num_tries
        self._retrying[link.doc_id] = (resume.attempts, resume.num_tries, resume.not_before)
        self.frontier.push(key, job, not_before=resume.not_before)

    def set_pace(self, key: str, *, crawl_delay_s: float | None, ready_at: float | None) -> None:
        """What is remembered of a key from before the worker was stopped."""
        if crawl_delay_s is not None:
            self._pace.crawl_delay_s[key] = crawl_delay_s
        if ready_at is not None:
            self.frontier.postpone(key, ready_at)

    def refuse(self, link: Link, reason: Reason) -> None:
        """End a link before it began."""
        self._end(link.job(), reason)

    # --- the spider's side ---------------------------------------------------------------------------------------

    async def next_ticket(self) -> Ticket | None:
        """The next request, when it is due; None when all links have ended or the worker stops."""
        settled = 0
        while not self.stopping and self.done < self.total:
            self._wake.clear()
            now = time.monotonic()
            found = self._next_lease(now)
            if found is not None:
                lease, ip = found
                ticket = self._admitted(lease, now)
                if ip is not None:
                    self._let_through(ip)
                if ticket is not None:
                    return ticket
                settled += 1
                if settled % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                continue
            await self._rest(now)
        return None

    def finished(self, ticket: Ticket, failure: BaseException | None) -> None:
        """Take back a request; the job ends, waits or goes on."""
        if self._closed:
            return  # too late to be kept: the link is left for the next run
        job, exchange = ticket.subject, ticket.exchange
        self.in_flight -= 1
        self._let_through(self._ip_slots.leave(job.url))
        self._wake.set()
        if isinstance(failure, ProxyLostError):
            self.fail(FatalError(f"{failure}; crawl.fetch.proxy names it. What is done is kept"))
            return
        if failure is not None and exchange.problem is None:
            exchange.problem = self._unforeseen(failure)
        try:
            self._take(ticket.key, job, exchange)
        except FatalError as error:
            self.fail(error)
        except Exception:
            self._fault(ticket.key, job)

    def _fault(self, key: str, job: Job) -> None:
        """End a job over which our own code stumbled: a link without an end would keep the shard from ending."""
        log.exception("%s: unexpected", job.url)
        now = time.monotonic()
        self.frontier.release(key, now + self.config.delay_s)
        if job.robots_of is not None:
            self._have_robots(job.robots_of, robots.UNREACHABLE, now)
        elif not job.ended:
            self._end(job, Reason.INTERNAL_ERROR)

    def _unforeseen(self, failure: BaseException) -> Reason:
        if isinstance(failure, IgnoreRequest):
            return Reason.IGNORED
        if not self.stopping:
            log.error("fetch failed unexpectedly", exc_info=failure)
        return Reason.INTERNAL_ERROR

    # --- leasing and gates ---------------------------------------------------------------------------------------

    def _next_lease(self, now: float) -> tuple[Lease[Item], str | None] | None:
        """A lease that may become a request now, with the IP address for which it waited, if it did."""
        if self._is_full():
            return None
        if self._through:
            return self._through.popleft()
        lease = self.frontier.lease(now)
        if lease is None:
            return None
        if not isinstance(lease.item, Job):
            lease = Lease(lease.key, self._links(lease.item).job())
        return lease, None

    def _is_full(self) -> bool:
        """Whether nothing more is begun: names that are looked up have a limit of their own, as dead ones take long."""
        return self.in_flight >= self.config.concurrency or len(self._tasks) >= MAX_LOOKUPS

    def _let_through(self, ip: str) -> None:
        """Let the lease go on that has waited longest for a place at `ip`, if there is one."""
        waiting = self._ip_slots.next_waiting(ip)
        if waiting is not None:
            self._through.append((waiting, ip))

    async def _rest(self, now: float) -> None:
        """Until something came back, or the next key is due."""
        next_ready = self.frontier.next_ready()
        wait_s = 1.0 if next_ready is None else min(1.0, max(0.0, next_ready - now))
        if self._is_full():
            wait_s = 1.0
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def _admitted(self, lease: Lease[Item], now: float) -> Ticket | None:
        """What `_admit` says; a fault of ours ends the job."""
        try:
            return self._admit(lease, now)
        except Exception:
            assert isinstance(lease.item, Job)
            self._fault(lease.key, lease.item)
            return None

    def _admit(self, lease: Lease[Item], now: float) -> Ticket | None:
        """The request that the lease permits; None when the job ended, waits or was parked."""
        job = lease.item
        assert isinstance(job, Job)
        if job.ended:
            self.frontier.release(lease.key)
            return None
        place = locate(job.url)
        if place is None:
            self._settle(lease, Reason.BAD_URL)
            return None
        if (
            place.key != lease.key
        ):  # the table says otherwise; what is paced is the domain that is asked
            self.frontier.push(place.key, job)
            self.frontier.release(lease.key)
            return None
        refused = self._host_gate(place, now)
        if isinstance(refused, Reason):
            self._settle(lease, refused)
            return None
        if refused is not None:
            self.frontier.push(lease.key, job, not_before=refused)
            self.frontier.release(lease.key)
            return None
        answer = self.resolver.known(place.host)
        if answer is None:
            self._spawn(self._resolve(place.host, lease))
            return None
        if answer.reason is not None:
            self._unresolved(lease, place, answer.reason, now)
            return None
        if job.robots_of is None:
            known = self._robots.find(place.origin, now)
            if known is None:
                return self._ask_robots(lease, place, now)
            verdict = self._robots_gate(known, job.url)
            if verdict is not None:
                self._settle(lease, verdict)
                return None
        ip = answer.endpoints[0].ip
        if not self._ip_slots.is_free(ip):
            self._ip_slots.wait(ip, lease)
            return None
        return self._request(lease, job, ip)

    def _host_gate(self, place: Place, now: float) -> Reason | float | None:
        """Why the host gets no request: a reason for good, a time until which, or None."""
        if addresses.port_refusal(place.port, self.config.allow_ports) is not None:
            return Reason.PORT_REFUSED
        end = self._host_ends.get(place.host)
        if end is not None:
            return end
        if self._breaker.gave_up(place.host):
            return Reason.HOST_UNREACHABLE
        return self._breaker.open_until(place.host, now)

    @staticmethod
    def _robots_gate(rules: Robots, url: str) -> Reason | None:
        if rules.access is robots.Access.UNREACHABLE:
            return Reason.ROBOTS_UNREACHABLE
        return None if rules.allows(url) else Reason.ROBOTS_DISALLOWED

    def _unresolved(self, lease: Lease[Item], place: Place, reason: Reason, now: float) -> None:
        if reason in _GIVEN_UP_ADDRESS:
            self._host_ends[place.host] = reason
        assert isinstance(lease.item, Job)
        if reason in _GIVEN_UP_ADDRESS or not self._retry(lease.key, lease.item, now, 0.0):
            self._settle(lease, reason)
        else:
            self.frontier.release(lease.key)

    def _ask_robots(self, lease: Lease[Item], place: Place, now: float) -> Ticket | None:
        """Park the job and let the lease serve its robots.txt, unless that is on its way already."""
        job = lease.item
        assert isinstance(job, Job)
        waiting = self._parked.get(place.origin)
        if waiting is not None:
            waiting.append((lease.key, job))
            self.frontier.release(lease.key)
            return None
        self._parked[place.origin] = [(lease.key, job)]
        scheme, _, authority = place.origin.partition("://")
        default = ":443" if scheme == "https" else ":80"
        errand = Job(
            None, f"{scheme}://{authority.removesuffix(default)}/robots.txt", robots_of=place.origin
        )
        return self._admit(Lease(lease.key, errand), now)

    def _request(self, lease: Lease[Item], job: Job, ip: str) -> Ticket:
        job.attempts += 1
        self.in_flight += 1
        self._ip_slots.take(ip, job.url)
        # One byte more than is parsed tells that a file was cut.
        max_bytes = (
            robots.MAX_PARSED_BYTES + 1 if job.robots_of is not None else self.config.max_body_bytes
        )
        exchange = Exchange(job.url, max_body_bytes=max_bytes, page=job.robots_of is None)
        return Ticket(exchange, lease.key, job)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._resolved)

    async def _resolve(self, host: str, lease: Lease[Item]) -> None:
        try:
            await self.resolver.lookup(host)
        finally:
            self._through.append((lease, None))

    def _resolved(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    # --- what an exchange means ----------------------------------------------------------------------------------

    def _take(self, key: str, job: Job, exchange: Exchange) -> None:
        now = time.monotonic()
        self.num_bytes += len(exchange.wire)
        place = locate(job.url)
        assert place is not None
        if exchange.status is not None:
            self._breaker.answered(place.host)
        elif exchange.problem is Reason.CONNECT_FAILED:
            self._breaker.failed(place.host, now)
        if exchange.problem is Reason.ADDRESS_REFUSED:
            self._host_ends[place.host] = exchange.problem
        self.frontier.release(key, self._pace.rest_until(key, exchange, now))
        if self.stopping and exchange.problem is not None:
            return  # cut off by us; the link is left for the next run
        wait_s, rest_s = self._pace.asked_wait_s(key, exchange)
        if rest_s:
            self.frontier.postpone(key, now + rest_s)
            self.num_noted += 1
        if job.robots_of is not None:
            self._take_robots(key, job, exchange, now, wait_s)
        else:
            self._take_page(key, job, exchange, now, wait_s)

    def _take_robots(
        self, key: str, job: Job, exchange: Exchange, now: float, wait_s: float
    ) -> None:
        origin = job.robots_of
        assert origin is not None
        location = exchange.header("location")
        if exchange.status in REDIRECTS and exchange.problem is None and location is not None:
            next_url = redirect_target(job.url, location)
            if next_url is not None and len(job.redirects) < robots.MAX_REDIRECTS:
                self._store(exchange)
                self._follow(job, next_url)
                return
        problem = exchange.problem
        status = exchange.status if problem is None else None
        whole = status != 206 or robots.is_whole_range(exchange.header("content-range"))
        rules = robots.decide(status, exchange.body, self.config.user_agent, is_whole=whole)
        if rules.access is robots.Access.UNREACHABLE:
            passing = may_pass(problem, status) or (status or 0) >= 500
            if passing and self._retry(key, job, now, wait_s):
                return
        if exchange.status is not None:
            self._store(exchange)
        self._have_robots(origin, rules, now)
        # Most redirects of a robots.txt lead from http to https: what is there is that site's own file.
        place = locate(job.url)
        if (
            place is not None
            and place.origin != origin
            and self._owns(place.key)
            and url_path(job.url) == PATH
        ):
            self._have_robots(place.origin, rules, now)

    def _have_robots(self, origin: str, rules: Robots, now: float) -> None:
        """Remember the rules and let the links that waited go on."""
        self._robots.keep(origin, rules, now)
        place = locate(origin)
        if place is not None and (rest_s := self._pace.heed(place.key, rules.crawl_delay_s)):
            self.frontier.postpone(place.key, now + rest_s)
            self.num_noted += 1
        for key, job in self._parked.pop(origin, ()):
            self.frontier.push(key, job)
        self._wake.set()

    def _take_page(self, key: str, job: Job, exchange: Exchange, now: float, wait_s: float) -> None:
        problem, status = exchange.problem, exchange.status
        if problem is None and status in REDIRECTS:
            self._take_redirect(job, exchange)
            return
        failed = problem is not None or status not in (200, 203)
        if failed and may_pass(problem, status if problem is None else None):
            if self._retry(key, job, now, wait_s):
                return
            if problem is Reason.CONNECTION_LOST and status in (200, 203) and exchange.body:
                exchange.truncated, problem = "disconnect", None  # the site never sends more of it
        if problem is not None:
            self._end(job, problem, exchange)
        elif status not in (200, 203):
            self._end(job, Reason.HTTP_STATUS, exchange)
        elif not exchange.body:
            self._end(job, Reason.EMPTY_BODY, exchange)
        elif is_tagged(
            exchange.header_values("x-robots-tag"),
            exchange.body,
            self._refused_tags,
            self.config.user_agent,
        ):
            self._end(job, Reason.ROBOTS_TAG, exchange)
        else:
            self._end(job, None, exchange)

    def _take_redirect(self, job: Job, exchange: Exchange) -> None:
        next_url = redirect_target(job.url, exchange.header("location") or "")
        if next_url is None:
            self._end(job, Reason.REDIRECT_INVALID, exchange)
        elif next_url == job.url or next_url in job.redirects:
            self._end(job, Reason.REDIRECT_LOOP, exchange)
        elif len(job.redirects) >= self.config.max_redirects:
            self._end(job, Reason.REDIRECT_LIMIT, exchange)
        elif self._excluded(next_url):
            self._end(job, Reason.REDIRECT_EXCLUDED, exchange)
        else:
            self._store(exchange)
            self._follow(job, next_url)

    def _store(self, exchange: Exchange) -> None:
        """Keep the record of an answer that decided something: a redirect or a robots.txt."""
        self._ledger.store(exchange)
        self._committer.start(self._ledger.due(time.monotonic()))

    def _follow(self, job: Job, next_url: str) -> None:
        """The same job at the next address, under the pace of the domain it is in, with the worker that owns it.

        Only a robots.txt is followed to whatever domain: one request for a site of ours, at the pace kept here.
        """
        place = locate(next_url)
        assert place is not None
        hop = replace(job, url=next_url, redirects=(*job.redirects, job.url), num_tries=0)
        if job.link is not None and not self._owns(place.key):
            self._end(hop, Reason.HANDED_OVER)
            return
        self.frontier.push(place.key, hop)
        self._wake.set()

    def _retry(self, key: str, job: Job, now: float, wait_s: float) -> bool:
        """Put the job back for later; False when it has had its tries."""
        if job.num_tries >= self.config.retries:
            return False
        job.num_tries += 1
        config = self.config
        backoff = backoff_s(job.num_tries, config.retry_delay_s, config.max_retry_delay_s)
        not_before = now + max(wait_s, backoff * (1 + random.random() * config.jitter_frac))
        self.frontier.push(key, job, not_before=not_before)
        if job.link is not None:
            self._retrying[job.link.doc_id] = (job.attempts, job.num_tries, not_before)
            self.num_noted += 1
        return True

    # --- ends ----------------------------------------------------------------------------------------------------

    def _settle(self, lease: Lease[Item], reason: Reason) -> None:
        """End a leased job without a request."""
        job = lease.item
        assert isinstance(job, Job)
        self.frontier.release(lease.key)
        if job.robots_of is None:
            self._end(job, reason)
            return
        # A robots.txt that cannot be asked for. At the site itself, its links meet the same gate and get its reason;
        # behind a redirect, nothing is known of the rules.
        self._have_robots(job.robots_of, robots.UNREACHABLE, time.monotonic())

    def _end(self, job: Job, reason: Reason | None, exchange: Exchange | None = None) -> None:
        assert job.link is not None
        job.ended = True
        outcome = Outcome(
            doc_id=job.link.doc_id,
            url=job.link.url,
            final_url=job.url if job.attempts or job.redirects else None,
            redirects=job.redirects,
            reason=reason,
            attempts=job.num_tries + 1 if job.attempts else 0,
        )
        if exchange is not None:
            outcome.status = exchange.status
            outcome.ip = exchange.ip
            outcome.fetched_at = exchange.fetched_at
            outcome.content_type = exchange.content_type
        self._retrying.pop(job.link.doc_id, None)
        try:
            if reason is None and exchange is not None:
                outcome.body_bytes = len(exchange.body)
                outcome.truncated = exchange.truncated is not None
                self._ledger.add_page(outcome, exchange)
            else:
                self._ledger.add(outcome)
        except FatalError as error:
            self.fail(error)
            return
        self.done += 1
        self.reasons[reason or "ok"] += 1
        if self.done >= self.total:
            self._wake.set()
        self._committer.start(self._ledger.due(time.monotonic()))

    # --- keeping -------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make outcomes durable that have no record to wait for."""
        self._committer.start(self._ledger.loose())
        self._committer.start(self._ledger.due(time.monotonic()))

    async def close(self) -> None:
        """Make everything durable. Raises FatalError when that fails, now or earlier."""
        self._closed = True
        if self.error is None:
            self._committer.start(self._ledger.rest())
        await self._committer.close()
        for task in self._tasks:
            task.cancel()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Lease nothing more."""
        self.stopping = True
        self._wake.set()

    def fail(self, error: FatalError) -> None:
        """The run cannot go on."""
        self.error = self.error or error
        self.stop()

    def state(self, now: float, wall: float) -> dict[str, Any]:
        """What a later run of this shard should know beside the outcomes, in wall-clock seconds."""
        shift = wall - now
        return {
            "retrying": {
                doc_id: [attempts, tries, not_before + shift]
                for doc_id, (attempts, tries, not_before) in self._retrying.items()
                if math.isfinite(not_before)
            },
            "crawl_delay_s": {**self._pace.crawl_delay_s},
            "postponed": {
                key: until + shift
                for key, until in self.frontier.postponed(now, 2 * self.config.delay_s).items()
            },
        }
