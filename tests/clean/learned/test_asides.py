"""Text that is not the page's own: further articles, galleries, terms in forms."""

from __future__ import annotations

import numpy as np

from clean.learned.asides import (
    is_thread,
    with_headline,
    without_forms,
    without_further_articles,
    without_galleries,
)
from clean.learned.blocks import PageBlocks, blocks
from clean.learned.layout import END, START

SENTENCE = "The council of the town met on Monday and it voted for the bridge that was planned. "
ARTICLE = f"<p>{SENTENCE * 3}</p><p>{SENTENCE * 2}</p>"


def page(html: str, title: str = "A new bridge for the old town", head: str = "") -> PageBlocks:
    return blocks(f"<title>{title} | News</title>{head}<body>{html}</body>".encode())


def everything(found: PageBlocks) -> np.ndarray:
    return np.ones(len(found.counts), bool)


def texts(found: PageBlocks, keep: np.ndarray) -> str:
    content = found.text.tobytes()
    return "\n".join(content[place[START] : place[END]].decode() for place in found.place[keep])


def posts(*headlines: str, tag: str = "div class=story") -> str:
    name = tag.split()[0]
    return "".join(
        f"<{tag}><header><h1>{line}</h1></header>{ARTICLE}<p>End of {line}.</p></{name}>"
        for line in headlines
    )


OWN = "A new bridge for the old town"
OTHERS = ("Ferry to run all summer long", "Library closes after eighty years")


def test_further_articles_of_a_page_go() -> None:
    for tag in ("article", "div class=story", "section id=post-7"):
        for around in ("{}", "<article class=stream>{}</article>", "<div><main>{}</main></div>"):
            found = page(around.format(posts(OWN, *OTHERS, tag=tag)))
            text = texts(found, without_further_articles(found, everything(found)))
            assert f"End of {OWN}" in text
            assert "Ferry" not in text, (tag, around)
            assert "Library" not in text


def test_what_is_no_further_article_stays() -> None:
    whole = [
        # The page's headline is in none of them: a front page.
        page(posts(*OTHERS), title="All the news of the day"),
        # Chapters of one text.
        page(f"<article><h1>{OWN}</h1>{ARTICLE}<h1>What it will cost us</h1>{ARTICLE}</article>"),
        page(posts(OWN, "What it will cost us", tag="section")),
        # Posts of a thread: with the thread's headline, or on a page that calls itself a forum.
        page(posts(OWN, f"Re: {OWN}", *OTHERS)),
        page(posts(OWN, *OTHERS), head='<meta property="og:type" content="forum">'),
        # An introduction to what follows.
        page(f"<div class=story><h1>{OWN}</h1><p>In short.</p></div>{posts(*OTHERS)}"),
    ]
    for found in whole:
        assert without_further_articles(found, everything(found)).all()


def test_captions_of_a_gallery_go() -> None:
    for sign in ("/", " of "):
        entries = "".join(
            f"<li><h2>{n}{sign}12 May</h2><p>A guard stands at the gate number {n} today.</li>"
            for n in range(1, 13)
        )
        found = page(f"<h1>{OWN}</h1>{ARTICLE}<ul>{entries}</ul><p>The end of it.</p>")
        text = texts(found, without_galleries(found, everything(found)))
        assert "guard" not in text
        assert "May" not in text
        assert "The end of it." in text


def test_numbered_headings_of_a_text_stay() -> None:
    for headings in (
        ("1/2 cup", "1/3 cup", "1/4 cup", "1/8 cup"),
        ("1 May", "2 May", "3 May", "4 May"),
    ):
        chapters = "".join(f"<section><h2>{line}</h2>{ARTICLE}</section>" for line in headings)
        found = page(f"<h1>{OWN}</h1><div>{chapters}</div>")
        assert without_galleries(found, everything(found)).all()


def test_text_in_forms_goes_unless_the_page_is_a_form() -> None:
    article = f"<h1>{OWN}</h1>{ARTICLE * 3}"
    terms = f"<form><div class=terms><h3>Use of this site</h3><p>{SENTENCE}</p></div></form>"
    found = page(article + terms)
    assert "Use of this site" not in texts(found, without_forms(found, everything(found)))
    for other in (f"<form>{article}</form>{ARTICLE * 3}", f"<p>Short.</p>{terms}"):
        found = page(other)
        assert without_forms(found, everything(found)).all()


def test_the_headline_comes_back_with_its_article() -> None:
    found = page(f"<h1>{OWN}</h1>{ARTICLE}")
    keep = everything(found)
    keep[0] = False
    assert with_headline(found, keep).all()
    nothing = np.zeros(keep.size, bool)
    assert not with_headline(found, nothing).any()


def test_a_page_of_posts_by_its_type_is_a_thread_whatever_else_it_says() -> None:
    blog = '<meta property="og:type" content="blog">'
    data = '<script type="application/ld+json">{{"@type": "{}"}}</script>'
    for kind in ("DiscussionForumPosting", "QAPage"):
        assert is_thread(page(ARTICLE, head=blog + data.format(kind)))
        marked = f'<div itemscope itemtype="https://schema.org/{kind}">{ARTICLE}</div>'
        assert is_thread(page(marked, head=blog))
    for kind in ("FAQPage", "BlogPosting", "NewsArticle"):
        assert not is_thread(page(ARTICLE, head=data.format(kind)))
