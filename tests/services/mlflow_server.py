"""A real MLflow server on a free loopback port, for tests: `from tests.services.mlflow_server import mlflow_server`."""

import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services.ports import free_port


class MlflowServer:
    """One server over one SQLite file, or the database `store`; it can be stopped and started again on the same port.

    Args:
        folder: of its files.
        artifacts: where it keeps artifacts; by default in the folder.
        store: address of its database.
        login: user and password, at least 12 characters, of the administrator of MLflow's basic-auth app.
        certificate: a file with a certificate and its key, to speak TLS with.
    """

    def __init__(
        self,
        folder: Path,
        artifacts: str | None = None,
        store: str | None = None,
        *,
        login: tuple[str, str] | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.folder = folder
        self.store = store or f"sqlite:///{folder}/server.db"
        self.artifacts = artifacts or str(folder / "artifacts")
        self.login, self.certificate = login, certificate
        self.port = free_port()
        self.uri = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 60) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "-w", "1", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", self.store, "--artifacts-destination", self.artifacts),
        ]
        if self.certificate:
            command += ["--uvicorn-opts", f"--ssl-certfile {self.certificate}"]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        if self.login:
            command += ["--app-name", "basic-auth"]
            environment |= self._asking(*self.login)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"MLflow did not start:\n{(self.folder / 'server.log').read_text()[-3000:]}")
            time.sleep(0.1)

    def _asking(self, user: str, password: str) -> dict[str, str]:
        """The variables with which the basic-auth app asks for this login; it caches it, or a request costs 150 ms."""
        settings = self.folder / "basic_auth.ini"
        settings.write_text(
            f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{self.folder}/users.db\n"
            "auth_cache_ttl_seconds = 60\n"
        )
        return {
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_USERNAME": user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),
        }

    def stop(self) -> None:
        """End the process group that `start` made, and nothing else."""
        if self.process is None:
            return
        group = self.process.pid  # the session's leader
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            self.process.wait(timeout=10)
            self.process = None

    def _answers(self) -> bool:
        try:
            trusted = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1, context=trusted) as reply:
                return reply.status == 200
        except OSError:
            return False


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    try:
        yield server
    finally:
        server.stop()
