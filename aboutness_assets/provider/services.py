"""The two services of a provider that are asked: chat and embeddings."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["chat", "embedding"]


@dataclass(frozen=True, slots=True)
class Service:
    """One kind of request to one model.

    path: below the base URL. model_setting: the setting that names the model, for messages.
    """

    kind: Kind
    path: str
    model: str
    model_setting: str


def chat_service(model: str) -> Service:
    """Chat completions of a model."""
    return Service("chat", "/chat/completions", model, "ABOUTNESS_CHAT_MODEL")


def embedding_service(model: str) -> Service:
    """Embeddings of a model."""
    return Service("embedding", "/embeddings", model, "ABOUTNESS_EMBEDDING_MODEL")
