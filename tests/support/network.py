"""Several hosts on one machine: network namespaces with addresses of their own, joined by a bridge.

The bridge lies in a namespace of its own, so nothing of this is seen by the machine's own network, and no
host reaches anything but the others.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_BRIDGE = "bridge"
_NETWORK = "10.77.0."


@dataclass(frozen=True)
class Host:
    """A network namespace with an address."""

    name: str
    namespace: str
    address: str

    def command(self, *arguments: str | Path) -> list[str]:
        """What runs a command on this host."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *map(str, arguments)]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """While this lasts, sockets that this thread opens are this host's."""
        with Path("/proc/thread-self/ns/net").open() as before:
            _enter(Path("/run/netns", self.namespace))
            try:
                yield
            finally:
                _set_namespace(before.fileno())

    def kill(self) -> None:
        """SIGKILL every process on this host, as a loss of power would."""
        pids = _run("ip", "netns", "pids", self.namespace).split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@dataclass(frozen=True)
class Network:
    """Hosts by name, joined by a bridge."""

    prefix: str
    hosts: dict[str, Host]

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def cut(self, name: str) -> None:
        """Lose every packet from and to a host, as a pulled cable does; nobody is told."""
        _run("ip", "-n", self._bridge, "link", "set", f"to-{name}", "nomaster")

    def mend(self, name: str) -> None:
        """Undo ``cut``."""
        _run("ip", "-n", self._bridge, "link", "set", f"to-{name}", "master", "switch")

    @property
    def _bridge(self) -> str:
        return f"{self.prefix}-{_BRIDGE}"


def why_no_network() -> str | None:
    """Why hosts cannot be made here; None where they can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    if missing := [program for program in ("ip", "nsenter") if shutil.which(program) is None]:
        return f"the command {missing[0]} is not installed"
    name = f"ab{os.getpid()}-trial"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    add = ["ip", "-n", name, "link", "add", "switch", "type", "bridge"]
    made = subprocess.run(add, check=False, capture_output=True, text=True)
    _run("ip", "netns", "del", name)
    return f"no bridge can be made here: {made.stderr.strip()}" if made.returncode else None


@contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """Hosts of these names (9 letters at most); at the end they and every process on them are gone."""
    prefix = f"ab{os.getpid()}"
    bridge = f"{prefix}-{_BRIDGE}"
    hosts = {
        name: Host(name, f"{prefix}-{name}", f"{_NETWORK}{number}") for number, name in enumerate(names, 1)
    }
    made = []
    try:
        for namespace in (bridge, *(host.namespace for host in hosts.values())):
            _run("ip", "netns", "add", namespace)
            made.append(namespace)
        _run("ip", "-n", bridge, "link", "add", "switch", "type", "bridge", "forward_delay", "0")
        _run("ip", "-n", bridge, "link", "set", "switch", "up")
        for host in hosts.values():
            _connect(bridge, host, hosts.values())
        yield Network(prefix, hosts)
    finally:
        for host in hosts.values():
            if host.namespace in made:
                host.kill()
        for namespace in made:
            _run("ip", "netns", "del", namespace)


def _connect(bridge: str, host: Host, others: Iterable[Host]) -> None:
    port = f"to-{host.name}"
    ip_of_host = ("ip", "-n", host.namespace)
    _run("ip", "-n", bridge, "link", "add", port, "type", "veth", "peer", "eth0", "netns", host.namespace)
    _run("ip", "-n", bridge, "link", "set", port, "master", "switch", "up")
    _run(*ip_of_host, "link", "set", "lo", "up")
    _run(*ip_of_host, "link", "set", "eth0", "address", _hardware_address(host), "up")
    _run(*ip_of_host, "addr", "add", f"{host.address}/24", "dev", "eth0")
    for other in others:
        # Else a host that is cut off would soon be told that the others cannot be reached.
        known = (other.address, "lladdr", _hardware_address(other), "dev", "eth0", "nud", "permanent")
        if other != host:
            _run(*ip_of_host, "neigh", "add", *known)


def _hardware_address(host: Host) -> str:
    return f"02:00:00:00:00:{int(host.address.rpartition('.')[2]):02x}"


def _enter(namespace: Path) -> None:
    with namespace.open() as opened:
        _set_namespace(opened.fileno())


def _set_namespace(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
