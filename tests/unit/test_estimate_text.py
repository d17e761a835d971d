"""The words of an estimate."""

from dataclasses import replace

from aboutness_assets.money.estimate import Estimate
from aboutness_assets.money.estimate_text import estimate_lines
from aboutness_assets.money.figures import Figure
from aboutness_assets.money.prices import chat_price, embedding_price
from aboutness_assets.money.tariff import Tariff

KNOWN = Tariff(chat_price("m", "0.10,0.01,0.50 (our contract)"), embedding_price("e", "0.02"), "standard")
ESTIMATE = Estimate(
    songs=114_000,
    chat_requests=Figure(11_400, 11_514, 11_742),
    prompt_tokens=Figure(6_353_097.4, 10_665_250.6, 11_900_637.2),
    completion_tokens=Figure(5_249_694.5, 6_568_680.2, 8_227_255.5),
    embedding_requests=Figure(228, 300, 11_400),
    embedding_tokens=Figure(2_188_800, 2_736_000, 3_420_000),
    usd_standard=Figure(3.30393, 4.40559, 5.66961),
    usd_flex=Figure(1.67384, 2.23015, 2.869),
    minutes=Figure(2.3, 22.8, 130),
    billed_requests=0,
)


def lines(estimate: Estimate, tariff: Tariff = KNOWN) -> dict[str, str]:
    return dict(estimate_lines(estimate, tariff, "characters"))


def test_every_figure_has_its_band() -> None:
    assert lines(ESTIMATE) == {
        "chat requests": "11,514 (11,400 to 11,742)",
        "embedding requests": "300 (228 to 11,400)",
        "tokens in": "10,665,251 (6,353,097 to 11,900,637)",
        "tokens out": "6,568,680 (5,249,694 to 8,227,256)",
        "tokens embedded": "2,736,000 (2,188,800 to 3,420,000)",
        "dollars, standard": "4.4056 (3.3039 to 5.6696)",
        "dollars, flex": "2.2302 (1.6738 to 2.8690); its price is assumed",
        "time": "23 min (2 min to 2.2 h) in the standard tier at the rate limits known",
        "estimated from": "the words of the requests (tokens counted by characters); "
        "a smoke run makes it precise",
    }


def test_what_is_not_known_names_the_setting_that_helps() -> None:
    unknown = replace(ESTIMATE, usd_standard=None, usd_flex=None, minutes=None)
    found = lines(unknown, replace(KNOWN, chat=None, embedding=None))
    for name in ("dollars, standard", "dollars, flex"):
        assert found[name] == "unknown: set ABOUTNESS_CHAT_PRICE and ABOUTNESS_EMBEDDING_PRICE"
    assert lines(unknown, replace(KNOWN, embedding=None))["dollars, flex"] == (
        "unknown: set ABOUTNESS_EMBEDDING_PRICE"
    )
    assert found["time"].startswith("unknown: no rate limit is known")
    assert "ABOUTNESS_REQUESTS_PER_MINUTE" in found["time"]


def test_a_pretend_price_is_labelled_in_every_figure_of_dollars() -> None:
    pretend = replace(KNOWN, embedding=embedding_price("e", "0.02 (pretend price of the demo)"))
    found = lines(ESTIMATE, pretend)
    assert found["dollars, standard"].endswith("; at a pretend price")
    assert found["dollars, flex"].endswith("; at a pretend price; its price is assumed")


def test_what_billed_requests_tell_is_said() -> None:
    assert lines(replace(ESTIMATE, billed_requests=5))["estimated from"] == (
        "what 5 requests with this prompt and model were billed"
    )


def test_short_times_are_in_seconds() -> None:
    found = lines(replace(ESTIMATE, minutes=Figure(0.1, 0.5, 1.9)))
    assert found["time"].startswith("30 s (6 s to 114 s)")
