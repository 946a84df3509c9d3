"""Pages drawn at random from a seed: every structure that the block reader knows, well nested or not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Final

BROKEN = Path(__file__).parents[2] / "fixtures/broken"
GOLDEN_PAGE = Path(__file__).with_name("golden_page.html")


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_HINTS: Final = _split("""
    nav main-menu site-foot page-header side comments share-bar social related promo ad ads
    banner cookie-note popup breadcrumbs content article post-body entry-content main body text
    story title meta author byline date caption widget list link tags newsletter subscribe login
    search recommended read-more product description review forum message reply quote sponsored
    copyright toolbar modal page wrapper container col-md-6 row item card teaser gallery image
    video print hidden sr-only skip headline section detail price question answer code doc
    sidebar topic thread user avatar profile bio signature featured block info summary lead
    intro grid carousel slide accordion tabs faq cart shop rating category archive pagination
    next footer header consent overlay dropdown panel toc action button label reader blog news
    single home paywall trending popular latest hero testimonial disclaimer references x 1 a-1
    ADVERT PostList entryTitle head tag desc wrap tab drop head tag desc wrap tab drop
""")
_WORDS: Final = _split("""
    the of and river council bridge Monday January 2019 said reply comments share subscribe
    login copyright rights reserved Posted by Smith at 10:45 am &amp; café naïve Москва 東京 don't
    e-mail 3,500 $4.50 50% (see above) "quoted" “quoted” it. end! why? so: and; read more
    related shop cart price articles cookies privacy newsletter advertisement click here next
    previous page likes views points minutes ago votes &nbsp; &#8217; &mdash; soft&shy;hyphen
    zero\u200bwidth HELLO WORLD UK-based extraordinarily internationalization x 1 . , - — * • #
    @name http://a.example/path
""")
_KINDS: Final = (
    "article",
    "website",
    "product",
    "blog",
    "docs",
    "forum.thread",
    "news",
    "archive",
    "topic",
)
_BLOCKS: Final = (
    *("p", "div", "section", "article", "aside", "header", "footer", "nav", "main", "blockquote"),
    *(
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "li",
        "dl",
        "dt",
        "dd",
        "figure",
        "figcaption",
    ),
    *("address", "center", "details", "summary", "fieldset", "form", "hr", "pre"),
)
_INLINE: Final = (
    *("a", "b", "strong", "em", "i", "span", "code", "cite", "time", "sub", "sup", "font", "label"),
    *("button", "small", "q", "mark", "u", "abbr", "kbd"),
)
_HIDDEN: Final = ("script", "style", "noscript", "template", "svg", "select", "textarea", "iframe")


class _Writer:
    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def page(self) -> bytes:
        title = self._words(6)
        body = f"<p>{self._words(60)}"
        stated = json.dumps(
            {"@type": "Article", "articleBody": body[3:] + " " + self._words(20) * 3}
        )
        head = (
            f"<!doctype html><html lang=en><head><title>{title} | Site</title>"
            f"<meta property='og:type' content='{self._rng.choice(_KINDS)}'>"
            f"<meta name=generator content='WordPress 5'><link rel=canonical href='/a'>"
            f"<script type='application/ld+json'>{stated}</script></head>"
            f"<body class='{' '.join(self._rng.choices(_HINTS, k=12))}'>"
        )
        parts = [self._block(0) for _ in range(8)]
        parts.insert(5, body)
        parts.insert(3, f"<h1 class='{self._hint()}'>{title}</h1>")
        return (head + "\n".join(parts) + "</body></html>").encode()

    def _words(self, most: int) -> str:
        return " ".join(self._rng.choice(_WORDS) for _ in range(self._rng.randint(1, most)))

    def _hint(self) -> str:
        return " ".join(self._rng.choices(_HINTS, k=self._rng.choice((1, 1, 2, 3))))

    def _attributes(self) -> str:
        draw = self._rng.random()
        if draw < 0.4:
            return ""
        if draw < 0.8:
            quote = self._rng.choice(("'", '"', "'"))
            return f" class={quote}{self._hint()}{quote} id={self._hint().split()[0]}"
        return self._rng.choice(
            (
                " style='display:none'",
                " style='position:absolute; left:-9999px'",
                " hidden",
                " aria-hidden=true",
                " role=navigation",
                " role='main'",
                " itemprop=articleBody",
                " data-x='a > b'",
                " title='a note' lang=de",
            )
        )

    def _text(self) -> str:
        pieces = []
        for _ in range(self._rng.randint(1, 5)):
            text = self._words(12)
            draw = self._rng.random()
            if draw < 0.25:
                text = f"<a href='/x'{self._attributes()}>{text}</a>"
            elif draw < 0.5:
                tag = self._rng.choice(_INLINE)
                text = f"<{tag}{self._attributes()}>{text}</{tag}>"
            elif draw < 0.6:
                text += self._rng.choice(
                    ("<br>", "<br/><br>", "<img src=a alt='a picture'>", "<input name=q>", "<wbr>")
                )
            elif draw < 0.65:
                tag = self._rng.choice(_HIDDEN)
                text = f"<{tag}>{text} < a</{tag}>"
            elif draw < 0.7:
                text = f"<!-- {text} -->{text}"
            pieces.append(text)
        return self._rng.choice((" ", "\n", "")).join(pieces)

    def _block(self, depth: int) -> str:
        draw = self._rng.random()
        if draw < 0.12:
            return self._table(depth)
        if draw < 0.24:
            items = "".join(f"<li{self._attributes()}>{self._inside(depth)}" for _ in range(4))
            return f"<ul{self._attributes()}>{items}</ul>"
        if draw < 0.3:
            return self._text()
        tag = self._rng.choice(_BLOCKS)
        # Some are never closed, and some end tags have no start.
        end = f"</{tag}>" if self._rng.random() < 0.85 else self._rng.choice(("", "</div>", "</b>"))
        return f"<{tag}{self._attributes()}>{self._inside(depth)}{end}"

    def _inside(self, depth: int) -> str:
        if depth > 3 or self._rng.random() < 0.4:
            return self._text()
        return "".join(self._block(depth + 1) for _ in range(self._rng.randint(1, 4)))

    def _table(self, depth: int) -> str:
        width = self._rng.randint(1, 3)
        rows = "".join(
            "<tr>"
            + "".join(
                f"<{cell}>{self._inside(depth + 1) if self._rng.random() < 0.3 else self._words(3)}"
                for cell in self._rng.choices(("td", "th"), (4, 1), k=width)
            )
            for _ in range(self._rng.randint(1, 4))
        )
        return f"<table{self._attributes()}>{rows}</table>"


def generated_pages(number: int = 24) -> list[bytes]:
    """Always the same pages: broken ones, a written one and drawn ones."""
    found = [path.read_bytes() for path in sorted(BROKEN.glob("*.html"))]
    return [*found, GOLDEN_PAGE.read_bytes(), *(_Writer(seed).page() for seed in range(number))]
