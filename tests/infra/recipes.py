"""What the tests of infra/ share: the files, their parts, and the tools of the dev extra that read them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
KUBERNETES = INFRA / "kubernetes"
LAUNCHERS = (INFRA / "ray" / "on-premise.yaml", INFRA / "ray" / "aws.yaml")
SBATCH, COMPOSE, IMAGE = INFRA / "slurm" / "sweep.sbatch", INFRA / "compose.yaml", INFRA / "Containerfile"
SECRETS, SERVICES = KUBERNETES / "token-secret.yaml", KUBERNETES / "services.yaml"
FILES = [
    *LAUNCHERS, *sorted(KUBERNETES.iterdir()), SBATCH, COMPOSE, IMAGE, INFRA / "env.example", INFRA / "README.md",
]  # fmt: skip
"""Every recipe."""


def tool(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a tool of the dev extra, which `make setup` puts beside Python."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert path, f"{name} is not there: it is in the extra `dev`, and `make setup` installs it"
    return subprocess.run([path, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def accepts(name: str, *words: object) -> None:
    done = tool(name, *words)
    assert done.returncode == 0, done.stdout + done.stderr


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def named(kind: str) -> dict[str, dict[str, Any]]:
    """The resources of a kind in all files of infra/kubernetes, by name."""
    found = [each for path in sorted(KUBERNETES.glob("*.yaml")) for each in documents(path)]
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def ray_cluster(document: dict[str, Any]) -> dict[str, Any]:
    """The specification of the cluster in a RayJob or a RayCluster."""
    return document["spec"] if document["kind"] == "RayCluster" else document["spec"]["rayClusterSpec"]


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each pod in infra/kubernetes: what makes it, its labels, its specification."""
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for each in documents(path):
            name = f"{each['kind']}/{each['metadata']['name']}"
            if each["kind"] in ("RayJob", "RayCluster"):
                cluster = ray_cluster(each)
                yield f"{name}/head", {}, cluster["headGroupSpec"]["template"]["spec"]
                for group in cluster["workerGroupSpecs"]:
                    yield f"{name}/{group['groupName']}", {}, group["template"]["spec"]
            elif "template" in each.get("spec", {}):
                template = each["spec"]["template"]
                yield name, template.get("metadata", {}).get("labels", {}), template["spec"]


def locked(path: Path) -> dict[str, str]:
    """Package to version in a lock file."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text("utf-8"), re.MULTILINE))
