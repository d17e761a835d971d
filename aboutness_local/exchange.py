"""One request to the simulated provider and the reply to it, before it becomes HTTP."""

import base64
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Route: TypeAlias = Literal["chat", "embeddings"]
ROUTES: tuple[Route, ...] = ("chat", "embeddings")

ServiceTier: TypeAlias = Literal["default", "flex"]

Delivery: TypeAlias = Literal["whole", "reset", "reset_mid_body", "hang", "drip"]
"""How the reply travels: whole; connection reset before or in the middle of the body; never; byte by byte."""


class ApiError(Exception):
    """An error reply in OpenAI's form; status is the HTTP status."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of the work behind an answer; cached_tokens are part of prompt_tokens."""

    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Exchange:
    """A request and the honest reply to it, which a fault may alter before it is sent."""

    route: Route
    request: dict[str, Any] = field(default_factory=dict)
    songs: list[dict[str, str]] = field(default_factory=list)
    """The songs of a chat request as sent: key, title, artist."""
    inputs: list[str] = field(default_factory=list)
    """The texts of an embedding request."""

    body: dict[str, Any] | str = field(default_factory=dict)
    """A JSON document, or HTML."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delivery: Delivery = "whole"
    latency_seconds: float = 0
    """Until the reply begins."""

    usage: Usage | None = None
    """The tokens of the work that was done for it, whatever the body says; None: no work."""
    service_tier: ServiceTier = "default"
    """The tier that the request is served at."""
    fault: str | None = None
    """The name of the fault that struck it."""
    is_cut: bool = False
    """Whether the answer reached the request's own limit of tokens."""

    def fail(self, error: ApiError) -> None:
        """Make the reply this error; headers set before stay."""
        self.status, self.body = error.status, error.body
        self.headers.update(error.headers)


def model_not_found(model: str) -> ApiError:
    """OpenAI's 404 for an unknown model."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, message, code="model_not_found")


def rate_limit_reached(
    message: str, exhausted: str = "requests", headers: dict[str, str] | None = None
) -> ApiError:
    """OpenAI's 429; exhausted is ``requests`` or ``tokens``."""
    return ApiError(429, message, exhausted, code="rate_limit_exceeded", headers=headers)


def encoded(vector: NDArray[np.float32], encoding_format: str) -> str | list[float]:
    """A vector as it is sent: base64 of little-endian float32, or a list of floats."""
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    floats: list[float] = vector.tolist()
    return floats


def decoded(embedding: str | list[float]) -> NDArray[np.float32]:
    """The inverse of encoded."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
    return np.array(embedding, dtype=np.float32)
