"""The phantom: physically simulated HSIDermoscopy data for everyone without the real data. Calibrated, deterministic.

Skin and lesions are chromophore maps (`scene`), seen through two layers of tissue (`optics`) by a snapshot camera:
exposure, illumination tilt, vignette, defocus, gain, shot and read noise. One gain per band is fitted to the published mean
of normal skin; the contrast of lesions follows from the physics (`tables/SOURCES.md`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM, Cube, Lesion
from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import ConfigError, nearest
from hyperderm.phantom.optics import MAPS, STRAY_LIGHT, Array, Vector, band_optics, read_table, reflectance
from hyperderm.phantom.scene import Scene

PHANTOM_VERSION = 1

PHANTOM_COUNTS: dict[str, int] = {
    "melanoma": 85,
    "dysplastic_nevus": 175,
    "melanocytic_lesion": 28,
    "solar_lentigo": 18,
    "nevus": 15,
    "seborrhoeic_keratosis": 7,
    "intraepidermal_carcinoma": 2,
}
"""Lesions per diagnosis among 330, as in HSIDermoscopy; the 70 of the rarer diagnoses are in proportion to its labels."""

EXPOSURE_SIGMA = 0.285  # between images, relative; Gaussian: the published 99.5 % are too low for a lognormal
NATIVE_PX = 160.0  # a typical crop's side before resizing: more pixels than this show no more noise, fewer average it
READ_NOISE = 0.006  # of one native pixel, in calibrated units
SHOT_NOISE = 0.02  # of one native pixel, relative to the root of the signal
SATURATION = 1.9  # the largest calibrated value seen (METHODS section 1)
ADC_STEP = 2.0**-13  # calibrated values are stored in steps far below the noise: stores compress better


@dataclass(frozen=True)
class PhantomLesion:
    """A lesion and its ground truth: `chromophores` are (H, W) maps named in `optics.MAPS`."""

    lesion: Lesion
    chromophores: dict[str, NDArray[np.float32]]


def phantom(count: int = 330, size: int = 64, seed: int = 0) -> Iterator[PhantomLesion]:
    """Return an iterator over all lesions of a phantom, in order."""
    diagnoses = plan(count, seed)
    _check_render(0, diagnoses[0], size, seed)
    return (render(i, d, size, seed) for i, d in enumerate(diagnoses))


def plan(count: int, seed: int) -> list[str]:
    """Return the diagnosis of each index: in proportion to `PHANTOM_COUNTS` by largest remainder, shuffled by `seed`."""
    if count < 1:
        raise ConfigError(f"count = {count}", "ask for at least 1 lesion")
    _check_seed(seed)
    total = sum(PHANTOM_COUNTS.values())
    share = {d: divmod(count * n, total) for d, n in PHANTOM_COUNTS.items()}
    short = count - sum(whole for whole, _ in share.values())
    first = sorted(share, key=lambda d: -share[d][1])[:short]
    names = [d for d in PHANTOM_COUNTS for _ in range(share[d][0] + (d in first))]
    order = np.random.default_rng(np.random.SeedSequence((seed, count, 0x9A17))).permutation(count)
    return [names[i] for i in order]


def render(index: int, diagnosis: str, size: int, seed: int) -> PhantomLesion:
    """Render lesion `index` of phantom `seed`: the scene is the same at any `size`, up to resampling and sensor noise."""
    camera, light, maps, mask = _before_camera(index, diagnosis, size, seed)
    key = (seed, index, DIAGNOSES.index(diagnosis))
    seen = camera.expose(light, np.random.default_rng(np.random.SeedSequence((*key, 2, size))))
    name = f"phantom-{seed}-{index:05d}"
    lesion = Lesion(
        lesion_id=name,
        image_id=name,
        group=name,
        diagnosis=diagnosis,
        cube=Cube(np.moveaxis(seen, 0, -1), np.array(HSIDERMOSCOPY_NM, dtype=np.float64)),
        mask=_halve(mask.astype(np.float32)) >= 0.5,
        origin={"phantom": PHANTOM_VERSION, "seed": seed, "index": index},
    )
    return PhantomLesion(lesion, {m: _halve(maps[m]) for m in MAPS})


def noise_free(index: int, diagnosis: str, size: int, seed: int) -> NDArray[np.float32]:
    """Return the cube (size, size, B) of a lesion as `render` draws it, before noise, saturation and rounding."""
    camera, light, _, _ = _before_camera(index, diagnosis, size, seed)
    return np.ascontiguousarray(np.moveaxis(camera.signal(light), 0, -1))


def _before_camera(
    index: int, diagnosis: str, size: int, seed: int
) -> tuple["Camera", Array, dict[str, Array], NDArray[np.bool_]]:
    """Return the camera, the light (B, 2n, 2n) that it sees, the chromophore maps and the mask (2n, 2n)."""
    _check_render(index, diagnosis, size, seed)
    rng = np.random.default_rng(np.random.SeedSequence((seed, index, DIAGNOSES.index(diagnosis), 1)))
    scene, camera = Scene(rng, diagnosis), Camera(rng)
    maps, mask, lit = scene.evaluate(2 * size)
    light = reflectance(maps, band_optics(HSIDERMOSCOPY_NM))
    return camera, (light + np.float32(STRAY_LIGHT)) * lit, maps, mask


class Camera:
    """The snapshot camera in one random position over a lesion."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.exposure = max(0.2, 1 + EXPOSURE_SIGMA * rng.standard_normal())
        self.half = rng.uniform(0.16, 0.42)  # half the crop's side, in heights of the frame
        reach_x, reach_y = 0.94 - self.half, 0.5 - self.half
        self.at = (rng.uniform(-0.7, 0.7) * reach_x, rng.uniform(-0.9, 0.9) * reach_y)
        self.vignette = rng.uniform(0.35, 0.75)
        self.tilt = 0.07 * rng.standard_normal(2)
        out_of_focus = rng.random() < 0.25
        self.blur = 0.004 + (0.022 if out_of_focus else 0.004) * rng.random()  # σ, of the crop's side

    def illumination(self, size: int) -> Array:
        """Return exposure, tilt and the vignette of the whole frame (wider than high), cut to the crop."""
        t = (np.arange(size) + 0.5) / size * 2 - 1
        x, y = self.at[0] + self.half * t[None, :], self.at[1] + self.half * t[:, None]
        fall = 1 - self.vignette * np.clip((x / 1.05) ** 2 + (y / 0.75) ** 2, 0, 1) ** 2
        tilt = np.exp(self.tilt[0] * t[None, :] + self.tilt[1] * t[:, None])
        return np.asarray(self.exposure * fall * tilt, dtype=np.float32)

    def signal(self, light: Array) -> Array:
        """Turn (B, 2n, 2n) light from the tissue, including stray light, into (B, n, n) calibrated values without noise."""
        size = light.shape[1] // 2
        gain = sensor_gain().astype(np.float32)[:, None, None]
        lit = light * self.illumination(2 * size)
        sharp = ndimage.gaussian_filter(lit, (0, self.blur * 2 * size, self.blur * 2 * size), mode="nearest", truncate=3)
        return gain * _halve(sharp)

    def expose(self, light: Array, rng: np.random.Generator) -> Array:
        """Turn (B, 2n, 2n) light from the tissue, including stray light, into (B, n, n) calibrated values."""
        signal = self.signal(light)
        shrink = min(1.0, signal.shape[1] / NATIVE_PX)  # averaging over native pixels calms the noise
        σ = shrink * np.sqrt(READ_NOISE**2 + SHOT_NOISE**2 * signal)
        noisy = signal + σ * rng.standard_normal(signal.shape, dtype=np.float32)
        noisy = np.minimum(noisy, np.float32(SATURATION))
        return np.round(noisy / np.float32(ADC_STEP)) * np.float32(ADC_STEP)


def sensor_gain() -> Vector:
    """Return the gain (16,) of each band: published mean of normal skin over the phantom's own (tables/sensor_gain.csv)."""
    return read_table("sensor_gain.csv")["gain"]


def _halve(image: Array) -> Array:
    """Return the mean of 2 × 2 pixels over the last two axes."""
    a = image[..., 0::2, :] + image[..., 1::2, :]
    return np.asarray(0.25 * (a[..., 0::2] + a[..., 1::2]), dtype=np.float32)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"seed = {seed}", "choose a seed of 0 or more")


def _check_render(index: int, diagnosis: str, size: int, seed: int) -> None:
    _check_seed(seed)
    if index < 0:
        raise ConfigError(f"index = {index}", "count lesions from 0")
    if size < 8:
        raise ConfigError(f"size = {size}", "choose at least 8 pixels (64 is the default)")
    if diagnosis not in DIAGNOSES:
        raise ConfigError(f"diagnosis {diagnosis!r} is unknown", nearest(diagnosis, DIAGNOSES))
