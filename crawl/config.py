"""The settings of the crawl.

Sections: `[crawl.links]`, `[crawl.reading]`, `[crawl.fetch]`, `[crawl.captures]`, `[crawl.rights]`
and `[crawl.warc]`.
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from corpus.config import Section
from crawl.captures.config import CapturesConfig
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
    captures: CapturesConfig = CapturesConfig()
    """Archives for links whose pages are not there."""
    rights: RightsConfig = RightsConfig()
    """Statements of sites and pages about training."""
    warc: WarcConfig = WarcConfig()
    """WARC files to links and pages."""

    @model_validator(mode="after")
    def _check_archive(self) -> CrawlConfig:
        if self.fetch.archive != "off" and not self.captures.indexes:
            raise ValueError(
                f"crawl.fetch.archive is {self.fetch.archive!r}, but no index of captures is named; "
                'set crawl.captures.indexes, such as ["https://archive.example/cdx"]'
            )
        return self

    @property
    def fetch_identity(self) -> dict[str, Any]:
        """Fetch settings with an effect on the pages of a batch.

        Pace, time-outs and retries are left out: they may be changed while a crawl runs. Rights are
        named only if they differ from the defaults: older batches were made under those.
        """
        identity: dict[str, Any] = {
            "shards": self.fetch.shards,
            "max_body_bytes": self.fetch.max_body_bytes,
        }
        obeyed = self.rights.obeyed
        if obeyed != RightsConfig().obeyed:
            identity["rights"] = sorted(obeyed)
        # An archive may move to another address or folder; its captures are the same ones.
        if self.fetch.archive != "off":
            identity["archive"] = {
                "mode": self.fetch.archive,
                "policy": self.captures.policy,
                "window_days": self.captures.window_days,
            }
        return identity
