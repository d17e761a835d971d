"""Where the requests of one service are at the moment, for whoever wants to know what holds a run up."""

from dataclasses import dataclass

from aboutness_assets.limits.throttle import Throttle, Waiting


@dataclass(frozen=True, slots=True)
class Load:
    """The requests of one service in this process.

    waiting: what the next one waits for (Throttle.waiting). queued: without a slot. in_flight: with one, of
    these at_provider are sent and not answered, before_limit wait for their turn, backing_off wait to be sent
    again because of trouble; the others are being recorded. slots: in flight at most, is_set_by_hand: by a
    setting. latency: seconds per answer. stated_requests, stated_tokens: the provider's limits per minute.
    """

    waiting: Waiting | None
    queued: int
    in_flight: int
    at_provider: int
    before_limit: int
    backing_off: int
    trouble: str
    slots: int
    is_set_by_hand: bool
    latency: float
    stated_requests: float | None
    stated_tokens: float | None

    @property
    def being_recorded(self) -> int:
        """Requests that wait for our own Postgres, before they are sent or after they are answered."""
        return max(0, self.in_flight - self.at_provider - self.before_limit - self.backing_off)


def load_of(throttle: Throttle, at_provider: int, troubles: list[str]) -> Load:
    """The load of a service; troubles: one per request that backs off, the next to be sent first."""
    return Load(
        throttle.waiting,
        throttle.waiting_for_a_slot,
        throttle.in_flight,
        at_provider,
        throttle.waiting_for_their_turn,
        len(troubles),
        troubles[0] if troubles else "",
        throttle.max_in_flight,
        not throttle.sizes_itself,
        throttle.latency,
        throttle.stated_requests,
        throttle.stated_tokens,
    )
