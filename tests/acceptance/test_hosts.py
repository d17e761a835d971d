"""A backfill over several hosts: one is lost while nothing is answered, and everything adds up in the end."""

import pytest

from tests.support.hosts_trial import WORKERS, trial
from tests.support.network import why_no_network
from tests.support.trial_steps import begin, both_send, hold, launch, succeed

MAX_USD = 1000


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_backfill_over_two_hosts_survives_the_loss_of_one() -> None:
    """``make hosts`` is the same with more songs and faults, a cap that is reached, and figures."""
    if reason := why_no_network():
        pytest.skip(reason)
    with trial(songs=800, range_size=50, ranges_per_run=2, requests_per_minute=600, max_usd=MAX_USD) as made:
        begin(made)
        # Nothing is answered until the lost host has a successor, so the backfill cannot end before.
        made.provider_does(chat={"probabilities": {"hang": 1}})
        backfill = launch(made)
        both_send(made)
        succeed(made, WORKERS[0], "cut off", lambda: made.hosts.cut(WORKERS[0]))
        made.hosts.mend(WORKERS[0])
        made.provider_does()
        hold(made, backfill, MAX_USD)
