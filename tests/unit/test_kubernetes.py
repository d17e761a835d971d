"""deploy/kubernetes: Kubernetes' own schemas take the manifests, Dagster takes the launcher of the values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VALUES = yaml.safe_load((KUBERNETES / "values.yaml").read_text())

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
    tool = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    tool.validate(document, tool.latest_version(), strict=True)


@pytest.mark.parametrize("file", ["networkpolicy.yaml", "poddisruptionbudget.yaml"])
def test_manifests_are_valid(file: str) -> None:
    documents = list(yaml.safe_load_all((KUBERNETES / file).read_text()))
    for document in documents:
        validate(document)
        assert document["metadata"]["namespace"] == "aboutness"
    with pytest.raises(Exception, match="nonsense"):
        validate({**documents[0], "nonsense": 1})


def snake(value: dict[str, Any]) -> dict[str, Any]:
    """The names of a value of the chart as its templates write them into dagster.yaml."""
    return {re.sub("([A-Z])", r"_\1", name).lower(): each for name, each in value.items()}


def instance_config(kubeconfig: Path) -> dict[str, Any]:
    """The dagster.yaml that the chart makes of the values, without the storage."""
    daemon, launcher = VALUES["dagsterDaemon"], VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    return {
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": {
                "load_incluster_config": False,
                "kubeconfig_file": str(kubeconfig),
                "job_namespace": "aboutness",
                "image_pull_policy": launcher["imagePullPolicy"],
                "service_account_name": "dagster",
                "dagster_home": "/opt/dagster/dagster_home",
                "instance_config_map": "dagster-instance",
                "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
                "run_k8s_config": snake(launcher["runK8sConfig"]),
            },
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": snake(daemon["runCoordinator"]["config"]["queuedRunCoordinator"]),
        },
        "run_monitoring": snake(daemon["runMonitoring"]),
        "run_retries": snake(daemon["runRetries"]),
        "sensors": snake(daemon["sensors"]),
        "retention": {"sensor": {"purge_after_days": VALUES["retention"]["sensor"]["purgeAfterDays"]}},
        "telemetry": VALUES["telemetry"],
        **VALUES["additionalInstanceConfig"],
    }


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    pytest.importorskip("dagster_k8s", reason="pip install dagster-k8s")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance_config(kubeconfig)))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def test_dagster_loads_the_instance_and_its_runs_are_valid_jobs(instance: dg.DagsterInstance) -> None:
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job
    from kubernetes import client

    launcher: Any = instance.run_launcher
    assert instance.run_monitoring_enabled
    assert instance.run_retries_enabled
    assert launcher.supports_check_run_worker_health
    [deployment] = VALUES["dagster-user-deployments"]["deployments"]
    context = K8sContainerContext.create_for_run(
        dg.DagsterRun(job_name="a"), launcher, include_run_tags=False
    ).merge(K8sContainerContext(env_secrets=[secret["name"] for secret in deployment["envSecrets"]]))
    made = construct_dagster_k8s_job(
        context.get_k8s_job_config("REGISTRY/aboutness-assets:VERSION", launcher),
        ["dagster", "api", "execute_run"],
        "dagster-run-1",
        user_defined_k8s_config=context.run_k8s_config,
        component="run_worker",
    )
    sent: dict[str, Any] = client.ApiClient().sanitize_for_serialization(made)
    job = {"apiVersion": "batch/v1", **sent}  # the client says it by the address that it posts to
    validate(job)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] == 60
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"secretRef": {"name": "aboutness"}} in container["envFrom"]
    assert container["resources"]["limits"] == {"memory": "1Gi"}
    assert job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "run_worker"


def test_no_secret_stands_in_the_files_and_the_image_is_not_run_as_root() -> None:
    for file in set(KUBERNETES.iterdir()) - {KUBERNETES / "requirements.lock"}:
        assert not re.search(r"sk-\w{8}|postgresql://\w+:|password: +[^\s#]", file.read_text())
    lines = (KUBERNETES / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]


def test_what_the_image_copies_exists_and_the_daemon_is_ready_for_a_run_that_dies() -> None:
    for line in (KUBERNETES / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
    own = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    daemon = VALUES["dagsterDaemon"]
    assert daemon["runRetries"]["maxRetries"] == own["run_retries"]["max_retries"]
    assert daemon["runMonitoring"]["enabled"] is own["run_monitoring"]["enabled"] is True
