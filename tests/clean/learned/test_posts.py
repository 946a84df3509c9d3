"""Posts of a thread are judged together: one of one line is kept as the long ones are."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from bench.clean import known_text
from clean.extract import ExtractConfig, extractor
from clean.learned.blocks import PageBlocks, blocks
from clean.learned.layout import ELEMENT, TAG_P, WORDS
from clean.learned.posts import LEVELS, MAX_WEIGHT, MIN_ELEMENTS, judged_by_place

# Sentences as they are in threads: long, short, and like a label or a link.
LONG = (
    "I have used mine for about {0} years now, and apart from a new belt it has never needed any "
    "repair at all, although we run it every day and often for hours on end.",
    "The manual of model {0} says that you should let it cool down first, but everybody whom I "
    "know just goes on and nothing has ever happened to any of us so far.",
    "We tried that in {0} with the older one, and it made no difference whatever, so my advice is "
    "to look at the cable first and to leave the board alone until then.",
)
SHORT = (
    "#17{0} Fix the reading of broken headers (marco)",
    "Thanks, number {0} did it!",
    "Has anybody else seen this with version {0}?",
    "Hope someone from team {0} can help you.",
    "See my answer of page {0}, please.",
)
THREADS = {
    "reddit": (
        "<body class='listing-page comments-page'><div class=side><h3>Rules</h3><p>Be civil and "
        "answer with sources only.</p></div><div class=commentarea><div class=sitetable>{}</div>"
        "</div>",
        "<div class='thing comment' id=thing_{n}><div class='midcol'><div class=arrow></div></div>"
        "<div class=entry><p class=tagline><a class=author>eve{n}</a> <span class=score>{n} "
        "points</span> <time>3 years ago</time></p><form action='#' class=usertext><input "
        "type=hidden name=id><div class=usertext-body><div class=md><p>{text}</p></div></div>"
        "</form><ul class='flat-list buttons'><li><a href=/p>permalink</a></li><li><a>report</a>"
        "</li></ul></div><div class=child></div></div>",
    ),
    "hacker news": (
        "<body><center><table id=hnmain><tr><td><span class=pagetop><a href=news>Hacker News</a>"
        "</span></td></tr><tr><td><table class=comment-tree>{}</table></td></tr></table></center>",
        "<tr class=athing id={n}><td><table><tr><td class=votelinks><a href=vote><div "
        "class=votearrow></div></a></td><td class=default><div><span class=comhead><a "
        "class=hnuser>eve{n}</a> <span class=age><a>3 years ago</a></span></span></div><br><div "
        "class=comment><div class='commtext c00'>{text}</div><div class=reply><p><font size=1><u>"
        "<a href=reply>reply</a></u></font></div></div></td></tr></table></td></tr>",
    ),
    "lobsters": (
        "<body><header id=nav><a href=/>Active</a></header><div id=inside><ol class=comments>{}"
        "</ol></div><footer><a href=/about>About</a></footer>",
        "<li class=comments_subtree><div id=c_{n} class=comment><div class=voters><a>{n}</a></div>"
        "<div class=details><div class=byline><a class=u-author>eve{n}</a> <a>3 years ago</a> | "
        "<a>link</a></div><div class=comment_text><p>{text}</p></div></div></div></li>",
    ),
    "vbulletin": (
        "<meta name=generator content='vBulletin 3.8.4'><body><div id=posts>{}</div>",
        "<table class=tborder id=post{n}><tr><td class=thead>May 3rd 2004</td><td class=thead>#<a "
        "href=p>{n}</a></td></tr><tr><td class=alt2><div><a class=bigusername>eve{n}</a></div><div "
        "class=smallfont>Senior Member</div><div class=smallfont><div>Join Date: Mar 2004</div><div>"
        "Posts: {n}</div></div></td><td class=alt1><div id=post_message_{n}>{text}</div></td></tr>"
        "<tr><td class=alt2></td><td class=alt1><a href=r><img alt='Reply With Quote'></a></td></tr>"
        "</table>",
    ),
    "smf": (
        "<body><div id=forumposts><div class=cat_bar><h3>Topic: A noise</h3></div>{}</div>",
        "<div class=windowbg><div class=post_wrapper><div class=poster><h4><a>eve{n}</a></h4><ul>"
        "<li>Newbie</li><li>Posts: {n}</li></ul></div><div class=postarea><h5><a>Re: A noise</a>"
        "</h5><div class=smalltext>Reply #{n} on: May 3</div><div class=post><div class=inner "
        "id=msg_{n}>{text}</div></div></div></div></div>",
    ),
    "comments": (
        "<body><div><a href=/>Daily</a></div><h1>Comments on: A noise in the evening</h1>"
        "<ol class=commentlist>{}</ol>",
        "<li class=comment id=li-{n}><div id=comment-{n}><div class=comment-author><cite>eve{n}"
        "</cite> says:</div><div class=comment-meta><a href=#c>3 years ago</a></div><p>{text}</p>"
        "<div class=reply><a href=#r>Reply</a></div></div></li>",
    ),
}


def posts(count: int) -> list[str]:
    texts = [*LONG, *SHORT]
    return [texts[n * 5 % len(texts)].format(n + 100) for n in range(count)]


def thread(name: str, count: int) -> tuple[str, list[str]]:
    """(page, its posts)"""
    frame, item = THREADS[name]
    texts = posts(count)
    items = [item.format(n=number, text=text) for number, text in enumerate(texts, 1)]
    return f"<!doctype html><title>A noise</title>{frame.format(''.join(items))}", texts


@pytest.mark.parametrize("times", [1, 10])
@pytest.mark.parametrize(
    "layout",
    ["hn", "reddit-old", "lobsters", "slashdot", "vbulletin3", "smf", "mybb", "github-issue"],
)
def test_posts_of_boards_are_kept_whole_and_in_order(
    layout: str, times: int, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice by block lost up to a third of them at ten times the usual number of posts."""
    monkeypatch.setenv("WEBTEXT_SHARED", str(shared.parent))
    html, pieces = known_text.page(f"thread-{layout}", times)
    found = known_text.measured(extractor(ExtractConfig())(html), pieces)
    assert found.lost <= 0.02
    assert (found.doubled, found.moved) == (0, 0)


def by_hand(page: PageBlocks, chance: np.ndarray) -> np.ndarray:
    """The rule of `posts` in plain Python."""

    def kind(element: int) -> tuple[int, bytes]:
        start = int(page.element_starts[element])
        tag = page.source[start : page.source.find(b">", start)]
        found = re.search(rb"\sclass=(?:'([^']*)'|([^\s>]*))", tag)
        classes = (found[1] or found[2] or b"") if found else b""
        return int(page.element_tags[element]), re.sub(rb"\d", b"", classes)

    places: dict[tuple[object, ...], list[tuple[int, int]]] = defaultdict(list)
    for block in range(chance.size):
        element = int(page.place[block, ELEMENT])
        while element >= 0 and page.element_tags[element] == TAG_P:
            element = int(page.parents[element])
        if element < 0:
            continue
        path: list[object] = []
        above = element
        for _ in range(LEVELS):
            path.append(kind(above) if above >= 0 else None)
            above = int(page.parents[above]) if above >= 0 else -1
        places[tuple(path)].append((block, int(page.parents[element])))

    out = chance.copy()
    for members in places.values():
        own = [block for block, _ in members]
        weight = np.minimum(page.counts[own, WORDS], MAX_WEIGHT)
        if len({parent for _, parent in members}) >= MIN_ELEMENTS and weight.sum():
            out[own] = (chance[own] + (weight * chance[own]).sum() / weight.sum()) / 2
    return out


@pytest.mark.parametrize("name", THREADS)
def test_blocks_of_a_place_move_to_their_mean(name: str) -> None:
    page = blocks(thread(name, 12)[0].encode())
    chance = np.random.default_rng(1).random(len(page.counts))
    found = judged_by_place(page, chance)
    assert found == pytest.approx(by_hand(page, chance), abs=1e-4)
    assert not np.allclose(found, chance)


def test_paragraphs_of_one_article_are_judged_by_themselves() -> None:
    body = "".join(f"<p>{text}</p>" for text in posts(20))
    page = blocks(f"<title>x</title><div class=article><h1>A noise</h1>{body}</div>".encode())
    chance = np.random.default_rng(1).random(len(page.counts))
    assert (judged_by_place(page, chance) == chance).all()


def test_terms_in_a_form_go_and_posts_in_forms_stay() -> None:
    said = [text for text in posts(60) if len(text) > 100]
    own = "".join(f"<p>{text}</p>" for text in said[:8])
    terms = "By joining you accept that we may send you letters about our offers and of others."
    extract = extractor(ExtractConfig())
    joining = f"<form action=/join>{f'<p>{terms}</p>' * 12}<input name=mail></form>"
    article = extract(f"<title>A noise</title><article><h1>A noise</h1>{own}{joining}</article>")
    assert said[0] in article
    assert terms not in article

    html, texts = thread("reddit", 100)
    text = extract(html)
    assert all(post in text for post in texts)
