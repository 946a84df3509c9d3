import html
import random
import sys
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from examples.demo import docstrings, edits, markup
from examples.demo.docstrings import Item
from examples.demo.pages import MIN_PAGE_CHARS, PAGE_CHARS, grouped, pages

PROSE = (
    "This sentence says what the thing is for, in plain words that everybody understands at once. "
)
SOURCE = f'''
"""The module. {PROSE}"""

def free(a, b=1, *rest, key, **options):
    """{PROSE}"""

class Thing:
    """A class. {PROSE}"""
    def method(self, x): """{PROSE * 2}"""
    def undocumented(self): return 1

def table():
    """| 1 | 2 | 3 | 4 |
    +---+---+---+---+ 0.1 0.2 0.3 0.4 0.5 0.6 | 99 | 98 | 97 | 96 | 95 | 94 |"""

add_docstr(torch.absolute, r"""
Computes it. {PROSE}

Args:
    {{input}}
    out (Tensor): where {{{{it}}}} goes
""".format(**common))
add_newdoc("numpy._core.umath", "sine", ("real", """{PROSE}"""))
'''

words = st.lists(st.from_regex(r"[a-z]{2,9}", fullmatch=True), min_size=1, max_size=60)


def test_items_are_documented_prose_in_order_of_lines():
    items = list(docstrings.items_of_source(SOURCE.encode(), "package._private.module"))
    assert [item.name for item in items] == [
        "",
        "free",
        "Thing",
        "Thing.method",
        "absolute",
        "sine",
    ]
    assert {item.module for item in items} == {"package.module"}
    assert items[1].signature == "(a, b, *rest, key=..., **options)"
    assert items[3].signature == "(x)"
    assert "{input}" not in items[4].text
    assert "where {it} goes" in items[4].text


def test_source_that_does_not_parse_gives_nothing():
    assert list(docstrings.items_of_source(b"def (:", "broken")) == []
    assert list(docstrings.items_of_source(b"x = '\0'", "broken")) == []


def test_only_documented_source_is_parsed():
    assert docstrings.is_documented(b'"""' + b"a" * 2_000 + b'"""')
    assert not docstrings.is_documented(b'"""a"""' + b"x = 1\n" * 1_000)
    assert not docstrings.is_documented(b'"""short"""')
    assert docstrings.package_folders("no_such_package_here") == []


def test_groups_are_long_enough_and_lose_nothing():
    items = [
        Item("m", f"f{i}", "", "x" * size) for i, size in enumerate([900, 3200, 50, 4100, 300])
    ]
    groups = grouped(items)
    sizes = [sum(len(item.text) for item in group) for group in groups]
    groups = list(grouped(items))
    assert [item for group in groups for item in group] == items
    assert all(size >= PAGE_CHARS for size in sizes)
    assert list(grouped(items[:1])) == []
    assert len(list(grouped([Item("m", "f", "", "x" * MIN_PAGE_CHARS)]))) == 1


def test_docstring_markup():
    text = """Summary with ``code`` and :func:`~numpy.sum` & **weight**.

Parameters
----------
x : array_like
    The input, a < b.
y : int
    Another.

Notes
-----
- one
- two
  more

Example::

    >>> 1 < 2
    True

.. versionadded:: 1.2
   It is new.

Args:
  z: last
"""
    body = markup.docstring_html(text)
    for piece in (
        "<p>Summary with <code>code</code> and <code>numpy.sum</code> &amp; <strong>weight</strong>.</p>",
        "<h3>Parameters</h3>",
        "<dl><dt>x : array_like</dt><dd>The input, a &lt; b.</dd><dt>y : int</dt><dd>Another.</dd></dl>",
        "<li>one</li><li>two more</li>",
        "<pre><code>&gt;&gt;&gt; 1 &lt; 2\nTrue</code></pre>",
        '<p class="versionadded"><em>New in version</em> 1.2 It is new.</p>',
        "<h4>Args</h4>",
    ):
        assert piece in body


@settings(max_examples=40)
@given(st.lists(words, min_size=1, max_size=5))
def test_no_word_of_a_docstring_is_lost(paragraphs):
    text = "\n\n".join(" ".join(paragraph) for paragraph in paragraphs)
    assert markup.words(markup.plain_text(markup.docstring_html(text))) == markup.words(text)


@given(st.text(max_size=200))
def test_any_docstring_renders_without_stray_tags(text):
    body = markup.docstring_html(text)
    assert "<script" not in body
    assert body.count("<pre>") == body.count("</pre>")


def test_documents_of_both_kinds_render():
    assert "<h1>Title</h1>" in markup.markdown_html("# Title\n\n| a |\n|---|\n| b |\n")
    body = markup.rest_html(
        "Title\n=====\n\nSome *text*, :unknown:`role`.\n\n.. include:: /etc/passwd\n"
    )
    assert "<em>text</em>" in body
    assert "root:" not in body


def test_plain_text_drops_tags_scripts_and_comments():
    body = "<p>One &amp; two</p><script>var x;</script><!-- no --><style>p{}</style>\n<b>three</b>"
    assert markup.plain_text(body) == "One & two\nthree"


def naive_jaccard(left, right):
    def shingles(text):
        tokens = markup.words(text)
        return {" ".join(tokens[i : i + 5]) for i in range(max(1, len(tokens) - 4))}

    return len(shingles(left) & shingles(right)) / len(shingles(left) | shingles(right))


@given(words, words)
def test_jaccard_equals_the_definition(left, right):
    assert edits.jaccard(" ".join(left), " ".join(right)) == naive_jaccard(
        " ".join(left), " ".join(right)
    )


def body_of(num_words: int, seed: int) -> str:
    rng = random.Random(seed)
    tokens = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(num_words)]
    blocks = [tokens[i : i + 60] for i in range(0, num_words, 60)]
    return (
        "\n".join(f"<p>{' '.join(block)} <code>x</code> &amp;</p>" for block in blocks)
        + "<pre>kept</pre>"
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(400, 1_200), st.integers(0, 1_000))
def test_edited_copies_have_the_promised_similarity(num_words, seed):
    body, rng = body_of(num_words, seed), random.Random(seed)
    near = edits.near_copy(body, ["other", "words"], rng)
    assert near is not None
    assert 0.88 <= naive_jaccard(markup.plain_text(body), markup.plain_text(near)) < 1
    miss = edits.reworded(body, ["other", "words"], rng)
    assert miss is not None
    assert 0.5 <= naive_jaccard(markup.plain_text(body), markup.plain_text(miss)) <= 0.6
    assert near.count("<") == miss.count("<") == body.count("<")


@given(words, st.integers(0, 99))
def test_a_disguise_keeps_the_words(tokens, seed):
    text = ", ".join(tokens)
    assert markup.words(edits.disguised(text, random.Random(seed))) == markup.words(text)


@settings(max_examples=40)
@given(
    words, words, st.lists(st.from_regex(r"[a-z]{10,12}", fullmatch=True), min_size=13, max_size=20)
)
def test_every_shared_run_of_13_words_is_found(before, after, run):
    shared = edits.shared_words({"a": run}, [("b", [*before, *run, *after]), ("a", run)])
    assert shared["a"] > 0
    own = edits.shared_words({"a": run, "a#passage": run}, [("a", run), ("c", before)])
    assert own == {"a": 0, "a#passage": 0}


def test_embedding_keeps_the_page_around():
    body = "<p>one</p><p>two</p><p>three</p>"
    assert edits.embedded(body, "a < b") == "<p>one</p><p>two a &lt; b</p><p>three</p>"
    assert edits.embedded("<h2>x</h2>", "y").endswith("<p>y</p>")


def test_a_passage_is_a_paragraph_of_prose():
    short, code = "<p>too short</p>", f"<p>{'x = {1: [2, 3]}; ' * 30}</p>"
    prose = f"<p>{html.escape(PROSE * 5)}</p>"
    assert edits.passage(short + code + prose) == (PROSE * 5).strip()
    assert edits.passage(short + code) is None


def test_pages_come_in_turn_without_importing_what_they_describe():
    before = set(sys.modules)
    found = list(islice(pages(), 70))
    assert len({page.host for page in found}) >= 30
    assert len({page.url.lower() for page in found}) == 70
    assert all(page.host.endswith(".test") and page.text.strip() for page in found)
    assert not {"torch", "ray", "scipy", "sympy", "networkx"} & (set(sys.modules) - before)
