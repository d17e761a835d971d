"""What no user sets: figures that were measured once, and that tests make small."""

from dataclasses import dataclass, field

from aboutness_assets.database.operations.connection import RETRY_SECONDS
from aboutness_assets.database.service.aboutness_table import DEFAULT_INSERT_RETRY, InsertRetry
from aboutness_assets.limits.throttle import MAX_PAUSE_SECONDS
from aboutness_assets.provider.retries import Retries


@dataclass(frozen=True, slots=True)
class Tuning:
    """Figures of the pipeline; the defaults are in force for every user.

    page_size: songs read at once. ranges_at_once: ranges that a run works on at once at most, so that the
    next one's songs are read while the last one's slowest answers are awaited; with packs of 10 and
    ranges of 1,000 songs, 512 requests in flight are of six ranges. unfinished_packs: packs that a run
    asks for or is about to; twice what a process has in flight at most, a few MB. packs_per_embedding:
    packs embedded and inserted at once at most: 1,000 texts with packs of 10, below OpenAI's 2,048
    inputs. grace_seconds: how long a run that a person cancels still waits for answers that are under
    way, as they are paid for. judged_answers: the last answers, among which ABOUTNESS_BREAKER_BAD_SHARE
    counts the bad ones. service_connections: to the service's Postgres in one process; one reads pages,
    four insert, one to spare. replica_connections: to ABOUTNESS_CATALOGUE_URL, where songs are read.
    """

    page_size: int = 1_000
    ranges_at_once: int = 32
    unfinished_packs: int = 1_024
    packs_per_embedding: int = 50
    grace_seconds: float = 5.0
    max_pause_seconds: float = MAX_PAUSE_SECONDS
    judged_answers: int = 50
    service_connections: int = 6
    replica_connections: int = 2
    retries: Retries = field(default_factory=Retries)
    insert_retry: InsertRetry = DEFAULT_INSERT_RETRY
    operations_retry_seconds: float = RETRY_SECONDS


DEFAULT_TUNING = Tuning()
