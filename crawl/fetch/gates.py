"""Gates: may this request be made now? Asked of each job before each request.

The gates are asked in the order of their cost: port, host, address, robots.txt, rights, limits of
the IP address. A robots.txt passes the same gates as a page, apart from its own rules.
"""

from __future__ import annotations

from typing import NamedTuple

from crawl.fetch.jobs import Job, PageJob, Site, locate
from crawl.fetch.network import addresses
from crawl.fetch.network.resolver import Resolver
from crawl.fetch.pace.politeness import Breaker, IpLimits
from crawl.fetch.permission.rights_gate import NeedFile, RightsGate
from crawl.fetch.permission.robots import Access, Robots
from crawl.fetch.permission.robots_cache import RobotsCache
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Reason

# Answers about a host that hold for all its links.
GIVEN_UP_ADDRESS = frozenset({Reason.DNS_NOT_FOUND, Reason.ADDRESS_REFUSED})


class Refuse(NamedTuple):
    """The job ends, for this reason."""

    reason: Reason
    cause: str | None = None
    """What made robots.txt unreachable."""


class Wait(NamedTuple):
    """The host may be asked at this time."""

    until: float


class Move(NamedTuple):
    """The job belongs to another pace key than it was queued under."""

    key: str


class LookUp(NamedTuple):
    """The host's name must be looked up first."""

    host: str


class Unresolved(NamedTuple):
    """The host's name has no usable address; some of these failures may pass."""

    site: Site
    reason: Reason


class NeedRobots(NamedTuple):
    """The site's robots.txt must be fetched first."""

    site: Site


class WaitForIp(NamedTuple):
    """The address receives as many requests as it may."""

    ip: str


class Admit(NamedTuple):
    """The request may be made now; a place at the address is taken."""

    ip: str


Decision = Refuse | Wait | Move | LookUp | Unresolved | NeedRobots | NeedFile | WaitForIp | Admit


class Gates:
    """All checks before a request. Times are monotonic seconds."""

    def __init__(
        self,
        config: FetchConfig,
        resolver: Resolver,
        rules: RobotsCache,
        breaker: Breaker,
        ip_limits: IpLimits[object],
        rights: RightsGate | None = None,
        *,
        only_files: bool = False,
    ) -> None:
        self._config = config
        self._resolver = resolver
        self._rules = rules
        self._breaker = breaker
        self._ip_limits = ip_limits
        self._rights = rights
        # True if pages themselves are not requested.
        self._only_files = only_files
        # Hosts whose links all end for the same reason.
        self.refused_hosts: dict[str, Reason] = {}

    def check(self, job: Job, key: str, now: float) -> Decision:
        """Decide about a job leased under `key`."""
        site = locate(job.url)
        if site is None:
            return Refuse(Reason.BAD_URL)
        if site.key != key:  # the domain that is asked is the one to be paced
            return Move(site.key)

        refused = self._host(site, now)
        if refused is not None:
            return refused

        known = self._resolver.known(site.host)
        if known is None:
            return LookUp(site.host)
        if known.reason is not None:
            return Unresolved(site, known.reason)

        if isinstance(job, PageJob) and not job.is_cleared:
            rules = self._rules.find(site.origin, now)
            if rules is None:
                return NeedRobots(site)
            if (refused := robots_refusal(rules, job.url)) is not None:
                job.rules = rules
                return refused
            job.rules = rules

        if isinstance(job, PageJob) and self._rights is not None:
            decided = self._check_rights(self._rights, job, site, now)
            if decided is not None:
                return decided

        ip = known.endpoints[0].ip
        return Admit(ip) if self._ip_limits.take(ip, now) else WaitForIp(ip)

    def _check_rights(
        self, rights: RightsGate, job: PageJob, site: Site, now: float
    ) -> Refuse | NeedFile | None:
        """Ask for the site's statements about training. The findings stay with the job."""
        assert job.rules is not None
        found = rights.before(job, site, job.rules, now)
        if isinstance(found, NeedFile):
            return found

        job.findings = found
        refused = rights.refusal(found)
        if refused is not None:
            return Refuse(Reason.TRAINING_OPT_OUT, refused)
        return Refuse(Reason.RIGHTS_CHECKED) if self._only_files else None

    def _host(self, site: Site, now: float) -> Refuse | Wait | None:
        if addresses.port_refusal(site.port, self._config.allow_ports) is not None:
            return Refuse(Reason.PORT_REFUSED)
        if (reason := self.refused_hosts.get(site.host)) is not None:
            return Refuse(reason)
        if self._breaker.gave_up(site.host):
            return Refuse(Reason.HOST_UNREACHABLE)

        until = self._breaker.open_until(site.host, now)
        return Wait(until) if until is not None else None


def robots_refusal(rules: Robots, url: str) -> Refuse | None:
    """The refusal of `url` by a site's robots.txt; None if it allows the request."""
    if rules.access is Access.UNREACHABLE:
        return Refuse(Reason.ROBOTS_UNREACHABLE, rules.cause)
    return None if rules.allows(url) else Refuse(Reason.ROBOTS_DISALLOWED)
