"""The files for `ray up`, read by Ray's own code."""

import copy
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.infra.recipes import LAUNCHERS, ROOT, documents

READ = {path.stem: documents(path)[0] for path in LAUNCHERS}
START = ("head_start_ray_commands", "worker_start_ray_commands")


def prepared(config):
    config = prepare_config(copy.deepcopy(config))
    validate_config(config)
    return config


def test_ray_accepts_them():
    local, aws = (prepared(READ[name]) for name in ("on-premise", "aws"))
    assert local["available_node_types"]["local.cluster.node"]["min_workers"] == len(
        READ["on-premise"]["provider"]["worker_ips"]
    )
    gpu = aws["available_node_types"]["gpu"]
    assert gpu["min_workers"] == gpu["max_workers"] == aws["max_workers"] == 2, "a sweep counts its GPUs once"
    assert aws["head_setup_commands"] == READ["aws"]["setup_commands"], (
        "nothing of Ray's defaults is installed beside the lock"
    )


@pytest.mark.parametrize("name", READ)
def test_ray_refuses_what_it_does_not_know(name):
    with pytest.raises(jsonschema.ValidationError, match="setup_comands"):
        prepared(READ[name] | {"setup_comands": []})
    with pytest.raises(jsonschema.ValidationError, match="ssh_usr"):
        prepared(READ[name] | {"auth": {"ssh_usr": "me"}})


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("field", START)
def test_nodes_start_with_a_token_and_at_ordinary_niceness(name, field):
    stop, start = READ[name][field]
    assert stop.endswith("/bin/ray stop")
    for setting in ("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH=~/.ray/auth_token", "RAY_worker_niceness=0"):
        assert setting in start.partition("/bin/ray start")[0].split("export ")[1].split(";")[0].split()
    assert "~/.ray/auth_token" in READ[name]["file_mounts"], "the token's file is on every node"
    head = field.startswith("head")
    assert ("RAY_enable_autoscaler_v2=0" in start) == (head and name == "on-premise"), (
        "v2 starts no workers of provider local"
    )


@pytest.mark.parametrize("name", READ)
def test_what_is_mounted_is_here_and_enough(name):
    mounts = READ[name]["file_mounts"]
    ours = {remote: ROOT / here for remote, here in mounts.items() if not here.startswith("~")}
    assert all(path.exists() for path in ours.values()), ours
    there = {remote.removeprefix("~/hyperderm/") for remote in ours}
    assert {"platform", "experiments", "search_spaces", "pyproject.toml", "README.md"} <= there, "what an install needs"
    for command in READ[name]["setup_commands"]:
        assert {word for word in command.split() if word.endswith(".lock")} <= there
    locks = next(command for command in READ[name]["setup_commands"] if " pip sync " in command)
    assert "--require-hashes requirements.lock cluster.lock" in locks


def test_both_install_alike():
    local, aws = READ["on-premise"], READ["aws"]
    assert local["file_mounts"] == aws["file_mounts"]
    assert local["setup_commands"] == aws["setup_commands"][-len(local["setup_commands"]) :]


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("field", START)
def test_the_shell_hands_ray_what_is_meant(name, field, tmp_path: Path):
    """The commands run in a shell, with a `ray` that only says how it was called."""
    ray = tmp_path / "hyperderm" / ".venv" / "bin" / "ray"
    ray.parent.mkdir(parents=True)
    ray.write_text('#!/bin/bash\necho "$@"; env\n')
    ray.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", READ[name][field][1]],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "RAY_HEAD_IP": "10.0.0.1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words, *environment = done.stdout.splitlines()
    where = "--head --port=6379" if field.startswith("head") else "--address=10.0.0.1:6379"
    assert words.startswith(f"start {where}")
    assert ("--autoscaling-config" in words) == field.startswith("head")
    assert f"RAY_AUTH_TOKEN_PATH={tmp_path}/.ray/auth_token" in environment


def test_yaml_has_no_key_twice():
    """The last of two equal keys would silently win."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader, node):
        keys = [loader.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"{keys} at {node.start_mark}"
        return yaml.SafeLoader.construct_mapping(loader, node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    for path in (ROOT / "infra").rglob("*.yaml"):
        list(yaml.load_all(path.read_text("utf-8"), Strict))
