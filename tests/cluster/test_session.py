"""Whether a Ray head node listens, told in seconds where Ray itself would try for minutes; what a cluster has room for."""

import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import ray

from hyperderm.cluster.session import Cluster, check_address, check_shared, on_each_node, trials_at_once
from hyperderm.errors import ClusterError


def test_the_port_of_a_head_node(ray_cluster):
    import ray

    check_address(ray.get_runtime_context().gcs_address)


@pytest.mark.parametrize("address", ["head", "http://head:8265", "ray://head:10001", "head:", ":6379", "head:x"])
def test_no_host_and_port(address):
    with pytest.raises(ClusterError, match=r"is not host:port. Give the head node's, for example 10\.0\.0\.1:6379"):
        check_address(address)


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        with pytest.raises(ClusterError, match=r"does not answer \(.*refused\)\. Start the cluster"):
            check_address(f"127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(ClusterError, match="does not answer"):
        check_address("127.0.0.1:99999")


def test_something_silent_listens():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(ClusterError, match="no answer in time"):
            check_address(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3)
        assert time.monotonic() - begun < 3


def test_a_web_server_listens():
    """The dashboard's port is the usual mistake."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        threading.Thread(target=web.handle_request, daemon=True).start()
        with pytest.raises(ClusterError, match=r"is not a Ray head node\. Its port is 6379"):
            check_address(f"127.0.0.1:{web.server_port}")


def test_more_workers_than_the_cluster_has(ray_cluster):
    with pytest.raises(ClusterError) as caught:
        trials_at_once(ray_cluster, 9999, 1.0, 0.0, None)
    assert "a trial needs 9999 workers with 1 CPU and 0 GPU each, the cluster has" in caught.value.what
    assert "fewer --workers-per-trial (train: --workers)" in caught.value.remedy


def test_a_temporary_folder_too_deep_for_ray_s_sockets(tmp_path):
    """Their paths may have 107 characters; macOS and some batch systems give long ones."""
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    code = "from hyperderm.cluster.session import connect\nwith connect(None): pass"
    there = {**os.environ, "RAY_TMPDIR": str(deep)}
    done = subprocess.run([sys.executable, "-c", code], env=there, capture_output=True, text=True, timeout=120)
    last = done.stderr.strip().splitlines()[-1]
    assert "ClusterError: Ray does not start on this machine: " in last
    assert last.endswith("Set RAY_TMPDIR to an existing folder with a short name.")


def test_capacity_counts_nodes_not_sums():
    two = Cluster(((4.0, 1.0), (4.0, 1.0)), "")
    assert trials_at_once(two, 1, 1.0, 0.0, None) == 8
    assert trials_at_once(two, 1, 1.0, 0.5, None) == 4
    assert trials_at_once(two, 2, 4.0, 1.0, None) == 1
    assert trials_at_once(two, 1, 1.0, 0.0, 3) == 3
    with pytest.raises(ClusterError, match=r"8 CPU and 2 GPU on 2 nodes"):
        trials_at_once(two, 1, 8.0, 0.0, None)


def test_one_node_needs_no_shared_folder(tmp_path):
    check_shared(tmp_path / "nowhere", Cluster(((2.0, 0.0),), ""))


def test_a_node_that_leaves_while_all_are_asked_is_left_out(ray_cluster, monkeypatch):
    (here,) = ray.nodes()
    gone = {**here, "NodeID": here["NodeID"][::-1], "NodeManagerAddress": "10.0.0.9"}
    monkeypatch.setattr(ray, "nodes", lambda: [gone, here])
    assert on_each_node(lambda: 7) == {here["NodeManagerAddress"]: 7}


@pytest.mark.parametrize("collects", [True, False])
def test_no_garbage_is_collected_while_ray_shuts_down(collects):
    """Otherwise another thread may return references to a core that is gone, and the core ends the process."""
    import gc

    from hyperderm.cluster.session import _shut_down

    seen = []

    def fails() -> None:
        seen.append(gc.isenabled())
        raise RuntimeError("of Ray")

    was = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with pytest.raises(RuntimeError, match="of Ray"):
            _shut_down(fails)
        assert (seen, gc.isenabled()) == ([False], collects)
    finally:
        (gc.enable if was else gc.disable)()
