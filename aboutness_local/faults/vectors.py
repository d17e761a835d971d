"""Faults of embedding answers."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aboutness_local.exchange import Exchange, decoded, encoded
from aboutness_local.faults.registry import fault


def _embeds_several_texts(exchange: Exchange) -> bool:
    return len(exchange.inputs) > 1


@fault("embeddings")
def embedding_dropped(exchange: Exchange, rng: Random) -> None:
    """One text gets no vector."""
    data = _data_of(exchange)
    data.pop(rng.randrange(len(data)))


@fault("embeddings", applies=_embeds_several_texts)
def embedding_shuffled(exchange: Exchange, rng: Random) -> None:
    """The vectors are in another order; each index is right."""
    data = _data_of(exchange)
    in_order = list(data)
    while data == in_order:
        rng.shuffle(data)


@fault("embeddings")
def embedding_index_missing(exchange: Exchange, rng: Random) -> None:
    """No vector has an index."""
    for item in _data_of(exchange):
        del item["index"]


@fault("embeddings", applies=_embeds_several_texts)
def embedding_index_twice(exchange: Exchange, rng: Random) -> None:
    """Two vectors have the same index."""
    one, other = rng.sample(_data_of(exchange), 2)
    one["index"] = other["index"]


@fault("embeddings")
def embedding_index_unknown(exchange: Exchange, rng: Random) -> None:
    """One vector has the index of a text that nobody sent."""
    rng.choice(_data_of(exchange))["index"] = rng.choice([len(exchange.inputs), -1, "0", 0.5, None])


@fault("embeddings")
def embedding_wrong_dimension(exchange: Exchange, rng: Random) -> None:
    """One vector has one number too few."""
    _alter_vector(exchange, rng, lambda vector: vector[:-1])


@fault("embeddings")
def embedding_nan(exchange: Exchange, rng: Random) -> None:
    """One vector has a NaN in it."""
    _alter_vector(
        exchange, rng, lambda vector: np.where(np.arange(len(vector)) == 3, np.float32("nan"), vector)
    )


@fault("embeddings")
def embedding_zero(exchange: Exchange, rng: Random) -> None:
    """One vector is all zeros, so that its cosine to anything is undefined."""
    _alter_vector(exchange, rng, np.zeros_like)


@fault("embeddings", applies=lambda exchange: exchange.request.get("encoding_format") == "base64")
def embedding_floats(exchange: Exchange, rng: Random) -> None:
    """The vectors are lists of floats, although base64 was asked for."""
    for item in _data_of(exchange):
        item["embedding"] = decoded(item["embedding"]).tolist()


@fault("embeddings")
def embedding_wrong_types(exchange: Exchange, rng: Random) -> None:
    """One vector, or one whole item, has another JSON type."""
    data = _data_of(exchange)
    nonsense: Any = rng.choice([42, None, "not base64!", ["a", "list"], {"nested": []}, [[0.5] * 8]])
    if rng.random() < 0.5:
        rng.choice(data)["embedding"] = nonsense
    else:
        data[rng.randrange(len(data))] = nonsense


@fault("embeddings")
def embedding_data_missing(exchange: Exchange, rng: Random) -> None:
    """A body without the list of vectors."""
    assert isinstance(exchange.body, dict)
    exchange.body["data"] = rng.choice([None, {}, "none"])


def _data_of(exchange: Exchange) -> list[Any]:
    assert isinstance(exchange.body, dict)
    data: list[Any] = exchange.body["data"]
    return data


def _alter_vector(
    exchange: Exchange, rng: Random, alter: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    item = rng.choice(_data_of(exchange))
    encoding_format = "base64" if isinstance(item["embedding"], str) else "float"
    item["embedding"] = encoded(alter(decoded(item["embedding"])), encoding_format)
