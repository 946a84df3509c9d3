"""One text at many addresses of a host, or on many sites, is an answer and not a page."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clean import run
from clean.soft_failures.config import SoftFailuresConfig
from clean.soft_failures.repeats import (
    MAX_HOST_WORDS,
    MAX_SITE_WORDS,
    RepeatedText,
    repeated,
    text_key,
)
from corpus.storage.store import open_corpus
from corpus.tables.manifest import read_manifest
from corpus.tables.parquet import read_table
from tests.support.foreign_warc import TYPE, archive, import_warc

CONFIG = SoftFailuresConfig(repeated=True, repeated_addresses=3, repeated_sites=3)
SETTINGS = ("repeated=true", "repeated_addresses=5", "repeated_sites=4")
TEXT = st.builds(
    RepeatedText,
    st.text("0123456789abcdef", min_size=3, max_size=3),
    st.builds("http://{}/{}?{}".format, *(st.sampled_from(["a.test", "b.test", "c.test"]),) * 3),
    st.sampled_from(["a.test", "b.test", "c.test"]),
    st.sampled_from([20, MAX_SITE_WORDS, MAX_SITE_WORDS + 1]),
)


@given(st.lists(TEXT, max_size=9, unique_by=lambda each: each.doc_id), st.randoms())
def test_texts_are_counted_by_a_slow_count(texts: list[RepeatedText], draw: random.Random) -> None:
    found = repeated(texts, CONFIG)
    shuffled = draw.sample(texts, len(texts))
    assert repeated(shuffled, CONFIG) == found
    sites = len({each.domain for each in texts})
    for each in texts:
        host = each.url.split("/")[2]
        pages = {other.url.split("?")[0] for other in texts if other.url.split("/")[2] == host}
        is_answer = len(pages) >= 3
        is_wall = sites >= 3 and each.num_words <= MAX_SITE_WORDS
        expected = "soft_404" if is_answer else "error_page" if is_wall else None
        assert getattr(found.get(each.doc_id), "kind", None) == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Blocked at Alpha on 3 May 2019, id 77 1", "blocked at beta on 9 may 2020, id 12 3", True),
        (
            "Blocked at Alpha on 3 May 2019 for good",
            "Blocked at Beta on 3 June 2019 for ever",
            False,
        ),
        ("The river rose again last night", "The river fell again last night", False),
    ],
)
def test_numbers_and_the_own_name_may_differ(one: str, other: str, same: bool) -> None:
    keys = text_key(one, "alpha.test"), text_key(other, "beta.test")
    assert None not in keys
    assert (keys[0] == keys[1]) is same


def test_long_texts_and_lists_of_numbers_do_not_count() -> None:
    assert text_key("1 2 3 4 5 6 7 8 9 10 one", "a.test") is None
    assert text_key("word and other words in " * MAX_HOST_WORDS, "a.test") is None


def paragraphs(words: str, site: str) -> bytes:
    return f"<html><body><article><p>{words.format(site)}</p></article></body></html>".encode()


SORRY = (
    "Thank you for your visit to {}. Our catalogue has lamps, chairs and clocks of every size, and "
    "the shop on Market Street is open from Monday to Saturday. Write to us, and we will answer "
    "within two days. All prices include taxes, and every delivery within the city is free of "
    "charge for orders of a certain size. We hope to see you again soon in our shop."
)
NOTE = (
    "Your visit to {} has been noted by the office of the network, which keeps a record of such "
    "visits for thirty days. Call the desk on the second floor if you have a reason to read this, "
    "and bring the form with the number that you were given when you began your work in the "
    "house. The desk is open in the morning and the form is on the table by the door."
)


@pytest.mark.usefixtures("no_sandbox")
def test_answers_of_a_host_and_walls_of_many_sites_go(tmp_path: Path) -> None:
    pages = [
        *((f"http://gone.example/{n}", SORRY, "Gone") for n in range(5)),
        *((f"http://few.example/{n}", SORRY, "Few") for n in range(3)),
        # One page under several queries.
        *(
            (f"http://once.example/story?from={n}", NOTE + " It was read twice.", "Once")
            for n in range(6)
        ),
        *((f"http://site{n}.example/a", NOTE, f"Site {n}") for n in range(4)),
    ]
    path = tmp_path / "x.warc.gz"
    made = [
        (url, "200 OK", paragraphs(text, url.split("/")[2].split(".")[0]), TYPE)
        for url, text, _ in pages
    ]
    path.write_bytes(archive(made, compressed=True))
    import_warc(tmp_path / "c", path)
    sets = [w for each in SETTINGS for w in ("--set", f"clean.soft_failures.{each}")]
    assert run.main(["--corpus", str(tmp_path / "c"), "--batch", "b", "--workers", "1", *sets]) == 0

    store = open_corpus(str(tmp_path / "c"))
    counts = read_manifest(store, "documents", "b").counts
    assert (counts["soft_404"], counts["error_page"], counts["kept"]) == (5, 4, 9)
    links = {row["doc_id"]: row["url"] for row in read_table(store, "links", "b").to_pylist()}
    dropped = {
        links[row["doc_id"]]: row["detail"]
        for row in read_table(store, "documents_dropped", "b").to_pylist()
    }
    assert dropped["http://gone.example/0"] == "the same text at 5 addresses of gone.example"
    assert dropped["http://site1.example/a"] == "the same text on 4 sites"


def words(total: int, distinct: int) -> str:
    """`total` words of letters, `distinct` different ones."""
    names = [
        "".join("abcdefghij"[int(digit)] for digit in str(number)) for number in range(distinct)
    ]
    return " ".join(names[number % distinct] for number in range(total))


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (words(20, 4), False),
        (words(20, 5), True),
        (words(300, 9), True),
        (words(301, 9), False),
        # Numbers are not words, up to 600 spaces: the quick look at a long page.
        (words(300, 9) + " 1" * 301, True),
        (words(300, 9) + " 1" * 302, False),
    ],
)
def test_a_text_has_five_distinct_words_and_at_most_300(text: str, counted: bool) -> None:
    assert (text_key(text, "site.test") is not None) is counted


@pytest.mark.parametrize(("count", "kind"), [(4, None), (5, "soft_404"), (6, "soft_404")])
def test_five_addresses_of_a_host_are_an_answer(count: int, kind: str | None) -> None:
    texts = [RepeatedText(str(n), f"http://a.test/{n}", "a.test", 999) for n in range(count)]
    found = repeated(texts, SoftFailuresConfig(repeated=True))
    assert {getattr(found.get(each.doc_id), "kind", None) for each in texts} == {kind}


@pytest.mark.parametrize(
    ("count", "num_words", "kind"),
    [(7, 100, None), (8, 99, "error_page"), (8, 100, "error_page"), (8, 101, None), (9, 100, "error_page")],
)  # fmt: skip
def test_eight_sites_of_a_short_text_are_a_wall(
    count: int, num_words: int, kind: str | None
) -> None:
    texts = [
        RepeatedText(str(n), f"http://{n}.test/", f"{n}.test", num_words) for n in range(count)
    ]
    found = repeated(texts, SoftFailuresConfig(repeated=True))
    assert {getattr(found.get(each.doc_id), "kind", None) for each in texts} == {kind}
