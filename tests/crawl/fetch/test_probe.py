"""One request a host for an address that cannot exist tells the host's soft 404s."""

from __future__ import annotations

import pytest

from clean import pages
from clean.document import Page
from clean.soft_failures.addresses import StoredAnswer
from clean.soft_failures.config import SoftFailuresConfig
from clean.soft_failures.judge import judge_answer
from corpus.storage.store import open_store
from crawl.fetch.probe import answer_fingerprint, probe_url
from crawl.warc.records import Response
from tests.crawl.loopback import Shard, Web, ok, stored

SORRY = "<title>Shop</title><p>Our shop sells lamps and clocks of every size{}</p>"


@pytest.mark.parametrize(
    ("body", "url"),
    [
        (
            "<p>No page at /Old/Story-7 today, 3 May.<script>x(1)</script> Try home</p>",
            "/Old/Story-7",
        ),
        (
            "<div>No page at /b\u00e9es/9 today, 12 May. <b>Try</b> home<!-- 5 --></div>",
            "/b%C3%A9es/9",
        ),
        ("No page at http://a.test/x?a=1&amp;b=2 today, May. TRY HOME", "/x?a=1&b=2"),
        ("No page at today may: try home", "/may"),
    ],
)
def test_an_answer_is_known_by_its_words(body: str, url: str) -> None:
    known = answer_fingerprint(b"no page at today may try home", "http://a.test/")
    assert known is not None
    assert answer_fingerprint(body.encode(), f"http://a.test{url}") == known


def test_other_words_are_another_answer() -> None:
    known = answer_fingerprint(b"no page at today may try home", "http://a.test/")
    assert answer_fingerprint(b"no page at today may try the shop", "http://a.test/") != known
    assert (
        answer_fingerprint(b"<div id=root></div><script>app()</script>", "http://a.test/") is None
    )


@pytest.mark.parametrize("wanted", [True, False])
def test_each_host_is_asked_once_and_its_answers_are_told_apart(
    shard: Shard, web: Web, wanted: bool
) -> None:
    origins = {host: f"http://{host}.test" for host in ("soft", "hard", "closed", "home")}
    probes = {host: probe_url(origin) for host, origin in origins.items()}
    for host, origin in origins.items():
        for page in ("lamp-1", "clock-2"):
            web.on(f"{host}.test/{page}", ok(SORRY.format(f", not /{page}").encode()))
        web.on(f"{host}.test/good", ok(SORRY.format(" and a story of a lighthouse").encode()))
        answer = ok(SORRY.format(", not " + probes[host][len(origin) :]).encode())
        if host == "hard":
            answer = ok(b"no", status="404 Not Found")
        web.on(probes[host].removeprefix("http://"), answer)
        assert probes[host].startswith(origin)
    rules = f"User-agent: *\nDisallow: {probes['closed'][len(origins['closed']) :]}".encode()
    web.on("closed.test/robots.txt", ok(rules, kind="text/plain"))

    urls = [
        f"{origin}/{page}" for origin in origins.values() for page in ("lamp-1", "clock-2", "good")
    ]
    rows = shard.crawl(urls, probe_missing=wanted)
    same = {url for url, row in rows.items() if row["cause"] == "soft_404"}
    asked = [hit.host for hit in web.hits if f"http://{hit.host}{hit.path}" in probes.values()]
    assert all(row["reason"] is None for row in rows.values())
    if not wanted:
        assert (same, asked) == (set(), [])
        return

    assert same == {
        f"http://{host}.test/{page}" for host in ("soft", "home") for page in ("lamp-1", "clock-2")
    }
    assert sorted(asked) == ["hard.test", "home.test", "soft.test"]
    store = open_store(str(shard.folder / "corpus"))
    segments = [path for path, _ in store.files("", recursive=True) if path.endswith(".warc.gz")]
    records = [each for path in segments for each in stored(store, path)]
    assert (probes["soft"], 200) in records
    assert (probes["hard"], 404) in records


def test_the_judge_believes_the_probe() -> None:
    url = "http://a.test/2009/page"
    found = judge_answer(StoredAnswer(url, url, 200, as_missing=True), SoftFailuresConfig())
    assert found is not None
    assert found.kind == "soft_404"
    assert judge_answer(StoredAnswer(url, url, 200), SoftFailuresConfig()) is None


def test_the_clean_stage_reads_what_the_probe_found() -> None:
    url = "http://a.test/2009/page"
    row = {"url": url, "final_url": url, "redirects": [], "fetched_at": None, "content_type": None}
    response = Response(url, 200, [], b"<p>Sorry", None)
    seen: list[Page] = []
    for cause in ("soft_404", None, "bot_wall"):
        pages._result(row | {"cause": cause}, response, lambda page: seen.append(page))
    assert [page.as_missing for page in seen] == [True, False, False]
    assert "cause" in (pages.STEP.columns or ())
