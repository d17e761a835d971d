"""Every exception of the project, each with a message that a person can act on."""


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


class InvalidPartitionKey(AboutnessError):
    """A partition key that no range of song_id was ever written as."""


def first_error(
    group: BaseExceptionGroup[BaseException], kinds: tuple[type[Exception], ...]
) -> BaseException:
    """The first exception of these kinds in a group of tasks; the group itself where it holds others too.

    What ``except*`` is for, but Debian's Python 3.11.2 wraps what is raised inside it in a group again.
    """
    faults, others = group.split(kinds)
    if faults is None or others is not None:
        return group
    found: BaseException = faults
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
