"""Dumps of every schema era, 2005 to 2026, generated from a seed, with what must be found in them.

The fields, their types and their gaps follow the public field statistics of the dumps month by month: which years write
`created_utc` as a string or a float, where `url` is null, which rows carry a parent, a later retrieval, an advertisement.
All text is made up. `dump(era, seed, num_rows)` plans a disposition for every row first and then writes a row that must meet it.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Era:
    """One month's way of writing rows."""

    month: str
    created_s: int
    created_type: type = int
    escaped: bool = True
    sorted_keys: bool = True
    lag_s: int = 30 * 86_400
    retrieved: str | None = "retrieved_on"
    named: bool = False
    media: bool = False
    crossposts: bool = False
    overridden: bool = False
    removals: bool = False
    null_urls: bool = False
    null_scores: bool = False
    meta: bool = False
    ads_flag: bool = False
    filler: int = 20
    """Further fields, for the size of rows: some 1.4 KB in 2005, 3 KB in 2023."""
    weights: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        return f"RS_{self.month}"


EARLY = (("kept", 60), ("low_karma", 30), ("media_host", 4), ("file_type", 3), ("bad_url", 1), ("blank", 1),
         ("not_http", 1), ("wikipedia", 2), ("internal", 1), ("bad_json", 1))  # fmt: skip
MIDDLE = (("kept", 14), ("low_karma", 30), ("self_post", 30), ("media_host", 20), ("promoted", 1), ("over_18", 3),
          ("file_type", 3), ("wikipedia", 1), ("internal", 3), ("bad_url", 1), ("bad_json", 1), ("no_score", 1),
          ("bad_fields", 1), ("blocked_subreddit", 2), ("url_too_long", 1), ("row_too_long", 0))  # fmt: skip
LATE = (("kept", 6), ("low_karma", 24), ("self_post", 33), ("internal", 24), ("media_host", 3), ("promoted", 2),
        ("over_18", 8), ("file_type", 1), ("no_url", 2), ("blocked_subreddit", 1), ("bad_json", 1), ("not_http", 1),
        ("removed", 0), ("no_score", 1))  # fmt: skip

ERAS = (
    Era("2005-07", 1_120_181_418, retrieved=None, media=True, weights=EARLY),
    Era("2009-06", 1_243_814_400, media=True, filler=18, weights=EARLY),
    Era("2011-06", 1_306_886_400, retrieved=None, named=True, sorted_keys=False, filler=8, weights=MIDDLE),
    Era("2013-06", 1_370_044_800, sorted_keys=False, filler=10, weights=MIDDLE),
    Era("2015-01", 1_420_070_400, created_type=str, named=True, sorted_keys=False, filler=14, weights=MIDDLE),
    Era("2017-12", 1_512_086_400, media=True, crossposts=True, null_scores=True, filler=30, weights=MIDDLE),
    Era("2019-06", 1_559_347_200, media=True, crossposts=True, filler=46, weights=LATE),
    Era("2020-06", 1_590_969_600, retrieved="retrieved_utc", named=True, media=True, crossposts=True, overridden=True,
        removals=True, ads_flag=True, filler=52, weights=LATE),
    Era("2022-08", 1_659_312_000, named=True, media=True, crossposts=True, overridden=True, removals=True,
        null_urls=True, ads_flag=True, filler=56, weights=LATE),
    Era("2023-03", 1_677_628_800, named=True, media=True, crossposts=True, overridden=True, removals=True,
        ads_flag=True, filler=60, weights=LATE),
    Era("2024-06", 1_717_200_000, created_type=float, escaped=False, lag_s=129_600, named=True, media=True,
        crossposts=True, overridden=True, removals=True, meta=True, ads_flag=True, filler=60, weights=LATE),
    Era("2026-01", 1_767_225_600, escaped=False, lag_s=129_600, named=True, media=True, crossposts=True,
        overridden=True, removals=True, meta=True, ads_flag=True, filler=58, weights=LATE),
)  # fmt: skip

IMMATURE = Era(
    "2023-09", 1_693_526_400, escaped=False, lag_s=20, named=True, media=True, overridden=True, removals=True,
    filler=60, weights=(("kept", 1), ("low_karma", 59), ("self_post", 40)),
)  # fmt: skip
"""A month whose scores were captured seconds after posting."""


@dataclass
class Page:
    """What the table of links must say of a page."""

    score: int = 0
    score_sum: int = 0
    num_submissions: int = 0

    def add(self, score: int) -> None:
        self.score = max(self.score, score)
        self.score_sum += score
        self.num_submissions += 1


@dataclass
class Dump:
    """Lines of a dump and what must be found in them under the default settings (and BLOCKED)."""

    era: Era
    lines: list[bytes] = field(default_factory=list)
    dispositions: Counter[str] = field(default_factory=Counter)
    pages: dict[str, Page] = field(default_factory=dict)
    """By url_key."""

    @property
    def content(self) -> bytes:
        return b"\n".join(self.lines) + b"\n"


BLOCKED = "BadCompany"
"""The subreddit that a block list of the tests names."""


def dump(era: Era, seed: int, num_rows: int) -> Dump:
    """`num_rows` rows, among them at least one of every disposition that the era knows."""
    writer = _Writer(era, random.Random(f"{era.month} {seed}"))
    dispositions, weights = zip(*era.weights, strict=True)
    plan = [disposition for disposition, weight in era.weights if weight]
    plan += writer.rng.choices(dispositions, weights, k=max(0, num_rows - len(plan)))
    writer.rng.shuffle(plan)
    for disposition in plan:
        line = writer.write(disposition)
        writer.dump.lines.append(line)
        writer.dump.dispositions[disposition] += 1
    return writer.dump


class _Writer:
    def __init__(self, era: Era, rng: random.Random) -> None:
        self.era = era
        self.rng = rng
        self.dump = Dump(era)
        self.number = 0

    def write(self, disposition: str) -> bytes:
        self.number += 1
        if disposition == "blank":
            return self.rng.choice((b"", b" ", b"\r"))
        row = self.base()
        make: Callable[[Row], None] = getattr(self, disposition)
        make(row)
        if self.era.escaped:
            row["url"] = escape(row["url"])
            row["title"] = escape(row["title"])
        if self.era.overridden and row["url"] and self.rng.random() < 0.7:
            row["url_overridden_by_dest"] = row["url"]
        line = self.encode(row)
        return line[: self.rng.randrange(2, len(line) - 1)] if disposition == "bad_json" else line

    def base(self) -> Row:
        era, rng = self.era, self.rng
        created = era.created_s + self.number
        row: Row = {
            "id": base36(era.created_s * 10 + self.number),
            "author": f"user{rng.randrange(10_000)}",
            "created_utc": era.created_type(created),
            "domain": "example.org",
            "is_self": False,
            "over_18": False,
            "num_comments": rng.randrange(500),
            "permalink": f"/r/News/comments/{self.number}/a_title/",
            "score": rng.randrange(3, 900),
            "selftext": "",
            "subreddit": rng.choice(("news", "science", "reddit.com", "AskHistorians")),
            "title": f'Story "{self.number}" about {rng.choice(("cats & dogs", "Ærø", "日本", "a < b", "war"))}',
            "url": f"http://www.example.org/other/{self.number}",
        }
        for index in range(era.filler):
            row[f"{['awards', 'flair', 'media', 'preview', 'thumb'][index % 5]}_{index}"] = (
                rng.choice(
                    (
                        None,
                        False,
                        [],
                        {},
                        "text",
                        "all_ads",
                        [{"e": "text", "t": "flair"}],
                        140,
                        "https://b.thumbs.example/x.jpg",
                    )
                )
            )
        if rng.random() < 0.05:  # misleads whoever looks for bytes
            row["a_preview"] = {
                "score": rng.randrange(9),
                "is_self": rng.random() < 0.5,
                "promoted": True,
            }
        if era.named:
            row["name"] = "t3_" + row["id"]
        if era.retrieved:
            row[era.retrieved] = created + (15 if era.meta else era.lag_s)
        if era.meta:
            row["_meta"] = {"retrieved_2nd_on": created + era.lag_s}
        if era.media:
            row |= {"is_video": False, "is_reddit_media_domain": False}
        if era.removals:
            row["removed_by_category"] = rng.choice((None, None, "moderator", "deleted"))
        if era.ads_flag:
            row["is_created_from_ads_ui"] = False
        return row

    def encode(self, row: Row) -> bytes:
        if self.era.sorted_keys:
            row = dict(sorted(row.items()))
        else:
            items = list(row.items())
            self.rng.shuffle(items)
            row = dict(items)
        return json.dumps(row, separators=(",", ":"), ensure_ascii=self.era.escaped).encode()

    # --- one method per disposition --------------------------------------------------------------------------------------

    def kept(self, row: Row) -> None:
        rng = self.rng
        key = f"site{rng.randrange(40)}.example.org/story/{rng.randrange(400)}"
        forms = [
            f"http://{key}", f"https://www.{key}/", f"http://{key}?utm_source=reddit&utm_medium=x",
            f"http://{key}#comments", f"HTTP://{key}/?fbclid=abc",
            f"https://www.google.com/url?sa=t&url=https%3A%2F%2F{key.replace('/', '%2F')}&usg=1",
        ]  # fmt: skip
        row["url"] = rng.choice(forms)
        score = row["score"]
        if rng.random() < 0.1:
            row["score"] = rng.choice((str(score), float(score)))
        elif self.era.crossposts and rng.random() < 0.2:
            parent = {
                "url": row["url"],
                "score": score,
                "is_self": False,
                "title": "the first",
                "id": "x1",
            }
            row |= {
                "crosspost_parent": "t3_x1",
                "crosspost_parent_list": [parent],
                "score": rng.randrange(3),
            }
            if rng.random() < 0.3:
                row["url"] = None
        if self.era.null_urls and row["url"] is None:
            row["domain"] = None
        self.dump.pages.setdefault(key, Page()).add(score)

    def low_karma(self, row: Row) -> None:
        row["score"] = self.rng.choice((0, 1, 2, "1", 2.0))

    def self_post(self, row: Row) -> None:
        row |= {
            "is_self": True,
            "domain": "self.news",
            "url": f"https://www.reddit.com{row['permalink']}",
        }
        row["selftext"] = (
            'They said "is_self":false, "score":7, and \\ more. ' * self.rng.randrange(1, 20)
        )
        if self.rng.random() < 0.05:
            row["is_self"] = None
        if self.era is IMMATURE:
            row["score"] = 1

    def no_score(self, row: Row) -> None:
        row["score"] = self.rng.choice((None, "", "many", [3]))

    def promoted(self, row: Row) -> None:
        row |= {"promoted": True, "href_url": row["url"], "adserver_click_url": None}
        if self.era.ads_flag:
            row |= {"promoted": self.rng.random() < 0.5, "is_created_from_ads_ui": True}
        row.pop("subreddit")

    def over_18(self, row: Row) -> None:
        row["over_18"] = True

    def blocked_subreddit(self, row: Row) -> None:
        row["subreddit"] = self.rng.choice((BLOCKED, BLOCKED.lower()))

    def bad_fields(self, row: Row) -> None:
        row["created_utc"] = self.rng.choice((None, "yesterday", 0, -5))

    def no_url(self, row: Row) -> None:
        row |= {"url": self.rng.choice((None, "", " ")), "domain": None}

    def url_too_long(self, row: Row) -> None:
        row["url"] += "?q=" + "x" * 5_000

    def bad_url(self, row: Row) -> None:
        row["url"] = self.rng.choice(
            ("http://a b/", "http://1:05 EST tonight", "www.example.org/x", "http://", "nonsense")
        )

    def not_http(self, row: Row) -> None:
        row["url"] = self.rng.choice(
            ("ftp://example.org/a", "mailto:a@example.org", "javascript:alert(1)")
        )

    def internal(self, row: Row) -> None:
        forms = [
            "http://www.reddit.com/r/news",
            "/r/news/comments/1/x/",
            "https://i.redd.it/a.jpg",
            "http://redd.it/1",
        ]
        if self.era.media:
            forms += ["https://v.redd.it/abc", "https://www.reddit.com/gallery/abc"]
            if self.rng.random() < 0.1:
                kinds = ("is_video", "is_gallery") if self.era.overridden else ("is_video",)
                row |= {"url": None, self.rng.choice(kinds): True}
                return
        row["url"] = self.rng.choice(forms)

    def media_host(self, row: Row) -> None:
        row["url"] = self.rng.choice(
            (
                "http://i.imgur.com/a.jpg",
                "http://www.youtube.com/watch?v=1&t=2",
                "https://m.imgur.com/gallery/b",
            )
        )

    def wikipedia(self, row: Row) -> None:
        row["url"] = f"http://en.wikipedia.org/wiki/{self.number}"

    def file_type(self, row: Row) -> None:
        row["url"] = self.rng.choice(
            ("http://example.org/a.PDF", "http://example.org/b/c.jpg?x=1", "http://e.org/d.zip#x")
        )

    def bad_json(self, row: Row) -> None:
        row["title"] = "cut off"


def escape(text: str | None) -> str | None:
    return text and text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
