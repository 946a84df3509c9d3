"""The gate of rights: decides from statements if a page may be requested and stored.

Before a request it reads robots.txt and the files of the site, after it the response. The
dispatcher asks for files not known yet (`NeedFile`).
"""

from __future__ import annotations

from typing import NamedTuple

from corpus.rights.statements import ADDRESSED_TO_ALL, Answer, answer, refusals
from crawl.fetch.jobs import PageJob, Site
from crawl.fetch.permission.rights_files import (
    MAX_LICENCES,
    FileCache,
    FileKey,
    FileKind,
    Findings,
    RightsFile,
)
from crawl.fetch.permission.robots import Robots
from crawl.fetch.requests import FetchResult
from crawl.rights import tdmrep
from crawl.rights.page import read_response
from crawl.rights.robots_file import licence_urls, read_robots
from crawl.rights.settings import RightsConfig


class NeedFile(NamedTuple):
    """This file must be fetched first."""

    key: FileKey


class RightsGate:
    """Judges pages by their rights. Times are monotonic seconds."""

    def __init__(self, config: RightsConfig, user_agent: str, files: FileCache) -> None:
        self._config = config
        self._user_agent = user_agent
        self._obeyed = config.obeyed
        self._files = files

    def before(self, job: PageJob, site: Site, rules: Robots, now: float) -> Findings | NeedFile:
        """The statements of the site about a page, before it is requested."""
        statements = read_robots(rules, job.url, site.robots_url)
        evidence = [rules.evidence] if statements and rules.evidence else []
        # A "no" of robots.txt decides, so nothing more is asked for.
        if refusals(statements, self._obeyed):
            return Findings(tuple(statements), tuple(evidence))

        for key in self._site_files(site, rules):
            file = self._find(job, key, now)
            if file is None:
                return NeedFile(key)
            said = file.read(key, job.url)
            if said and key.kind is FileKind.RSL and rules.evidence:
                evidence.append(rules.evidence)
            if said and file.evidence:
                evidence.append(file.evidence)
            statements += said

        return Findings(tuple(statements), tuple(dict.fromkeys(evidence)))

    def after(self, job: PageJob, result: FetchResult, now: float) -> Findings | NeedFile:
        """The statements about a page, its own among them."""
        before = job.findings or Findings()
        page = read_response(result.headers, result.body, job.url, self._user_agent)
        statements = [*before.statements, *page.statements]
        evidence = [*before.evidence]
        says_itself = bool(page.statements)

        if self._config.licence_documents:
            for url, place in page.licence_urls[:MAX_LICENCES]:
                key = FileKey(FileKind.RSL, url)
                file = self._find(job, key, now)
                if file is None:
                    return NeedFile(key)
                said = file.read(key, job.url, place)
                statements += said
                says_itself = says_itself or bool(said)
                if said and file.evidence:
                    evidence.append(file.evidence)

        return Findings(tuple(statements), tuple(dict.fromkeys(evidence)), says_itself)

    def refusal(self, findings: Findings) -> str | None:
        """The obeyed signals saying "no", joined by commas; None if there are none."""
        found = refusals(findings.statements, self._obeyed)
        return ",".join(found) if found else None

    def answer(self, findings: Findings) -> Answer:
        """The answer in a page's row."""
        return answer(findings.statements, ADDRESSED_TO_ALL | self._obeyed)

    def _site_files(self, site: Site, rules: Robots) -> list[FileKey]:
        keys = []
        if self._config.tdmrep_file:
            url = site.robots_url.removesuffix("/robots.txt") + tdmrep.PATH
            keys.append(FileKey(FileKind.TDMREP, url))
        if self._config.licence_documents and rules.rights:
            urls = licence_urls(rules, site.robots_url)[:MAX_LICENCES]
            keys += [FileKey(FileKind.RSL, url) for url in urls]
        return keys

    def _find(self, job: PageJob, key: FileKey, now: float) -> RightsFile | None:
        # A file fetched for this job stays with it: the cache may have dropped it since.
        return job.files.get(key) or self._files.find(key, now)
