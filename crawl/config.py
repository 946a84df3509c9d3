"""The settings of the crawl: `[crawl.links]`, `[crawl.reading]`, `[crawl.fetch]`,
`[crawl.rights]` and `[crawl.warc]`."""

from __future__ import annotations

from typing import Any

from corpus.config import Section
from crawl.fetch.settings import FetchConfig
from crawl.links.config import LinksConfig
from crawl.links.dump_memory import ReadingConfig
from crawl.rights.settings import RightsConfig
from crawl.warc.archives import WarcConfig


class CrawlConfig(Section):
    """Settings of the crawl: links, readers, fetch and import."""

    common = frozenset(
        {
            "links.preset",
            "links.min_score",
            "fetch.contact",
            "fetch.user_agent",
            "fetch.deadline",
            "fetch.delay_s",
            "rights.policy",
        }
    )

    links: LinksConfig = LinksConfig()
    """Dumps to links."""
    reading: ReadingConfig = ReadingConfig()
    """Memory of the readers."""
    fetch: FetchConfig = FetchConfig()
    """Links to pages."""
    rights: RightsConfig = RightsConfig()
    """Statements of sites and pages about training."""
    warc: WarcConfig = WarcConfig()
    """WARC files to links and pages."""

    @property
    def fetch_identity(self) -> dict[str, Any]:
        """Fetch settings that the pages of a batch depend on.

        Pace, time-outs and retries are left out: they may be changed while a crawl runs. Rights
        are named where they differ from the defaults, which batches before them had.
        """
        identity: dict[str, Any] = {
            "shards": self.fetch.shards,
            "max_body_bytes": self.fetch.max_body_bytes,
        }
        obeyed = self.rights.obeyed
        if obeyed != RightsConfig().obeyed:
            identity["rights"] = sorted(obeyed)
        return identity
