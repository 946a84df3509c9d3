"""Sentences stay whole around elements of other kinds, and furniture is left out."""

from __future__ import annotations

import pytest

from clean.rewrite import rewritten
from tests.processor_time import least_cpu_s
from tests.support.article import middle

NEXT = "The owners sold the wheel to a museum in the city, where it stands in the hall today."


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("Click <button type=button><b>Save</b></button> to go on.", "Click Save to go on."),
        (
            "Choose <select><option>One<option selected>Two</select> to go on.",
            "Choose Two to go on.",
        ),
        ("Press <input type=button value=Start> to go on.", "Press Start to go on."),
        (
            "He said <q>she said <q>no</q> to me</q>.",
            "He said \u201cshe said \u2018no\u2019 to me\u201d.",
        ),
        (
            "It was good <img class=emoji alt='\U0001f642' src=x> for me.",
            "It was good \U0001f642 for me.",
        ),
        ("Write to <a data-cfemail=abcde>us there</a> today.", "Write to us there today."),
        ("It is <svg><title>icon</title><path/></svg>good for all.", "It is good for all."),
        ("On the 19<sup>e</sup> and the 1<sup>a</sup> of it.", "On the 19e and the 1a of it."),
        ("It was 10<sup>n</sup> times as long as that.", "It was 10^n times as long as that."),
        (
            "It was so.<sup><a href=#1>1</a>,<a href=#2>2</a></sup> Then it was not.",
            "It was so.[1,2] Then it was not.",
        ),
    ],
)
def test_sentences_stay_whole(markup: str, text: str) -> None:
    assert middle(f"<p>{markup}</p><p>{NEXT}</p>") == f"{text}\n\n{NEXT}"


@pytest.mark.parametrize(
    "heading",
    [
        "<a class=anchor href=#a>#</a>History of it",
        "History of it <a href=#a>Permalink</a>",
        "History of it<a class=headerlink href=#a>&para;</a>",
        "<a href=/x#a><span>\u00a7</span></a> History of it",
        "History of it <span class=mw-editsection>[<a href=e>Bearbeiten</a> | <a>Quelltext</a>]</span>",
    ],
)
def test_headings_lose_their_links(heading: str) -> None:
    assert middle(f"<h2>{heading}</h2><p>{NEXT}</p>") == f"History of it\n\n{NEXT}"


@pytest.mark.parametrize(
    "counter", ["3 people like this", "1.2k shares", "12 Likes", "4 replies", "1,204 views"]
)
def test_counters_of_reactions_are_left_out(counter: str) -> None:
    assert middle(f"<p>{NEXT}</p><div>{counter}</div>") == NEXT


def test_a_shadow_root_within_another_is_shown() -> None:
    root = "<x-a><template shadowrootmode=open>{}</template></x-a>"
    assert middle(root.format(root.format(f"<p>{NEXT}</p>"))) == NEXT
    assert middle(f"<template>{root.format('<p>' + NEXT)}</template>") == ""


def test_elements_with_the_role_of_a_table_are_one() -> None:
    row = "<div role=row><span role=rowheader>{}</span><span role=cell>{}</span></div>"
    table = f"<div role=table>{row.format('Mill', 4)}{row.format('Weir', 0)}</div>"
    assert middle(table) == "Mill\t4\nWeir\t0"


@pytest.mark.parametrize(
    "attribute",
    ["hidden ", "style=display:none ", "class=mw-editsection ", "data-cfemail=aabb "],
)
def test_time_is_linear_in_the_attributes_of_a_tag(attribute: str) -> None:
    def cpu_s(size: int) -> float:
        page = f"<p>word <span {attribute * (size // len(attribute))}"
        return least_cpu_s(lambda: rewritten(page))

    cpu_s(1000)
    # Eight times the attributes: squared, it would be 64 times the time.
    assert cpu_s(120_000) < 24 * max(cpu_s(15_000), 0.005)
