"""The network interface of gloo, which connects ranks through host memory.

Left alone, gloo takes the address that the machine's own name resolves to. On Debian and in many
containers that is 127.0.1.1: ranks of other machines are then told to connect to themselves, though
NCCL would have worked. The interface that leads to the master is the right one.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Mapping

# Of Linux: the IPv4 address of an interface.
SIOCGIFADDR = 0x8915

# An address outside of the machine. Nothing is sent there: a route is looked up.
OUTSIDE = "10.255.255.255"


def gloo_interface(environ: Mapping[str, str]) -> str | None:
    """The interface for gloo; None if the environment names one, or if none is found."""
    if "GLOO_SOCKET_IFNAME" in environ or "MASTER_ADDR" not in environ:
        return None

    address = _local_address(environ["MASTER_ADDR"])
    several = environ.get("LOCAL_WORLD_SIZE", "1") != environ.get("WORLD_SIZE", "1")
    # The master's name may resolve to loopback on the master itself.
    if several and (address is None or ipaddress.ip_address(address).is_loopback):
        address = _local_address(OUTSIDE)
    return None if address is None else _interface_of(address)


def _local_address(target: str) -> str | None:
    """The address from which this machine reaches `target`."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        address: str = probe.getsockname()[0]
        return address
    return None


def _interface_of(address: str) -> str | None:
    """The interface with an address; all of 127.0.0.0/8 is the loopback's."""
    loopback = ipaddress.ip_address(address).is_loopback
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):
                reply = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
                found = socket.inet_ntoa(reply[20:24])
                if found == address or (loopback and ipaddress.ip_address(found).is_loopback):
                    return name
    return None
