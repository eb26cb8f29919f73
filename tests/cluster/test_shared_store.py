"""Where the rows lie that trials share."""

import ray

from hyperderm.cluster import shared_store
from hyperderm.store.location import Location
from hyperderm.store.reader import open_store


def test_in_a_cluster_of_several_nodes_the_driver_s_node_holds_the_rows(ray_cluster, phantom_store, monkeypatch):
    """Ray would read a block again that is lost with its node, by tasks for which no CPU may be left."""
    store = open_store(str(phantom_store))
    ids = store.index().column("lesion_id").to_pylist()
    alone = shared_store.materialise(store, ids)
    (node,) = ray.nodes()
    monkeypatch.setattr(ray, "nodes", lambda: [node, node])
    monkeypatch.setattr(Location, "local", property(lambda self: False))
    kept: list[object] = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: kept.append(put(value)) or kept[-1])
    several = shared_store.materialise(store, ids)
    assert several == kept[-len(several) :]  # Ray Data puts things of its own before
    assert shared_store.fetch(several, ids).equals(shared_store.fetch(alone, ids))
