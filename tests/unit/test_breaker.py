import pytest

from aboutness_assets.domain.errors import FatalError
from aboutness_assets.limits.breaker import CircuitBreaker


def test_it_opens_when_the_provider_gives_no_answer_too_often_in_a_row() -> None:
    breaker = CircuitBreaker(unavailable=3, bad_share=0.5, window=4)
    breaker.unavailable("HTTP 503")
    breaker.unavailable("HTTP 503")
    breaker.answer(usable=True)
    breaker.unavailable("HTTP 503")
    breaker.unavailable("HTTP 502")
    with pytest.raises(FatalError, match=r"3 requests in a row were given up, the last because: HTTP 503\."):
        breaker.unavailable("HTTP 503.")


def test_it_opens_when_more_than_the_share_of_the_last_answers_is_bad() -> None:
    breaker = CircuitBreaker(unavailable=1, bad_share=0.5, window=4)
    for usable in (True, False, True, False):
        breaker.answer(usable=usable)
    with pytest.raises(FatalError, match=r"3 of the last 4 answers held nothing usable.*no JSON"):
        breaker.answer(usable=False, reason="no JSON")


def test_it_judges_by_full_windows_only() -> None:
    breaker = CircuitBreaker(unavailable=1, bad_share=0.5, window=4)
    for _ in range(3):
        breaker.answer(usable=False)
    with pytest.raises(FatalError):
        breaker.answer(usable=False)


def breaker_after(*answers: bool) -> CircuitBreaker:
    breaker = CircuitBreaker(unavailable=1, bad_share=0.5, window=50)
    for usable in answers:
        breaker.answer(usable=usable, reason="no JSON.")
    return breaker


@pytest.mark.parametrize(
    ("answers", "is_sound"),
    [
        ((), False),
        ((False,), False),
        ((True,), True),
        ((True, False), True),
        ((False, False, True), False),  # more than half are bad
        ((True,) * 20 + (False,) * 4, True),
        ((True,) * 20 + (False,) * 5, False),  # it may have gone bad just now
        ((True,) * 20 + (False,) * 5 + (True,), True),
    ],
)
def test_it_vouches_for_an_endpoint_by_its_latest_answers(answers: tuple[bool, ...], is_sound: bool) -> None:
    assert breaker_after(*answers).is_sound is is_sound


def test_what_it_blames_says_why_and_that_no_song_is_blamed() -> None:
    blame = str(breaker_after(True, False, False).blame())
    assert "2 of its last 3 answers held nothing usable, the last because: no JSON." in blame
    assert "no song is blamed" in blame


def test_a_share_of_one_never_opens_it() -> None:
    breaker = CircuitBreaker(unavailable=1, bad_share=1, window=4)
    for _ in range(100):
        breaker.answer(usable=False)
