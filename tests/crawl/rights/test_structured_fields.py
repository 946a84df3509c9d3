"""Numbers, lists and errors of structured fields (RFC 9651) at the borders of its grammar."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crawl.rights.structured_fields import Date, Member, Token, parse_dictionary


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("0", 0),
        ("-0", 0),
        ("9" * 15, int("9" * 15)),
        ("-" + "9" * 15, -int("9" * 15)),
        ("9" * 12 + ".5", Decimal("9" * 12 + ".5")),
        ("1.125", Decimal("1.125")),
        ("1.1", Decimal("1.1")),
        ("@1", Date(1)),
        ("?1", True),
        ("?0", False),
        ("a", Token("a")),
        ("*", Token("*")),
        ('"a\\"b"', 'a"b'),
        (":YWI=:", b"ab"),
        (":YWI:", b"ab"),
        ("()", ()),
        ("( 1  2 )", (1, 2)),
        ("(1;a;b=2 3)", (1, 3)),
        ("1;a;b=2", 1),
    ],
)
def test_a_value_has_its_type(value: str, parsed: Member) -> None:
    found = parse_dictionary(f"k={value}")["k"]
    assert found == parsed
    assert type(found) is type(parsed)


@pytest.mark.parametrize(
    "value",
    ["9" * 16, "-" + "9" * 16, "9" * 13 + ".5", "1.", "1.1234", ".5", "-", "@1.5", "?2", '"a', ":YWI", "(1", "(1,2)", "(1 2", '(1"a")',
     "1;", "1;A", "é", "1,", "1 2", "", "%\"%ff\""],
)  # fmt: skip
def test_a_value_beyond_the_grammar_is_refused(value: str) -> None:
    with pytest.raises(ValueError):
        parse_dictionary(f"k={value}")


@pytest.mark.parametrize(
    ("field", "members"),
    [("", {}), ("   ", {}), ("a", {"a": True}), (" a , b=1\t,\tc ", {"a": True, "b": 1, "c": True}), ("a=1, a=2", {"a": 2}), ("*a.b-c_d=1", {"*a.b-c_d": 1})],
)  # fmt: skip
def test_members_are_parted_by_commas(field: str, members: dict[str, Member]) -> None:
    assert parse_dictionary(field) == members
