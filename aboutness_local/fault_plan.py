"""Which fault, if any, strikes which request: the control document and the plan made of it. No I/O."""

from collections import deque
from random import Random
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aboutness_local.exchange import Exchange, Route
from aboutness_local.faults import FAULTS, Fault


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RouteFaults(_Strict):
    """The faults of one route, by script and by probability."""

    probabilities: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Of each fault, once the script is used up; their sum is at most 1."""
    script: list[str | None] = []
    """One entry a request, in the order of arrival; null is an honest reply."""

    @model_validator(mode="after")
    def _at_most_certain(self) -> Self:
        if sum(self.probabilities.values()) > 1 + 1e-9:
            raise ValueError("The probabilities of one route sum to more than 1; make them smaller.")
        return self


class Latency(_Strict):
    """Seconds before the first byte of a reply."""

    chat: Annotated[float, Field(ge=0)] = 0
    embeddings: Annotated[float, Field(ge=0)] = 0


class Control(_Strict):
    """How the stand-in endpoint is to behave; the default is honest, at once and without limits."""

    seed: int = 0
    latency_seconds: Latency = Latency()
    chat: RouteFaults = RouteFaults()
    embeddings: RouteFaults = RouteFaults()
    requests_per_minute: Annotated[int, Field(ge=0)] = 0
    """For each route; 0 is none."""
    tokens_per_minute: Annotated[int, Field(ge=0)] = 0
    """For each route; 0 is none."""
    poison: dict[str, str] = {}
    """Part of a title -> the fault of every chat request that holds such a song."""

    @model_validator(mode="after")
    def _known_faults(self) -> Self:
        named: list[tuple[Route, str]] = [("chat", name) for name in self.poison.values()]
        routes: tuple[tuple[Route, RouteFaults], ...] = (("chat", self.chat), ("embeddings", self.embeddings))
        for route, faults in routes:
            named += [(route, name) for name in faults.probabilities]
            named += [(route, name) for name in faults.script if name is not None]
        for route, name in named:
            if name not in FAULTS or route not in FAULTS[name].routes:
                known = ", ".join(fault.name for fault in FAULTS.values() if route in fault.routes)
                raise ValueError(f"{name!r} is no fault of {route}; choose among {known}.")
        return self


class FaultPlan:
    """Decides request by request, in the order of arrival; the same control gives the same decisions.

    Poison comes first and uses up nothing; then the script, one entry a request; then the probabilities. A
    fault that has no effect on an exchange (two keys to swap, but one song) gives way to an honest reply.
    """

    def __init__(self, control: Control) -> None:
        self._poison = control.poison
        self._faults: dict[Route, RouteFaults] = {"chat": control.chat, "embeddings": control.embeddings}
        self._scripts = {route: deque(faults.script) for route, faults in self._faults.items()}
        # A generator a route: how chat and embedding requests interleave changes neither's draws.
        self._rngs = {route: Random(f"{control.seed} {route}") for route in self._faults}

    def choose(self, exchange: Exchange) -> Fault | None:
        """The fault for this exchange, or None."""
        name = self._poisoned(exchange) or self._next(exchange.route)
        fault = FAULTS[name] if name else None
        return fault if fault and fault.applies(exchange) else None

    def inject(self, fault: Fault, exchange: Exchange) -> None:
        """Let the fault alter the exchange; raises ApiError where the fault is an error reply."""
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
