"""The dispatcher of a worker: moves jobs between frontier, gates, requests and outcomes.

A link becomes a job. A job waits in the frontier; leased, it passes the gates (`crawl.fetch.gates`)
and becomes a request, or ends. The answer is judged (`crawl.fetch.answers`): the job ends, is
retried later, or continues at a redirect's target. robots.txt files are jobs as well: they are
fetched at the pace of their own host, and pages in need of one wait for it.

Redirects pass the same checks as links: the link rules, robots.txt, guard and pace of the target.
At a target in another shard's domain the link ends as `handed_over`, and the shard's owner
continues it, so one process at a time asks a domain. A worker owns several shards and may have to
give one away: `begin_leaving` stops its work, and `forget` follows once nothing of it is under way.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from scrapy.exceptions import IgnoreRequest

from corpus.errors import FatalError
from corpus.rights.rows import signal_row
from crawl.fetch import answers, gates, probe
from crawl.fetch.chain_cookies import ChainCookies
from crawl.fetch.jobs import (
    FileJob,
    FrontierItem,
    Job,
    Link,
    PageJob,
    Resume,
    RobotsJob,
    Site,
    locate,
)
from crawl.fetch.network.body_budget import ALL_BODIES_BYTES, BodyBudget
from crawl.fetch.network.resolver import Resolver
from crawl.fetch.pace.frontier import Claim, Frontier
from crawl.fetch.pace.politeness import Breaker, IpLimits, OwnIpPacer, Pace, backoff_s
from crawl.fetch.permission.rights_files import (
    MAX_FILE_BYTES,
    FileCache,
    FileKey,
    FileKind,
    Findings,
    RightsFile,
)
from crawl.fetch.permission.rights_gate import NeedFile, RightsGate
from crawl.fetch.permission.robots import MAX_PARSED_BYTES, PATH, Access, Robots, url_path
from crawl.fetch.permission.robots_cache import SpillingRobotsCache
from crawl.fetch.requests import FetchResult, Permit, ProxyLostError
from crawl.fetch.segment_ledger import Committer, Ledger
from crawl.fetch.settings import MAX_RETRY_DELAY_S, FetchConfig, RightsCheck
from crawl.fetch.walls import BOT_WALL, WallCounter
from crawl.outcomes import Outcome, Reason
from crawl.rights.settings import RightsConfig
from crawl.warc.refusals import SOFT_404

log = logging.getLogger(__name__)

# Leases settled without a request after which the event loop gets its turn.
YIELD_EVERY = 64
# Names being looked up, or waiting for it, at the same time: dead ones take long.
MAX_LOOKUPS = 256
# Times that one hop of a job may wait for a robots.txt; more means that the crawl goes in
# circles.
MAX_ROBOTS_WAITS = 4
# Answers beyond the limits of the wire before a host is given up.
MAX_FLOODS = 3
# Processor time that answers of one host may take to parse, and `REQUEST_CPU_S` for each of them.
HOST_CPU_S = 10.0
NOT_MODIFIED = 304
REQUEST_CPU_S = 0.05


class Dispatcher:
    """The work of a worker's shards. All but the commits runs in one event loop without blocking it."""

    def __init__(
        self,
        config: FetchConfig,
        resolver: Resolver,
        ledger: Ledger,
        links: Callable[[int], Link],
        *,
        total: int,
        shard_of: Callable[[str], int] = lambda key: 0,
        excluded: Callable[[str], bool] = lambda url: False,
        breaker: Breaker | None = None,
        ip_limits: IpLimits[Any] | None = None,
        rights: RightsConfig | None = None,
        checks: RightsCheck | None = None,
    ) -> None:
        """Start with nothing to do; `add_rows` brings work.

        `links(row)` gives a link; `total` is the number of links to end. `shard_of(key)`: the shard
        of a pace key; jobs are handed over between shards, of this worker too. `excluded(url)`:
        true if the link rules leave out the target of a redirect. Without `rights`, nothing is
        asked about training. With `checks`, only rights are asked for, and no page is stored.
        """
        self.config = config
        self.resolver = resolver
        self.budget = BodyBudget(ALL_BODIES_BYTES)
        self.frontier: Frontier[FrontierItem] = Frontier()
        self.reasons: Counter[str] = Counter()
        self.walls = WallCounter()
        self.total = total
        self.done = 0
        self.in_flight = 0
        self.num_bytes = 0
        # Number of retry times and rests noted so far: savers detect changes by it.
        self.num_noted = 0
        self.error: FatalError | None = None
        self.stopping = False
        # True while other shards may hand over links.
        self.expects_more = False
        # The time after which no request is made: this worker's shards may be another's by then.
        self.valid_until = math.inf
        # Unfinished links by shard.
        self.left: Counter[int] = Counter()
        # Called with links leaving their shard, and with outcomes once they are durable.
        self.handed_over: Callable[[int, Link], None] = lambda shard, link: None
        self.committed: Callable[[Sequence[Outcome]], None] = lambda outcomes: None

        self._links = links
        self.shard_of = shard_of
        self._leaving: set[int] = set()
        # Times before which no domain of a shard is asked.
        self._quiet: dict[int, float] = {}
        self._excluded = excluded
        self._keeper = _OutcomeKeeper(ledger, self.fail, lambda outcomes: self.committed(outcomes))
        self._terms = answers.PageTerms(
            max_redirects=config.max_redirects,
            user_agent=config.user_agent,
            refused_tags=frozenset(tag.lower() for tag in config.refuse_robots_tags),
        )
        self._pace = Pace(config)
        self._breaker = breaker or Breaker()
        self._rules = SpillingRobotsCache(config.robots_cache_s, config.robots_cache_bytes)
        self._ip_limits = ip_limits or IpLimits[Any](
            config.max_in_flight_per_ip, OwnIpPacer(config.ip_interval_s)
        )
        self._files = FileCache(config.robots_cache_s)
        self._rights = (
            RightsGate(rights, config.user_agent, self._files) if rights is not None else None
        )
        self._gates = gates.Gates(
            config,
            resolver,
            self._rules,
            self._breaker,
            self._ip_limits,
            self._rights,
            only_files=checks is RightsCheck.FILES,
        )
        self._checks = checks
        self._abuse = _HostAbuse()

        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Leases to be tried now: their name is known, or the address beside them may be free.
        self._through: deque[tuple[Claim[FrontierItem], str | None]] = deque()
        # Unfinished fetches of robots.txt by origin.
        self._robots_jobs: dict[str, RobotsJob] = {}
        # Unfinished fetches of files about rights.
        self._file_jobs: dict[FileKey, FileJob] = {}
        self._retrying: dict[str, tuple[int, int, float]] = {}
        self._closed = False

    # Filling

    def add_rows(self, key: str, rows: Sequence[int], *, ready_at: float = 0.0) -> None:
        """Add rows of one pace key without a request so far, best first."""
        self.frontier.add(key, rows, ready_at=ready_at)
        self._wake.set()

    def expect(self, shard: int, num_links: int, quiet_until: float = 0.0) -> None:
        """Count links of a shard before they are added.

        None of its domains is asked before `quiet_until`, targets of redirects included.
        """
        self.total += num_links
        self.left[shard] += num_links
        self._quiet[shard] = max(quiet_until, self._quiet.get(shard, 0.0))

    def add_job(self, job: PageJob) -> None:
        """Add a link handed over by another shard."""
        site = locate(job.url)
        if site is None:
            self._end(job, Reason.BAD_URL)
            return

        job.shard = self.shard_of(site.key)
        self._requeue(site.key, job)
        self._wake.set()

    def expect_no_more(self) -> None:
        """End when the known links have ended."""
        self.expects_more = False
        self._wake.set()

    def add_resumed(self, key: str, row: int, resume: Resume) -> None:
        """Add a row tried before."""
        link = self._links(row)
        job = self._job(link, key)
        job.attempts, job.num_tries = resume.attempts, resume.num_tries
        self._retrying[link.doc_id] = (resume.attempts, resume.num_tries, resume.not_before)
        self.frontier.push(key, job, not_before=resume.not_before)
        self._wake.set()

    def set_pace(
        self,
        key: str,
        *,
        crawl_delay_s: float | None = None,
        ready_at: float | None = None,
        slow_s: float | None = None,
    ) -> None:
        """Restore the pace of a key as learned by an earlier worker."""
        if crawl_delay_s is not None:
            self._pace.crawl_delay_s[key] = crawl_delay_s
        if slow_s is not None:
            self._pace.slow_s[key] = slow_s
        if ready_at is not None:
            self.frontier.postpone(key, ready_at)

    def refuse(self, key: str, link: Link, reason: Reason) -> None:
        """End a link of a pace key before it began."""
        self._end(self._job(link, key), reason)

    def _job(self, link: Link, key: str) -> PageJob:
        job = link.job()
        job.shard = self.shard_of(key)
        return job

    # Requests

    async def next_permit(self) -> Permit | None:
        """Wait for the next request to fall due; None when all links ended or the worker stops."""
        settled = 0
        while not self.stopping and (self.done < self.total or self.expects_more):
            self._wake.clear()
            now = time.monotonic()
            if now >= self.valid_until:
                await self._rest(now)
                continue
            for address in self._ip_limits.pop_due(now):
                self._let_through(address)

            found = self._next_lease(now)
            if found is None:
                await self._rest(now)
                continue

            lease, ip = found
            permit = self._try(lease, ip, now)
            if ip is not None:
                self._let_through(ip)
            if permit is not None:
                return permit

            settled += 1
            if settled % YIELD_EVERY == 0:
                await asyncio.sleep(0)

        return None

    def finished(self, permit: Permit, failure: BaseException | None) -> None:
        """Take back a request; its job ends, waits or continues."""
        if self._closed:
            return  # too late to be kept: the link is left for the next run

        self.in_flight -= 1
        self._ip_limits.leave(permit.ip)
        self._let_through(permit.ip)
        self._wake.set()

        if isinstance(failure, ProxyLostError):
            self.fail(FatalError(f"{failure}; crawl.fetch.proxy names it. What is done is kept"))
            return

        result = permit.result
        if failure is not None and result.problem is None:
            result.problem = self._unforeseen(failure)

        try:
            self._take(permit.key, permit.job, result)
        except FatalError as error:
            self.fail(error)
        except Exception:
            self._fault(permit.key, permit.job)

    def _next_lease(self, now: float) -> tuple[Claim[FrontierItem], str | None] | None:
        """A lease to be tried now, with its IP address if it waited for one."""
        if self._is_full():
            return None
        if self._through:
            return self._through.popleft()

        lease = self.frontier.lease(now)
        if lease is None:
            return None

        if isinstance(lease.item, int):
            lease = Claim(lease.key, self._job(self._links(lease.item), lease.key))
        return lease, None

    def _is_full(self) -> bool:
        return self.in_flight >= self.config.concurrency or len(self._tasks) >= MAX_LOOKUPS

    def _let_through(self, ip: str) -> None:
        """Try again the longest waiting lease for `ip`, if there is one."""
        waiting = self._ip_limits.next_waiting(ip)
        if waiting is not None:
            self._through.append((waiting, ip))

    async def _rest(self, now: float) -> None:
        """Wait until something came back, or the next key or address is due."""
        due = [at for at in (self.frontier.next_ready(), self._ip_limits.next_due()) if at]
        is_idle = not due or self._is_full() or now >= self.valid_until
        wait_s = 1.0 if is_idle else min(1.0, max(0.0, min(due) - now))
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def _try(self, lease: Claim[Any], ip: str | None, now: float) -> Permit | None:
        """Ask the gates about a leased job; the permit if it may be requested now."""
        try:
            return self._pass(lease, ip, now)
        except Exception:
            self._fault(lease.key, lease.item)
            return None

    def _pass(self, lease: Claim[Any], waited_for: str | None, now: float) -> Permit | None:
        key: str = lease.key
        job: Job = lease.item
        if self._is_over(job):
            self.frontier.release(key)
            return None

        match self._gates.check(job, key, now):
            case gates.Admit(ip):
                return self._permit(job, key, ip)
            case gates.WaitForIp(ip):
                self._ip_limits.wait(ip, lease, first=ip == waited_for)
            case gates.LookUp(host):
                self._spawn(self._look_up(host, lease))
            case gates.NeedRobots(site):
                return self._ask_robots(lease, site, now)
            case NeedFile(file_key):
                return self._ask_file(lease, file_key, now)
            case gates.Wait(until):
                self._requeue(key, job, not_before=until)
                self.frontier.release(key)
            case gates.Move(other_key):
                self._requeue(other_key, job)
                self.frontier.release(key)
            case gates.Refuse(reason, cause):
                self._settle(lease, reason, cause)
            case gates.Unresolved(site, reason):
                self._unresolved(lease, site, reason, now)

        return None

    def _permit(self, job: Job, key: str, ip: str) -> Permit:
        self.in_flight += 1
        if isinstance(job, RobotsJob):
            # One byte more than is parsed tells that a file was cut.
            result = FetchResult(job.url, MAX_PARSED_BYTES + 1, page=False)
            return Permit(result, key, job, ip)
        if isinstance(job, FileJob):
            return Permit(FetchResult(job.url, MAX_FILE_BYTES, page=False), key, job, ip)

        job.attempts += 1
        job.is_cleared = False
        cookie = job.cookies.header(job.url) if job.cookies is not None else None
        conditions = () if job.redirects else job.link.conditions
        result = FetchResult(job.url, self.config.max_body_bytes)
        return Permit(result, key, job, ip, cookie, conditions)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._looked_up)

    async def _look_up(self, host: str, lease: Claim[Any]) -> None:
        try:
            await self.resolver.lookup(host)
        finally:
            self._through.append((lease, None))

    def _looked_up(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    def _unresolved(self, lease: Claim[Any], site: Site, reason: Reason, now: float) -> None:
        final = reason in gates.GIVEN_UP_ADDRESS
        if final:
            self._gates.refused_hosts[site.host] = reason
        if final or not self._retry(lease.key, lease.item, now, 0.0):
            self._settle(lease, reason)
        else:
            self.frontier.release(lease.key)

    # robots.txt

    def _ask_robots(self, lease: Claim[Any], site: Site, now: float) -> Permit | None:
        """Let the job wait for its robots.txt, and use the lease to ask for the file."""
        job: PageJob = lease.item
        job.robots_waits += 1
        if job.robots_waits > MAX_ROBOTS_WAITS:
            log.error("%s: waited %d times for robots.txt", job.url, MAX_ROBOTS_WAITS)
            self._settle(lease, Reason.ROBOTS_UNREACHABLE, "expired")
            return None

        asked = self._robots_jobs.get(site.origin)
        if asked is not None:
            asked.waiting.append((lease.key, job))
            self.frontier.release(lease.key)
            return None

        errand = RobotsJob(site.origin, site.robots_url, waiting=[(lease.key, job)])
        self._robots_jobs[site.origin] = errand
        return self._pass(Claim(lease.key, errand), None, now)

    def _take_robots(
        self, key: str, job: RobotsJob, result: FetchResult, now: float, wait_s: float
    ) -> None:
        judged = answers.judge_robots(job, result, self.config.user_agent)
        may_improve = isinstance(judged, answers.RulesFound) and judged.retry
        if may_improve and self._retry(key, job, now, wait_s):
            return

        record = self._keeper.store(result) if result.status is not None else ""
        if isinstance(judged, answers.Follow):
            self._push(job.at(judged.url))
            return

        rules = judged.rules
        if self._rights is not None and (rules.rights or "-" in rules.rules):
            rules = replace(rules, evidence=record)
        self._have_rules(job.origin, rules, now)
        # Most redirects lead from http to https: the target is that site's own file.
        site = locate(job.url)

        if site is not None and site.origin != job.origin and url_path(job.url) == PATH:
            self._have_rules(site.origin, rules, now)

    def _have_rules(self, origin: str, rules: Robots, now: float) -> None:
        """Remember the rules of a site and judge the pages waiting for them.

        They are judged here and not at their next turn: by then the rules may have been dropped or
        have expired, and would be fetched again without end.
        """
        self._rules.keep(origin, rules, now)
        site = locate(origin)
        if site is not None and (rest_s := self._pace.obey(site.key, rules.crawl_delay_s)):
            self.frontier.postpone(site.key, now + rest_s)
            self.num_noted += 1

        errand = self._robots_jobs.pop(origin, None)
        for key, job in errand.waiting if errand is not None else ():
            if rules.access is Access.UNREACHABLE:
                self._requeue(key, job)  # the gate that stopped robots.txt names the reason
            elif (refused := gates.robots_refusal(rules, job.url)) is not None:
                job.rules = rules
                self._end(job, refused.reason)
            else:
                job.rules = rules
                job.is_cleared = True
                self._requeue(key, job)

        self._wake.set()

    # Files about rights

    def _ask_file(self, claim: Claim[Any], file_key: FileKey, now: float) -> Permit | None:
        """Let the job wait for a file, and ask for it: with this claim if it is of this domain."""
        job: PageJob = claim.item
        asked = self._file_jobs.get(file_key)
        if asked is not None:
            asked.waiting.append((claim.key, job))
            self.frontier.release(claim.key)
            return None

        errand = FileJob(file_key, file_key.url, waiting=[(claim.key, job)])
        self._file_jobs[file_key] = errand
        site = locate(file_key.url)
        if site is not None and site.key == claim.key:
            return self._pass(Claim(claim.key, errand), None, now)

        self.frontier.release(claim.key)
        self._begin_file(errand, now)
        return None

    def _begin_file(self, errand: FileJob, now: float) -> None:
        if locate(errand.url) is None:
            self._have_file(errand.key, RightsFile(cause=str(Reason.BAD_URL)), now)
        else:
            self._push(errand)

    def _take_file(
        self, key: str, job: FileJob, result: FetchResult, now: float, wait_s: float
    ) -> None:
        judged = answers.judge_file(job, result)
        if isinstance(judged, answers.Follow):
            self._push(job.at(judged.url))
            return
        # A site answering everything with 503 says so at its pages as well.
        retried = judged.retry and job.key.kind is FileKind.RSL
        if retried and self._retry(key, job, now, wait_s):
            return

        file = judged.file
        is_probe = job.key.kind is FileKind.PROBE
        if file.body is not None or (is_probe and result.status is not None):
            file = replace(file, evidence=self._keeper.store(result))
        if is_probe and file.body is not None:
            # Only the fingerprint is compared, and kept for a day.
            file = replace(file, body=probe.answer_fingerprint(file.body, job.key.url))
        self._have_file(job.key, file, now)

    def _have_file(self, file_key: FileKey, file: RightsFile, now: float) -> None:
        """Remember a file, and continue with the pages waiting for it."""
        self._files.keep(file_key, file, now)
        errand = self._file_jobs.pop(file_key, None)
        if errand is None:
            return

        for key, job in errand.waiting:
            job.files[file_key] = file
            self._requeue(key, job)
        for job, result in errand.answered:
            job.files[file_key] = file
            self._store_page(job, result, now)
        self._wake.set()

    def _store_page(self, job: PageJob, result: FetchResult, now: float) -> None:
        """Store a page, unless its rights are against it or are still to be asked for."""
        refused = None
        if self._rights is not None:
            found = self._rights.after(job, result, now)
            if isinstance(found, NeedFile):
                self._await_file(found.key, job, result, now)
                return
            job.findings = found
            refused = self._rights.refusal(found)

        if refused is not None:
            self._end(job, Reason.TRAINING_OPT_OUT, result, cause=refused)
        elif self._checks is not None:
            self._end(job, Reason.RIGHTS_CHECKED, result)
        elif (key := self._probe_key(job)) is None:
            self._end(job, None, result)
        elif (missing := job.files.get(key) or self._files.find(key, now)) is None:
            self._await_file(key, job, result, now)
        else:
            found_words = probe.answer_fingerprint(result.body, job.url)
            is_same = missing.body is not None and found_words == missing.body
            self._end(job, None, result, cause=SOFT_404 if is_same else None)

    def _probe_key(self, job: PageJob) -> FileKey | None:
        """The probe of a page's site, if it is wanted and robots.txt allows it."""
        site = locate(job.url)
        if not self.config.probe_missing or site is None or job.rules is None:
            return None
        url = probe.probe_url(site.robots_url.removesuffix(PATH))
        return FileKey(FileKind.PROBE, url) if job.rules.allows(url) else None

    def _await_file(self, key: FileKey, job: PageJob, result: FetchResult, now: float) -> None:
        """Keep an answer until the file needed to judge it is there."""
        asked = self._file_jobs.get(key)
        if asked is not None:
            asked.answered.append((job, result))
            return
        errand = FileJob(key, key.url, answered=[(job, result)])
        self._file_jobs[key] = errand
        self._begin_file(errand, now)

    # Answers

    def _take(self, key: str, job: Job, result: FetchResult) -> None:
        now = time.monotonic()
        self.num_bytes += len(result.wire)
        site = locate(job.url)
        if site is not None:
            self._note_host(site.host, result, now)
        self.frontier.release(key, self._pace.rest_until(key, result, now))
        if self.stopping and result.problem is not None:
            return  # cut off by us; the link is left for the next run

        wait_s, rest_s = self._pace.asked_wait_s(key, result)
        if rest_s:
            self.frontier.postpone(key, now + rest_s)
            self.num_noted += 1

        if isinstance(job, RobotsJob):
            self._take_robots(key, job, result, now, wait_s)
        elif isinstance(job, FileJob):
            self._take_file(key, job, result, now, wait_s)
        else:
            self._take_page(key, job, result, now, wait_s)

    def _note_host(self, host: str, result: FetchResult, now: float) -> None:
        if result.status is not None:
            self._breaker.answered(host)
        elif result.problem is Reason.CONNECT_FAILED:
            self._breaker.failed(host, now)

        if result.problem is Reason.ADDRESS_REFUSED:
            self._gates.refused_hosts[host] = Reason.ADDRESS_REFUSED
        elif self._abuse.counts(host, result):
            self._gates.refused_hosts[host] = Reason.BAD_RESPONSE

    def _take_page(
        self, key: str, job: PageJob, result: FetchResult, now: float, wait_s: float
    ) -> None:
        if self._checks is not None and result.status == NOT_MODIFIED and result.problem is None:
            self._end(job, Reason.RIGHTS_CHECKED, result)
            return

        action = answers.judge_page(job, result, self._terms)
        if isinstance(action, answers.Retry):
            if self._retry(key, job, now, wait_s):
                return
            action = action.otherwise
            result.problem = None if isinstance(action, answers.Keep) else result.problem

        match action:
            case answers.Keep(truncated):
                result.truncated = truncated
                self._store_page(job, result, now)
            case answers.End(reason):
                self._end(job, reason, result)
            case answers.Follow(url):
                if self._excluded(url):
                    self._end(job, Reason.REDIRECT_EXCLUDED, result)
                else:
                    self._keeper.store(result)
                    self._follow(job, url, result)

    def _follow(self, job: PageJob, url: str, result: FetchResult) -> None:
        """Continue at the next address, or hand the link to the owner of its domain."""
        site = locate(url)
        if site is None:
            self._end(job, Reason.REDIRECT_INVALID, result)
            return

        cookies = result.header_values("set-cookie")
        if cookies:
            job.cookies = job.cookies or ChainCookies()
            job.cookies.update(job.url, cookies)

        hop = job.at(url, site.key)
        if self.shard_of(site.key) == job.shard:
            self._push(hop)
            return

        self._end(hop, Reason.HANDED_OVER)
        link = Link(job.link.doc_id, job.link.url, hop.url, tuple(hop.redirects))
        self.handed_over(job.shard, link)

    def _push(self, job: Job) -> None:
        """Queue a job under its own domain. A robots.txt is followed to any domain."""
        site = locate(job.url)
        if site is None:
            raise ValueError(f"{job.url} was judged to be an address")
        self._requeue(site.key, job)
        self._wake.set()

    def _requeue(self, key: str, job: Job, *, not_before: float | None = None) -> None:
        """Queue a job under a key, unless its shard is leaving: then its next owner restarts it."""
        if self._is_over(job):
            return
        if quiet_until := self._quiet.get(self.shard_of(key), 0.0):
            self.frontier.postpone(key, quiet_until)
        self.frontier.push(key, job, not_before=not_before)

    def _is_over(self, job: Job) -> bool:
        """True for a job with an outcome, or in a leaving shard."""
        if isinstance(job, PageJob):
            return job.ended or job.shard in self._leaving
        if isinstance(job, RobotsJob) and self._leaving and self._is_leaving(job.origin):
            self._robots_jobs.pop(job.origin, None)
            return True
        return False

    def _is_leaving(self, url: str) -> bool:
        site = locate(url)
        return site is not None and self.shard_of(site.key) in self._leaving

    def _retry(self, key: str, job: Job, now: float, wait_s: float) -> bool:
        """Queue the job for later; False when it has had its tries."""
        if job.num_tries >= self.config.retries:
            return False

        job.num_tries += 1
        config = self.config
        backoff = backoff_s(job.num_tries, config.retry_delay_s, MAX_RETRY_DELAY_S)
        not_before = now + max(wait_s, backoff * (1 + random.random() * config.jitter_frac))
        self._requeue(key, job, not_before=not_before)

        if isinstance(job, PageJob):
            self._retrying[job.link.doc_id] = (job.attempts, job.num_tries, not_before)
            self.num_noted += 1

        return True

    # Ends

    def _settle(self, lease: Claim[Any], reason: Reason, cause: str | None = None) -> None:
        """End a leased job without a request."""
        job: Job = lease.item
        self.frontier.release(lease.key)
        if isinstance(job, PageJob):
            self._end(job, reason, cause=cause)
            return
        if isinstance(job, FileJob):
            self._have_file(job.key, RightsFile(cause=str(reason)), time.monotonic())
            return

        # At the site itself, its pages meet the same gate and get its reason; behind a redirect,
        # nothing is known of the rules.
        unreachable = Robots(Access.UNREACHABLE, cause=str(reason))
        self._have_rules(job.origin, unreachable, time.monotonic())

    def _end(
        self,
        job: PageJob,
        reason: Reason | None,
        result: FetchResult | None = None,
        *,
        cause: str | None = None,
    ) -> None:
        job.ended = True
        outcome = Outcome(
            doc_id=job.link.doc_id,
            url=job.link.url,
            final_url=job.url if job.attempts or job.redirects else None,
            redirects=job.redirects,
            reason=reason,
            attempts=job.num_tries + 1 if job.attempts else 0,
            cause=cause,
            shard=job.shard,
        )
        self._note_rights(job, outcome)
        self._retrying.pop(job.link.doc_id, None)
        if result is not None and result.status is not None:
            walled = self.walls.note(result)
            if walled and reason is None and self.config.archive == "fallback":
                outcome.cause = BOT_WALL
        if not self._keeper.keep(outcome, result):
            return

        self.done += 1
        self.left[job.shard] -= 1
        self.reasons[reason or "ok"] += 1
        if self.done >= self.total:
            self._wake.set()

    def _note_rights(self, job: PageJob, outcome: Outcome) -> None:
        """Add a page's known rights to its outcome, if they decided it."""
        decided = outcome.reason in (None, Reason.TRAINING_OPT_OUT, Reason.RIGHTS_CHECKED)
        if self._rights is None or not (decided or outcome.reason is Reason.ROBOTS_DISALLOWED):
            return

        found = job.findings if decided else None
        evidence = found.evidence if found is not None else ()
        if outcome.reason is Reason.ROBOTS_DISALLOWED and job.rules and job.rules.evidence:
            evidence = (job.rules.evidence,)
        found = found or Findings()
        outcome.training = self._rights.answer(found).value
        outcome.signals = [signal_row(each) for each in found.statements]
        outcome.evidence = list(evidence)
        outcome.checked_at = datetime.now(UTC)
        outcome.says_itself = found.says_itself

    def _fault(self, key: str, job: Job) -> None:
        """End a job after a bug of ours: a link without an end would keep the shard going."""
        log.exception("%s: unexpected", job.url)
        now = time.monotonic()
        self.frontier.release(key, now + self.config.delay_s)

        if isinstance(job, RobotsJob):
            unreachable = Robots(Access.UNREACHABLE, cause=str(Reason.INTERNAL_ERROR))
            self._have_rules(job.origin, unreachable, now)
        elif isinstance(job, FileJob):
            self._have_file(job.key, RightsFile(cause=str(Reason.INTERNAL_ERROR)), now)
        elif not job.ended:
            self._end(job, Reason.INTERNAL_ERROR)

    def _unforeseen(self, failure: BaseException) -> Reason:
        if isinstance(failure, IgnoreRequest):
            return Reason.IGNORED
        if not self.stopping:
            log.error("fetch failed unexpectedly", exc_info=failure)
        return Reason.INTERNAL_ERROR

    # Shards that come and go

    def begin_leaving(self, shards: set[int]) -> None:
        """Begin nothing more of some shards; requests in flight end."""
        self._leaving |= shards
        self.frontier.withdraw(self._leaves, lambda item: self._stays(item))

        for errand in self._robots_jobs.values():
            errand.waiting = [entry for entry in errand.waiting if not self._is_over(entry[1])]
        for file_job in self._file_jobs.values():
            file_job.waiting = [entry for entry in file_job.waiting if not self._is_over(entry[1])]

        for claim in self._ip_limits.withdraw(lambda claim: self._is_over(claim.item)):
            self.frontier.release(claim.key)
        self._wake.set()

    def has_left(self, shard: int) -> bool:
        """True if nothing of a leaving shard is under way, and its outcomes are durable."""
        answered = (job for each in self._file_jobs.values() for job, _ in each.answered)
        return (
            not self._keeper.open[shard]
            and not any(self.shard_of(key) == shard for key in self.frontier.leased())
            and not any(job.shard == shard and not job.ended for job in answered)
        )

    def forget(self, shard: int, links: Container[str]) -> None:
        """Forget a shard after it left, with all state of its links and domains."""
        self.frontier.forget(lambda key: self.shard_of(key) == shard)
        self._leaving.discard(shard)
        self._quiet.pop(shard, None)
        self.total -= self.left.pop(shard, 0)
        self._retrying = {key: at for key, at in self._retrying.items() if key not in links}
        for paces in (self._pace.crawl_delay_s, self._pace.slow_s):
            for key in [key for key in paces if self.shard_of(key) == shard]:
                del paces[key]

    def weights(self, servable: float) -> Counter[int]:
        """Links left per shard, of each domain up to `servable`. O(domains)."""
        sums: Counter[int] = Counter()
        for key, load in self.frontier.loads():
            sums[self.shard_of(key)] += int(min(load, servable))
        return sums

    def share_addresses(self, in_flight: int, interval_s: float) -> None:
        """Change the limits on IP addresses, shared with other workers."""
        self._ip_limits.share(in_flight, interval_s)

    def _leaves(self, key: str) -> bool:
        return self.shard_of(key) in self._leaving

    def _stays(self, item: FrontierItem) -> bool:
        return not isinstance(item, int) and not self._is_over(item)

    # Saving and stopping

    def has_open(self, shard: int) -> bool:
        """True if outcomes of a shard are not durable yet."""
        return bool(self._keeper.open[shard])

    def commit(self) -> None:
        """Make all outcomes durable, the open segment too."""
        self._keeper.commit()

    def flush(self) -> None:
        """Make outcomes durable if they have no record to wait for."""
        self._keeper.flush()

    async def close(self) -> None:
        """Make everything durable. Raises FatalError for a failed write, now or earlier."""
        self._closed = True
        await self._keeper.close(commit=self.error is None)
        self._rules.close()
        for task in self._tasks:
            task.cancel()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Begin nothing more."""
        self.stopping = True
        self._wake.set()

    def fail(self, error: FatalError) -> None:
        """Stop for a fatal error of the run."""
        self.error = self.error or error
        self.stop()

    def state(self, now: float, wall: float) -> dict[str, Any]:
        """Retry times and paces for a later run of this shard, in wall-clock seconds."""
        shift = wall - now
        return {
            "retrying": {
                doc_id: [attempts, tries, not_before + shift]
                for doc_id, (attempts, tries, not_before) in self._retrying.items()
                if math.isfinite(not_before)
            },
            "crawl_delay_s": {**self._pace.crawl_delay_s},
            "slow_s": {**self._pace.slow_s},
            "postponed": {
                key: until + shift
                for key, until in self.frontier.postponed(now, 2 * self.config.delay_s).items()
            },
        }


class _OutcomeKeeper:
    """Writes outcomes and records through the ledger, and begins its commits."""

    def __init__(
        self,
        ledger: Ledger,
        failed: Callable[[FatalError], None],
        committed: Callable[[Sequence[Outcome]], None],
    ) -> None:
        self._ledger = ledger
        self._failed = failed
        self._committed = committed
        # Outcomes per shard not yet durable.
        self.open: Counter[int] = Counter()
        self._committer = Committer(ledger, failed, self._note)

    def keep(self, outcome: Outcome, result: FetchResult | None) -> bool:
        """Note an outcome with its page, if it has one; False after a failure."""
        if result is not None:
            outcome.status = result.status
            outcome.ip = result.ip
            outcome.fetched_at = result.fetched_at
            outcome.content_type = result.content_type
            outcome.repairs = tuple(result.repairs) or None

        try:
            if outcome.reason is None and result is not None:
                outcome.body_bytes = len(result.body)
                outcome.truncated = result.truncated is not None
                self._ledger.add_page(outcome, result)
            elif outcome.says_itself and result is not None:
                self._ledger.add_refusal(outcome, result)
            else:
                self._ledger.add(outcome)
        except FatalError as error:
            self._failed(error)
            return False

        self.open[outcome.shard] += 1
        self._commit_due()
        return True

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        self.open.subtract(outcome.shard for outcome in outcomes)
        self._committed(outcomes)

    def store(self, result: FetchResult) -> str:
        """Keep the record of an answer that decided something: a redirect, a robots.txt, a file.

        The record's id.
        """
        record = self._ledger.store(result)
        self._commit_due()
        return record

    def flush(self) -> None:
        self._committer.start(self._ledger.loose())
        self._commit_due()

    def commit(self) -> None:
        self._committer.start(self._ledger.rest())

    async def close(self, *, commit: bool) -> None:
        if commit:
            self._committer.start(self._ledger.rest())
        await self._committer.close()

    def _commit_due(self) -> None:
        self._committer.start(self._ledger.due(time.monotonic()))


class _HostAbuse:
    """Counts what hosts cost beyond their share: floods on the wire and processor time."""

    def __init__(self) -> None:
        self._floods: Counter[str] = Counter()
        self._cpu_s: dict[str, float] = {}

    def counts(self, host: str, result: FetchResult) -> bool:
        """Count an answer; True if its host is to be given up."""
        if result.is_flood:
            self._floods[host] += 1
        # Saved up rather than stored for every host: an honest answer costs less than its share.
        cpu_s = self._cpu_s.get(host, 0.0) + result.cpu_s - REQUEST_CPU_S

        if cpu_s > 0:
            self._cpu_s[host] = cpu_s
        else:
            self._cpu_s.pop(host, None)

        return self._floods[host] >= MAX_FLOODS or cpu_s > HOST_CPU_S
