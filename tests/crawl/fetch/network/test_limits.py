"""Limits of an answer's framing and of the memory of bodies, just at them and one beyond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.fetch.network import body_budget
from crawl.fetch.network.body_budget import BodyBudget
from crawl.fetch.network.wire import HeadError, ResponseReader

KIB = 1 << 10
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early\r\n\r\n"


def head_of(num_bytes: int) -> bytes:
    return HEAD + b"X: ".ljust(num_bytes - len(HEAD) - 4, b"x") + b"\r\n\r\n"


def reads_head(wire: bytes, step: int) -> bool:
    reader = ResponseReader()
    try:
        for at in range(0, len(wire), step):
            reader.feed(wire[at : at + step])
    except HeadError:
        return False
    return reader.head is not None


@pytest.mark.parametrize("step", [1 << 20, 4096])
@pytest.mark.parametrize(
    ("before", "num_bytes", "read"),
    [(b"", 64 * KIB, True), (b"", 64 * KIB + 1, False), (b"\r\n", 64 * KIB - 2, True), (b"\r\n", 64 * KIB - 1, False),
     (INTERIM, 64 * KIB - len(INTERIM), True), (INTERIM, 64 * KIB - len(INTERIM) + 1, False)],
)  # fmt: skip
def test_64_kib_may_come_before_the_body(
    before: bytes, num_bytes: int, read: bool, step: int
) -> None:
    """The body itself does not count, though it may come with the head."""
    assert reads_head(before + head_of(num_bytes) + bytes(5000), step) is read


@pytest.mark.parametrize(("count", "read"), [(0, True), (32, True), (33, False)])
def test_an_answer_has_at_most_32_interim_ones(count: int, read: bool) -> None:
    assert reads_head(INTERIM * count + head_of(100), 1 << 20) is read


@pytest.mark.parametrize(
    ("status", "read"), [(b"099", False), (b"100", True), (b"101", False), (b"102", True), (b"199", True)]
)  # fmt: skip
def test_an_interim_status_is_100_or_more_and_no_upgrade(status: bytes, read: bool) -> None:
    assert reads_head(b"HTTP/1.1 " + status + b"\r\n\r\n" + head_of(100), 1 << 20) is read


@pytest.mark.parametrize(
    ("status", "read"), [(b"099", False), (b"100", False), (b"101", False), (b"199", False), (b"200", True), (b"999", True)]
)  # fmt: skip
def test_a_final_status_is_200_or_more(status: bytes, read: bool) -> None:
    assert reads_head(b"HTTP/1.1 " + status + b"\r\n\r\n", 1 << 20) is read


@pytest.mark.parametrize("body", [0, 16, 1000])
@pytest.mark.parametrize(
    ("beyond", "ended", "fails"), [(0, True, False), (1, True, True), (0, False, False), (1, False, True)]
)  # fmt: skip
def test_framing_has_64_kib_and_the_length_of_the_body(
    body: int, beyond: int, ended: bool, fails: bool
) -> None:
    """A line counts with its end, and while its end has not come."""
    reader = ResponseReader()
    reader.feed(CHUNKED)
    first = b"%x\r\n%b\r\n" % (body, b"y" * body) if body else b""
    line = b"1;".ljust(64 * KIB + body - (len(first) - body) + beyond - 2, b"x")
    reader.feed(first + line + (b"\r\n" if ended else b"xx"))
    assert (reader.failure is not None) is fails


@pytest.mark.parametrize(
    ("num_bytes", "count", "fails"),
    [(1, 4369, False), (1, 4370, True), (15, 65_521, False), (15, 65_522, True), (16, 70_000, False)],
)  # fmt: skip
def test_4096_chunks_are_free_and_others_have_16_bytes(
    num_bytes: int, count: int, fails: bool
) -> None:
    """Chunk n comes after n - 1 bodies: 4,369 chunks of a byte have 4,368 / 16 = 273 more."""
    reader = ResponseReader()
    reader.feed(CHUNKED)
    reader.feed((b"%x\r\n%b\r\n" % (num_bytes, b"y" * num_bytes)) * count)
    assert (reader.failure is not None) is fails


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=30), st.integers(0, 150)
)
def test_a_budget_holds_for_all_but_small_bodies(growth: list[tuple[int, int]], limit: int) -> None:
    """Against a slow count: a body moves to a file if it is long and all are over the limit."""
    small, body_budget.SMALL_BYTES = body_budget.SMALL_BYTES, 40
    budget = BodyBudget(limit)
    in_memory, spooled = [0] * 4, [False] * 4
    try:
        shares = [budget.share() for _ in range(4)]
        bodies = [share.__enter__() for share in shares]
        for number, size in growth:
            bodies[number].add(b"%d" % number)
            moved = bodies[number].grow_to(size)
            if not spooled[number]:
                in_memory[number] = size
                spooled[number] = size > 40 and sum(in_memory) > limit
                assert moved is spooled[number]
                in_memory[number] *= not moved
            else:
                assert not moved
            assert [body.is_spooled for body in bodies] == spooled
            assert budget.num_bytes == sum(in_memory)
        for number, body in enumerate(bodies):
            assert body.received() == b"".join(b"%d" % n for n, _ in growth if n == number)
    finally:
        body_budget.SMALL_BYTES = small
        for share in shares:
            share.__exit__(None, None, None)
    assert budget.num_bytes == 0


@pytest.mark.parametrize(("num_kib", "moved"), [(511, False), (512, False), (513, True)])
def test_a_body_of_512_kib_stays_in_memory(num_kib: int, moved: bool) -> None:
    with BodyBudget(0).share() as body:
        assert body.grow_to(num_kib * KIB) is moved
