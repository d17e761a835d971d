"""Who takes TCP connections, and on which address, as the kernel tells it."""

import os
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

LISTENING = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h


def addresses_of_port(port: int) -> set[str]:
    """The addresses on which this port takes connections."""
    return {address for address, its_port in _listening().values() if its_port == port}


def addresses_of_session(leader: int) -> set[str]:
    """The addresses on which any process of the session that ``leader`` leads takes connections."""
    listening = _listening()
    held = {socket for pid in _pids() if _session(pid) == leader for socket in _sockets(pid)}
    return {address for inode, (address, _) in listening.items() if inode in held}


def _listening() -> dict[str, tuple[str, int]]:
    """(address, port) of every listening socket by its inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING:
                address, port = fields[1].split(":")
                found[fields[9]] = _address(address), int(port, 16)
    return found


def _pids() -> Iterable[int]:
    return [int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit()]


def _session(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None


def _sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    inodes = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile, as the one that this very look opens
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[len("socket:[") : -1])
    return inodes


def _address(written: str) -> str:
    """An address as a little-endian kernel writes it: words of 32 bits, the last byte of each first."""
    raw = b"".join(bytes.fromhex(written[start : start + 8])[::-1] for start in range(0, len(written), 8))
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))
