"""Answers: the meaning of a response. Pure functions of a job and its result.

The dispatcher carries out their decisions. `Retry` falls back to its second action when the job has
had its tries.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from crawl.fetch.jobs import FileJob, PageJob, RobotsJob, redirect_target
from crawl.fetch.meta_elements import HEAD_BYTES, meta_elements, refresh
from crawl.fetch.pace.politeness import may_pass
from crawl.fetch.permission import robots
from crawl.fetch.permission.rights_files import MAX_REDIRECTS as MAX_FILE_REDIRECTS
from crawl.fetch.permission.rights_files import RightsFile
from crawl.fetch.permission.robots import Access, Robots
from crawl.fetch.permission.robots_meta import is_tagged
from crawl.fetch.requests import PAGE_STATUSES, REDIRECTS, FetchResult
from crawl.outcomes import Reason

# A page leading elsewhere within this time is a redirect; later ones are reloading pages.
MAX_REFRESH_S = 5


@dataclass(frozen=True, slots=True)
class Keep:
    """Store the page."""

    truncated: str | None = None
    """Why it is not whole, in the words of `WARC-Truncated`."""


@dataclass(frozen=True, slots=True)
class End:
    """End the link without a page."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Follow:
    """Continue at another address."""

    url: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again later, or do `otherwise` when there were enough tries."""

    otherwise: Keep | End


PageAction = Keep | End | Follow | Retry


@dataclass(frozen=True, slots=True)
class RulesFound:
    """The rules of a site are known. `retry`: unless a later try brings better ones."""

    rules: Robots
    retry: bool = False


@dataclass(frozen=True, slots=True)
class FileFound:
    """The answer to a request for a file about rights. `retry`: a later try may bring a better one."""

    file: RightsFile
    retry: bool = False


@dataclass(frozen=True, slots=True)
class PageTerms:
    """Settings for judging an answer."""

    max_redirects: int
    user_agent: str
    refused_tags: Collection[str] = ()


def judge_page(job: PageJob, result: FetchResult, terms: PageTerms) -> PageAction:
    """Decide the next action for a link after an answer, or after none."""
    problem, status = result.problem, result.status
    if problem is None and status in REDIRECTS:
        location = result.header("location") or refresh_target(result) or ""
        return judge_redirect(job, location, result, terms)

    is_page = status in PAGE_STATUSES
    if problem is not None or not is_page:
        end = End(problem if problem is not None else Reason.HTTP_STATUS)
        if not may_pass(problem, status if problem is None else None):
            return end
        if problem is Reason.CONNECTION_LOST and is_page and result.body:
            return Retry(Keep("disconnect"))  # some sites never send more of it
        return Retry(end)

    if not result.body:
        return End(Reason.EMPTY_BODY)

    tags = result.header_values("x-robots-tag")
    if is_tagged(tags, result.body, terms.refused_tags, terms.user_agent):
        return End(Reason.ROBOTS_TAG)

    target = refresh_target(result)
    if target is not None:
        refreshed = judge_redirect(job, target, result, terms)
        if isinstance(refreshed, Follow):
            return refreshed

    return Keep(result.truncated)


def judge_redirect(
    job: PageJob, location: str, result: FetchResult, terms: PageTerms
) -> Follow | End:
    """Decide if a redirect is followed. The link rules are asked by the caller."""
    url = redirect_target(job.url, location)
    if url is None:
        return End(Reason.REDIRECT_INVALID)

    # A site setting a cookie may lead to the same address again, and expect the cookie there.
    seen = url == job.url or url in job.redirects
    if seen and not result.header_values("set-cookie"):
        return End(Reason.REDIRECT_LOOP)
    if len(job.redirects) >= terms.max_redirects:
        return End(Reason.REDIRECT_LOOP if seen else Reason.REDIRECT_LIMIT)

    return Follow(url)


def refresh_target(result: FetchResult) -> str | None:
    """The target of an immediate `Refresh` header or meta refresh; None without one."""
    for value in result.header_values("refresh"):
        if (target := _immediate(value)) is not None:
            return target

    if b"refresh" not in result.body[:HEAD_BYTES].lower():
        return None

    base: str | None = None
    for name, attributes in meta_elements(result.body):
        if name == "base":
            base = base or redirect_target(result.url, attributes.get("href", ""))
        elif attributes.get("http-equiv", "").lower() == "refresh":
            target = _immediate(attributes.get("content", ""))
            if target is not None:
                return redirect_target(base, target) if base else target

    return None


def _immediate(value: str) -> str | None:
    found = refresh(value)
    return found[1] if found is not None and found[0] <= MAX_REFRESH_S else None


def judge_robots(job: RobotsJob, result: FetchResult, product_token: str) -> Follow | RulesFound:
    """Decide the meaning of the answer to a request for robots.txt (RFC 9309, section 2.3.1)."""
    location = result.header("location")
    if result.status in REDIRECTS and result.problem is None and location is not None:
        url = redirect_target(job.url, location)
        if url is not None and len(job.redirects) < robots.MAX_REDIRECTS:
            return Follow(url)

    problem = result.problem
    status = result.status if problem is None else None
    is_whole = status != 206 or robots.is_whole_range(result.header("content-range"))
    rules = robots.decide(status, result.body, product_token, is_whole=is_whole)
    if rules.access is not Access.UNREACHABLE:
        return RulesFound(rules)

    cause = unreachable_cause(problem, status)
    passing = may_pass(problem, status) or (status or 0) >= 500
    return RulesFound(Robots(Access.UNREACHABLE, cause=cause), retry=passing)


def judge_file(job: FileJob, result: FetchResult) -> Follow | FileFound:
    """Decide the meaning of the answer to a request for a file about rights.

    As with robots.txt, the file is absent after 4xx answers and redirects to nowhere. It cannot be
    read after 5xx, 429 and failures of the network.
    """
    location = result.header("location")
    problem, status = result.problem, result.status
    if status in REDIRECTS and problem is None and location is not None:
        url = redirect_target(job.url, location)
        if url is not None and len(job.redirects) < MAX_FILE_REDIRECTS:
            return Follow(url)

    if problem is None and status is not None and status != 429 and status < 500:
        if status in PAGE_STATUSES and result.truncated is None:
            return FileFound(RightsFile(result.body))
        if status in PAGE_STATUSES:
            return FileFound(RightsFile(cause="too_long"))
        return FileFound(RightsFile())

    cause = unreachable_cause(problem, status)
    return FileFound(RightsFile(cause=cause), retry=may_pass(problem, status))


def unreachable_cause(problem: Reason | None, status: int | None) -> str:
    """A word for the cause of an unreachable robots.txt, such as `tls_failed` or `status_503`."""
    if problem is not None:
        return str(problem)
    return f"status_{status}" if status is not None else str(Reason.CONNECTION_LOST)
