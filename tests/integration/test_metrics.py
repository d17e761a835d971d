"""Metrics: a collector gets what the ledger and the table hold; without the setting nothing happens."""

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.telemetry.otel_meter import OtelMeter, open_otel_meter
from tests.support.backfills import QUICK, Backfills, sample_songs
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A listener for OTLP over HTTP: its base URL, and the metrics of the latest request of each resource."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    latest: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/metrics"
            request = ExportMetricsServiceRequest.FromString(
                self.rfile.read(int(self.headers["Content-Length"]))
            )
            latest[:] = [
                metric
                for resource in request.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            ]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", latest
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sums(metrics: list[Any], name: str, *attributes: str) -> Counter[tuple[str, ...]]:
    """The values of a counter by the values of its attributes."""
    found: Counter[tuple[str, ...]] = Counter()
    for metric in metrics:
        if metric.name == name:
            for point in metric.sum.data_points:
                named = {each.key: each.value.string_value for each in point.attributes}
                found[tuple(named[attribute] for attribute in attributes)] += point.as_int or point.as_double
    return found


async def test_a_collector_gets_what_the_ledger_and_the_table_hold(
    make_service: Callable[..., ServiceDatabase], stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(40)), stand_in, tuning=QUICK)
    stand_in.control({"chat": {"script": ["http_429_retry_after_ms", "http_500"]}})
    with collector() as (url, metrics):
        await backfills.fill(otlp_endpoint=url)

    booked = backfills.journal(
        "select kind, state, count(*), sum(usd)::float, sum(prompt_tokens)::int, sum(completion_tokens)::int"
        " from aboutness_ops.spending group by 1, 2"
    )
    requests = sums(metrics, "aboutness.requests", "kind", "outcome")
    requests["chat", "refused"] += requests.pop(("chat", "rate_limited"))
    assert requests == {(kind, state): number for kind, state, number, *_ in booked}
    billed = {kind: figures for kind, state, _, *figures in booked if state == "billed"}
    cost = sums(metrics, "aboutness.cost", "kind")
    tokens = sums(metrics, "aboutness.tokens", "kind", "type")
    for kind, (usd, prompt, completion) in billed.items():
        assert cost[kind,] == pytest.approx(usd, rel=1e-6)
        assert (tokens[kind, "prompt"], tokens[kind, "completion"]) == (prompt, completion or 0)
    assert sums(metrics, "aboutness.songs", "outcome") == {("written",): 40}
    assert sums(metrics, "aboutness.wait", "cause")["rate_limited",] > 0
    assert {metric.name for metric in metrics if metric.WhichOneof("data") == "histogram"} == {
        "aboutness.request.duration",
        "aboutness.insert.duration",
    }


def test_the_instruments_carry_their_units_and_no_attribute_beyond_the_documented() -> None:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    meter = OtelMeter(reader)
    meter.request("chat", "m", "billed", 1.5)
    meter.spent("chat", "m", prompt_tokens=10, cached_tokens=4, completion_tokens=3, usd=None)
    meter.songs("written", 0)
    meter.waited("pace", 0.5)
    meter.inserted(0.1)
    data = reader.get_metrics_data()
    assert data is not None
    [resource] = data.resource_metrics
    found = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    assert {name: metric.unit for name, metric in found.items()} == {
        "aboutness.requests": "{request}",
        "aboutness.tokens": "{token}",
        "aboutness.wait": "s",
        "aboutness.request.duration": "s",
        "aboutness.insert.duration": "s",
    }
    points = [point for metric in found.values() for point in metric.data.data_points]
    attributes = {key for point in points if point.attributes for key in point.attributes}
    assert attributes == {"kind", "model", "outcome", "type", "cause"}


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://collector", "http://me:hidden-word@collector:4318"])
async def test_what_is_no_address_of_a_collector_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="ABOUTNESS_OTLP_ENDPOINT must be") as refused:
        async with open_otel_meter(url):
            pass
    assert "hidden-word" not in str(refused.value)


async def test_a_collector_that_is_away_costs_a_run_nothing_but_seconds(
    make_service: Callable[..., ServiceDatabase], stand_in: StandIn
) -> None:
    backfills = Backfills(make_service(songs=sample_songs(10)), stand_in)
    assert (await backfills.fill(otlp_endpoint="http://127.0.0.1:1")).songs_written == 10


def test_the_dashboard_asks_for_instruments_that_exist() -> None:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    meter = OtelMeter(reader)
    meter.request("chat", "m", "billed", 1.5)
    meter.spent("chat", "m", prompt_tokens=10, cached_tokens=4, completion_tokens=3, usd=1)
    meter.songs("written", 1)
    meter.waited("pace", 0.5)
    meter.inserted(0.1)
    data = reader.get_metrics_data()
    assert data is not None
    known = set()
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
        known.add(name + ("_bucket" if "duration" in metric.name else "_total"))
    dashboard = json.loads((Path(__file__).parents[2] / "deploy/metrics/grafana.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"aboutness_\w+", target["expr"])
    }
    assert asked == known


def test_without_the_setting_nothing_of_opentelemetry_is_imported() -> None:
    look = "import sys, aboutness_assets.definitions; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
