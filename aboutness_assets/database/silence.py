"""How a peer that has fallen silent is noticed, on both sides of every connection to Postgres.

By default either side waits for about two hours: so long a host without power would keep its locks, and a run
its hope for an answer.
"""

from typing import LiteralString

UNHEARD_SECONDS = 10
"""A server that takes no byte for so long is given up, and nothing that was sent reaches it later. Less than
hold.GIVEN_AWAY_SECONDS - hold.CERTAIN_SECONDS, so what a host sent before it was cut off from the network
is not done after its successor has begun."""

OF_CLIENT = {
    "keepalives_idle": UNHEARD_SECONDS,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * UNHEARD_SECONDS,
}
"""Parameters of libpq: seconds, seconds, probes and milliseconds."""

END_WITH_THE_HOST: LiteralString = (
    "select set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '5', false),"
    " set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '20000', false)"
)
"""Lets Postgres end this session 20 to 25 s after its client's host was last heard (hold.GIVEN_AWAY_SECONDS).
Statements, as a pooler may refuse to start a session with such settings."""
