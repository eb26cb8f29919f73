"""What the screen says when a cluster loses or gains nodes."""

import ray

from hyperderm.cluster.node_watch import NodeWatch, changes


def test_each_node_that_leaves_or_joins_is_told_once():
    before, after = {"a": "10.0.0.1", "b": "10.0.0.2"}, {"a": "10.0.0.1", "c": "10.0.0.2", "d": "10.0.0.3"}
    said = changes(before, after, "3 CPU and 0 GPU on 3 nodes", 1)
    assert said[0] == "node 10.0.0.2 was lost; the cluster has 3 CPU and 0 GPU on 3 nodes"
    assert [line.partition(";")[0] for line in said[1:]] == ["node 10.0.0.2 joined", "node 10.0.0.3 joined"]
    assert "at most 1 runs at a time, as at the start" in said[1]
    assert changes(after, after, "", 1) == []


def test_a_cluster_that_stays_says_nothing(ray_cluster):
    said: list[str] = []
    watch = NodeWatch(said.append, 2, 0.0)
    for _ in range(2):
        watch.on_step_end(0, [])
    assert said == []
    watch._known = {"gone": "10.0.0.9"}
    watch.on_step_end(0, [])
    (here,) = ray.nodes()
    assert [line.partition(";")[0] for line in said] == [
        "node 10.0.0.9 was lost",
        f"node {here['NodeManagerAddress']} joined",
    ]
