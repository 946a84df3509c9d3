from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.clean.documents import gold_pages
from clean.learned import compiled, trees
from clean.learned.blocks import blocks
from clean.learned.extraction import (
    BETA,
    MODEL_FILE,
    Use,
    best_threshold,
    chance_of,
    chances,
    chosen,
    extractor,
    least_chance,
    model,
    render,
    without_comments,
)
from clean.learned.features import NAMES
from clean.learned.tables import data_rows, with_whole_tables
from clean.learned.trees import Forest, Model
from clean.page_source.decode import decode
from tools.extraction_scores import scores

STORY = [
    "On Monday the council voted to rebuild the old bridge over the river, after three years of debate and delay.",
    "The mayor said that the work would begin in spring, and that the road would be closed for about eight months.",
    "Shopkeepers on both sides fear for their trade; some of them have asked for a ferry to run in the meantime.",
    "An engineer who has studied the stones says that parts of them are older than the town's own records.",
    "The cost, which is put at four million, will be shared by the county and by a fund for historic buildings.",
]
PAGE = """<!doctype html><html><head><title>Council votes for bridge - The Daily</title></head><body>
<header><nav><ul><li><a href=/>Home</a><li><a href=/n>News</a><li><a href=/s>Sport</a></ul></nav></header>
<main><article><h1>Council votes for bridge</h1><p>{}</p><h2>What is &amp; remains</h2><p>{}</p><p>{}</p>
<ul><li>The first of the bids came from the north of the county.<li>The second was lower by a fifth, but came too late.</ul>
<p>{}</p><p>{}</p></article>
<section id="comments"><h3>2 Comments</h3><div class="comment"><span>Ann</span><p>First!</p><a href=#r>Reply</a></div>
<div class="comment"><span>Bob</span><p>They should have done this years ago, really.</p><a href=#r>Reply</a></div></section></main>
<div class="cookie-banner"><p>We use cookies to improve your experience. <button>Accept all</button></p></div>
<footer><p>Copyright 2026 The Daily. All rights reserved. <a href=/p>Privacy</a></p></footer></body></html>""".format(
    *STORY
)


@pytest.fixture(scope="module", params=list(Use))
def use(request: pytest.FixtureRequest) -> Use:
    return request.param


def test_story_stays_and_decoration_goes(use: Use) -> None:
    text = extractor(use)(PAGE)
    lines = text.split("\n")
    assert all(sentence in lines for sentence in STORY)
    assert "What is & remains" in lines
    assert "- The second was lower by a fifth, but came too late." in lines
    for foreign in ("Home", "cookies", "Copyright", "Reply", "years ago"):
        assert foreign not in text


def test_pages_know_nothing_of_each_other() -> None:
    extract = extractor()
    first = extract(PAGE)
    other = extract(PAGE.replace("bridge", "tower") * 3)
    assert other != first
    assert extractor()(PAGE) == extract(PAGE) == first


def test_structure_survives() -> None:
    page = blocks(
        b"<h2>Head</h2><p>One<br>two</p><ul><li>a<li><p>b<p>c</ul><table><tr><td>1<td>x &lt; y<tr><th>2<td>z</table>"
        b"<pre>def f():\n    return 1\n</pre>"
    )
    text = render(page, np.ones(len(page.counts), bool))
    assert text == ("Head\n\nOne\ntwo\n\n- a\n- b\nc\n\n1\tx < y\n2\tz\n\ndef f():\n    return 1")


@given(
    st.lists(st.tuples(st.floats(0.3, 1), st.integers(1, 50)), min_size=1, max_size=8),
    st.sampled_from(list(Use)),
)
def test_what_is_chosen_has_the_greatest_expected_measure(
    rows: list[tuple[float, int]], use: Use
) -> None:
    """Against every threshold there is: none gives a better expected F-beta, of those that keep nothing vague."""
    chance, words = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    beta = BETA[use]

    def expected(keep: np.ndarray) -> float:
        hits = float((chance * words)[keep].sum())
        return (
            (1 + beta**2)
            * hits
            / (float(words[keep].sum()) + beta**2 * float((chance * words).sum()))
        )

    best = max(chance, key=lambda threshold: (expected(chance >= threshold), threshold))
    assert best_threshold(chance, words, beta) == best
    least = least_chance(chance, words, use)
    assert chosen(chance, words, use).tolist() == (chance >= max(best, least)).tolist()
    assert least <= chance.max()


def test_what_is_vague_goes_where_something_is_clear() -> None:
    """A hundred entries of a side column outweigh a short story, and are right or wrong together."""
    column, story = np.full(100, 0.45), np.array([0.9])
    chance, words = np.concatenate([column, story]), np.array([6] * 100 + [60])
    assert chosen(chance, words, Use.BALANCED).tolist() == [False] * 100 + [True]
    assert chosen(chance, words, Use.RECALL).all()
    assert chosen(column, words[:100], Use.BALANCED).all()
    assert chosen(np.array([0.3, 0.25]), np.array([5, 5]), Use.BALANCED).all()


@pytest.mark.parametrize(
    ("head", "words", "kept"),
    [
        ("", 80, False),
        ("", 30, False),
        ("", 20, True),
        ("<meta property='og:url' content='https://x.org/forum/t/1'>", 80, True),
        ("<meta name=generator content='Discourse'>", 80, True),
        ("<link rel=canonical href='https://x.org/blog/open-thread'>", 80, False),
    ],
)
def test_comments_go_unless_the_page_is_a_thread(head: str, words: int, kept: bool) -> None:
    page = blocks(
        f"<head>{head}</head><body><p>{'word ' * words}</p><ol class='commentlist'><li><p>remark</ol>".encode()
    )
    keep = without_comments(page, np.ones(2, bool))
    assert keep.tolist() == [True, kept]


def stump(feature: int, threshold: float, low: float, high: float) -> Forest:
    """One tree with one question."""
    return Forest(
        np.array([0], np.int32),
        np.array([1], np.int32),
        np.array([feature, 0, 0], np.int16),
        np.array([threshold, np.inf, np.inf], np.float32),
        np.array([[1, 2], [1, 1], [2, 2]], np.int32),
        np.array([0, low, high], np.float32),
    )


def test_a_block_that_is_clearly_no_content_is_judged_by_the_first_model_alone() -> None:
    words = NAMES.index("words")
    no_content, vague, content = -5.0, -3.5, 4.0
    judge = chances(
        Model((stump(words, 3, no_content, vague), stump(words, 0, content, content)), ())
    )
    page = blocks(b"<p>Home<p>One two three four five<p>Log in<p>One two three four")
    expected = chance_of(np.array([no_content, content, no_content, content]))
    assert judge(page).tolist() == expected.tolist()


def test_thresholds_are_nested() -> None:
    draw = np.random.default_rng(5)
    for _ in range(50):
        chance, words = draw.random(30), draw.integers(1, 80, 30)
        kept = [chosen(chance, words, use) for use in (Use.PRECISION, Use.BALANCED, Use.RECALL)]
        assert np.all(kept[0] <= kept[1])
        assert np.all(kept[1] <= kept[2])
    assert not chosen(np.array([0.1, 0.2]), np.array([5, 5]), Use.RECALL).any()


def test_the_model_is_small_and_as_it_was_saved() -> None:
    file = Path(compiled.__file__).with_name(MODEL_FILE)
    assert file.stat().st_size <= 2_000_000
    assert trees.save(model()) == file.read_bytes()


def test_better_than_nothing_was_learned_for(shared: Path) -> None:
    """Real news pages of a source that the model never saw."""
    extract = extractor()
    pages = list(gold_pages(shared, "dragnet", 25))
    assert scores((page.gold, extract(decode(page.body).text)) for page in pages).f1 > 0.85


@given(
    st.text()
    | st.lists(
        st.sampled_from(["<p>", "<div class=x>", "word ", "</div>", "&", "<", "\ud800"])
    ).map("".join)
)
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_page(html: str) -> None:
    text = extractor()(html)
    assert isinstance(text, str)
    assert text == extractor()(html)


def test_a_table_of_which_nearly_all_was_kept_is_kept_whole() -> None:
    rows = "".join(f"<tr><td>Item {n} of the list<td>{n}00 crowns" for n in range(6))
    page = blocks(f"<table><tr><th>Copyright<th>Price{rows}</table>".encode())
    data = data_rows(page)
    keep = np.ones(len(page.counts), bool)
    keep[:2] = False
    assert with_whole_tables(page, keep, data).all()
    keep[:8] = False
    assert np.array_equal(with_whole_tables(page, keep, data), keep)
