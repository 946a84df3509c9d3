"""Answers that no view could count are refused, and those about removed pages go with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.errors import InputError
from corpus.storage.store import Store
from corpus.tables.takedown_list import Takedown, write_takedown
from tests.support import document_corpus
from webtext.look import command
from webtext.look.full_text import FullTextIndex
from webtext.look.labels import Labels, precision_by_similarity, remove_answers
from webtext.look.text_marks import coloured_tokens, with_cuts, word_diff
from webtext.takedown.batch import remove_from_batch


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A corpus of ten documents without tokens."""
    return document_corpus.commit_batch(
        str(tmp_path / "corpus"), "b", document_corpus.documents(10)
    )


def test_an_answer_that_cannot_be_counted_is_refused(store: Store) -> None:
    """Before, one of them broke the view of pairs in every window, for good."""
    labels = Labels(store, "w")
    for similarity in (None, float("nan"), float("inf"), -0.1, 1.1):
        with pytest.raises(InputError, match="similarity from 0 to 1"):
            labels.add("pair", "a", "yes", "b", similarity)
    with pytest.raises(InputError):
        labels.add("pair", "a", "yes", "", 0.9)
    with pytest.raises(InputError):
        labels.add("extraction", "a", "right", "", 0.9)
    labels.add("pair", "a", "yes", "b", 1.0)
    labels.add("extraction", "a", "right")
    [row] = precision_by_similarity(labels.latest("pair").values())
    assert (row.low, row.high, row.total) == (0.95, 1.0, 1)


def test_answers_about_removed_pages_go_and_do_not_come_back(store: Store) -> None:
    first, second = Labels(store, "w"), Labels(store, "v")
    first.add("extraction", "gone", "right")
    first.add("pair", "stays", "yes", "gone", 0.9)
    first.add("extraction", "stays", "right")
    second.add("soft_failure", "gone", "page")
    assert remove_answers(store, ["gone", "unknown"]) == 3
    assert len(list(store.files("reports/labels"))) == 1

    # A window that stays open writes what the file has, not what it remembers.
    first.add("soft_failure", "stays", "page")
    assert b"gone" not in b"".join(
        store.read_bytes(path) for path, _ in store.files("reports/labels")
    )

    write_takedown(store, Takedown(id="t", asked=[], when="", url_keys={"gone": ""}))
    with pytest.raises(InputError, match="taken down"):
        first.add("extraction", "gone", "right")
    with pytest.raises(InputError, match="taken down"):
        first.add("pair", "stays", "yes", "gone", 0.9)


def test_an_index_of_removed_pages_is_deleted(store: Store, tmp_path: Path) -> None:
    """A take-down keeps the fingerprints of tables, so these do not tell the documents apart."""
    gone = max(document_corpus.documents(10), key=lambda doc: len(doc.text))
    index = FullTextIndex(store, tmp_path / "cache")
    index.make()
    assert gone.doc_id in {row["doc_id"] for row in index.search("corpus")}
    remove_from_batch(store, "b", frozenset({gone.doc_id}))
    assert not index.is_ready
    assert list((tmp_path / "cache").rglob("*.sqlite")) == []
    index.make()
    assert gone.doc_id not in {row["doc_id"] for row in index.search("corpus")}


@pytest.mark.parametrize("port", ["-1", "65535", "70000"])
def test_ports_that_do_not_exist_are_one_line(
    store: Store, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    assert command.main(["--corpus", store.root, "--port", port]) == 2
    assert f"--port {port}: expected 0 to 65534" in capsys.readouterr().err


def test_the_printed_host_is_the_one_that_is_served() -> None:
    hosts = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "[::1]"}
    hosts |= {"fd00::2": "[fd00::2]", "corpus.example.org": "corpus.example.org"}
    assert {host: command._in_address(host) for host in hosts} == hosts


def test_the_first_3000_words_are_compared() -> None:
    words = [f"w{number} " for number in range(3001)]
    left, right = word_diff("".join(words), "".join(words[:3000]) + "other")
    assert [(piece.mark, piece.text.count(" ")) for piece in (*left, *right)] == [("", 3000)] * 2
    left, right = word_diff("".join(words[:2999]) + "one", "".join(words[:2999]) + "other")
    assert [piece.mark for piece in (*left, *right)] == ["", "removed", "", "added"]


def test_tokens_have_four_colours_in_turn() -> None:
    marks = [piece.mark for piece in coloured_tokens([b"a"] * 9)]
    assert marks == ["t0", "t1", "t2", "t3"] * 2 + ["t0"]
    assert [piece.text for piece in coloured_tokens([b"\x0a\xff", "é".encode()])] == [
        "⟨0a⟩⟨ff⟩",
        "é",
    ]


@pytest.mark.parametrize(
    ("cuts", "pieces"),
    [([], [("abcdef", "")]), ([(0, 2)], [("ab", "cut"), ("cdef", "")]), ([(4, 6), (1, 3)], [("a", ""), ("bc", "cut"), ("d", ""), ("ef", "cut")]),
     ([(1, 1)], [("a", ""), ("bcdef", "")])],
)  # fmt: skip
def test_cuts_are_marked_in_their_order(
    cuts: list[tuple[int, int]], pieces: list[tuple[str, str]]
) -> None:
    marked = with_cuts("abcdef", [{"start": start, "end": end} for start, end in cuts])
    assert [tuple(piece) for piece in marked] == pieces


@pytest.mark.parametrize(
    ("left", "right", "removed", "added"),
    [
        ("a b c", "a c", ["a ", "-b ", "c"], ["a ", "c"]),
        ("a c", "a b c", ["a ", "c"], ["a ", "+b ", "c"]),
        ("a b c", "a d c", ["a ", "-b ", "c"], ["a ", "+d ", "c"]),
        ("a", "", ["-a"], []),
        ("", "", [], []),
        # A word that is frequent in a long text is a word.
        ("a " * 250, "b " + "a " * 250, ["a " * 250], ["+b ", "a " * 250]),
    ],
)
def test_pieces_of_a_difference(
    left: str, right: str, removed: list[str], added: list[str]
) -> None:
    """None is empty, and each word is in one."""
    signs = {"": "", "removed": "-", "added": "+"}
    sides = [[signs[piece.mark] + piece.text for piece in side] for side in word_diff(left, right)]
    assert sides == [removed, added]
