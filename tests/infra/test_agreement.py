"""The recipes agree with one another and with the code: names, ports, buckets, variables, commands; and hold no secrets."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import botocore
import mlflow
import pytest
import ray
import typer
from mlflow import cli as mlflow_cli
from mlflow.server import security_utils

from hyperderm.cli import app
from infra.services import BUCKETS
from tests.infra.recipes import COMPOSE, FILES, IMAGE, INFRA, KUBERNETES, ROOT, SBATCH, documents, named, pods

MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))
TEXT = {path: path.read_text("utf-8") for path in FILES}
ADDRESS = re.compile(r"(?:https?://|@)([a-z][\w.-]*):(\d+)")
"""Host and port in an address inside a cluster."""


def containers():
    return [(name, spec, container) for name, _, spec in pods() for container in spec["containers"]]


# Names and ports


def test_secrets_that_are_referred_to_are_made_and_used():
    keys = {name: set(secret["data"]) for name, secret in named("Secret").items()}
    used = {"hyperderm-ray-token"}
    for name, _, container in containers():
        for each in container.get("envFrom", ()):
            used.add(each["secretRef"]["name"])
        for each in container.get("env", ()):
            if reference := each.get("valueFrom", {}).get("secretKeyRef"):
                used.add(reference["name"])
                assert reference["key"] in keys[reference["name"]], name
    assert used == keys.keys()
    for path in (KUBERNETES / "rayjob.yaml", KUBERNETES / "raycluster.yaml"):
        assert re.findall(r"secretName: ([\w-]+)\}", TEXT[path]) == ["hyperderm-ray-token"]
    assert keys["hyperderm-ray-token"] == {"auth_token"}, "the key that KubeRay reads"


def test_volumes_are_claimed_and_mounted():
    claims = named("PersistentVolumeClaim").keys()
    templates = {
        f"StatefulSet/{name}": {each["metadata"]["name"] for each in one["spec"]["volumeClaimTemplates"]}
        for name, one in named("StatefulSet").items()
    }
    claimed = set()
    for name, spec, container in containers():
        volumes = spec.get("volumes", [])
        claimed |= {each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each}
        there = {each["name"] for each in volumes} | templates.get(name, set())
        assert {each["name"] for each in container.get("volumeMounts", ())} == there, name
    assert claimed == claims


def test_services_lead_to_pods():
    for name, service in named("Service").items():
        found = [spec for _, labels, spec in pods() if service["spec"]["selector"].items() <= labels.items()]
        assert len(found) == 1, name
        ports = {each["name"]: each["containerPort"] for each in found[0]["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"], name
    for name, one in named("StatefulSet").items():
        assert one["spec"]["serviceName"] in named("Service"), name
    for name, _, container in containers():
        ports = {each["name"] for each in container.get("ports", ())}
        probes = [container[kind] for kind in ("readinessProbe", "livenessProbe") if kind in container]
        assert all(each["httpGet"]["port"] in ports for each in probes if "httpGet" in each), name
    for kind in ("StatefulSet", "Deployment"):
        for name, one in named(kind).items():
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= labels.items(), name


def test_addresses_in_the_manifests_are_services():
    ports = {name: {str(each["port"]) for each in one["spec"]["ports"]} for name, one in named("Service").items()}
    found = [pair for path in MANIFESTS for pair in ADDRESS.findall(TEXT[path])]
    assert {host for host, _ in found} == ports.keys()
    assert all(port in ports[host] for host, port in found), found


def test_addresses_in_compose_are_services():
    services = documents(COMPOSE)[0]["services"]
    found = ADDRESS.findall(re.sub(r"#.*", "", TEXT[COMPOSE]).replace("${POSTGRES_PASSWORD:?write infra/.env}", "x"))
    assert set(found) == {("s3", "8333"), ("postgres", "5432")}
    told = {"s3": "-s3.port=8333", "mlflow": "--port=5000"}
    for name, flag in told.items():
        port = flag.rpartition("=")[2]
        assert flag in services[name]["command"]
        assert services[name]["ports"][0].endswith(f":{port}:{port}")
        assert f"127.0.0.1:{port}/" in str(services[name]["healthcheck"]["test"])


def mlflow_words(where):
    if where == "compose":
        return documents(COMPOSE)[0]["services"]["mlflow"]["command"]
    (container,) = named("Deployment")["hyperderm-mlflow"]["spec"]["template"]["spec"]["containers"]
    return container["command"] + container["args"]


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_mlflow_is_started_as_it_allows(where):
    program, *words = mlflow_words(where)
    assert program == "mlflow"
    context = mlflow_cli.server.make_context("server", words[1:])
    given = context.params
    assert (given["workers"], given["host"], given["port"]) == ("1", "0.0.0.0", 5000)
    assert given["artifacts_destination"] == "s3://mlflow"
    hosts = given["allowed_hosts"].split(",")
    for host in ("mlflow:5000", "localhost:5000", "127.0.0.1:5000"):
        assert security_utils.is_allowed_host_header(hosts, host)
    assert not security_utils.is_allowed_host_header(hosts, "elsewhere.example.org:5000")


def weed_words(where):
    if where == "compose":
        service = documents(COMPOSE)[0]["services"]["s3"]
        return service["entrypoint"] + service["command"]
    (container,) = named("StatefulSet")["hyperderm-s3"]["spec"]["template"]["spec"]["containers"]
    return container["command"] + container["args"]


def test_s3_is_started_alike_and_as_weed_allows():
    words = weed_words("compose")
    assert words == weed_words("kubernetes")
    weed = Path(sys.executable).with_name("weed")
    help_text = "".join(
        (done := subprocess.run([weed, *of], capture_output=True, text=True, check=False)).stdout + done.stderr
        for of in (["server", "-h"], ["-h"])
    )
    known = set(re.findall(r"^\s+-([\w.]+)", help_text, re.MULTILINE)) | {"logtostderr"}
    assert {word[1:].partition("=")[0] for word in words if word.startswith("-")} <= known


def bucket_scripts():
    compose = documents(COMPOSE)[0]["services"]["buckets"]["command"]
    (container,) = named("Job")["hyperderm-buckets"]["spec"]["template"]["spec"]["containers"]
    return compose, container["command"]


def test_buckets_are_made_and_no_others_are_named():
    first, second = bucket_scripts()
    assert first == second
    for bucket in BUCKETS:
        assert f'"{bucket}"' in first[-1]
    for path, text in TEXT.items():
        assert set(re.findall(r"s3://([\w-]+)", text)) <= set(BUCKETS), path


# Variables

IMAGES = {
    "POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB", "PGDATA",  # the postgres image
    "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",  # NVIDIA's container runtime
    "UV_PYTHON_INSTALL_DIR", "UV_LINK_MODE", "UV_NO_CACHE", "UV_COMPILE_BYTECODE", "VIRTUAL_ENV", "PATH",  # uv, the shell
    "SRUN_CPUS_PER_TASK",  # srun
    "OMP_NUM_THREADS",  # torch
}  # fmt: skip
"""Variables of programs that are not installed here."""
OWN = {"SERVICES_ADDRESS", "HEAD_ADDRESS"}
"""Variables that a recipe itself reads."""


def set_variables():
    """The variables that a recipe sets for a program."""
    found = {each["name"] for _, _, container in containers() for each in container.get("env", ())}
    found |= {key for secret in named("Secret").values() for key in secret["data"]} - {"auth_token"}
    for service in documents(COMPOSE)[0]["services"].values():
        found |= service.get("environment", {}).keys()
    for path in (*(INFRA / "ray").iterdir(), SBATCH):
        for line in re.findall(r"export ([^\n;]*)", TEXT[path]):
            found |= set(re.findall(r"(?:^| )([A-Z][\w]*)(?:=|$| )", line.split("#")[0]))
    found |= set(re.findall(r"\b([A-Z][A-Z_]+)=", TEXT[IMAGE].partition("ENV")[2].partition("COPY")[0]))
    readme = re.findall(r"```\n(.*?)```", TEXT[INFRA / "README.md"], re.DOTALL)
    return found | set(re.findall(r"\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)=", "\n".join(readme)))


@cache
def readers():
    """What the packages that read variables hold, as bytes."""
    python = [*(ROOT / "platform").rglob("*.py")]
    python += [*(Path(ray.__file__).parent / "_private").rglob("*.py"), Path(ray.__file__).parent / "_common" / "utils.py"]
    home = Path(mlflow.__file__).parent
    python += [home / "environment_variables.py", home / "utils" / "cli_args.py", home / "cli" / "__init__.py"]
    python += [home / "store" / "artifact" / "s3_artifact_repo.py", home / "utils" / "_spark_utils.py"]
    python += [Path(botocore.__file__).parent / name for name in ("configprovider.py", "credentials.py", "utils.py")]
    return b"\n".join(path.read_bytes() for path in python if path.exists())


@cache
def core():
    return (Path(ray.__file__).parent / "_raylet.so").read_bytes()


def is_read(name):
    if name in IMAGES | OWN:
        return True
    if name == "AWS_ENDPOINT_URL_S3":  # botocore puts it together
        return b"AWS_ENDPOINT_URL" in readers()
    if name.startswith("RAY_") and re.search(r"[a-z]", name):  # settings of Ray's core, without their prefix
        return re.search(rb"\0%s\0" % name.removeprefix("RAY_").encode(), core()) is not None
    return re.search(rb"\b%s\b" % name.encode(), readers()) is not None or (
        name.startswith("RAY_") and re.search(rb"\0%s\0" % name.encode(), core()) is not None
    )


def test_variables_are_read_by_somebody():
    found = set_variables()
    assert {"RAY_worker_niceness", "RAY_AUTH_MODE", "MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI", "AWS_REGION"} <= found
    assert not {name for name in found if not is_read(name)}
    assert not is_read("RAY_worker_nicenes")
    assert not is_read("MLFLOW_TRACKING_URL_")
    assert not is_read("RAY_AUTH_TOKENS")


def test_ray_is_never_without_niceness_and_token():
    for name, _, container in containers():
        if name.startswith("Ray"):
            assert {"name": "RAY_worker_niceness", "value": "0"} in container["env"], name
    assert re.search(r"^export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_worker_niceness=0$", TEXT[SBATCH], re.MULTILINE)


def test_keys_of_s3_reach_the_driver_alone():
    for name, _, container in containers():
        has = any(each["secretRef"]["name"] == "hyperderm-s3" for each in container.get("envFrom", ()))
        assert has == (not name.endswith(("/gpu", "hyperderm-postgres"))), name


def test_slurm_variables_are_slurms():
    used = set(re.findall(r"\b(S(?:LURM|LURMD|RUN|BATCH)_?[A-Z_]*)\b", TEXT[SBATCH])) - {"SBATCH"}
    assert used == {
        "SLURMD_NODENAME", "SLURM_JOB_ID", "SLURM_JOB_NUM_NODES", "SLURM_CPUS_PER_TASK", "SLURM_GPUS_ON_NODE",
        "SRUN_CPUS_PER_TASK",
    }  # fmt: skip


# Commands


BATCH = re.compile(r"sbatch (?:--\S+ )*infra/slurm/sweep\.sbatch (.*)")
PROGRAM = re.compile(r"(?:^|[\s(/])(hyperderm|make) ([a-z-][^\n`&|#;)]*)")


def shell(path):
    """What a user may type: blocks and spans of code of the README; of the others comments, with their lines joined."""
    if path.suffix == ".md":
        blocks = re.findall(r"```\n(.*?)```", TEXT[path], re.DOTALL)
        return "\n".join([*blocks, *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", TEXT[path])])
    comments = "\n".join(re.findall(r"^# (.*)$", TEXT[path], re.MULTILINE)).replace("\\\n", " ")
    return "\n".join(line for line in comments.splitlines() if "hyperderm" not in line or PROGRAM.search(line))


def commands():
    """The words of each call of `hyperderm` and `make` in the recipes, and where it stands."""
    for path in FILES:
        for program, rest in PROGRAM.findall(shell(path)):
            yield path, [program, *shlex.split(rest)]
        for rest in BATCH.findall(shell(path)):
            yield path, ["hyperderm", "sweep", *shlex.split(rest)]
    yield KUBERNETES / "rayjob.yaml", shlex.split(documents(KUBERNETES / "rayjob.yaml")[0]["spec"]["entrypoint"])


def parse(words):
    """Parse the words of a command, as `hyperderm` would, without running it."""
    from hyperderm.cli import ablation, audit, bucket, ingest, phantom, runs, store  # noqa: F401 - they register verbs

    command, name = typer.main.get_command(app), "hyperderm"
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    return command.make_context(name, list(words))


def test_commands_parse():
    seen = set()
    for path, words in commands():
        if words[-1] in ("…", "..."):  # whatever the user wants
            words = [*words[:-1], *(["shsgan"] if words[:-1] == ["hyperderm", "sweep"] else [])]
        if words[0] == "hyperderm":
            seen.add(words[1])
            parse(words[1:])
            if words[1] == "sweep":
                assert (ROOT / "experiments" / f"{words[2]}.py").exists(), path
        else:
            seen |= {word for word in words[1:] if "=" not in word}
            check_make(words[1:])
    assert {"sweep", "ingest", "setup", "services-up", "services-down", "sweep-shsgan", "ui"} <= seen, seen


def check_make(words):
    """The targets are there, the variables are read, and what they start parses."""
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for name in (word.partition("=")[0] for word in words if re.match(r"[A-Z]+=", word)):
        assert f"$({name})" in makefile, words
    for line in done.stdout.replace("\\\n", " ").splitlines():
        if line.startswith(".venv/bin/hyperderm "):
            parse(shlex.split(line)[1:])


def test_a_wrong_option_is_seen():
    with pytest.raises(typer.TyperException, match="--storag"):
        parse(["sweep", "shsgan", "--storag", "s3://runs/night"])
    with pytest.raises(AssertionError, match="sweeps-shsgan"):
        check_make(["sweeps-shsgan"])
    with pytest.raises(AssertionError, match="TRAILS"):
        check_make(["sweep-shsgan", "TRAILS=3"])


def test_the_job_searches_with_store_and_storage_on_s3():
    given = parse(shlex.split(documents(KUBERNETES / "rayjob.yaml")[0]["spec"]["entrypoint"])[1:]).params
    assert given["experiment"] == "shsgan"
    assert given["name"], "the same name: the same sweep goes on"
    assert given["store"].startswith("s3://stores/")
    assert given["storage"].startswith("s3://runs/")


def test_each_path_takes_ten_lines():
    text = TEXT[INFRA / "README.md"]
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:4]:
        (block,) = re.findall(r"```\n(.*?)```", part, re.DOTALL)
        assert 1 <= len(block.splitlines()) <= 10
        for word in ("**On the screen:**", "**Stop:**", "**Idle:**"):
            assert word in part, part.splitlines()[0]


def test_what_the_readme_names_is_there():
    for path in re.findall(r"\binfra/[\w./-]+\w", "\n".join(TEXT.values())):
        assert path == "infra/.env" or (ROOT / path).exists(), path
    for name in re.findall(r"^\| (`.*?`) \|", TEXT[INFRA / "README.md"], re.MULTILINE):
        for each in re.findall(r"`([\w./-]+)`", name):
            assert (INFRA / each).exists(), each


# Secrets

LITERAL = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|\b[0-9a-f]{24,}\b|\b(?=[A-Za-z0-9+/_-]*\d)(?=[A-Za-z0-9+/_-]*[A-Z])[A-Za-z0-9+/_-]{28,}={0,2}"
)
SECRET = re.compile(
    r"^\s*(?:-\s*)?(?:\w*(?:PASSWORD|SECRET_ACCESS_KEY|ACCESS_KEY_ID|AUTH_TOKEN|auth_token))\s*[:=][ ]*(.*)$", re.MULTILINE
)
HARMLESS = re.compile(r"|<random>.*|\$\{\w+:\?[^}]*\}|\$\(\"\$bin/python\" .*|~/\.ray/auth_token")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_stands_in_it(path):
    text = TEXT[path]
    assert not LITERAL.findall(text)
    assert not [value for value in SECRET.findall(text) if not HARMLESS.fullmatch(value)]
    assert not re.findall(r"://\w+:(?!\$)[^@\s/]+@", text), "a password in an address"


def test_a_secret_would_be_seen():
    token = "0123456789abcdef" * 4
    assert LITERAL.search(f"auth_token: {token}")
    assert not HARMLESS.fullmatch(SECRET.search("  POSTGRES_PASSWORD: hunter2")[1])
    assert not HARMLESS.fullmatch(SECRET.search("AWS_SECRET_ACCESS_KEY=hunter2")[1])
