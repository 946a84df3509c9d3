"""URLs to the pages they name: ours, and common normalisers, on the same links.

    python -m bench.crawl.urls [--json]

The input is 80,594 links posted in 2013 (the shared folder), or `--links FILE`, one per line.
`ours` does all the work on a link: a WHATWG parser, unwrapped redirectors, key, registered domain,
hash. `w3lib` (Scrapy's canonical form: sorted parameters, no fragment) and `courlan`
(trafilatura's, strict: without trackers) return only a string.

`pages` counts distinct results, `dropped` the refused links. Labelled pairs in
tests/corpus/test_urls.py say which strings are one page; `pairs_right` is the share of them judged
alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import zstandard

from bench.material import shared
from bench.measure import Contestant, Turn, Work, arguments, compare, show

Normal = Callable[[str], str | None]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--links", help="a file of addresses, one a line, instead of the links of 2013"
    )
    args = parser.parse_args()
    path = args.links or str(shared() / "reddit" / "RS_top2013_links_sample.jsonl.zst")
    found = _links(path)
    result = compare(
        "urls",
        CONTESTANTS,
        path,
        description=f"{len(found):,} links of {Path(path).name}, {len(set(found)):,} distinct strings",
        unit="URLs/s",
        rounds=args.rounds,
    )
    show(result, as_json=args.json)


def _links(path: str) -> list[str]:
    if not path.endswith(".zst"):
        return Path(path).read_text("utf-8").splitlines()
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["url"] for line in lines]


def ours(path: str) -> Work:
    from corpus.urls import UrlProblem, page_identity, target

    def key(url: str) -> str | None:
        page = target(url)
        return None if isinstance(page, UrlProblem) else page_identity(page).doc_id

    return _work(path, key)


def w3lib(path: str) -> Work:
    from w3lib.url import canonicalize_url

    return _work(path, canonicalize_url)


def courlan(path: str) -> Work:
    from courlan import normalize_url

    return _work(path, lambda url: normalize_url(url, strict=True))


def _work(path: str, normal: Normal) -> Work:
    urls = _links(path)
    right = _pairs_right(_tolerant(normal))

    def work() -> Turn:
        pages = set()
        dropped = 0
        for url in urls:
            try:
                page = normal(url)
            except ValueError:
                page = None
            if page is None:
                dropped += 1
            else:
                pages.add(page)

        return Turn(len(urls), {"pages": len(pages), "dropped": dropped, "pairs_right": right})

    return work


def _tolerant(normal: Normal) -> Normal:
    def judged(url: str) -> str | None:
        try:
            return normal(url)
        except ValueError:
            return None

    return judged


def _pairs_right(normal: Normal) -> float:
    from tests.corpus.test_urls import NOT_SAME, SAME

    same = sum(normal(one) == normal(other) for one, other in SAME)
    return round(
        (same + sum(normal(one) != normal(other) for one, other in NOT_SAME))
        / len(SAME + NOT_SAME),
        3,
    )


CONTESTANTS = (
    Contestant("ours", ours),
    Contestant("w3lib", w3lib, "w3lib"),
    Contestant("courlan", courlan, "courlan"),
)

if __name__ == "__main__":
    main()
