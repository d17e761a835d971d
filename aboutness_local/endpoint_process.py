"""The stand-in endpoint as a background process that outlives the command that started it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self, TypedDict

from aboutness_assets.domain.errors import AboutnessError
from aboutness_local.lock import exclusive
from aboutness_local.loopback import HOST, free_port

MODULE = "aboutness_local.endpoint"
START_SECONDS = 60
STOP_SECONDS = 10


class _State(TypedDict):
    """The process that was started last, as the state file stores it."""

    pid: int
    port: int
    fingerprint: str


class EndpointProcess:
    """The stand-in endpoint of one directory, running or not.

    dimension: of vectors whose request asks for none.
    """

    def __init__(self, directory: Path, dimension: int) -> None:
        self.directory = directory.resolve()
        self._dimension = dimension
        self._state_file = self.directory / "state.json"
        self._log = self.directory / "server.log"
        self._lock = self.directory / "lock"

    def start(self) -> Self:
        """Start the endpoint unless it is running with the current code, and return when it answers.

        The last port is used again if it is free. Raises AboutnessError with the end of its log when it does
        not start.
        """
        with exclusive(self._lock):
            state = self._state()
            fingerprint = self._fingerprint()
            if not (state and state["fingerprint"] == fingerprint and self._runs(state) and _answers(state)):
                self._stop()
                port = free_port(state["port"] if state else 0)
                state = _State(pid=self._launch(port), port=port, fingerprint=fingerprint)
                self._state_file.write_text(json.dumps(state))
                self._wait_until_it_answers(state)
        return self

    @property
    def root_url(self) -> str:
        """The address above /v1 (the API), /control, /requests and /billing."""
        state = self._state()
        if state is None:
            raise AboutnessError(f"No stand-in endpoint was started in {self.directory}.")
        return f"http://{HOST}:{state['port']}"

    def stop(self) -> bool:
        """Stop the endpoint; returns False when it was not running."""
        if not self._state_file.exists():
            return False
        with exclusive(self._lock):
            return self._stop()

    def reset(self) -> None:
        """Stop the endpoint and delete its files."""
        if not self.directory.exists():
            return
        with exclusive(self._lock):
            self._stop()
            for file in (self._state_file, self._log, self._lock):
                file.unlink(missing_ok=True)
        if not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _state(self) -> _State | None:
        try:
            state: _State = json.loads(self._state_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return state

    def _fingerprint(self) -> str:
        """A hash of the code and data that the endpoint runs with."""
        digest = hashlib.sha256(f"{sys.executable} {self._dimension}".encode())
        for source in sorted(Path(__file__).parent.rglob("*")):
            if source.suffix in (".py", ".txt"):
                digest.update(source.read_bytes())
        return digest.hexdigest()

    def _launch(self, port: int) -> int:
        command = [sys.executable, "-m", MODULE, "--port", str(port), "--dimension", str(self._dimension)]
        # Through a shell that ends at once: the endpoint must not be a child of the command that we become.
        launched = subprocess.run(
            ["sh", "-c", 'log=$1; shift; "$@" >"$log" 2>&1 </dev/null & echo $!', "sh", self._log, *command],
            check=True,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return int(launched.stdout)

    def _runs(self, state: _State) -> bool:
        """Whether it is alive: a zombie has no command line, another process with its id a different one."""
        try:
            command_line = Path(f"/proc/{state['pid']}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return MODULE.encode() in command_line and str(state["port"]).encode() in command_line

    def _wait_until_it_answers(self, state: _State) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(state):
            if time.monotonic() > deadline or not self._runs(state):
                log = self._log.read_text(errors="replace").splitlines()[-10:]
                raise AboutnessError(
                    f"The stand-in endpoint in {self.directory} did not start. The end of its log:\n"
                    + "\n".join(log)
                )
            time.sleep(0.05)

    def _stop(self) -> bool:
        state = self._state()
        if state is None or not self._runs(state):
            return False
        os.kill(state["pid"], signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self._runs(state):
            if time.monotonic() > deadline:
                os.kill(state["pid"], signal.SIGKILL)
            time.sleep(0.02)
        return True


def _answers(state: _State) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{state['port']}/v1/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
