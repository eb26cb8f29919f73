"""Let the workers of a group talk over the network interface by which Ray knows their node.

Left alone, gloo takes the address that the machine's host name resolves to. On many machines this is 127.0.0.1, where a
worker on another node finds nobody. NCCL looks for an interface itself.
"""

import fcntl
import socket
import struct
from typing import Any

import ray
from ray.train.torch import TorchConfig

from hyperderm.cluster.session import use_interface
from hyperderm.training.preemption import listen

_GET_ADDRESS = 0x8915  # SIOCGIFADDR of Linux
_Backend: Any = TorchConfig().backend_cls


class GroupBackend(_Backend):  # type: ignore[misc]  # Ray names its class only by a property
    """Ray Train's own backend for torch, which first chooses each worker's interface and lets it listen for SIGTERM."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:  # noqa: ANN401 - of Ray's own kinds
        """Set up the process group, and listen to the word to leave."""
        worker_group.execute(use_own_interface)
        worker_group.execute(listen)
        super().on_start(worker_group, backend_config)


class GroupConfig(TorchConfig):
    """The settings of a process group that uses `GroupBackend`."""

    @property
    def backend_cls(self) -> type[GroupBackend]:
        """The class that sets up the group."""
        return GroupBackend


def use_own_interface() -> None:
    """Name gloo's interface in this worker's environment, unless it is named there already."""
    if name := interface_of(ray.util.get_node_ip_address()):
        use_interface(name)


def interface_of(address: str) -> str:
    """Return the name of the network interface whose IPv4 address is `address`; "" if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                held = fcntl.ioctl(probe.fileno(), _GET_ADDRESS, struct.pack("256s", name.encode()))
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(held[20:24]) == address:
                return name
    return ""
