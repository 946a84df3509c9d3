"""Settings of the judge of soft failures."""

from __future__ import annotations

from typing import Final, Literal, get_args

from pydantic import Field

from corpus.config import Section

Kind = Literal[
    "bot_wall",
    "js_required",
    "parked",
    "soft_404",
    "server_default",
    "login_wall",
    "consent_wall",
    "paywall_teaser",
    "age_gate",
    "geo_block",
    "error_page",
    "redirect_stub",
    "hijacked",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class SoftFailuresConfig(Section):
    """Answers that are not pages: walls, soft 404s, parked domains, default pages."""

    remove: bool = True
    """Drop answers that are not pages, each with its kind as the reason."""
    threshold: float = Field(default=0.0)
    """Least score of a soft failure, in log-odds. Higher keeps more pages. At 0, 3 of 4,019 genuine
    documents of unseen sites were lost and 97 % of 687 soft failures found (2026-11).
    """
    home_marks: bool = False
    """Drop a page below a home page whose `canonical`, `og:url` and class of `<body>`, two of them,
    say that it is the home page. Of 2,378 genuine pages none has two (2026-11).
    """
    repeated: bool = False
    """Drop short texts that stand at many addresses of a host, or on many sites, in one batch. This
    needs an exchange of all texts.
    """
    repeated_addresses: int = Field(default=5, ge=2)
    """Addresses of one host, queries left out, from which a text of at most 300 words is its answer
    for missing pages.
    """
    repeated_sites: int = Field(default=8, ge=2)
    """Registered domains from which a text of at most 100 words is a wall or an error."""
    keep: tuple[Kind, ...] = ()
    """Kinds that stay documents, such as `paywall_teaser`."""

    def without_effect(self) -> dict[str, str]:
        """The thresholds of repeated texts, while none are dropped."""
        if self.repeated and self.remove:
            return {}
        reason = "clean.soft_failures.repeated is false"
        return dict.fromkeys(("repeated_addresses", "repeated_sites"), reason)
