"""Decides which fault, if any, strikes which request. No I/O."""

from collections import deque
from random import Random

from aboutness_local.control import Control, RouteFaults
from aboutness_local.exchange import Exchange, Route
from aboutness_local.faults import FAULTS, Fault


class FaultPlan:
    """Decides request by request, in the order of arrival; the same control gives the same decisions.

    Poison comes first and uses up nothing; then the script, one entry per request; then the probabilities. A
    fault that has no effect on an exchange (two keys to swap, but one song) gives way to an honest reply.
    """

    def __init__(self, control: Control) -> None:
        self._poison = control.poison
        self._faults: dict[Route, RouteFaults] = {"chat": control.chat, "embeddings": control.embeddings}
        self._scripts = {route: deque(faults.script) for route, faults in self._faults.items()}
        # One generator per route: how chat and embedding requests interleave changes neither's draws.
        self._rngs = {route: Random(f"{control.seed} {route}") for route in self._faults}

    def choose(self, exchange: Exchange) -> Fault | None:
        """The fault for this exchange, or None."""
        name = self._poisoned(exchange) or self._next(exchange.route)
        fault = FAULTS[name] if name else None
        return fault if fault and fault.applies(exchange) else None

    def inject(self, fault: Fault, exchange: Exchange) -> None:
        """Let the fault alter the exchange; raises ApiError where the fault is an error reply."""
        exchange.fault = fault.name
        fault.inject(exchange, self._rngs[exchange.route])

    def _poisoned(self, exchange: Exchange) -> str | None:
        for part, name in self._poison.items():
            if any(part in song["title"] for song in exchange.songs):
                return name
        return None

    def _next(self, route: Route) -> str | None:
        if self._scripts[route]:
            return self._scripts[route].popleft()
        draw = self._rngs[route].random()
        for name, probability in self._faults[route].probabilities.items():
            draw -= probability
            if draw < 0:
                return name
        return None
