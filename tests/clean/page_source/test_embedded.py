"""Pages that are drawn by scripts, and text that was sent as HTML."""

from __future__ import annotations

import json
from html import escape
from urllib.parse import quote

import pytest

from clean.config import CleanConfig
from clean.document import Document, Page, document_function
from clean.extract import ExtractConfig, page_extractor
from clean.page_source.embedded import _strings, embedded_text, is_plain

STORY = [
    f"The {number}th boat went up the river in the spring of that year, and it came back in the autumn."
    for number in range(8)
]
SHELL = "<title>News</title><div id=root></div><noscript>Please enable JavaScript to run this app.</noscript>"


def script(attributes: str, content: str) -> str:
    return f"{SHELL}<script {attributes}>{content}</script>"


STATE = {
    "props": {
        "menu": [{"label": "Home", "hint": "The first page of this paper, with all of the news"}],
        "post": {"title": "Boats", "blocks": [{"type": "p", "text": line} for line in STORY]},
    }
}


@pytest.mark.parametrize(
    "html",
    [
        script(
            "type='application/ld+json'",
            json.dumps({"@graph": [{"@type": "Article", "articleBody": "\n".join(STORY)}]}),
        ),
        script(
            "type=application/ld+json",
            json.dumps([{"articleBody": "".join(f"<p>{line}</p>" for line in STORY)}]),
        ),
        script("id=__NEXT_DATA__ type=application/json", json.dumps(STATE)),
        script("", f"window.__INITIAL_STATE__ = {json.dumps(STATE)};"),
        script(
            "", f"window.__NUXT__={json.dumps({'html': ''.join(f'<p>{x}</p>' for x in STORY)})}"
        ),
    ],
)
def test_the_text_of_a_page_without_a_body(html: str) -> None:
    found = page_extractor(ExtractConfig())(html)
    assert found.text.split("\n\n") == STORY
    assert found.visible_words >= len(found.text.split())


def test_a_page_with_a_body_is_its_body() -> None:
    body = "".join(f"<p>{line.replace('boat', 'ship')}</p>" for line in STORY)
    data = json.dumps({"articleBody": "\n".join(STORY) * 2})
    html = (
        f"<title>x</title><article>{body}</article><script type=application/ld+json>{data}</script>"
    )
    assert page_extractor(ExtractConfig())(html).text.split("\n\n")[0] == STORY[0].replace(
        "boat", "ship"
    )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[" * 100_000,
        '{"a":' * 50_000,
        "null",
        '{"articleBody": 7}',
        '{"articleBody": "x"}',
    ],
)
def test_broken_data_is_no_text(content: str) -> None:
    assert embedded_text(script("type=application/ld+json", content)) == ""


def document_of(body: bytes, content_type: str) -> Document | None:
    page = Page("http://x.org/", "http://x.org/", content_type, None, body)
    result = document_function(CleanConfig())(page)
    return result if isinstance(result, Document) else None


def test_plain_text_sent_as_html_is_text() -> None:
    document = document_of("\n".join(STORY).encode(), "text/html")
    assert document is not None
    assert document.text == "\n".join(STORY)
    assert document.extractor == "plain"
    assert document.visible_words == document.num_words


def test_plain_text_about_markup_stays_as_it_is() -> None:
    text = "<!-- notes -->\n    <html> is the root of a page.\n" + "\n".join(STORY)
    document = document_of(text.encode(), "text/plain; charset=utf-8")
    assert document is not None
    assert document.text == text


@pytest.mark.parametrize(
    "body", [b'{"words": "%s"}' % " ".join(STORY).encode(), b"%PDF-1.4 " + " ".join(STORY).encode()]
)
def test_data_sent_as_html_is_not_text(body: bytes) -> None:
    assert document_of(body, "text/html") is None


def test_is_plain() -> None:
    assert is_plain("a < b and c > d")
    assert not is_plain("a <b>c</b>")
    assert not is_plain(" ")


PARAGRAPHS = (
    "The river rises in the hills to the north of the town and runs for some forty miles before it "
    "meets the sea, and the people who live beside it have learned to wait for the water.",
    "Nobody has ever thought of building a wall, because the flood is what makes the grass grow so "
    "well in the summer that follows, and the cattle need all the grass that there is.",
)
MARKUP = "".join(f"<p>{paragraph}</p>" for paragraph in PARAGRAPHS)
PLAIN = "\n\n".join(PARAGRAPHS)
STATE = json.dumps({"post": {"title": "A river", "body": MARKUP}})
LEAVES = [
    {"type": "paragraph", "content": [{"type": "text", "text": each[:90]}, {"text": each[90:]}]}
    for each in PARAGRAPHS
]
FLIGHT = "".join(
    "<script>self.__next_f.push([1,"
    + json.dumps('6:["$","p",null,{"children":' + json.dumps(each) + "}]\n")
    + "])</script>"
    for each in PARAGRAPHS
)
LONG_ROW = "a1:T" + format(len(MARKUP.encode()), "x") + "," + MARKUP


@pytest.mark.parametrize(
    "script",
    [
        f"<script type='application/json' id=page-data>{STATE}</script>",
        f"<script id=ng-state type=application/json>{STATE}</script>",
        f"<script type='fastboot/shoebox'>{STATE}</script>",
        f"<script>window.__remixContext = {STATE};</script>",
        f"<script>window['pageData']={STATE}</script>",
        f"<script>window.__STATE__ = JSON.parse({json.dumps(STATE)});</script>",
        f'<script>window.__S__ = JSON.parse(decodeURIComponent("{quote(STATE)}"));</script>',
        f"<script type=application/json>{json.dumps({'status': 200, 'body': STATE})}</script>",
        f"<script>window.__NUXT__=(function(a){{return {{body:{json.dumps(MARKUP)},x:a}}}}(1))"
        "</script>",
        f"<script type=application/json>{json.dumps({'doc': LEAVES})}</script>",
        "<script>window.__APOLLO_STATE__="
        + json.dumps({f"P:{n}": {"text": each} for n, each in enumerate(PARAGRAPHS)})
        + "</script>",
        f'<div id=app data-page="{escape(STATE)}"></div>',
        FLIGHT,
        f"<script>self.__next_f.push([1,{json.dumps(LONG_ROW)}])</script>",
        '<script type="application/ld+json">{"articleBody":"' + PLAIN + '",}</script>',
        f"<script type='application/ld+json'>//<![CDATA[\n{json.dumps({'articleBody': PLAIN})}\n"
        "//]]></script>",
        f"<script type='application/ld+json'>{json.dumps({'articleBody': escape(MARKUP)})}</script>",
        "<script type='application/ld+json'>"
        + json.dumps(
            {
                "@type": "QAPage",
                "mainEntity": {
                    "@type": "Question",
                    "text": PARAGRAPHS[0],
                    "acceptedAnswer": {"@type": "Answer", "text": PARAGRAPHS[1]},
                },
            }
        )
        + "</script>",
    ],
)
def test_the_text_is_found_in_data_of_any_shape(script: str) -> None:
    assert embedded_text(f"<title>A river</title><div id=root></div>{script}") == PLAIN


@pytest.mark.parametrize("kind", [{"a": 1}, [["Article"]], [{"@id": "x"}, "Article"], None, 3])
def test_odd_types_of_objects_cost_no_page(kind: object) -> None:
    data = json.dumps({"@type": kind, "articleBody": PLAIN})
    assert embedded_text(f"<script type='application/ld+json'>{data}</script>") == PLAIN


def test_short_paragraphs_of_the_text_are_part_of_it() -> None:
    lines = [PARAGRAPHS[0], "It was high.", PARAGRAPHS[1]]
    state = json.dumps({"blocks": [{"text": line, "key": "a1b2"} for line in lines]})
    page = f"<script type=application/json>{state}</script>"
    assert embedded_text(page) == "\n\n".join(lines)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("From: Bob <bob@example.com>\n\nHello there", True),
        ("#include <vector>\nstd::map<int, char> x;", True),
        ("see <https://example.com/> for it", True),
        ("one <p>two", False),
        ("<!doctype html>one", False),
        ("<item>one</item>", False),
    ],
)
def test_addresses_in_angle_brackets_are_no_markup(text: str, plain: bool) -> None:
    assert is_plain(text) == plain


def sentence(num_words: int, name: str = "w") -> str:
    return f"The {' '.join(f'{name}{number}' for number in range(num_words - 2))} end."


@pytest.mark.parametrize(("num_words", "found"), [(49, False), (50, True), (51, True)])
def test_an_embedded_text_has_fifty_words(num_words: int, found: bool) -> None:
    html = f"<script type=application/ld+json>{json.dumps({'articleBody': sentence(num_words)})}</script>"
    assert (embedded_text(html) != "") is found


@pytest.mark.parametrize(("num_words", "found"), [(7, False), (8, True)])
def test_a_list_is_chosen_for_its_strings_of_eight_words(num_words: int, found: bool) -> None:
    """The other list has more text, in strings of seven words."""
    state = {
        "a": [sentence(num_words, f"a{n}") for n in range(10)],
        "b": [sentence(7, f"longer{n}") for n in range(20)],
    }
    text = embedded_text(f"<script type=application/json>{json.dumps(state)}</script>")
    assert ("a0" in text, text != "") == (found, found)


@pytest.mark.parametrize(("depth", "found"), [(0, True), (59, True), (60, True), (61, False)])
def test_a_state_is_read_sixty_levels_deep(depth: int, found: bool) -> None:
    state: object = sentence(60)
    for _ in range(depth):
        state = [state]
    text = embedded_text(f"<script type=application/json>{json.dumps({'a': state})}</script>")
    # The object around it is a level, and so is the text.
    assert (text != "") is (depth < 60)
    body: object = {"articleBody": sentence(60)}
    for _ in range(depth):
        body = [body]
    html = f"<script type=application/ld+json>{json.dumps(body)}</script>"
    assert (embedded_text(html) != "") is found


@pytest.mark.parametrize(("num_words", "found"), [(7, False), (8, True)])
def test_loose_strings_of_a_script_have_eight_words(num_words: int, found: bool) -> None:
    lines = [sentence(num_words, f"longer{number}") for number in range(9)]
    content = "window.state = build(" + ", ".join(map(json.dumps, lines)) + ");"
    assert (embedded_text(f"<script>{content}</script>") != "") is found


@pytest.mark.parametrize(
    ("num_chars", "read"), [(3_999_999, True), (4_000_000, True), (4_000_001, False)]
)
def test_a_script_of_four_million_characters_is_read(num_chars: int, read: bool) -> None:
    """What follows the data of a script does not count for its text."""
    content = json.dumps({"articleBody": PLAIN}).ljust(num_chars, "x")
    html = f"<script type=application/ld+json>{content}</script>"
    assert embedded_text(html) == (PLAIN if read else "")


@pytest.mark.parametrize(("num_words", "is_shell"), [(59, True), (60, True), (61, False)])
def test_a_page_that_shows_sixty_words_has_no_body(num_words: int, is_shell: bool) -> None:
    shown = sentence(num_words)
    data = json.dumps({"articleBody": sentence(400, "longer")})
    html = f"<p>{shown}</p><script type=application/ld+json>{data}</script>"
    found = page_extractor(ExtractConfig())(html)
    assert found.text.startswith("The longer0") is is_shell
    assert found.visible_words == (400 if is_shell else num_words)


@pytest.mark.parametrize(
    ("post", "found"),
    [
        ({"@type": "Comment", "text": PLAIN}, True),
        ({"@type": ["Thing", "Answer"], "text": PLAIN}, True),
        ({"@type": "Review", "text": PLAIN}, False),
        ({"text": PLAIN}, False),
        ({"@type": "Review", "reviewBody": PLAIN}, True),
        ({"@type": "VideoObject", "transcript": PLAIN}, True),
    ],
)
def test_only_posts_have_the_content_of_the_page_as_their_text(
    post: dict[str, object], found: bool
) -> None:
    html = f"<script type=application/ld+json>{json.dumps(post)}</script>"
    assert embedded_text(html) == (PLAIN if found else "")


@pytest.mark.parametrize(("num_chars", "found"), [(49, False), (50, False), (51, True)])
def test_text_that_is_data_is_read_beyond_fifty_characters(num_chars: int, found: bool) -> None:
    text = '["A sentence within."]'
    value = text + " " * (num_chars - len(text))
    assert [each for _, each in _strings(value, (), 0)] == ["A sentence within."] * found
