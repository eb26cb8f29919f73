"""A real S3 server (SeaweedFS) on free loopback ports, for tests: `from tests.services.s3_server import S3Server`."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.seaweed import PORTS, free_ports, remove_sockets, weed_command

KEY, SECRET = "tester", "tester-secret"
READER, READER_SECRET = "reader", "reader-secret"
"""An identity that may read and list, and nothing else."""
REGION = "us-east-1"


class S3Server:
    """One server with an administrator and a reader; it can be stopped and started again on the same port.

    Args:
        folder: of its data.
        volumes: files of 64 MB that it may have; 0: as many as the disk holds.
        secret: of the administrator.
        host: address at which it listens.
    """

    def __init__(self, folder: Path, volumes: int = 100, secret: str = SECRET, host: str = "127.0.0.1") -> None:
        self.folder, self.volumes, self.secret, self.host = folder, volumes, secret, host
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.endpoint = f"http://{host}:{self.ports['s3']}"
        self._clients: dict[float, Any] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "S3Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def variables(self, key: str = KEY, secret: str = "") -> Mapping[str, str]:
        """What a user exports; files of the machine are not looked at."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret or self.secret,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, read_timeout: float = 20) -> Any:
        if read_timeout not in self._clients:
            self._clients[read_timeout] = self._client(read_timeout)
        return self._clients[read_timeout]

    def _client(self, read_timeout: float) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=self.secret,
            region_name=REGION,
            config=Config(connect_timeout=1, read_timeout=read_timeout, retries={"total_max_attempts": 1}),
        )

    def start(self, timeout_s: float = 60) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        identities = self.folder / "identities.json"
        identities.write_text(json.dumps({"identities": [_identity(KEY, self.secret, "Admin"), _reader()]}))
        command = [
            *weed_command(self.folder / "data", self.ports, volume_mb=64, volumes=self.volumes, host=self.host),
            f"-s3.config={identities}",
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with (self.folder / "s3.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"weed did not start:\n{(self.folder / 's3.log').read_text()[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill the process group that `start` made, and nothing else: what was written stays."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        self.process = None
        remove_sockets(self.ports)

    def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client(read_timeout=1).list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True


def _identity(key: str, secret: str, *actions: str) -> dict[str, Any]:
    return {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": list(actions)}


def _reader() -> dict[str, Any]:
    return _identity(READER, READER_SECRET, "Read", "List")
