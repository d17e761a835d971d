"""Every exception of the project, each with a message that a person can act on."""

from collections.abc import Iterator


class AboutnessError(Exception):
    """Base of all our own errors; its message is a whole sentence."""


class SettingsError(AboutnessError):
    """A setting is missing or malformed; the message names it and says what to set."""


class FatalError(AboutnessError):
    """A fault that no song can survive (bad key, no quota, unknown model, missing table): the run stops."""


class RequestRefused(AboutnessError):
    """The provider refuses this very request for good (HTTP 400, 413, 422 …); other requests may pass."""


class ContentFiltered(RequestRefused):
    """The provider's content filter refuses this very request; other requests may pass."""


class ProviderUnavailable(AboutnessError):
    """5xx, time-outs or broken connections outlasted every retry of one request."""


class UnparsableAnswer(AboutnessError):
    """An answer from which no JSON document of the agreed form can be read."""


class DatabaseAway(FatalError):
    """A Postgres does not answer, takes no connection, or ended one."""


class InvalidPartitionKey(AboutnessError):
    """A partition key that no range of song_id was ever written as."""


class WholeLookNeeded(AboutnessError):
    """All rows of a large table are to be looked at, by somebody who has no time for that."""


def first_error(
    group: BaseExceptionGroup[BaseException], kinds: tuple[type[Exception], ...]
) -> BaseException:
    """The first exception of these kinds in a group of tasks, in the kinds' order, or else the first of any.

    So a person sees what went wrong, and never "unhandled errors in a TaskGroup". What ``except*`` is for,
    but Debian's Python 3.11.2 wraps what is raised inside it in a group again.
    """
    found = list(_single(group))
    return next((error for kind in kinds for error in found if isinstance(error, kind)), found[0])


def _single(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _single(each)
    else:
        yield error
