"""All faults by name."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from aboutness_local.exchange import Exchange, Route

Inject: TypeAlias = Callable[[Exchange, Random], None]


@dataclass(frozen=True)
class Fault:
    """A fault: its name, the routes it can strike, and the exchanges that it has an effect on."""

    name: str
    routes: tuple[Route, ...]
    inject: Inject
    applies: Callable[[Exchange], bool]


FAULTS: dict[str, Fault] = {}


def fault(*routes: Route, applies: Callable[[Exchange], bool] = lambda _: True) -> Callable[[Inject], Inject]:
    """Register a function under its own name as a fault of these routes."""

    def register(inject: Inject) -> Inject:
        name = inject.__name__
        FAULTS[name] = Fault(name, routes, inject, applies)
        return inject

    return register
