"""The interface that gloo is given."""

from __future__ import annotations

import socket

import pytest

from train.machine import network
from train.machine.network import gloo_interface

ONE = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
TWO = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}


@pytest.mark.parametrize("master", ["127.0.0.1", "127.0.1.1", "localhost"])
def test_ranks_of_one_machine_use_the_loopback(master: str) -> None:
    assert gloo_interface({**ONE, "MASTER_ADDR": master}) == "lo"


def test_a_master_that_resolves_to_loopback_is_reached_by_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Debian's /etc/hosts names the machine itself 127.0.1.1; ranks elsewhere cannot connect to that."""
    asked: list[str] = []

    def address(target: str) -> str:
        asked.append(target)
        return "127.0.1.1" if target == "node-0" else "10.1.2.3"

    monkeypatch.setattr(network, "_local_address", address)
    monkeypatch.setattr(network, "_interface_of", lambda found: {"10.1.2.3": "eth7"}.get(found))
    assert gloo_interface({**TWO, "MASTER_ADDR": "node-0"}) == "eth7"
    assert asked == ["node-0", network.OUTSIDE]


def test_an_interface_that_was_chosen_stays() -> None:
    assert gloo_interface({**TWO, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "ib0"}) is None
    assert gloo_interface({}) is None


def test_an_address_leads_to_its_interface() -> None:
    assert network._interface_of("127.0.0.1") == "lo"
    assert network._interface_of("192.0.2.1") is None  # reserved for documentation
    assert "lo" in {name for _, name in socket.if_nameindex()}


def test_a_master_that_is_unknown_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_local_address", lambda target: None)
    assert gloo_interface({**TWO, "MASTER_ADDR": "nowhere.invalid"}) is None
