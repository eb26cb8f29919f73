"""Gloo is told the interface of the address by which Ray knows the node."""

import os

import ray

from hyperderm.cluster.interfaces import interface_of, use_own_interface
from hyperderm.cluster.session import GLOO


def test_an_address_belongs_to_an_interface():
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") == "", "an address of documentation, which nobody has"


def test_what_a_user_chose_stays(monkeypatch):
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setenv(GLOO, "eth7")
    use_own_interface()
    assert os.environ[GLOO] == "eth7"
    monkeypatch.delenv(GLOO)
    use_own_interface()
    assert os.environ.pop(GLOO) == "lo"
