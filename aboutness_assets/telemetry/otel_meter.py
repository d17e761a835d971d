"""Counters and histograms of OpenTelemetry (the extra ``otel``), sent by OTLP over HTTP."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aboutness_assets.domain.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader

SETTING = "ABOUTNESS_OTLP_ENDPOINT"

EXPORT_SECONDS = 15
"""How often what was counted is sent."""

TIMEOUT_SECONDS = 5
"""How long one sending takes at most, the last one of a run too: a collector that is away holds up no run."""

SECONDS_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640]


class OtelMeter:
    """Counts with instruments of OpenTelemetry; what it is told is described by pipeline.meter.Meter.

    No attribute holds a song, a prompt or an address.
    """

    def __init__(self, reader: MetricReader) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.resources import Resource

        resource = Resource.create(
            {"service.name": "aboutness-assets", "service.instance.id": str(uuid.uuid4())}
        )
        self._provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("aboutness_assets")
        self._songs = meter.create_counter("aboutness.songs", "{song}", "Songs by outcome")
        self._requests = meter.create_counter(
            "aboutness.requests", "{request}", "HTTP requests to the provider, resends included"
        )
        self._tokens = meter.create_counter(
            "aboutness.tokens", "{token}", "Tokens billed; prompt includes cached"
        )
        self._cost = meter.create_counter("aboutness.cost", "{USD}", "Dollars billed")
        self._waits = meter.create_counter(
            "aboutness.wait", "s", "Seconds that requests and rows waited, by cause"
        )
        self._request_seconds = meter.create_histogram(
            "aboutness.request.duration",
            "s",
            "One HTTP request to the provider",
            explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
        )
        self._insert_seconds = meter.create_histogram(
            "aboutness.insert.duration",
            "s",
            "One transaction of rows",
            explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
        )

    def request(self, kind: str, model: str, outcome: str, seconds: float) -> None:
        """An HTTP request to the provider ended after so many seconds."""
        attributes = {"kind": kind, "model": model, "outcome": outcome}
        self._requests.add(1, attributes)
        self._request_seconds.record(seconds, attributes)

    def spent(
        self,
        kind: str,
        model: str,
        *,
        prompt_tokens: int,
        cached_tokens: int,
        completion_tokens: int,
        usd: float | None,
    ) -> None:
        """A billed request: what its usage states, and its dollars where its price is known."""
        attributes = {"kind": kind, "model": model}
        for name, number in (
            ("prompt", prompt_tokens),
            ("cached", cached_tokens),
            ("completion", completion_tokens),
        ):
            self._tokens.add(number, {**attributes, "type": name})
        if usd is not None:
            self._cost.add(usd, attributes)

    def songs(self, outcome: str, number: int) -> None:
        """So many songs got a row, had one, or failed."""
        if number:
            self._songs.add(number, {"outcome": outcome})

    def waited(self, cause: str, seconds: float) -> None:
        """One request, or one transaction of rows, waited."""
        self._waits.add(max(seconds, 0.0), {"cause": cause})

    def inserted(self, seconds: float) -> None:
        """A transaction of rows took so long."""
        self._insert_seconds.record(seconds)

    async def close(self) -> None:
        """Send what was counted last; an absent collector costs TIMEOUT_SECONDS."""
        await asyncio.to_thread(self._provider.shutdown, TIMEOUT_SECONDS * 1000)


@asynccontextmanager
async def open_otel_meter(endpoint: str) -> AsyncIterator[OtelMeter]:
    """Send what is counted to a collector, every EXPORT_SECONDS and at the end.

    endpoint: its base URL, as http://localhost:4318. Raises SettingsError where it is no such URL, or the
    extra is not installed.
    """
    address = urlsplit(endpoint)
    if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
        raise SettingsError(
            f"{SETTING} must be the base URL of a collector that takes OTLP over HTTP, without user or "
            "password, as http://localhost:4318. Headers go into OTEL_EXPORTER_OTLP_HEADERS."
        )
    if find_spec("opentelemetry.exporter") is None or find_spec("opentelemetry.sdk") is None:
        raise SettingsError(
            f"{SETTING} is set, but OpenTelemetry is not installed: pip install 'aboutness-assets[otel]', or "
            "unset it."
        )
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = OTLPMetricExporter(f"{endpoint.rstrip('/')}/v1/metrics", timeout=TIMEOUT_SECONDS)
    reader = PeriodicExportingMetricReader(
        exporter, export_interval_millis=1000 * EXPORT_SECONDS, export_timeout_millis=1000 * TIMEOUT_SECONDS
    )
    meter = OtelMeter(reader)
    try:
        yield meter
    finally:
        await meter.close()
