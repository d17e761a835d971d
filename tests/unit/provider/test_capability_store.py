"""The name under which an endpoint is remembered: the same for the same endpoint, and without secrets."""

import pytest

from aboutness_assets.provider.capability_store import endpoint_name


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("HTTPS://API.OpenAI.com/v1", "https://api.openai.com/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://user:p%40ss@host:8443/Deployments/x", "https://host:8443/Deployments/x"),
        ("https://host/v1#fragment", "https://host/v1"),
    ],
)
def test_an_endpoint_is_named_without_user_and_password(base_url: str, name: str) -> None:
    assert endpoint_name(base_url) == name


def test_a_query_tells_endpoints_apart_and_does_not_show() -> None:
    names = {endpoint_name(f"https://host/v1?key={key}") for key in ("s3cret", "0ther")}
    assert len(names | {endpoint_name("https://host/v1")}) == 3
    assert not any("s3cret" in name or "key" in name for name in names)
