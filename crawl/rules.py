"""Rules for leaving out links, one line each.

A rule names a host (with all hosts below it) or a file extension, its reason, and its presets:

- `webtext`: the GPT-2 paper and its model card: Wikipedia, Reddit's own pages, media without text;
- `openwebtext`: the lists of jcpeterson's OpenWebText (2019);
- `openwebtext2`: the shorter lists of eukaryote31's scraper, adopted by OpenWebText2 (2020).

The lists of the two clones drop github, ebay, xkcd and all of google. These are near the top of
OpenAI's published domains of WebText. Therefore `webtext` is the default. Extensions are compared
with the path alone: the clones test the end of the whole URL, so their `.ai` drops
`https://character.ai`.

Every judge returns a Disposition, or None if the link may stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import xxhash

from corpus.errors import ConfigError
from corpus.urls import HOST_CACHE_SIZE, UrlProblem, host_identity, target


class Disposition(StrEnum):
    """The disposition of one row of a dump: the first applicable one of these."""

    BLANK = "blank"
    """An empty line."""
    ROW_TOO_LONG = "row_too_long"
    """Longer than any submission; the rest of the line was skipped."""
    BAD_JSON = "bad_json"
    """Not a JSON object."""
    PROMOTED = "promoted"
    """An advertisement."""
    SELF_POST = "self_post"
    """A text post, which links to no other page."""
    NO_SCORE = "no_score"
    """The score is absent, null or not a number."""
    LOW_KARMA = "low_karma"
    """Below the minimum score."""
    OVER_18 = "over_18"
    """Marked as not safe for work."""
    BLOCKED_SUBREDDIT = "blocked_subreddit"
    """Posted in a subreddit of the block list."""
    REMOVED = "removed"
    """Removed or deleted on Reddit before the dump was made."""
    BAD_FIELDS = "bad_fields"
    """Without an id or a time of creation."""
    NO_URL = "no_url"
    """The URL is absent, null or empty."""
    URL_TOO_LONG = "url_too_long"
    """Longer than the limit."""
    BAD_URL = "bad_url"
    """A WHATWG parser refuses it."""
    NOT_HTTP = "not_http"
    """Another scheme than http or https."""
    INTERNAL = "internal"
    """Reddit's own pages, images and videos."""
    WIKIPEDIA = "wikipedia"
    """Left out as in WebText: too many evaluation sets are built from it."""
    MEDIA_HOST = "media_host"
    """A site of images, videos or music."""
    BLOCKED_HOST = "blocked_host"
    """A host of the preset or of the block list, or outside the list of allowed hosts."""
    FILE_TYPE = "file_type"
    """The path ends like a file that is not a page."""
    KEPT = "kept"
    """A submission whose page is linked."""


class Preset(StrEnum):
    """The origin of the rules."""

    WEBTEXT = "webtext"
    OPENWEBTEXT = "openwebtext"
    OPENWEBTEXT2 = "openwebtext2"


_ALL = frozenset(Preset)
_PAPER = frozenset((Preset.WEBTEXT,))
_CLONES = frozenset((Preset.OPENWEBTEXT, Preset.OPENWEBTEXT2))
_FIRST = frozenset((Preset.OPENWEBTEXT,))
_PAPER_AND_FIRST = frozenset((Preset.WEBTEXT, Preset.OPENWEBTEXT))


class HostRule(NamedTuple):
    """Gives `disposition` to `host` and all hosts below it, under `presets`."""

    host: str
    disposition: Disposition
    why: str
    presets: frozenset[Preset] = _ALL


HOST_RULES = (
    HostRule("reddit.com", Disposition.INTERNAL, "reddit itself"),
    HostRule("redd.it", Disposition.INTERNAL, "reddit's short links, images and videos"),
    HostRule("redditmedia.com", Disposition.INTERNAL, "reddit's previews"),
    HostRule("reddituploads.com", Disposition.INTERNAL, "reddit's uploads of 2016"),
    HostRule("redditstatic.com", Disposition.INTERNAL, "reddit's own assets"),
    HostRule("wikipedia.org", Disposition.WIKIPEDIA, "left out by the GPT-2 paper"),
    HostRule("imgur.com", Disposition.MEDIA_HOST, "images"),
    HostRule("flickr.com", Disposition.MEDIA_HOST, "images"),
    HostRule("gfycat.com", Disposition.MEDIA_HOST, "animations"),
    HostRule("giphy.com", Disposition.MEDIA_HOST, "animations"),
    HostRule("gyazo.com", Disposition.MEDIA_HOST, "screenshots"),
    HostRule("imgflip.com", Disposition.MEDIA_HOST, "image jokes"),
    HostRule("instagram.com", Disposition.MEDIA_HOST, "images"),
    HostRule("magaimg.net", Disposition.MEDIA_HOST, "images"),
    HostRule("sli.mg", Disposition.MEDIA_HOST, "images"),
    HostRule("twimg.com", Disposition.MEDIA_HOST, "Twitter's images"),
    HostRule("youtube.com", Disposition.MEDIA_HOST, "videos"),
    HostRule("youtu.be", Disposition.MEDIA_HOST, "videos"),
    HostRule("youtubedoubler.com", Disposition.MEDIA_HOST, "videos"),
    HostRule("vimeo.com", Disposition.MEDIA_HOST, "videos"),
    HostRule("streamable.com", Disposition.MEDIA_HOST, "videos"),
    HostRule("twitch.tv", Disposition.MEDIA_HOST, "video streams"),
    HostRule("soundcloud.com", Disposition.MEDIA_HOST, "music"),
    HostRule("spotify.com", Disposition.MEDIA_HOST, "music"),
    HostRule("bandcamp.com", Disposition.MEDIA_HOST, "music"),
    HostRule("itunes.apple.com", Disposition.MEDIA_HOST, "music and applications"),
    HostRule("flic.kr", Disposition.MEDIA_HOST, "images", _PAPER_AND_FIRST),
    HostRule("deviantart.com", Disposition.MEDIA_HOST, "drawings", _PAPER_AND_FIRST),
    HostRule("pinterest.com", Disposition.MEDIA_HOST, "images", _FIRST),
    HostRule("erome.com", Disposition.MEDIA_HOST, "images", _PAPER_AND_FIRST),
    HostRule("pornhub.com", Disposition.MEDIA_HOST, "videos", _PAPER_AND_FIRST),
    HostRule("video.google.com", Disposition.MEDIA_HOST, "videos", _PAPER_AND_FIRST),
    HostRule("photobucket.com", Disposition.MEDIA_HOST, "images", _PAPER),
    HostRule("tinypic.com", Disposition.MEDIA_HOST, "images", _PAPER),
    HostRule("imageshack.us", Disposition.MEDIA_HOST, "images", _PAPER),
    HostRule("postimg.cc", Disposition.MEDIA_HOST, "images", _PAPER),
    HostRule("postimg.org", Disposition.MEDIA_HOST, "images", _PAPER),
    HostRule("minus.com", Disposition.MEDIA_HOST, "images", _PAPER),
    HostRule("quickmeme.com", Disposition.MEDIA_HOST, "image jokes", _PAPER),
    HostRule("qkme.me", Disposition.MEDIA_HOST, "image jokes", _PAPER),
    HostRule("memegenerator.net", Disposition.MEDIA_HOST, "image jokes", _PAPER),
    HostRule("livememe.com", Disposition.MEDIA_HOST, "image jokes", _PAPER),
    HostRule("redgifs.com", Disposition.MEDIA_HOST, "animations", _PAPER),
    HostRule("tenor.com", Disposition.MEDIA_HOST, "animations", _PAPER),
    HostRule("vine.co", Disposition.MEDIA_HOST, "videos", _PAPER),
    HostRule("liveleak.com", Disposition.MEDIA_HOST, "videos", _PAPER),
    HostRule("dailymotion.com", Disposition.MEDIA_HOST, "videos", _PAPER),
    HostRule("tiktok.com", Disposition.MEDIA_HOST, "videos", _PAPER),
    HostRule("streamja.com", Disposition.MEDIA_HOST, "videos", _PAPER),
    HostRule("clyp.it", Disposition.MEDIA_HOST, "sounds", _PAPER),
    HostRule("mixcloud.com", Disposition.MEDIA_HOST, "music", _PAPER),
    HostRule(
        "battleforthenet.com",
        Disposition.BLOCKED_HOST,
        "one campaign, posted everywhere in 2017",
        _CLONES,
    ),
    HostRule("discord.gg", Disposition.BLOCKED_HOST, "invitations to chats", _CLONES),
    HostRule("facebook.com", Disposition.BLOCKED_HOST, "shows scrapers a log-in", _CLONES),
    HostRule("twitter.com", Disposition.BLOCKED_HOST, "shows scrapers no text", _CLONES),
    HostRule("github.com", Disposition.BLOCKED_HOST, "not friendly to scrapers", _CLONES),
    HostRule("google.com", Disposition.BLOCKED_HOST, "not friendly to scrapers", _CLONES),
    HostRule("gunprime.com", Disposition.BLOCKED_HOST, "not friendly to scrapers", _CLONES),
    HostRule("roanoke.com", Disposition.BLOCKED_HOST, "not friendly to scrapers", _CLONES),
    HostRule("rollingstone.com", Disposition.BLOCKED_HOST, "not friendly to scrapers", _CLONES),
    HostRule("spotrac.com", Disposition.BLOCKED_HOST, "tables", _CLONES),
    HostRule("strawpoll.me", Disposition.BLOCKED_HOST, "polls", _CLONES),
    HostRule("timeanddate.com", Disposition.BLOCKED_HOST, "clocks", _CLONES),
    HostRule("voyagefusion.com", Disposition.BLOCKED_HOST, "not friendly to scrapers", _CLONES),
    HostRule("walmart.com", Disposition.BLOCKED_HOST, "shop", _CLONES),
    HostRule("xkcd.com", Disposition.BLOCKED_HOST, "comics", _CLONES),
    HostRule("ebay.com", Disposition.BLOCKED_HOST, "shop", _FIRST),
    HostRule("edealinfo.com", Disposition.BLOCKED_HOST, "shop", _FIRST),
    HostRule("hotdealstar.com", Disposition.BLOCKED_HOST, "shop", _FIRST),
    HostRule("aapks.com", Disposition.BLOCKED_HOST, "software downloads", _FIRST),
    HostRule("dlapkandroid.org", Disposition.BLOCKED_HOST, "software downloads", _FIRST),
)


class ExtensionRule(NamedTuple):
    """Extensions of files other than pages, under `presets`."""

    extensions: str
    why: str
    presets: frozenset[Preset] = _ALL


EXTENSION_RULES = (
    ExtensionRule("png jpg jpeg gif gifv svg", "images"),
    ExtensionRule("bmp tiff psd", "images", _PAPER_AND_FIRST),
    ExtensionRule("webp avif tif ico heic", "images", _PAPER),
    ExtensionRule("mp3 wav wma", "sound"),
    ExtensionRule("aif mid midi ogg ram", "sound", _PAPER_AND_FIRST),
    ExtensionRule("flac m4a aac oga opus pls m3u", "sound", _PAPER),
    ExtensionRule("3gp avi mp4 ogv webm mov wmv", "video"),
    ExtensionRule("mpg mpeg mkv qt swf", "video", _PAPER_AND_FIRST),
    ExtensionRule("flv m4v", "video", _PAPER),
    ExtensionRule("7z bz2 rar tar tgz xz zip gz", "archives"),
    ExtensionRule("bin exe iso apk jar", "programs and disk images"),
    ExtensionRule("deb dmg pkg", "programs and disk images", _PAPER_AND_FIRST),
    ExtensionRule("msi rpm img torrent", "programs and disk images", _PAPER),
    ExtensionRule("pdf doc docx ppt pps pptx", "documents that are no HTML"),
    ExtensionRule(
        "xls xlsx odt ods odp rtf epub mobi djvu ps", "documents that are no HTML", _PAPER
    ),
    ExtensionRule("csv dat", "data"),
    ExtensionRule("sql", "data", _PAPER_AND_FIRST),
    ExtensionRule("css ttf otf", "parts of pages", _PAPER_AND_FIRST),
    ExtensionRule("woff woff2", "parts of pages", _PAPER),
    ExtensionRule("app log xml", "files, in the clones' lists", _CLONES),
    ExtensionRule("txt js py ai", "files, in the clones' list", _FIRST),
)


class Rules:
    """The rules of one run: a preset and the user's lists. Remembers results by host."""

    def __init__(
        self,
        preset: Preset,
        hosts: Iterable[str] = (),
        subreddits: Iterable[str] = (),
        allowed: Iterable[str] = (),
    ) -> None:
        """With `allowed` hosts all others are blocked; the preset and `hosts` hold below them too."""
        self.hosts: dict[str, Disposition] = {
            rule.host: rule.disposition for rule in HOST_RULES if preset in rule.presets
        }
        for host in hosts:
            self.hosts.setdefault(host, Disposition.BLOCKED_HOST)
        self.extensions = frozenset(
            extension
            for rule in EXTENSION_RULES
            if preset in rule.presets
            for extension in rule.extensions.split()
        )
        self.subreddits = frozenset(name.lower() for name in subreddits)
        self.allowed = frozenset(allowed)
        self.judge_host = lru_cache(maxsize=HOST_CACHE_SIZE)(self._judge_host)

    def _judge_host(self, host: str) -> Disposition | None:
        """The result of the nearest rule at or above `host` (as the URL has it)."""
        labels = host_identity(host).key
        is_allowed = not self.allowed
        while labels:
            disposition = self.hosts.get(labels)
            if disposition is not None:
                return disposition
            is_allowed = is_allowed or labels in self.allowed
            labels = labels.partition(".")[2]
        return None if is_allowed else Disposition.BLOCKED_HOST

    def judge_path(self, path: str) -> Disposition | None:
        """FILE_TYPE if the last segment of `path` ends in a file's extension."""
        segment = path.rpartition("/")[2]
        if "%" in segment:
            segment = unquote(segment)
        _, dot, extension = segment.partition(";")[0].rpartition(".")
        return Disposition.FILE_TYPE if dot and extension.lower() in self.extensions else None

    def judge_url(self, url: str) -> Disposition | None:
        """The result for an http(s) address by its host and path.

        None for other strings as well.
        """
        parts = urlsplit(url)
        return self.judge_host(parts.hostname or "") or self.judge_path(parts.path)

    def judge_subreddit(self, subreddit: str | None) -> Disposition | None:
        """BLOCKED_SUBREDDIT if the user's list contains it, in any case of letters."""
        if self.subreddits and subreddit and subreddit.lower() in self.subreddits:
            return Disposition.BLOCKED_SUBREDDIT
        return None

    def digest(self) -> str:
        """xxh3-128 of all rules and lists, for a fingerprint of content and not of file names."""
        lines = [f"{host} {self.hosts[host]}" for host in sorted(self.hosts)]
        lines += ["", *sorted(self.extensions), "", *sorted(self.subreddits)]
        # Corpora of earlier versions have digests without this list.
        lines += ["", *sorted(self.allowed)] if self.allowed else []
        return xxhash.xxh3_128_hexdigest("\n".join(lines).encode())


def read_hosts(path: str) -> tuple[str, ...]:
    """Read a list of hosts, as URLs have them, one on each line.

    `#` begins a comment. A host includes all hosts below it. Raises: ConfigError naming file, line
    and value of an invalid host name.
    """
    hosts = []
    for number, line in _lines(path):
        host = line.removeprefix("*.").strip(".")
        page = (
            target(f"http://{host}/") if re.fullmatch(r"[^\s/:@?#]+", host) else UrlProblem.BAD_URL
        )
        if isinstance(page, UrlProblem):
            raise ConfigError(
                f"{path}:{number}: {line!r} is no host name; write one per line, as example.com"
            )
        hosts.append(host_identity(page.host).key)
    return tuple(sorted(set(hosts)))


def read_subreddits(path: str) -> tuple[str, ...]:
    """Read a list of subreddits, one on each line, with or without `r/`, in any case.

    `#` begins a comment. Raises: ConfigError naming file, line and value of an invalid subreddit
    name.
    """
    names = []
    for number, line in _lines(path):
        name = line.lower().strip("/").removeprefix("r/")
        if not re.fullmatch(r"[a-z0-9_:.-]+", name):
            raise ConfigError(
                f"{path}:{number}: {line!r} is no subreddit; write one per line, as r/example"
            )
        names.append(name)
    return tuple(sorted(set(names)))


def _lines(path: str) -> list[tuple[int, str]]:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"list {path}: {error}; name a readable UTF-8 text file") from error
    stripped = (
        (number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)
    )
    return [(number, line) for number, line in stripped if line]
