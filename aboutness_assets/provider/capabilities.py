"""What one endpoint and model takes of a request, found out with the requests themselves and remembered."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar

from aboutness_assets.domain.errors import FatalError, ProviderUnavailable
from aboutness_assets.provider.attempts import Attempts
from aboutness_assets.provider.capability_store import CapabilityStore
from aboutness_assets.provider.form import Form, FormRefused, Knowledge, Part
from aboutness_assets.provider.refusals import BadRequest
from aboutness_assets.provider.turns import Gate, Turn, TurnAttempts

PATIENCE_SECONDS = 5.0
"""How long others wait for a request whose form may be refused: a refusal comes sooner, an answer may not."""

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Request(Protocol[T_co]):
    """Sends one request in a form that is given to it."""

    async def __call__(
        self, form: Form, attempts: Attempts, *, may_refuse_form: bool, after: FormRefused | None
    ) -> T_co:
        """The answer; see Sender.send."""
        ...


Harmless: TypeAlias = Callable[[Form, Attempts], Awaitable[bool]]
"""Sends a harmless request in a form; whether it could. Raises FormRefused."""


class Capabilities:
    """The optional parts that one endpoint and model takes of one kind of request.

    Until that is found out one request is sent at a time, and the others wait: a refusal may be about the
    form of all of them. They do not wait for one that is worked on for longer than patience_seconds.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        store: CapabilityStore,
        log: logging.Logger,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._knowledge = Knowledge(parts)
        self._store = store
        self._log = log
        self._is_recalled = False
        self._recalling = asyncio.Lock()
        self._gate = Gate(patience_seconds)
        self._remembered: dict[str, str] = {}

    async def ask(self, request: Request[T], attempts: Attempts, harmless: Harmless | None = None) -> T:
        """The answer to a request, sent without what the endpoint refuses of it.

        harmless: sends a request that nobody has a reason to refuse; None where this one is such a request.
        It is sent, once or twice, where nothing was ever answered and this request is refused in its plainest
        form.
        Raises RequestRefused where it is about this request, FatalError where it is about all of them, and
        what ``request`` raises.
        """
        await self._recall()
        if not self._knowledge.is_settled:
            async with self._gate.turn() as turn:
                if not self._knowledge.is_settled:
                    return await self._find_form(request, attempts, harmless, turn)
        return await request(self._knowledge.form, attempts, may_refuse_form=False, after=None)

    async def _find_form(
        self, request: Request[T], attempts: Attempts, harmless: Harmless | None, turn: Turn
    ) -> T:
        """Send a request in one form after the other until it is answered, and learn from it."""
        refused: list[tuple[Form, FormRefused]] = []
        candidates = self._knowledge.candidates()
        form = next(candidates)
        while True:
            is_certain = self._knowledge.proven is not None and form == self._knowledge.form
            try:
                answer = await request(
                    form,
                    TurnAttempts(attempts, turn),
                    may_refuse_form=not is_certain,
                    after=refused[-1][1] if refused else None,
                )
            except FormRefused as refusal:
                refused.append((form, refusal))
                turn.refused()
                self._log.info("%s It is sent again in a simpler form, if there is one.", refusal)
                try:
                    form = candidates.send(refusal)
                except StopIteration:
                    break
            else:
                await self._learn(form, refused)
                return answer
        (_, first), (_, last) = refused[0], refused[-1]
        if last.server_errors:  # an outage looks like this: go on with what is wanted
            form = refused[0][0] if first.server_errors else form
            answer = await request(form, attempts, may_refuse_form=False, after=last)
            await self._learn(form, [])
            return answer
        if self._knowledge.proven is None:
            await self._find_cause(harmless, attempts, last)
        raise last.meaning from None

    async def _find_cause(self, harmless: Harmless | None, attempts: Attempts, refusal: FormRefused) -> None:
        """Return if the endpoint answers a harmless request. Raises FatalError where it refuses that too."""
        if harmless is not None:
            for form in dict.fromkeys((self._knowledge.form, self._knowledge.plain)):
                try:
                    if not await harmless(form, attempts):
                        raise refusal.meaning
                    await self._learn(form, [])
                    return
                except FormRefused as also_refused:
                    refusal = also_refused
        meaning = refusal.meaning
        if isinstance(meaning, BadRequest) and meaning.if_global is not None:
            raise meaning.if_global
        if harmless is None or isinstance(meaning, ProviderUnavailable):
            raise meaning
        raise FatalError(
            "The endpoint answers nothing: it refuses a harmless request too, whatever is left out of it. "
            f"{meaning} Check the model's name, OPENAI_BASE_URL and what the key may use, and run it again."
        )

    async def _recall(self) -> None:
        async with self._recalling:
            if not self._is_recalled:
                known = await self._store.recall()
                self._remembered = {part.name: known[part.name] for part in self._parts if part.name in known}
                self._knowledge.recall(self._remembered)
                self._is_recalled = True
                self._tell(self._log.info, {})

    async def _learn(self, form: Form, refused: Sequence[tuple[Form, FormRefused]]) -> None:
        before = self._knowledge.settled()
        self._knowledge.answered(form, refused)
        settled = self._knowledge.settled()
        if settled != before:
            self._tell(self._log.warning, before)
            await self._store.learn(settled)

    @property
    def _parts(self) -> Sequence[Part]:
        return self._knowledge.parts

    def _tell(self, log: Callable[[str], None], before: dict[str, str]) -> None:
        """Log what is no longer sent, as far as it was not settled before."""
        settled = self._knowledge.settled()
        for part in self._parts:
            level = settled.get(part.name)
            if level is None or part.name in before:
                continue
            names = [each.name for each in part.levels]
            if level != names[0]:
                log(part.levels[names.index(level) - 1].refused)
