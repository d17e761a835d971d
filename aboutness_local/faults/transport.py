"""Faults of both routes: error replies in OpenAI's words, and deliveries that break."""

import time
from email.utils import formatdate
from random import Random

from aboutness_local.exchange import ApiError, Exchange, model_not_found, rate_limit_reached
from aboutness_local.faults.registry import fault

# Rate limits.


@fault("chat", "embeddings")
def http_429(exchange: Exchange, rng: Random) -> None:
    """A rate limit that names no time to wait."""
    raise _rate_limited()


@fault("chat", "embeddings")
def http_429_retry_after(exchange: Exchange, rng: Random) -> None:
    """A rate limit that asks for one second, in seconds."""
    raise _rate_limited({"retry-after": "1"})


@fault("chat", "embeddings")
def http_429_retry_after_ms(exchange: Exchange, rng: Random) -> None:
    """A rate limit that asks for a fifth of a second, in milliseconds."""
    raise _rate_limited({"retry-after-ms": "200"})


@fault("chat", "embeddings")
def http_429_retry_after_date(exchange: Exchange, rng: Random) -> None:
    """A rate limit that asks to wait until an HTTP date, one to two seconds from now."""
    raise _rate_limited({"retry-after": formatdate(time.time() + 2, usegmt=True)})


@fault("chat", "embeddings")
def http_429_retry_after_absurd(exchange: Exchange, rng: Random) -> None:
    """A rate limit that asks for a year."""
    raise _rate_limited({"retry-after": "31536000"})


# What fails every request until a person fixes it.


@fault("chat", "embeddings")
def insufficient_quota(exchange: Exchange, rng: Random) -> None:
    """A 429 that no waiting helps: the account has no credit."""
    message = "You exceeded your current quota, please check your plan and billing details."
    raise ApiError(429, message, "insufficient_quota", code="insufficient_quota")


@fault("chat", "embeddings")
def http_401(exchange: Exchange, rng: Random) -> None:
    """A key that is no longer valid."""
    raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


@fault("chat", "embeddings")
def http_403(exchange: Exchange, rng: Random) -> None:
    """A key without the permission to ask this."""
    message = "Country, region, or territory not supported"
    raise ApiError(403, message, "request_forbidden", code="unsupported_country_region_territory")


@fault("chat", "embeddings")
def http_404_model(exchange: Exchange, rng: Random) -> None:
    """A model that does not exist, or no longer does."""
    raise model_not_found(str(exchange.request.get("model")))


# Refused requests and servers in trouble.


@fault("chat", "embeddings")
def http_400(exchange: Exchange, rng: Random) -> None:
    """A request that is refused every time."""
    raise ApiError(400, "Your request was rejected by the stand-in endpoint, as a test asked.")


@fault("chat", applies=lambda exchange: _response_format(exchange) == "json_schema")
def http_400_response_format(exchange: Exchange, rng: Random) -> None:
    """An endpoint without json_schema."""
    message = "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
    raise ApiError(400, message, param="response_format")


@fault("chat", "embeddings")
def http_500(exchange: Exchange, rng: Random) -> None:
    """An internal error."""
    raise ApiError(500, "The server had an error while processing your request.", "server_error")


@fault("chat", "embeddings")
def http_502(exchange: Exchange, rng: Random) -> None:
    """A gateway's error, which comes as HTML."""
    exchange.status, exchange.body = 502, "<html><body><h1>502 Bad Gateway</h1></body></html>"


@fault("chat", "embeddings")
def http_503(exchange: Exchange, rng: Random) -> None:
    """An overloaded server."""
    raise ApiError(503, "The engine is currently overloaded, please try again later.", "server_error")


# Broken deliveries. The answer was produced before its delivery broke, so it is billed.


@fault("chat", "embeddings")
def connection_reset(exchange: Exchange, rng: Random) -> None:
    """The connection is reset before the first byte of the reply."""
    exchange.delivery = "reset"


@fault("chat", "embeddings")
def reset_mid_body(exchange: Exchange, rng: Random) -> None:
    """The connection is reset when half of the body is sent."""
    exchange.delivery = "reset_mid_body"


@fault("chat", "embeddings")
def hang(exchange: Exchange, rng: Random) -> None:
    """No byte is sent until the client leaves."""
    exchange.delivery = "hang"


@fault("chat", "embeddings")
def slow_drip(exchange: Exchange, rng: Random) -> None:
    """The body comes byte by byte, so that no time-out between two bytes ever strikes."""
    exchange.delivery = "drip"


@fault("chat", "embeddings")
def html_instead_of_json(exchange: Exchange, rng: Random) -> None:
    """A proxy's page with status 200."""
    exchange.body = "<html><body><h1>Welcome to the guest network</h1></body></html>"


def _rate_limited(headers: dict[str, str] | None = None) -> ApiError:
    return rate_limit_reached("Rate limit reached. Please try again later.", headers=headers)


def _response_format(exchange: Exchange) -> str | None:
    kind: str | None = (exchange.request.get("response_format") or {}).get("type")
    return kind
