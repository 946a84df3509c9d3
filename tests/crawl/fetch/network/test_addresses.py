"""The guard: every vector that peers have been caught by, and a canary that must never be reached."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import ConfigError
from crawl.fetch import worker
from crawl.fetch.network.addresses import is_literal, port_refusal, refusal
from crawl.fetch.settings import FetchConfig
from crawl.outcomes import Reason
from tests.crawl.loopback import Shard, Web, moved, ok

REFUSED = [
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.255",
    "127.1.2.3",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.1.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:10::1",
    "2001:20::1",
    "2001:2::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
    "e000::1",
    "2a00:1450::5efe:a00:1",
    "2a00:1450::200:5efe:7f00:1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "127.1",
    "0177.0.0.1",
    "localhost",
    "127.0.0.1:80",
    "1.2.3.4/8",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "192.169.0.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "151.101.1.140",
    "93.184.215.14",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82f::200e",
    "2620:fe::fe",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize("ip", REFUSED)
def test_refused(ip: str) -> None:
    assert refusal(ip) is not None


def test_there_are_sixty_vectors() -> None:
    assert len(set(REFUSED)) >= 60


@pytest.mark.parametrize("ip", PUBLIC)
def test_public(ip: str) -> None:
    assert refusal(ip) is None
    assert refusal(ip, LOOPBACK, public=False) is not None


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_an_allowed_network_is_open_under_every_name(ip: str) -> None:
    assert refusal(ip, LOOPBACK) is None
    assert refusal("10.0.0.1", LOOPBACK) is not None
    assert refusal("::1", LOOPBACK) is not None


@given(st.integers(0, 2**32 - 1))
def test_nothing_that_python_calls_private_is_public(value: int) -> None:
    address = ipaddress.IPv4Address(value)
    unsafe = not address.is_global or address.is_multicast or address.is_reserved
    if unsafe:
        assert refusal(str(address)) is not None
        assert refusal(f"::ffff:{address}") is not None
        assert refusal(str(ipaddress.IPv6Address((0x64FF9B << 96) + value))) is not None


@given(st.integers(0, 2**128 - 1))
def test_only_global_unicast_of_version_six(value: int) -> None:
    address = ipaddress.IPv6Address(value)
    if refusal(str(address)) is None:
        carried = address.ipv4_mapped or address in ipaddress.ip_network("64:ff9b::/96")
        assert carried or (address.is_global and value >> 125 == 1)


def test_literals_and_ports() -> None:
    assert is_literal("127.0.0.1")
    assert is_literal("[::1]")
    assert not is_literal("localhost")
    assert port_refusal(80, (80, 443)) is None
    assert "22" in (port_refusal(22, (80, 443)) or "")


def test_the_default_is_closed(web: Web, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary listens on loopback, and every way to it is tried; it must see no connection at all."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{web.port}")
    hosts = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ]
    vectors = [ip for ip in REFUSED if "/" not in ip and "%" not in ip and ip != "127.0.0.1:80"]
    hosts += [host for ip in vectors if (host := f"[{ip}]" if ":" in ip else ip) not in hosts]
    assert len(hosts) >= 70
    urls = [f"http://{host}:{web.port}/x" for host in hosts] + ["http://canary.test/x"]
    outcomes = shard.crawl(
        urls,
        allow_networks=[],
        contact="https://example.org/bot",
        allow_ports=[80, 443, web.port],
        retries=0,
    )
    assert web.num_connections == 0
    refused = [url for url in urls if outcomes[url]["reason"] == Reason.ADDRESS_REFUSED]
    assert "http://canary.test/x" in refused
    assert {outcomes[url]["reason"] for url in urls} <= {
        Reason.ADDRESS_REFUSED,
        Reason.DNS_NOT_FOUND,
        Reason.DNS_FAILED,
    }
    assert len(refused) >= 70, "spellings that are no address are names that nobody has"


def test_no_hop_leads_to_a_refused_address(shard: Shard, web: Web) -> None:
    """With only 127.0.0.1 open, redirects and robots.txt of it to 127.0.0.2 are dialled nowhere."""
    web.on("a.test/x", moved(f"http://127.0.0.2:{web.port}/x"))
    web.on("b.test/robots.txt", moved(f"http://127.0.0.2:{web.port}/robots.txt"))
    web.on("c.test/x", moved("http://rebound.test/"))
    web.on("rebound.test/", ok(b"secret"))
    outcomes = shard.crawl(
        ["http://a.test/x", "http://b.test/x", "http://c.test/x"],
        allow_networks=["127.0.0.1/32"],
        allow_ports=[80, web.port],
        connect_to={"rebound.test": f"127.0.0.3:{web.port}", "*.test": f"127.0.0.1:{web.port}"},
    )
    assert [outcomes[f"http://{host}.test/x"]["reason"] for host in "abc"] == [
        Reason.ADDRESS_REFUSED,
        Reason.ROBOTS_UNREACHABLE,
        Reason.ADDRESS_REFUSED,
    ]
    assert {hit.host for hit in web.hits} == {"a.test", "b.test", "c.test"}


def test_the_dial_itself_is_guarded(
    shard: Shard, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that lies is caught at the socket."""
    monkeypatch.setattr("crawl.fetch.network.resolver.Resolver._judge", lambda self, answer: answer)
    outcomes = shard.crawl(["http://a.test/x"], allow_networks=["127.0.0.2/32"], retries=0)
    assert outcomes["http://a.test/x"]["reason"] == Reason.ADDRESS_REFUSED
    assert web.num_connections == 0


def test_a_crawl_of_real_hosts_names_its_operator(shard: Shard) -> None:
    shard.config.update(allow_networks=["127.0.0.0/8", "10.0.0.0/8"])
    shard.links(["http://a.test/x"])
    with pytest.raises(ConfigError, match="contact"):
        worker.run(worker.read_spec(str(shard.spec_path)))
    FetchConfig(contact="mailto:crawl@example.org").require_contact()
    FetchConfig(allow_networks=("127.0.0.0/8", "::1/128")).require_contact()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allow_networks", ["10.0.0.1/8"]),
        ("allow_networks", ["home"]),
        ("allow_ports", [0]),
        ("connect_to", {"*": "localhost:80"}),
        ("connect_to", {"*": "127.0.0.1"}),
        ("user_agent", "web text"),
        ("contact", "nobody"),
        ("delay_s", -1),
    ],
)
def test_bad_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        FetchConfig.model_validate({field: value})
