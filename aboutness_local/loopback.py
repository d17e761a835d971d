"""The address that every server of the laboratory listens on, and its free ports."""

import socket

from aboutness_assets.domain.errors import AboutnessError

HOST = "127.0.0.1"


def free_port(preferred: int) -> int:
    """The preferred port if nobody listens on it, else one that the system picks.

    Raises AboutnessError when no port is free.
    """
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise AboutnessError(f"No TCP port is free on {HOST}.")
