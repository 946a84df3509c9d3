"""Views answer with what the tables hold, escape everything, and refuse requests of other sites."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from corpus.tables.parquet import read_table
from tests.support import child, grown_corpus
from webtext.look import corpus_views, domain_counts, sample
from webtext.look.app import COOKIE, Origins, look_app
from webtext.look.frames import frame_app
from webtext.look.full_text import FullTextIndex
from webtext.look.labels import precision_by_similarity, wilson
from webtext.look.text_marks import coloured_tokens, with_cuts, word_diff

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ORIGINS = Origins("http://127.0.0.1:1", "secret")
BASE = "http://127.0.0.1"


def window(fates: grown_corpus.Fates, origins: Origins = ORIGINS) -> TestClient:
    return TestClient(look_app(fates.store, origins), base_url=BASE)


def doc_id(fates: grown_corpus.Fates, url: str) -> str:
    rows = [
        row
        for batch in ("2024-01", "2024-02")
        for row in read_table(fates.store, "links", batch, ["doc_id", "url"]).to_pylist()
    ]
    return next(row["doc_id"] for row in rows if row["url"] == url)


def test_every_link_of_every_view_answers(fates: grown_corpus.Fates) -> None:
    """From the funnel on, three clicks deep: no view fails, and each has the policy."""
    client, seen, here = window(fates), set(), ["/"]
    for _ in range(3):
        found: list[str] = []
        for path in here:
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text[-500:])
            assert "script-src 'self'" in answer.headers["content-security-policy"]
            found += [
                each.replace("&amp;", "&") for each in re.findall(r'href="(/[^"]*)"', answer.text)
            ]
        seen |= set(here)
        kinds = {re.sub(r"[0-9a-f]{32}", "ID", path): path for path in found if path not in seen}
        here = list(kinds.values())[:25]
    assert any(path.startswith("/page/") for path in seen)


@pytest.mark.parametrize("part", ["", "site", "nowhere", "_"])
def test_domains_are_counted_as_the_tables_say(
    fates: grown_corpus.Fates, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(corpus_views, "DOMAINS_SHOWN", 3)
    # A stretch for each part, so that rows of the other tables are left over at its end.
    monkeypatch.setattr(domain_counts, "STRETCH_ROWS", 1)
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for batch in ("2024-01", "2024-02"):
        domain_of = {
            row["doc_id"]: row["domain"]
            for row in read_table(fates.store, "links", batch).to_pylist()
            if part in row["domain"]
        }
        for domain in domain_of.values():
            counts[domain, batch]["links"] += 1
        for table, name in (("pages", "fetched"), ("documents", "documents"), ("verdicts", "kept")):
            for row in read_table(fates.store, table, batch).to_pylist():
                if row["doc_id"] in domain_of:
                    counted = row["kept"] if name == "kept" else row.get("reason") is None
                    counts[domain_of[row["doc_id"]], batch][name] += counted

    totals: Counter[str] = Counter()
    for (domain, _), found in counts.items():
        totals[domain] += found["links"]
    shown = sorted(totals, key=lambda domain: (-totals[domain], domain))[:3]
    names = ("links", "fetched", "documents", "kept")
    expected = [
        {"domain": domain, "batch": batch} | {name: counts[domain, batch][name] for name in names}
        for domain in shown
        for batch in ("2024-01", "2024-02")
        if (domain, batch) in counts
    ]
    assert corpus_views.domains(fates.store, part) == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kept", ("Tokens", "t1", "kept", "As served", "2024-01 2024-02")),
        ("near", ("Survivor", 'class="removed"', "near duplicate")),
        ("moved", ("http://moved.test/hop",)),
        ("short", ("Dropped", "As served", "/blocks/")),
        ("missing", ("http_status", "status 404")),
        ("overlapping", ("Test sets", 'class="cut"')),
    ],
)
def test_the_life_of_a_page_shows_its_facts(
    fates: grown_corpus.Fates, name: str, words: tuple[str, ...]
) -> None:
    page = window(fates).get(f"/page/{doc_id(fates, getattr(fates, name))}").text
    for word in words:
        assert word in page, word


def test_a_sample_is_the_same_for_a_seed_and_another_for_another(fates: grown_corpus.Fates) -> None:
    first, total = sample.draw(fates.store, "verdicts", "kept", 7, size=5)
    again, _ = sample.draw(fates.store, "verdicts", "kept", 7, size=5)
    other, _ = sample.draw(fates.store, "verdicts", "kept", 8, size=5)
    assert first == again != other
    kept = {
        row["doc_id"]
        for batch in ("2024-01", "2024-02")
        for row in read_table(fates.store, "verdicts", batch).to_pylist()
        if row["kept"]
    }
    assert total == len(kept)
    assert {row["doc_id"] for row in first} <= kept
    assert all(row["url"] for row in first)


def test_neighbours_walk_a_batch_in_order(fates: grown_corpus.Fates) -> None:
    ids = read_table(fates.store, "links", "2024-01", ["doc_id"])["doc_id"].to_pylist()
    for left, right in itertools.pairwise(ids):
        assert sample.neighbour(fates.store, "2024-01", left, 1) == right
        assert sample.neighbour(fates.store, "2024-01", right, -1) == left
    assert sample.neighbour(fates.store, "2024-01", ids[-1], 1) is None
    assert sample.neighbour(fates.store, "2024-01", ids[0], -1) is None


def test_labels_of_two_windows_are_both_kept(fates_copy: grown_corpus.Fates) -> None:
    first, second = window(fates_copy), window(fates_copy)
    pair = {"question": "pair", "doc_id": "a", "other": "b", "similarity": "0.85", "back": "/pairs"}
    assert first.post("/label", data=pair | {"answer": "no"}).status_code == 200
    second.post("/label", data=pair | {"answer": "yes", "other": "c"})
    first.post("/label", data=pair | {"answer": "yes"})
    assert "2 of 2" in second.get("/pairs").text
    assert len(list(fates_copy.store.files("reports/labels"))) == 2
    refused = first.post("/label", data=pair | {"answer": "maybe"})
    assert (refused.status_code, "expected yes, no" in refused.text) == (400, True)


def test_requests_of_other_sites_are_refused(fates: grown_corpus.Fates) -> None:
    client = window(fates)
    assert client.get("/", headers={"host": "rebound.test"}).status_code == 421
    assert client.post("/label", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    away = {"question": "pair", "answer": "x", "back": "//elsewhere.test/"}
    assert client.post("/label", data=away, follow_redirects=False).status_code == 400


def test_a_token_is_asked_for_once(fates: grown_corpus.Fates) -> None:
    client = window(fates, Origins("http://127.0.0.1:1", "secret", token="a-long-enough-token"))
    assert client.get("/").status_code == 401
    assert client.get("/?token=another").status_code == 401
    assert client.get("/static/look.css").status_code == 401
    assert client.get("/?token=a-long-enough-token").status_code == 200
    assert COOKIE in client.cookies
    assert client.get("/runs").status_code == 200


def test_frames_are_served_with_their_walls_and_by_their_secret_only(
    fates: grown_corpus.Fates,
) -> None:
    client = TestClient(frame_app(fates.store, BASE, "secret"), base_url=BASE)
    page = doc_id(fates, fates.kept)
    answer = client.get(f"/secret/{page}")
    assert "<h1>A page of prose" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "; sandbox;" in policy
    assert client.get(f"/guess/{page}").status_code == 404
    alone = client.get(f"/secret/{page}", headers={"sec-fetch-dest": "document"})
    assert alone.status_code == 403


def test_differences_cuts_and_tokens_keep_every_character() -> None:
    left, right = "one two three four", "one too three four five"
    sides = word_diff(left, right)
    assert "".join(piece.text for piece in sides[0]) == left
    assert "".join(piece.text for piece in sides[1]) == right
    assert [piece.text for piece in sides[0] if piece.mark] == ["two "]
    assert [piece.text for piece in sides[1] if piece.mark] == ["too ", "five"]

    pieces = with_cuts("abcdef", [{"start": 4, "end": 6}, {"start": 1, "end": 2}])
    assert [(piece.text, piece.mark) for piece in pieces] == [
        ("a", ""), ("b", "cut"), ("cd", ""), ("ef", "cut")
    ]  # fmt: skip
    assert [piece.text for piece in coloured_tokens([b"ab", b"\xc3"])] == ["ab", "⟨c3⟩"]


def test_the_interval_is_wilsons() -> None:
    """The values of Newcombe (1998), table I."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    rows = [{"similarity": 0.8, "answer": "yes"}, {"similarity": 0.84, "answer": "no"}]
    [found] = precision_by_similarity([*rows])
    assert (found.low, found.yes, found.total) == (0.8, 1, 2)


def test_blocks_have_the_extractors_probabilities(fates: grown_corpus.Fates) -> None:
    shown = window(fates).get(f"/blocks/{doc_id(fates, fates.kept)}").text
    kept = re.findall(r'class="p\d kept"', shown)
    assert len(kept) >= 6
    assert "A page of prose" in shown
    assert "not HTML" in window(fates).get(f"/blocks/{doc_id(fates, fates.missing)}").text


def test_search_finds_words_and_phrases_as_a_scan_does(
    fates: grown_corpus.Fates, tmp_path: Path
) -> None:
    index = FullTextIndex(fates.store, tmp_path)
    assert not index.is_ready
    index.make()
    documents = [
        row
        for batch in ("2024-01", "2024-02")
        for row in read_table(fates.store, "documents", batch).to_pylist()
    ]
    for asked in ("gardener captain", '"the village clock"', "figure", "NOT OR (", 'a "', "zebra"):
        wanted = {
            row["doc_id"]
            for row in documents
            if all(_holds(row, each) for each in re.findall(r'"[^"]+"|\w+', asked))
        }
        assert {row["doc_id"] for row in index.search(asked, limit=1000)} == wanted, asked


def _holds(row: dict[str, Any], words: str) -> bool:
    pattern = r"\W+".join(re.findall(r"\w+", words))
    return any(
        re.search(rf"\b{pattern}\b", row[name] or "", re.I) is not None
        for name in ("title", "text")
    )


def test_the_window_starts_without_the_heavy_libraries() -> None:
    """They take seconds and hundreds of megabytes; a view that needs one loads it then."""
    heavy = "{'torch', 'numba', 'ray', 'trafilatura', 'lightgbm', 'scrapy'}"
    code = f"import sys, webtext.look.command; print(sorted({heavy} & set(sys.modules)))"
    assert child.run_program(code).strip() == "[]"
