from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clean.filters.personal import EMAILS, IPV4, IPV6, replace


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+x@mail.some-firm.co.uk.", f"Write to {EMAILS[0]}."),
        (
            "<a.b@c.de>, o'neil@ucd.ie; again A.B@c.de",
            f"<{EMAILS[0]}>, {EMAILS[1]}; again {EMAILS[0]}",
        ),
        ("The server 8.8.8.8, not 8.8.4.4:80.", f"The server {IPV4[0]}, not {IPV4[1]}:80."),
        ("at 2606:4700:4700::1111 today", f"at {IPV6[0]} today"),
    ],
)
def test_addresses_are_replaced(text: str, expected: str) -> None:
    assert replace(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "192.168.0.1, 127.0.0.1, 10.1.2.3, 203.0.113.9 and ::1 are nobody's.",
        "Version 1.2.3.4.5, section 8.8.8.8.1 and build v8.8.8.8 are no addresses; 300.1.2.3 neither.",
        "@handle said 5 @ 3 pounds, foo@bar, a@b, C++::std, 10:15:20 and https://x.example/@me/1.",
        "git@github and user@localhost stay.",
    ],
)
def test_what_is_no_ones_address_stays(text: str) -> None:
    assert replace(text) == (text, 0, 0)


OCTET = st.integers(0, 255)


@given(
    st.tuples(OCTET, OCTET, OCTET, OCTET),
    st.from_regex(r"[a-z]{1,9}\.?[a-z0-9]{1,5}@[a-z]{2,9}\.(com|org|net)", fullmatch=True),
)
def test_any_address_between_words(octets: tuple[int, ...], email: str) -> None:
    ip = ".".join(map(str, octets))
    told = replace(f"See {ip} or {email}, she said.")
    public = ipaddress.ip_address(ip).is_global
    assert told.num_ips == public
    assert told.num_emails == (email not in EMAILS)
    assert (ip in told.text) == (not public)
    assert email not in told.text or email in EMAILS


@given(st.text(alphabet=st.sampled_from("a.@:1f- "), max_size=200))
@example("1::@1.aa")
def test_once_is_enough(text: str) -> None:
    once = replace(text).text
    assert replace(once) == (once, 0, 0)


@pytest.mark.parametrize("bait", ["a.", "a@", "1.", "f:", "a@a.", "-a", "a@" + "a." * 7])
def test_no_bait_takes_long(bait: str) -> None:
    started = time.process_time()
    replace(bait * (400_000 // len(bait)))
    assert time.process_time() - started < 3


def test_a_page_has_twelve_examples_of_addresses_then_they_come_again() -> None:
    """The hosts .1 to .4 of three networks for documentation (RFC 5737), ::1 to ::4 of RFC 3849."""
    text = " ".join(f"8.8.8.{number}" for number in range(13))
    words = replace(text).text.split()
    networks = ("192.0.2", "198.51.100", "203.0.113")
    assert words == [f"{net}.{host}" for host in (1, 2, 3, 4) for net in networks] + ["192.0.2.1"]
    text = " ".join(f"2606:4700:4700::{number}" for number in range(1, 6))
    assert replace(text).text.split() == [f"2001:db8::{host}" for host in (1, 2, 3, 4, 1)]
