"""The HTML around the demo's pages: four layouts with the furniture of real sites.

Navigation, breadcrumbs, sidebars, related links, share buttons, comments, a cookie notice and a
footer surround the main content, so extraction matters. One host always uses one layout.
"""

from __future__ import annotations

import html
import zlib
from collections.abc import Callable, Sequence

from examples.demo.pages import Page

COOKIE_NOTICE = "We use cookies to remember your settings and to count our visitors."
FOOTER_NOTICE = "All product names, logos and brands are property of their respective owners."
NUM_SIDEBAR_LINKS = 14
NUM_RELATED_LINKS = 5

_COOKIES = (
    f'<div id="cookie-banner" class="cookie-consent" role="dialog"><p>{COOKIE_NOTICE} By continuing to browse you '
    'accept our <a href="/privacy">privacy policy</a>.</p><button>Accept all</button><button>Only necessary</button></div>'
)
_SHARE = (
    '<div class="share"><a href="/share?to=mail">Share by mail</a> <a href="/share?to=feed">Subscribe to the feed</a> '
    '<a href="javascript:window.print()">Print this page</a></div>'
)


def render(page: Page, siblings: Sequence[Page], layout_host: str | None = None) -> bytes:
    """The whole HTML document of `page`, UTF-8, with links to `siblings` of its host around it.

    `layout_host` draws the page as another host would (the mirrors do).
    """
    layout = layout_of(layout_host or page.host)
    return layout(page, links_around(page, siblings)).encode()


def home(host: str, pages: Sequence[Page]) -> bytes:
    """The front page of a host: links only."""
    entries = "".join(f"<li>{_link(page)}</li>" for page in pages[:200])
    return f"{_head(site_title(host))}<body><h1>{site_title(host)}</h1><ul>{entries}</ul></body></html>".encode()


def site_title(host: str) -> str:
    """A name for the site at `host`."""
    return html.escape(
        host.removesuffix(".test").removeprefix("www.").replace(".", " ").replace("-", " ").title()
    )


def layout_of(host: str) -> Callable[[Page, Sequence[Page]], str]:
    """The layout of every page of `host`."""
    return LAYOUTS[zlib.crc32(host.encode()) % len(LAYOUTS)]


def links_around(page: Page, siblings: Sequence[Page]) -> list[Page]:
    """The neighbours of `page` among its siblings, cyclically, without itself."""
    if not siblings:
        return []

    start = zlib.crc32(page.path.encode()) % len(siblings)
    window = [
        siblings[(start + step) % len(siblings)]
        for step in range(min(len(siblings), NUM_SIDEBAR_LINKS))
    ]
    return [sibling for sibling in window if sibling.path != page.path]


def manual(page: Page, around: Sequence[Page]) -> str:
    """A documentation site: tree of contents at the left, previous and next below."""
    steps = " | ".join(_link(sibling) for sibling in around[:2])
    return f"""{_head(page.title, page.host)}<body class="wy-body">
{_COOKIES}
<nav class="wy-nav-side"><div class="logo"><a href="/">{site_title(page.host)}</a></div>
<form action="/search"><input name="q" placeholder="Search docs"></form>
<p class="caption">Contents</p><ul>{_items(around)}</ul></nav>
<div class="wy-content"><div role="navigation" aria-label="breadcrumbs"><ul class="breadcrumbs">
<li><a href="/">Docs</a> &raquo;</li><li><a href="/reference/">Reference</a> &raquo;</li><li>{_title(page)}</li></ul></div>
<main role="main" class="document"><article itemprop="articleBody"><h1>{_title(page)}</h1>
{page.body}
</article></main>
<div class="prev-next" role="navigation">{steps}</div>
<footer><hr><p>&copy; 2017, the {site_title(page.host)} contributors. {FOOTER_NOTICE}</p>
<p>Built from source; last updated on 12 December 2017. <a href="/issues/new">Report an issue with this page</a></p></footer>
</div></body></html>"""


def weblog(page: Page, around: Sequence[Page]) -> str:
    """A weblog: byline, related posts, newsletter, comments."""
    return f"""{_head(page.title, page.host)}<body class="home blog">
<header class="site-header"><h2 class="site-title"><a href="/">{site_title(page.host)}</a></h2>
<ul class="menu"><li><a href="/">Home</a></li><li><a href="/archive">Archive</a></li><li><a href="/about">About me</a></li>
<li><a href="/contact">Contact</a></li></ul></header>
<article class="post hentry"><h1 class="entry-title">{_title(page)}</h1>
<p class="byline">Posted on December 12, 2017 by <a href="/author/admin">admin</a> in <a href="/category/software">Software</a></p>
<div class="entry-content">
{page.body}
</div>{_SHARE}</article>
<aside class="sidebar"><h3>Recent posts</h3><ul>{_items(around)}</ul>
<h3>Newsletter</h3><p>Join our readers and never miss a post. Your address is safe with us.</p>
<form><input type="email" placeholder="you@example.test"><button>Sign up</button></form></aside>
<section id="comments" class="comments-area"><h3>2 comments</h3>
<div class="comment"><p class="comment-author">reader1 says:</p><p>Thanks, that was just what I needed today!</p></div>
<div class="comment"><p class="comment-author">nobody says:</p><p>First.</p></div></section>
<footer class="site-footer"><p>Proudly powered by a static generator. {FOOTER_NOTICE}</p></footer>
{_COOKIES}</body></html>"""


def portal(page: Page, around: Sequence[Page]) -> str:
    """A portal: banners above, columns of links at both sides, a fat footer."""
    return f"""{_head(page.title, page.host)}<body>
<div id="topbar"><a href="/login">Log in</a> <a href="/register">Create an account</a> <a href="/help">Help</a></div>
<div id="nav"><a href="/">{site_title(page.host)}</a> | <a href="/news">News</a> | <a href="/forum">Forum</a> | <a href="/jobs">Jobs</a></div>
<div class="ad-banner"><a href="/sponsor">Your advertisement could be here</a></div>
<div class="breadcrumb"><a href="/">Start</a> / <a href="/topics">Topics</a> / {_title(page)}</div>
<div id="wrapper"><div id="left-column" class="sidebar"><h4>Most read</h4><ul>{_items(around[:7])}</ul></div>
<div id="content"><h1>{_title(page)}</h1>
{page.body}
<div class="related-links"><h4>You may also like</h4><ul>{_items(around[-NUM_RELATED_LINKS:])}</ul></div></div>
<div id="right-column" class="sidebar"><h4>Poll</h4><p>Tabs or spaces?</p><ul><li>Tabs</li><li>Spaces</li></ul></div></div>
<div id="footer"><div class="col"><h5>Company</h5><a href="/about">About us</a> <a href="/press">Press</a> <a href="/imprint">Imprint</a></div>
<div class="col"><h5>Legal</h5><a href="/terms">Terms of use</a> <a href="/privacy">Privacy</a></div><p>{FOOTER_NOTICE}</p></div>
{_COOKIES}</body></html>"""


def encyclopedia(page: Page, around: Sequence[Page]) -> str:
    """A collaborative manual: tabs, tool box, categories."""
    categories = " | ".join(_link(sibling) for sibling in around[:3])
    return f"""{_head(page.title, page.host)}<body class="mediawikilike">
{_COOKIES}
<div id="p-navigation" role="navigation"><h3>Navigation</h3><ul><li><a href="/">Main page</a></li><li><a href="/random">Random page</a></li></ul>
<h3>Tools</h3><ul><li><a href="/whatlinkshere">What links here</a></li><li><a href="/history">View history</a></li></ul>
<h3>In this section</h3><ul>{_items(around)}</ul></div>
<div id="content" class="mw-body" role="main"><h1 id="firstHeading">{_title(page)}</h1>
<div id="siteSub" class="noprint">From {site_title(page.host)}, the manual that anyone can edit</div>
<div id="bodyContent">
{page.body}
</div><div id="catlinks" class="catlinks">Categories: {categories}</div></div>
<div id="footer" role="contentinfo"><ul><li>This page was last edited on 12 December 2017.</li><li>{FOOTER_NOTICE}</li>
<li><a href="/privacy">Privacy policy</a></li><li><a href="/disclaimer">Disclaimers</a></li></ul></div></body></html>"""


LAYOUTS: tuple[Callable[[Page, Sequence[Page]], str], ...] = (manual, weblog, portal, encyclopedia)


def _head(title: str, host: str = "") -> str:
    name = f" - {site_title(host)}" if host else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}{name}</title>'
        '<link rel="stylesheet" href="/static/site.css"><script>var tracker = {"page": 1};</script></head>\n'
    )


def _title(page: Page) -> str:
    return html.escape(page.title)


def _link(page: Page) -> str:
    return f'<a href="{html.escape(page.path)}">{_title(page)}</a>'


def _items(pages: Sequence[Page]) -> str:
    return "".join(f"<li>{_link(page)}</li>" for page in pages)
