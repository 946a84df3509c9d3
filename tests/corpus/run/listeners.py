"""Addresses on which processes accept TCP connections, read from /proc as `ss` does.

Processes are a process and its descendants, or all that were started with a mark in their
environment: a daemon that left its parent has the mark still.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LISTEN = "0A"


def listeners(pid: int) -> dict[tuple[Address, int], str]:
    """Addresses and ports of the process and its descendants, each with the command that listens."""
    return listeners_of(_descendants(pid))


def listeners_of(processes: Iterable[int]) -> dict[tuple[Address, int], str]:
    """Addresses and ports of these processes, each with the command that listens."""
    listening = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                address, _, port = fields[1].partition(":")
                listening[fields[9]] = (_address(address), int(port, 16))

    found = {}
    for process in processes:
        # A process may end, and its descriptors with it, while they are read.
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for descriptor in os.scandir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    inode = os.readlink(descriptor.path).removeprefix("socket:[").rstrip("]")
                    if inode in listening:
                        found[listening[inode]] = command

    return found


def marked(name: str, value: str) -> Iterator[int]:
    """Processes whose environment has this variable, and the children that they have forked."""
    entry = f"{name}={value}".encode()
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            # Processes end while they are read, and those of other users are not ours to read.
            with contextlib.suppress(OSError):
                if entry in each.joinpath("environ").read_bytes().split(b"\0"):
                    yield int(each.name)


def is_loopback(address: Address) -> bool:
    """True for 127.0.0.0/8, ::1 and IPv4's loopback written as IPv6."""
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _address(text: str) -> Address:
    """An address of /proc/net: words of 32 bits in the machine's order."""
    words = bytes.fromhex(text)
    data = b"".join(
        struct.pack("=I", *struct.unpack(">I", words[i : i + 4])) for i in range(0, len(words), 4)
    )
    return ipaddress.ip_address(data)


def _descendants(pid: int) -> Iterator[int]:
    children = defaultdict(list)
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                # The command's name may hold spaces and brackets.
                parent = each.joinpath("stat").read_text().rpartition(")")[2].split()[1]
                children[int(parent)].append(int(each.name))

    waiting = [pid]
    while waiting:
        process = waiting.pop()
        yield process
        waiting += children[process]
