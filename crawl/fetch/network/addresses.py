"""The address guard: public unicast addresses may be dialled, and networks opened by name.

Reddit's users choose the URLs, and a crawler's machine can reach metadata services, dashboards and
databases. So a socket's address is judged here, at every dial: for robots.txt, redirects and
retries, independent of earlier answers of the name server. The tables are our own:
`ipaddress.is_global` calls multicast, 6to4 and NAT64 addresses global, and its answers change with
the Python version.

Sources: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates), RFC 6052
(NAT64), RFC 5214 (ISATAP), and the metadata addresses documented by clouds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED_V4 = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "cloud metadata",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "AMT relay",
    "192.88.99.0/24": "6to4 relay",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
_REFUSED_V6 = {
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::/96": "IPv4-compatible",
    "64:ff9b:1::/48": "local NAT64",
    "100::/64": "discard",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
    "2001::/32": "Teredo",
    "2001::/23": "protocol assignments",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
}
_V4 = tuple((ipaddress.IPv4Network(text), why) for text, why in _REFUSED_V4.items())
_V6 = tuple((ipaddress.IPv6Network(text), why) for text, why in _REFUSED_V6.items())
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Upper half of an interface identifier that carries an IPv4 address to tunnel to.
_ISATAP = (0x00005EFE, 0x02005EFE)


@lru_cache(maxsize=1 << 14)
def refusal(ip: str, allowed: tuple[Network, ...] = (), *, public: bool = True) -> str | None:
    """The reason for not dialling `ip`, or None if it may be dialled.

    `allowed` networks are always opened; without `public`, no others are. Any text but a canonical
    address (names, decimal or octal forms) is refused.
    """
    try:
        address = _carried(ipaddress.ip_address(ip.partition("%")[0]))
    except ValueError:
        return f"{ip!r} is no IP address"

    if any(address in network for network in allowed if network.version == address.version):
        return None

    kind = _special(address)
    if kind is not None:
        return f"{ip} is {kind}"

    return None if public else f"{ip} is outside the allowed networks"


def is_literal(host: str) -> bool:
    """True if the host of a URL is an address rather than a name; IPv6 with or without brackets."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def port_refusal(port: int, allowed: Collection[int]) -> str | None:
    """The reason why a URL's port must not be dialled, or None."""
    return None if port in allowed else f"port {port} is not among {sorted(allowed)}"


def _carried(address: Address) -> Address:
    """The IPv4 address inside a mapped or NAT64 address; any other as it is."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _special(address: Address) -> str | None:
    if isinstance(address, ipaddress.IPv4Address):
        return next((why for network, why in _V4 if address in network), None)

    for network, why in _V6:
        if address in network:
            return why

    if address not in _GLOBAL_UNICAST:
        return "not global unicast"

    return "an ISATAP tunnel" if (int(address) >> 32 & 0xFFFFFFFF) in _ISATAP else None
