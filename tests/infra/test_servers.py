"""The servers of the recipes, started here by the words that stand in them; PostgreSQL: tests/services/test_services.py."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from infra.seaweed import PORTS, free_ports, remove_sockets
from tests.infra.test_agreement import bucket_scripts, mlflow_words, weed_words

KEY, SECRET = "ab" * 32, "cd" * 32
"""As long as those of infra/kubernetes/secrets.sh."""


def status_of(address: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=5) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_until_up(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while status_of(address) != 200:
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def begin(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    program = str(Path(sys.executable).with_name(words[0]))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([program, *words[1:]], cwd=folder, env=clean | environment, stdout=log, stderr=log)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, and kill it after three seconds; SeaweedFS would wait for fifteen."""
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture
def s3(tmp_path):
    """The S3 server of the recipes on other ports, with the variables of its administrator."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    words = [
        word.replace("-dir=/data", f"-dir={tmp_path}").replace("0.0.0.0", "127.0.0.1") for word in weed_words("compose")
    ]
    words += [
        f"-{name.replace('.grpc', '.port.grpc') if '.' in name else name + '.port'}={port}" for name, port in ports.items()
    ]
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    address = f"http://127.0.0.1:{ports['s3']}"
    server = begin(words, tmp_path, keys)
    try:
        wait_until_up(server, f"{address}/healthz", tmp_path / "log")  # the probe of the recipes
        yield {**keys, "AWS_ENDPOINT_URL_S3": address, "AWS_DEFAULT_REGION": "us-east-1"}
    finally:
        end(server)
        remove_sockets(ports)


def make_buckets(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    _, *words = bucket_scripts()[0]
    environment = os.environ | {"AWS_CONFIG_FILE": "/dev/null", "AWS_MAX_ATTEMPTS": "1"} | variables
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow  # in short: its words are weed's own flags, and agree with the manifests' (test_agreement.py)
def test_s3_starts_with_the_keys_and_its_buckets_are_made(s3):
    import boto3

    for _ in range(2):  # the second time everything is there
        done = make_buckets(s3)
        assert done.returncode == 0, done.stderr
    client = boto3.client(
        "s3", endpoint_url=s3["AWS_ENDPOINT_URL_S3"], aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )  # fmt: skip
    assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"stores", "runs", "mlflow"}
    client.put_object(Bucket="stores", Key="a", Body=b"b")
    assert client.get_object(Bucket="stores", Key="a")["Body"].read() == b"b"
    assert make_buckets(s3 | {"AWS_SECRET_ACCESS_KEY": "ef" * 32}).returncode, "a wrong key is refused"


@pytest.mark.slow  # ten seconds for the start of MLflow
def test_mlflow_keeps_artifacts_on_s3_and_answers_its_names_alone(s3, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    assert make_buckets(s3).returncode == 0
    (port,) = free_ports(1)
    words = [word.replace("0.0.0.0", "127.0.0.1").replace("5000", str(port)) for word in mlflow_words("kubernetes")]
    (tmp_path / "mlflow").mkdir()
    variables = {
        **s3, "MLFLOW_S3_ENDPOINT_URL": s3["AWS_ENDPOINT_URL_S3"], "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }  # fmt: skip
    server = begin(words, tmp_path / "mlflow", variables)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(server, f"{address}/health", tmp_path / "mlflow" / "log")
        assert status_of(f"{address}/", Host=f"mlflow:{port}") == 200
        assert status_of(f"{address}/", Host="elsewhere.example.org") == 403
        client = MlflowClient(address)
        run = client.create_run(client.create_experiment("demo")).info
        assert run.artifact_uri.startswith("mlflow-artifacts:"), "clients need no key"
        (tmp_path / "a.txt").write_text("an artifact")
        client.log_artifact(run.run_id, str(tmp_path / "a.txt"))
        assert [each.path for each in client.list_artifacts(run.run_id)] == ["a.txt"]
    finally:
        end(server)
