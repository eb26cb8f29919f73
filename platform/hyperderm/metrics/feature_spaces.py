"""Features of cubes from networks that were trained on ImageNet: Inception-v3, as in FID, and EfficientNet-Lite0.

The networks take three channels. A first convolution that is repeated along B bands and scaled by 3/B gives the same as the
untouched convolution on the folded image x'_r = (3/B) Σ_{c ≡ r mod 3} x_c, where x is the cube after the network's own
normalisation. So cubes are folded and no network is edited; the tests prove the equality. Bands of one residue are summed:
the features cannot see that two of them were exchanged, and hardly see slow changes of the spectrum. On the phantom, a tilt
of the spectrum by 20 % left the kernel distance at what two real samples have. Metrics of spectra must stand beside them.

Cubes are first mapped to [0, 1] by a range for each band that is common to all sets of a comparison, and clipped: what lies
outside the range is not seen. Values depend on the space, the range, the scaling and the cubes' size, and can be compared
only where these are equal. They are not those of RGB images in the literature.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from hyperderm.errors import CubeError, HyperdermError
from hyperderm.metrics.folding import folded_sum
from hyperderm.metrics.weights import INCEPTION, LITE0, lite0_name

VERSION = 1
"""Raised when the way from a cube to a network changes; part of a space's identity."""
INCEPTION_SIDE = 299
LITE0_SIDE = 128
"""Pixels. The network was trained at 224. At 128 a cube takes a quarter of the time, and distances order 13 kinds of damage
to phantom cubes of 32 and 64 px nearly alike (rank correlation .94 to .98)."""
AT_ONCE = 16
"""Largest number of cubes that a network takes together."""
BLOCK_VALUES = 2**24
"""Largest number of reflectance values that are converted together, 64 MB."""


class FeatureSpace(Protocol):
    """What turns cubes into features whose distances mean something."""

    @property
    def name(self) -> str:
        """The name in reports, such as `inception`."""

    @property
    def identity(self) -> str:
        """The sha256 of everything that shapes the features besides the cubes, the range and the scaling."""

    @property
    def dimension(self) -> int:
        """Number of features d of a cube."""

    def features(self, cubes: Tensor, low: ArrayLike, high: ArrayLike, scaled: bool = True) -> NDArray[np.float32]:
        """Return the features (N, d) of cubes (N, B, H, W); see `NetworkSpace.features`."""


@dataclass(frozen=True, eq=False)
class NetworkSpace:
    """The pooled features of a network with three input channels.

    Attributes:
        name: the name in reports.
        dimension: number of features d.
        side: side in pixels of the network's input.
        gain: the network's normalisation is gain · v + offset, with v in [0, 1].
        offset: see `gain`.
        weights: sha256 of the weight file.
        network: (N, 3, side, side) float32 -> (N, d).
        device: where the network is.
    """

    name: str
    dimension: int
    side: int
    gain: float
    offset: float
    weights: str
    network: Callable[[Tensor], Tensor]
    device: str = "cpu"

    @property
    def identity(self) -> str:
        """The sha256 of name, weights, size, normalisation and `VERSION`; the device is left out."""
        facts = [VERSION, self.name, self.weights, self.dimension, self.side, self.gain, self.offset]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def features(self, cubes: Tensor, low: ArrayLike, high: ArrayLike, scaled: bool = True) -> NDArray[np.float32]:
        """Return the features (N, d) of cubes; some cubes at a time are computed together, in float32.

        Each band is mapped to [0, 1], clipped, normalised as the network wants it, folded to three channels and resized
        bilinearly (half-pixel centres, as torch does; with antialiasing, which changes cubes larger than `side` only).

        Args:
            cubes: (N, B, H, W) reflectance of any floating type, B >= 3.
            low: (B,) reflectance that is mapped to 0, the same for all sets that are compared.
            high: (B,) reflectance that is mapped to 1.
            scaled: fold with 3/B; False folds with 1, as a first convolution that was repeated and not scaled.

        Raises:
            CubeError: there are fewer than three bands, the range does not fit, or a cube holds NaN or infinite values.
        """
        start, width = _range(cubes, low, high)
        found = np.empty((len(cubes), self.dimension), np.float32)
        at_once = max(1, min(AT_ONCE, BLOCK_VALUES // max(1, cubes[:1].numel())))
        with torch.inference_mode():
            for i in range(0, len(cubes), at_once):
                x = cubes[i : i + at_once].to(self.device, torch.float32).contiguous()
                _check_finite(x, i)
                x = ((x - start.to(x)) / width.to(x)).clamp(0, 1) * self.gain + self.offset
                x = interpolate(folded_sum(x, scaled), (self.side, self.side), mode="bilinear", antialias=True)
                x = x.contiguous(memory_format=torch.channels_last)  # a quarter less time in the convolutions
                found[i : i + at_once] = self.network(x).cpu().numpy()
        return found


def inception(device: str = "cpu") -> NetworkSpace:
    """Return the space of FID's Inception-v3: 2048 features at 299 px, pixels as (255 v − 128) / 128.

    A cube takes about 0.3 s on one core.

    Raises:
        ConfigError or FileTrouble: see `WeightFile.proved`.
    """
    path = INCEPTION.proved()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of TorchScript, which the file is
        network = torch.jit.load(str(path), map_location=device).eval()
    return NetworkSpace("inception", 2048, INCEPTION_SIDE, 255 / 128, -1.0, INCEPTION.sha256, network, device)


def lite0(device: str = "cpu") -> NetworkSpace:
    """Return the space of EfficientNet-Lite0: 1280 features at 128 px, pixels as (255 v − 127) / 128.

    Raises:
        ConfigError or FileTrouble: see `WeightFile.proved`.
    """
    import timm

    path = LITE0.proved()
    state = {lite0_name(key): value for key, value in torch.load(path, map_location="cpu", weights_only=True).items()}
    with torch.device("meta"):  # draws no random number
        network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith("classifier.")}, assign=True)
    network = network.eval().to(device)
    return NetworkSpace("lite0", 1280, LITE0_SIDE, 255 / 128, -127 / 128, LITE0.sha256, network, device)


SPACES = {"inception": inception, "lite0": lite0}


def available_spaces(device: str = "cpu") -> tuple[list[FeatureSpace], list[str]]:
    """Return the spaces whose weights are installed and whole, and for each other space a sentence that says why not."""
    spaces, missing = list[FeatureSpace](), list[str]()
    for name, make in SPACES.items():
        try:
            spaces.append(make(device))
        except HyperdermError as error:
            missing.append(f"No features of {name}: {error}")
    return spaces, missing


def _range(cubes: Tensor, low: ArrayLike, high: ArrayLike) -> tuple[Tensor, Tensor]:
    """Return start and width of the range, (B, 1, 1) each."""
    if cubes.ndim != 4 or cubes.shape[1] < 3:
        raise CubeError(f"cubes of shape {tuple(cubes.shape)} have no features", "Give (N, B, H, W) with 3 bands or more.")
    start, end = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if start.shape != end.shape or start.shape != (cubes.shape[1],):
        raise CubeError(f"ranges {start.shape} and {end.shape} for {cubes.shape[1]} bands", "Give one value for each band.")
    width = end - start
    bad = np.flatnonzero(~(np.isfinite(width) & (width > 0)))
    if len(bad):
        band = int(bad[0])
        raise CubeError(f"band {band} has the range {start[band]:g} to {end[band]:g}", "Give low < high in every band.")
    return torch.from_numpy(start)[:, None, None], torch.from_numpy(width)[:, None, None]


def _check_finite(x: Tensor, first: int) -> None:
    finite = x.isfinite().flatten(1).all(1)
    if not finite.all():
        raise CubeError(f"cube {first + int((~finite).nonzero()[0])} holds NaN or infinite values", "Leave it out.")
