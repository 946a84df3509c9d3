"""Hosts that say something about training, each in its own way, on the loopback web."""

from __future__ import annotations

from dataclasses import dataclass, field

RSL = '<rsl xmlns="https://rslstandard.org/rsl"><content url="{url}"><license>{terms}</license></content></rsl>'
NO_TRAINING = '<prohibits type="usage">ai-train</prohibits>'
PERMITTED = '<permits type="usage">ai-train</permits>'
PROSE = "<p>" + "A sentence about the garden and the village clock. " * 30 + "</p>"


@dataclass(frozen=True)
class SignalHost:
    """A host with one page, `/page`."""

    name: str
    training: str
    """The answer that its row must have."""
    signal: str | None = None
    """The signal that refuses under the default policy."""
    asked: bool = True
    """True if the page itself is requested under the default policy."""
    robots: str = ""
    tdmrep: str = ""
    files: dict[str, str] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    head: str = ""

    @property
    def page(self) -> bytes:
        """The page's HTML."""
        body = f"<h1>{self.name}</h1>{PROSE}"
        return f"<html><head><title>{self.name}</title>{self.head}</head><body>{body}</body></html>".encode()


def rsl(url: str = "/", terms: str = NO_TRAINING) -> str:
    """An RSL document."""
    return RSL.format(url=url, terms=terms)


def hosts() -> list[SignalHost]:
    """A host for every kind of signal and place."""
    everybody = "User-agent: *\nAllow: /\n"
    licensed = "License: /license.xml\nUser-agent: *\nAllow: /\n"
    link = 'type="application/rsl+xml" href="/license.xml"'
    rsl_link = '</license.xml>; rel="license"; type="application/rsl+xml"'
    by = '<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">CC</a>'
    return [
        SignalHost("silent", "unsaid"),
        SignalHost("silent-robots", "unsaid", robots=everybody),
        SignalHost("usage-robots", "no", "content_usage", asked=False, robots=f"{everybody}Content-Usage: / train-ai=n\n"),
        SignalHost("usage-open", "yes", robots=f"{everybody}Content-Usage: / train-ai=n\nContent-Usage: /page train-ai=y\n"),
        SignalHost("usage-search", "unsaid", robots=f"{everybody}Content-Usage: / search=n\n"),
        SignalHost("usage-header", "no", "content_usage", headers=(("Content-Usage", "train-ai=n"),)),
        SignalHost("signal-robots", "no", "content_signal", asked=False, robots="User-agent: *\nContent-Signal: search=yes,ai-train=no\nAllow: /\n\nUser-agent: GPTBot\nDisallow: /\n"),
        SignalHost("signal-yes", "yes", robots=f"{everybody}Content-Signal: ai-train=yes\n"),
        SignalHost("signal-header", "no", "content_signal", headers=(("Content-Signal", "ai-train=no"),)),
        SignalHost("rsl-robots", "no", "rsl", asked=False, robots=licensed, files={"/license.xml": rsl()}),
        SignalHost("rsl-permits", "yes", robots=licensed, files={"/license.xml": rsl(terms=PERMITTED)}),
        SignalHost("rsl-elsewhere", "unsaid", robots=licensed, files={"/license.xml": rsl("/other/")}),
        SignalHost("rsl-missing", "unsaid", robots=licensed),
        SignalHost("rsl-header", "no", "rsl", headers=(("Link", rsl_link),), files={"/license.xml": rsl()}),
        SignalHost("rsl-link", "no", "rsl", head=f'<link rel="license" {link}>', files={"/license.xml": rsl()}),
        SignalHost("rsl-inline", "no", "rsl", head=f'<script type="application/rsl+xml">{rsl("")}</script>'),
        SignalHost("tdm-file", "no", "tdmrep", asked=False, tdmrep='[{"location": "/", "tdm-reservation": 1}]'),
        SignalHost("tdm-open", "yes", tdmrep='[{"location": "/", "tdm-reservation": 0}]'),
        SignalHost("tdm-header", "no", "tdmrep", headers=(("tdm-reservation", "1"), ("tdm-policy", "https://x.test/p"))),
        SignalHost("tdm-meta", "no", "tdmrep", head='<meta name="tdm-reservation" content="1">'),
        SignalHost("noai-header", "no", "robots_tag", headers=(("X-Robots-Tag", "noai, noimageai"),)),
        SignalHost("noai-meta", "no", "robots_tag", head='<meta name="robots" content="noai">'),
        SignalHost("noml-meta", "no", "robots_tag", head='<meta name="robots" content="noml">'),
        SignalHost("noarchive", "unsaid", head='<meta name="robots" content="noarchive">'),
        SignalHost("agents", "unsaid", robots=f"{everybody}\nUser-agent: GPTBot\nUser-agent: CCBot\nDisallow: /\n"),
        SignalHost("licence", "yes", head=by),
        SignalHost("conflict", "conflict", "robots_tag", head='<meta name="robots" content="noai">' + by),
    ]  # fmt: skip
