"""URLs of links: the address to fetch, and the key of the page.

Two strings per link. `url` is the request of a browser (WHATWG serialisation, without fragment and
user information). `url_key` is the page's identity: scheme, `www.`, default ports, trailing dots
and slashes, the case of percent-encoding, the order of parameters and tracking parameters don't
make a new page. Parameters may select content, so all stay but the known trackers. Carriers of
another address (redirectors of Google, Facebook, Reddit; AMP caches) are replaced by the address
they carry.

Everything here is pure. `target` parses and unwraps, `page_identity` computes the key: two steps,
since links dropped by a rule need no key.

Sources: the WHATWG URL standard, as ada implements it; RFC 3986 section 6.2.2 for percent-encoding;
the public suffix list as shipped with tldextract (ICANN part: all of blogspot.com is one registered
domain, and one server to be polite to).
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import can_ada
import xxhash

if TYPE_CHECKING:
    import tldextract

# Hosts whose identity is remembered per process (about 20 MB when full).
HOST_CACHE_SIZE = 1 << 16

# A scheme without its dots, which are those of a host, and not before the number of a port.
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+-]*:(?![0-9])")

# Redirectors inside redirectors, or schemes before a scheme, that are followed; a longer chain is
# not a page.
MAX_UNWRAPS = 8


class UrlProblem(StrEnum):
    """Reasons why a string is not the address of a page."""

    BAD_URL = "bad_url"
    NOT_HTTP = "not_http"


class Target(NamedTuple):
    """A parsed http(s) address, unwrapped.

    `host` keeps its port out, `path` begins with a slash.
    """

    url: str
    host: str
    port: str
    path: str
    search: str
    hash_bang: str = ""
    """A fragment that begins with `#!`: it names the page to scripts, so it is identity."""


class PageIdentity(NamedTuple):
    """The page that an address names: `doc_id` is the xxh3-128 of `url_key` in 32 hex digits."""

    url_key: str
    domain: str
    doc_id: str


class HostIdentity(NamedTuple):
    """A host as it enters the key, and its registered domain."""

    key: str
    domain: str


def with_scheme(asked: str) -> str:
    """An address as people type it, with `http://` unless it names a scheme.

    `example.org:8080/page` and `localhost:8080` name a host and a port.
    """
    return asked if _SCHEME.match(asked) else f"http://{asked}"


def target(text: str) -> Target | UrlProblem:
    """The address that `text` leads to, after unwrapping redirectors.

    A redirector that carries no usable address is an address like any other.
    """
    found = _parse(text)
    for _ in range(MAX_UNWRAPS):
        if isinstance(found, UrlProblem):
            return found
        carried = carried_address(found)
        inner = UrlProblem.BAD_URL if carried is None else _parse(carried)
        if isinstance(inner, UrlProblem):
            return found
        found = inner

    return UrlProblem.BAD_URL


def page_identity(page: Target) -> PageIdentity:
    """Key, registered domain and doc_id of a parsed address."""
    host = host_identity(page.host)
    key = host.key
    if page.port and page.port not in ("80", "443"):
        key += ":" + page.port
    key += _key_path(page.path)

    if page.search:
        query = _key_query(page.search[1:], host.domain)
        if query:
            key += "?" + query

    key += page.hash_bang
    return PageIdentity(key, host.domain, xxhash.xxh3_128_hexdigest(key.encode()))


def doc_id(url: str) -> str | None:
    """The doc_id of the page at `url`, or None if `url` is not an http(s) address."""
    found = target(url)
    return None if isinstance(found, UrlProblem) else page_identity(found).doc_id


@lru_cache(maxsize=HOST_CACHE_SIZE)
def host_identity(host: str) -> HostIdentity:
    """`host` without trailing dots, `www.` and `amp.`; and its registered domain.

    A prefix goes only where a registered domain remains: `www.com` and `amp.dev` are sites.
    """
    key = host.rstrip(".")
    domain = registered_domain(key)
    while key != domain and key.startswith(("www.", "amp.")):
        key = key[4:]
    return HostIdentity(key, domain)


def registered_domain(host: str) -> str:
    """The public suffix of `host` plus one label.

    An IP address, a single label and a public suffix are their own domain. Where no rule of the
    list matches (`numpy.test`), the last label counts as the suffix, which is the list's own
    default rule.
    """
    if host.startswith("[") or "." not in host or host.rpartition(".")[2].isdigit():
        return host

    found = _suffix_list().extract_str(host)
    if found.top_domain_under_public_suffix:
        return found.top_domain_under_public_suffix

    return host if found.suffix else ".".join(host.rsplit(".", 2)[-2:])


@lru_cache(maxsize=1)
def _suffix_list() -> tldextract.TLDExtract:
    """The list that the package ships: no network, no cache directory.

    Its import brings an HTTP client, 0.17 s of every start.
    """
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


def _parse(text: str) -> Target | UrlProblem:
    for _ in range(MAX_UNWRAPS):
        try:
            parsed = can_ada.parse(text)
        except (ValueError, TypeError):  # TypeError: a lone surrogate, which no UTF-8 text can hold
            return UrlProblem.BAD_URL

        scheme = parsed.protocol
        if scheme not in ("http:", "https:"):
            return UrlProblem.NOT_HTTP

        host = parsed.hostname
        # WHATWG allows empty labels (`http://a..b/`, `http://./`), DNS has none but the root's.
        if ".." in host or host.startswith("."):
            return UrlProblem.BAD_URL

        path, search, port = parsed.pathname, parsed.search, parsed.port
        if host not in ("http", "https"):
            break
        if not path.startswith("//"):
            return UrlProblem.BAD_URL
        text = f"{host}:{path}{search}"  # `http://http://host/`: the scheme was pasted twice
    else:
        return UrlProblem.BAD_URL

    hash_bang = parsed.hash if parsed.hash.startswith("#!") and len(parsed.hash) > 2 else ""
    authority = f"{host}:{port}" if port else host
    return Target(f"{scheme}//{authority}{path}{search}", host, port, path, search, hash_bang)


# Host without `www.` -> (paths that redirect, () for all; parameters that carry the address).
_REDIRECTORS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "out.reddit.com": ((), ("url",)),
    "l.facebook.com": (("/l.php",), ("u",)),
    "lm.facebook.com": (("/l.php",), ("u",)),
    "facebook.com": (("/l.php",), ("u",)),
    "m.facebook.com": (("/l.php",), ("u",)),
    "l.messenger.com": (("/l.php",), ("u",)),
    "l.instagram.com": ((), ("u",)),
    "t.umblr.com": (("/redirect",), ("z",)),
    "youtube.com": (("/redirect",), ("q",)),
    "vk.com": (("/away.php",), ("to",)),
    "away.vk.com": (("/away.php",), ("to",)),
    "steamcommunity.com": (("/linkfilter", "/linkfilter/"), ("url", "u")),
    "duckduckgo.com": (("/l/",), ("uddg",)),
    "slack-redir.net": (("/link",), ("url",)),
    "disq.us": ((), ("url",)),
    "medium.com": (("/r/",), ("url",)),
    "linkedin.com": (("/redir/redirect",), ("url",)),
    "exit.sc": ((), ("url",)),
    "go.redirectingat.com": ((), ("url",)),
}
# Hosts whose whole query is the address.
_QUERY_REDIRECTORS = frozenset(("href.li", "anonym.to", "anon.to", "nullrefer.com"))


def carried_address(page: Target) -> str | None:
    """The address that a redirector or AMP cache carries in itself, or None for any other page."""
    host = page.host.removeprefix("www.")
    redirector = _REDIRECTORS.get(host)
    if redirector is not None:
        paths, names = redirector
        return _parameter(page.search, names) if not paths or page.path in paths else None
    if host in _QUERY_REDIRECTORS:
        return _http_address(page.search[1:])
    if host == "twitter.com" and page.path == "/" and page.hash_bang.startswith("#!/"):
        return f"https://twitter.com/{page.hash_bang[3:]}"  # its addresses of 2010 to 2012
    if host == "12ft.io":
        return _http_address(page.path[1:] + page.search) or _parameter(page.search, ("q",))
    if host == "bing.com" and page.path.startswith("/amp/"):
        return _amp_address(page.path[len("/amp/") :], page.search)
    if host.endswith(".ampproject.org"):
        return _amp_cache_address(page)
    if "google." in host:
        return _google_address(page, host)
    if host.endswith(".safelinks.protection.outlook.com"):
        return _parameter(page.search, ("url",))

    return None


def _google_address(page: Target, host: str) -> str | None:
    domain = host_identity(host).domain
    if not domain.startswith("google.") or host not in (domain, "news." + domain):
        return None
    if page.path in ("/url", "/news/url"):
        return _parameter(page.search, ("q", "url"))
    if page.path.startswith("/amp/"):
        return _amp_address(page.path[len("/amp/") :], page.search)

    return None


def _amp_cache_address(page: Target) -> str | None:
    """`/c/s/HOST/PATH`; `c` and `v` mark pages, other letters images and fonts."""
    kind, _, rest = page.path[1:].partition("/")
    return _amp_address(rest, page.search) if kind in ("c", "v") else None


def _amp_address(rest: str, search: str) -> str | None:
    """`s/HOST/PATH` for https, `HOST/PATH` for http."""
    scheme = "http"
    if rest.startswith("s/"):
        scheme, rest = "https", rest[2:]
    return f"{scheme}://{rest}{search}" if "." in rest.partition("/")[0] else None


def _parameter(search: str, names: tuple[str, ...]) -> str | None:
    """The address in the first of `names` that holds one."""
    for name in names:
        for parameter in search[1:].split("&"):
            if parameter.startswith(name + "="):
                address = _http_address(unquote(parameter[len(name) + 1 :]))
                if address is not None:
                    return address

    return None


def _http_address(text: str) -> str | None:
    return text if text[:8].lower().startswith(("http://", "https://")) else None


# Families of campaign parameters: Urchin's, Matomo's, HubSpot's advertisements.
_TRACKING_PREFIXES = ("utm_", "mtm_", "matomo_", "hsa_")

# Names of parameters that are known to track, and to do nothing else.
_TRACKING = frozenset(
    name
    for names in (
        # click identifiers of advertising networks
        "fbclid gclid gclsrc dclid gbraid wbraid msclkid twclid ttclid yclid ysclid igshid igsh "
        "li_fat_id epik sccid",
        "rb_clickid wickedid irclickid s_kwcid srsltid _ga _gl",
        # newsletters and campaigns
        "mc_cid mc_eid mkt_tok _hsenc _hsmi __hstc __hssc __hsfp hsctatracking oly_anon_id "
        "oly_enc_id vero_id vero_conv",
        "_openstat ncid cmpid icid ocid xtor spm scm ref_src ref_url __twitter_impression",
        "at_medium at_campaign at_campaign_type at_link_id at_link_type at_link_origin at_format "
        "at_ptr_name at_bbc_team",
        "at_custom1 at_custom2 at_custom3 at_custom4 ns_campaign ns_mchannel ns_source "
        "ns_linkname ns_fee",
        "ga_source ga_medium ga_term ga_content ga_campaign ga_place",
        # what AMP caches add
        "amp_js_v amp_gsa amp_ct usqp aoh",
    )
    for name in names.split()
)

# Ask for the AMP form of a page; `amp=marshall` may ask for something else.
_AMP_FLAGS = frozenset(("amp", "amp=", "amp=1", "amp=true"))

# Parameters that track on one site and may select content elsewhere.
_TRACKING_OF_DOMAIN = {
    "youtube.com": frozenset(("feature", "si", "ab_channel", "pp")),
    "nytimes.com": frozenset(
        (
            "smid",
            "smtyp",
            "partner",
            "emc",
            "_r",
            "hp",
            "rss",
            "referringsource",
            "unlocked_article_code",
        )
    ),
    "washingtonpost.com": frozenset(("hpid", "tid", "wprss", "itid")),
    "reuters.com": frozenset(("feedtype", "feedname", "rpc")),
    "theguardian.com": frozenset(("cmp",)),
    "medium.com": frozenset(("source", "sk")),
    "amazon.com": frozenset(("tag", "ref", "ref_", "linkcode", "camp", "creative", "creativeasin")),
    "huffingtonpost.com": frozenset(("ir", "guccounter", "guce_referrer")),
    "wired.com": frozenset(("mbid",)),
    "newyorker.com": frozenset(("mbid",)),
}

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")


def _unescape(match: re.Match[str]) -> str:
    escape = match.group()
    char = chr(int(escape[1:], 16))
    return char if char in _UNRESERVED else escape.upper()


def _normal_percent(text: str) -> str:
    return _PERCENT.sub(_unescape, text) if "%" in text else text


def _key_path(path: str) -> str:
    path = _normal_percent(path).rstrip("/")
    while "amp" in path[-9:].lower():
        shorter = _without_amp(path)
        if shorter == path:
            break
        path = shorter.rstrip("/")
    return path


def _without_amp(path: str) -> str:
    """`path` without a mark of the AMP form: `/2019/some-story/amp`, `/story.amp`,
    `/story.amp.html`.

    `/amp` goes only behind a segment that looks like a slug: `/products/amp` is a page about
    amplifiers.
    """
    tail = path[-9:].lower()
    if tail.endswith("/amp"):
        slug = path[:-4].rpartition("/")[2]
        return path[:-4] if any(char in "-.0123456789" for char in slug) else path

    # One after the other without a copy for each: a long path may be made of such marks.
    end = len(path)
    while path[end - 4 : end].lower() == ".amp" and path[end - 5] not in "/.":
        end -= 4
    if end < len(path):
        return path[:end]

    for mark, extension in ((".amp.html", ".html"), (".amp.htm", ".htm")):
        if tail.endswith(mark) and path[-len(mark) - 1] not in "/.":
            return path[: -len(mark)] + extension

    return path


def _key_query(query: str, domain: str) -> str:
    local = _TRACKING_OF_DOMAIN.get(domain, frozenset())
    kept = []
    for parameter in _normal_percent(query).split("&"):
        name = parameter.partition("=")[0].lower()
        tracks = name in _TRACKING or name in local or name.startswith(_TRACKING_PREFIXES)
        if parameter and not tracks and parameter.lower() not in _AMP_FLAGS:
            kept.append(parameter)

    kept.sort()
    return "&".join(kept)
