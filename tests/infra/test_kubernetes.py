"""infra/kubernetes: core kinds against Kubernetes' schemas, Ray's kinds against the fields that are used here."""

import base64
import signal
import subprocess
import time
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tests.infra.recipes import KUBERNETES, SECRETS, SERVICES, accepts, documents, named, pods, ray_cluster


class Strict(BaseModel):
    """Values of the very type, no unknown field."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,45}[a-z0-9])?$")  # KubeRay's bound


class Template(Strict):
    spec: dict[str, Any]  # a pod: Kubernetes' own schema judges it below


class Head(Strict):
    rayStartParams: dict[str, str]
    template: Template


class Workers(Strict):
    groupName: str
    replicas: int = Field(ge=0)
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=1)
    rayStartParams: dict[str, str]
    template: Template

    @model_validator(mode="after")
    def fixed(self) -> "Workers":
        if not self.minReplicas == self.replicas == self.maxReplicas:
            raise ValueError("a sweep counts its GPUs once: the number of workers is fixed")
        return self


class AuthOptions(Strict):
    mode: Literal["token"]
    secretName: str


class ClusterSpec(Strict):
    rayVersion: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    authOptions: AuthOptions
    headGroupSpec: Head
    workerGroupSpecs: list[Workers] = Field(min_length=1)


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: ClusterSpec


class JobSpec(Strict):
    entrypoint: str
    submissionMode: Literal["K8sJobMode"]
    backoffLimit: int = Field(ge=1)
    shutdownAfterJobFinishes: Literal[True]
    ttlSecondsAfterFinished: int = Field(ge=0, le=3600)
    rayClusterSpec: ClusterSpec


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec


def ray_document(name):
    return documents(KUBERNETES / f"{name}.yaml")[0]


MODELS = {"rayjob": RayJob, "raycluster": RayCluster}


@pytest.mark.parametrize("name", MODELS)
def test_rays_kinds(name):
    MODELS[name].model_validate(ray_document(name))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cluster: cluster.update(authOption={}), "authOption\n"),
        (lambda cluster: cluster["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}), "num-cpus"),
        (lambda cluster: cluster["workerGroupSpecs"][0].update(maxReplicas=4), "is fixed"),
        (lambda cluster: cluster.pop("authOptions"), "authOptions"),
    ],
)
def test_wrong_ones_are_refused(name, change, said):
    document = ray_document(name)
    change(ray_cluster(document))
    with pytest.raises(ValidationError, match=said):
        MODELS[name].model_validate(document)


def test_the_job_has_the_same_cluster():
    assert ray_cluster(ray_document("rayjob")) == ray_cluster(ray_document("raycluster"))


def test_core_kinds():
    accepts("kubernetes-validate", "--strict", SERVICES, SECRETS)


def test_rays_pods_are_pods(tmp_path):
    found = [(name, spec) for name, _, spec in pods() if name.startswith("Ray")]
    assert len(found) == 4
    for index, (_, spec) in enumerate(found):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
        (tmp_path / f"{index}.yaml").write_text(yaml.safe_dump(pod))
    accepts("kubernetes-validate", "--strict", *tmp_path.iterdir())


@pytest.mark.parametrize(("name", "spec"), [(name, spec) for name, _, spec in pods()])
def test_every_pod_is_bounded_and_nobody(name, spec):
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert "memory" in container["resources"]["limits"]
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        served = name.startswith(("Deployment", "StatefulSet"))
        assert served == ("readinessProbe" in container) == ("livenessProbe" in container), "KubeRay adds those of its pods"


@pytest.mark.parametrize(("name", "spec"), [(name, spec) for name, _, spec in pods() if name.startswith("Ray")])
def test_shared_memory_holds_the_object_store(name, spec):
    mount = next(each for each in spec["containers"][0]["volumeMounts"] if each["mountPath"] == "/dev/shm")
    volume = next(each for each in spec["volumes"] if each["name"] == mount["name"])["emptyDir"]
    memory = int(spec["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi"))
    assert volume["medium"] == "Memory"
    assert 0.3 * memory <= int(volume["sizeLimit"].removesuffix("Gi")) <= 0.5 * memory


@pytest.mark.parametrize("name", MODELS)
def test_workers_have_gpus_and_the_head_has_none(name):
    cluster = ray_cluster(ray_document(name))
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", "trials run beside GPUs"
    held = [group["template"]["spec"]["containers"][0]["resources"] for group in cluster["workerGroupSpecs"]]
    assert all(int(each["limits"]["nvidia.com/gpu"]) >= 1 and each["limits"] == each["requests"] for each in held)
    assert "nvidia.com/gpu" not in str(cluster["headGroupSpec"])


def test_secrets_are_made_by_the_script_and_refused_as_they_stand():
    made = [
        subprocess.run(["bash", KUBERNETES / "secrets.sh"], capture_output=True, text=True, check=True).stdout for _ in "ab"
    ]
    values = [value for text in made for each in yaml.safe_load_all(text) for value in each["data"].values()]
    decoded = [base64.b64decode(value, validate=True).decode() for value in values]
    assert len(set(decoded)) == 8, "four secrets, new ones each time"
    assert all(len(each) == 64 and int(each, 16) for each in decoded), "256 bits, in letters that an address may hold"
    for secret in named("Secret").values():
        for value in secret["data"].values():
            with pytest.raises(ValueError, match=r"base64|padding|alphabet"):
                base64.b64decode(value, validate=True)


def test_made_secrets_are_kubernetes_secrets(tmp_path):
    made = subprocess.run(["bash", KUBERNETES / "secrets.sh"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "made.yaml").write_text(made)
    accepts("kubernetes-validate", "--strict", tmp_path / "made.yaml")
    accepts("shellcheck", KUBERNETES / "secrets.sh")


def test_a_pod_that_is_taken_away_tells_its_trials():
    """The command itself, with another name of processes, since those of Ray may belong to other tests."""
    workers = [pod for _, _, pod in pods() if pod["containers"][0]["name"] == "ray-worker"]
    assert len(workers) == 2
    for pod in workers:
        *shell, command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert "; sleep 25" in command
        assert pod["terminationGracePeriodSeconds"] > 25
        command = command.replace("^ray::", "^taken-away::").replace("sleep 25", "true")
        names = ("ResourceTrainable.train", "RayTrainWorker", "DashboardAgent")
        trial, worker, agent, other = started = [
            subprocess.Popen(["bash", "-c", f"exec -a {name} sleep 60"])
            for name in (*(f"taken-away::{name}" for name in names), "stays")
        ]
        try:
            time.sleep(0.3)  # until bash has become them
            subprocess.run([*shell, command], check=True, timeout=30)
            assert trial.wait(10) == worker.wait(10) == -signal.SIGTERM
            assert agent.poll() is None  # without its agents a raylet ends at once, and all its workers with it
            assert other.poll() is None
        finally:
            for each in started:
                each.kill()
                each.wait()
