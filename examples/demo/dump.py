"""The demo's Reddit dumps: submissions in the schema of December 2017 with links to the demo's web.

Besides one good submission per page there are text posts, low karma, advertisements, crossposts,
reposts with tracking parameters, fragments, https and `www.`, deleted authors, links to media and
to Reddit itself, unusable addresses and lines without JSON. Every row breaks at most one rule, so
each counter of the links stage is known exactly. As in the dumps of that year, `&` in URLs and
titles is written `&amp;`.
"""

from __future__ import annotations

import html
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from examples.demo.cases import Case, Destination, Expectation, scaled
from examples.demo.web import DemoWeb

MIN_SCORE = 3
# More than decoders allow by default, as in the real dumps (31).
WINDOW_LOG = 28
FIRST_ID = int("7gsr00", 36)
DECEMBER_2017 = 1_512_086_400
JANUARY_2018 = 1_514_764_800
RETRIEVAL_LAG_S = 20 * 86_400
REPOSTED_FRAC = 0.15
CROSSPOSTED_FRAC = 0.03
DELETED_FRAC = 0.02
SUBREDDITS = (
    "Python",
    "programming",
    "MachineLearning",
    "learnpython",
    "compsci",
    "datascience",
    "coding",
    "opensource",
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LinkExpectation:
    """The expected sums of one page's submissions."""

    score: int
    """Highest score of the counting submissions."""
    num_submissions: int
    """Submissions with at least `MIN_SCORE`."""


@dataclass(slots=True)
class DumpExpectation:
    """The expected result of the links stage for a dump."""

    counts: dict[str, int] = field(default_factory=dict)
    """Rows by reason, named as in the links stage; they add up to `num_rows`."""
    links: dict[str, LinkExpectation] = field(default_factory=dict)
    """The pages linked, by their plain address."""
    seen: frozenset[str] = frozenset()
    """Pages of `links` also linked by an earlier dump."""

    @property
    def counts_behind_the_first(self) -> dict[str, int]:
        """`counts` if the earlier dump is a batch before this one.

        Submissions of pages seen there are not kept again.
        """
        seen = sum(self.links[url].num_submissions for url in self.seen)
        return self.counts | (
            {"kept": self.counts["kept"] - seen, "seen_before": seen} if seen else {}
        )

    @property
    def num_rows(self) -> int:
        """Lines of the dump."""
        return sum(self.counts.values())


def write_dump(web: DemoWeb, path: Path) -> DumpExpectation:
    """Write the dump with links to all pages of `web` but the follow-up's.

    Returns the expected result.
    """
    writer = _Writer(web, random.Random(web.seed + 1), FIRST_ID, DECEMBER_2017)
    survivors = {expectation.survivor for expectation in web.expectations}
    for expectation in web.expectations:
        writer.post_page(expectation, is_survivor=expectation.url in survivors)
    writer.post_noise(len(web.expectations))
    return writer.write(path)


def write_followup_dump(web: DemoWeb, path: Path) -> DumpExpectation:
    """Write the next month's dump: the follow-up pages, and some of the first dump's."""
    writer = _Writer(web, random.Random(web.seed + 2), FIRST_ID + 2_000_000, JANUARY_2018)
    for expectation in web.followup:
        writer.post_page(expectation, is_survivor=False)
    old = [
        page
        for page in web.expectations
        if page.destination in (Destination.KEPT, Destination.FETCHED) and page.final_url is None
    ]
    seen = writer.rng.sample(old, max(2, len(web.followup) // 3))
    for expectation in seen:
        writer.post_page(expectation, is_survivor=False)
    writer.post_noise(len(web.followup))
    writer.expected.seen = frozenset(expectation.url for expectation in seen)

    return writer.write(path)


def variants(url: str) -> list[str]:
    """Addresses of the same page as `url`, the way people post them."""
    joint = "&" if "?" in url else "?"
    host, slash, rest = url.removeprefix("http://").partition("/")
    other_host = host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"

    return [
        f"{url}{joint}utm_source=reddit&utm_medium=social&utm_campaign=share",
        f"{url}{joint}fbclid=IwAR0x{len(url):04d}",
        f"{url}#section-2",
        f"https://{host}{slash}{rest}",
        f"http://{other_host}{slash}{rest}",
        f"http://{host}:80{slash}{rest}",
        url,
    ]


class _Writer:
    """Collects rows and the expectations of them, then writes the rows by creation time."""

    def __init__(self, web: DemoWeb, rng: random.Random, first_id: int, start_s: int) -> None:
        self.web = web
        self.rng = rng
        self.first_id = first_id
        self.start_s = start_s
        self.lines: list[Row | str] = []
        # Crossposts, each with the submission it repeats.
        self.crossposts: list[tuple[Row, Row]] = []
        self.counts: Counter[str] = Counter()
        self.expected = DumpExpectation()

    def post_page(self, expectation: Expectation, *, is_survivor: bool) -> None:
        """Append a page's submissions: one with the highest score, maybe reposts, a crosspost."""
        url, title = expectation.url, self.web.titles[expectation.url]
        destination = {Case.IMAGE_LINK: "file_type", Case.WIKIPEDIA: "wikipedia"}.get(
            expectation.case, "kept"
        )
        score = self.score(expectation, is_survivor)
        main = self.add(destination, url=url, title=title, score=score)
        if self.rng.random() < DELETED_FRAC:
            main["author"] = "[deleted]"
        if destination != "kept":
            return

        num_submissions = 1
        plain = expectation.case is Case.ORDINARY and not is_survivor
        if plain and self.rng.random() < REPOSTED_FRAC:
            for variant in self.rng.sample(variants(url), self.rng.randint(1, 3)):
                self.add(
                    "kept", url=variant, title=title, score=self.rng.randint(MIN_SCORE, score - 1)
                )
                num_submissions += 1
            self.add("low_karma", url=url, title=title, score=self.rng.randrange(MIN_SCORE))

        if plain and self.rng.random() < CROSSPOSTED_FRAC:
            self.crosspost(main, self.rng.randint(MIN_SCORE, score - 1))
            num_submissions += 1

        self.expected.links[url] = LinkExpectation(score, num_submissions)

    def score(self, expectation: Expectation, is_survivor: bool) -> int:
        """Draw a score: high for originals, so that they survive their copies; else a long tail."""
        if expectation.destination is Destination.DUPLICATE:
            return self.rng.randint(MIN_SCORE, 9)
        tail = min(int(4 * self.rng.paretovariate(0.9)), 40_000)
        return 60 + tail if is_survivor else MIN_SCORE + 1 + tail

    def crosspost(self, parent: Row, score: int) -> None:
        row = self.add(
            "kept",
            url=html.unescape(parent["url"]),
            title=html.unescape(parent["title"]),
            score=score,
        )
        self.crossposts.append((row, parent))

    def post_noise(self, num_pages: int) -> None:
        """Append rows that must not become links."""
        rng = self.rng
        for number in range(scaled(1_900, num_pages, 5)):
            self.add(
                "self_post",
                url="",
                title=f"What do you think of question {number}?",
                score=rng.randint(0, 400),
                is_self=True,
            )

        for number in range(scaled(900, num_pages, 5)):
            self.add(
                "low_karma",
                url=f"http://nobodyreads.test/story/{number}",
                title=f"My first story, part {number}",
                score=rng.randrange(MIN_SCORE),
            )

        noise: dict[str, tuple[str, ...]] = {
            "internal": (
                "https://www.reddit.com/r/Python/comments/7gsr{n}/a_thread/",
                "https://i.redd.it/q{n}x.jpg",
                "/r/Python/wiki/{n}",
            ),
            "media_host": (
                "https://imgur.com/gallery/a{n}",
                "https://www.youtube.com/watch?v=dQ{n}",
                "https://gfycat.com/Demo{n}",
            ),
            "file_type": (
                "http://docs.numpymanual.test/book-{n}.pdf",
                "http://installer.test/get/{n}.zip",
            ),
            "wikipedia": ("https://en.wikipedia.org/wiki/Special_article_{n}",),
            "not_http": ("ftp://filesystems.test/pub/{n}", "magnet:?xt=urn:btih:{n}"),
            "bad_url": (
                "http://",
                "http://exa mple{n}.test/",
                "www.no-scheme.test/{n}",
                "http://[::{n}/",
            ),
            "no_url": ("",),
        }

        for destination, templates in noise.items():
            for number in range(scaled(60, num_pages, len(templates))):
                url = templates[number % len(templates)].replace("{n}", str(number))
                self.add(
                    destination,
                    url=url,
                    title=f"You have to see this ({number})",
                    score=rng.randint(MIN_SCORE, 900),
                )

        for number in range(scaled(20, num_pages, 2)):
            row = self.add(
                "promoted",
                url=f"http://advertiser.test/offer/{number}",
                title="Promoted: an offer",
                score=rng.randint(MIN_SCORE, 50),
            )
            row |= {
                "promoted": True,
                "href_url": row["url"],
                "adserver_click_url": None,
                "third_party_trackers": [],
            }
            row.pop("subreddit")
            self.add(
                "no_score",
                url=f"http://nobodyreads.test/unscored/{number}",
                title="Just posted",
                score=None,
            )

        for line in (
            '{"id":"7gx',
            "<html>502 Bad Gateway</html>",
            "[1, 2, 3]",
            "17",
            '{"url" "http://nobodyreads.test/"}',
        ):
            self.lines.append(line)
            self.counts["bad_json"] += 1

    def add(
        self, destination: str, *, url: str, title: str, score: int | None, **fields: Any
    ) -> Row:
        """Append a submission that must end with `destination`."""
        rng = self.rng
        row = submission(
            url=url,
            title=title,
            score=score,
            subreddit=rng.choice(SUBREDDITS),
            author=f"user{rng.randrange(9_999):04d}",
        )
        row |= fields
        self.lines.append(row)
        self.counts[destination] += 1

        return row

    def write(self, path: Path) -> DumpExpectation:
        """Write all rows, shuffled, with ascending ids and times."""
        self.rng.shuffle(self.lines)
        self._put_parents_first()
        created = self.start_s
        for number, row in enumerate(line for line in self.lines if not isinstance(line, str)):
            created += self.rng.randint(1, 200)
            _stamp(row, _base36(self.first_id + 17 * number), created)

        for row, parent in self.crossposts:
            row["crosspost_parent"] = f"t3_{parent['id']}"
            row["crosspost_parent_list"] = [parent | {"num_crossposts": 1}]

        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(compressed(self.lines))
        self.expected.counts = dict(sorted(self.counts.items()))

        return self.expected

    def _put_parents_first(self) -> None:
        """Swap crossposts with the submission they repeat if they precede it."""
        places = {id(line): place for place, line in enumerate(self.lines)}
        for row, parent in self.crossposts:
            later, earlier = places[id(row)], places[id(parent)]
            if later < earlier:
                self.lines[later], self.lines[earlier] = parent, row


def compressed(lines: Sequence[Row | str]) -> bytes:
    """Compress the lines to one zstd frame with a long window, like the real dumps."""
    data = "".join(
        f"{line if isinstance(line, str) else json.dumps(line, separators=(',', ':'))}\n"
        for line in lines
    )
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=WINDOW_LOG, enable_ldm=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(data.encode()) + compressor.flush()


def submission(*, url: str, title: str, score: int | None, subreddit: str, author: str) -> Row:
    """One submission with every field of December 2017, still without id and time."""
    # Dumps of that year escape `&`, `<` and `>` in URLs.
    escaped = html.escape(url, quote=False)
    return {
        "archived": False,
        "author": author,
        "author_flair_css_class": None,
        "author_flair_text": None,
        "brand_safe": True,
        "contest_mode": False,
        "created_utc": 0,
        "distinguished": None,
        "domain": _domain(url, subreddit),
        "edited": False,
        "gilded": 0,
        "hidden": False,
        "hide_score": False,
        "id": "",
        "is_crosspostable": False,
        "is_reddit_media_domain": "redd.it" in url,
        "is_self": False,
        "is_video": False,
        "link_flair_css_class": None,
        "link_flair_text": None,
        "locked": False,
        "media": None,
        "media_embed": {},
        "num_comments": (score or 0) // 3,
        "num_crossposts": 0,
        "over_18": False,
        "parent_whitelist_status": "all_ads",
        "permalink": "",
        "pinned": False,
        "retrieved_on": 0,
        "score": score,
        "secure_media": None,
        "secure_media_embed": {},
        "selftext": "",
        "spoiler": False,
        "stickied": False,
        "subreddit": subreddit,
        "subreddit_id": "t5_2qh0y",
        "subreddit_type": "public",
        "suggested_sort": None,
        "thumbnail": "default",
        "title": html.escape(title, quote=False),
        "url": escaped,
        "whitelist_status": "all_ads",
    }


def _stamp(row: Row, identifier: str, created: int) -> None:
    """Set the id and time of `row`, and the fields derived from them."""
    subreddit = row.get("subreddit", "promoted")
    row["id"] = identifier
    row["created_utc"] = created
    row["retrieved_on"] = created + RETRIEVAL_LAG_S
    slug = "_".join("".join(c if c.isalnum() else " " for c in row["title"].lower()).split()[:6])
    row["permalink"] = f"/r/{subreddit}/comments/{identifier}/{slug}/"

    if row["is_self"]:
        row["url"] = f"https://www.reddit.com{row['permalink']}"
        row["domain"] = f"self.{subreddit}"
        row["selftext"] = (
            "[deleted]"
            if created % 11 == 0
            else f"I have read about this for {created % 30} days now. Any advice?"
        )


def _domain(url: str, subreddit: str) -> str:
    """Reddit's `domain` field: the host without `www.`."""
    host = url.partition("://")[2].partition("/")[0]
    return host.removeprefix("www.") or f"self.{subreddit}"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
