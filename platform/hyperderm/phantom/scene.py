"""One patient's patch of skin with its lesion: the chromophore maps of `optics`, which can be evaluated on any grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.phantom.shapes import (
    Array,
    Hairs,
    Network,
    Noise,
    Outline,
    Patch,
    Polar,
    Spots,
    lesion_mask,
    sigmoid,
    smoothstep,
)
from hyperderm.phantom.traits import Traits, draw_traits

CROP_SCALE = 1.5  # the frame is the mask's bounding box times this (METHODS section 2)
SURVEY = np.linspace(-2.4, 2.4, 97, dtype=np.float32)  # the grid that finds the bounding box


SETTLING = 0.8  # how far a lesion's paler parts make up for its darker ones


def lognormal(rng: np.random.Generator, median: float, sigma: float) -> float:
    """Return `median` times exp(σ·N) with a standard normal N."""
    return float(median * np.exp(sigma * rng.standard_normal()))


@dataclass(frozen=True)
class Window:
    """The square frame in scene coordinates."""

    x: float
    y: float
    half: float

    def axes(self, size: int) -> tuple[Array, Array]:
        """Return the pixel centres along x and y."""
        t = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * np.float32(self.half)
        return (t + self.x).astype(np.float32), (t + self.y).astype(np.float32)


class Skin:
    """Skin around a lesion: a person's colour, uneven pigment and blood, furrows, freckles, hairs, flakes."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.melanin = lognormal(rng, 0.030, 0.80)
        self.blood = lognormal(rng, 0.014, 0.85)
        self.oxygenation = float(rng.uniform(0.65, 0.92))
        self.scattering = lognormal(rng, 1.0, 0.06)
        self.sun = min(lognormal(rng, 0.15, 0.6), 0.45)  # mottling; much of it on sun-damaged skin
        self.coarse, self.fine, self.grain = Noise(rng, 0.55), Noise(rng, 0.19), Noise(rng, 0.07)
        self.flush = Noise(rng, 0.75)
        self.lean = float(rng.uniform(0, np.pi))
        self.pitch = float(rng.uniform(16, 30))
        self.pheomelanin = float(rng.uniform(0.1, 0.4))
        self.furrow = float(rng.uniform(0.0, 0.10))
        self.bend = Noise(rng, 0.5)
        freckled = rng.random() < 0.3
        self.freckles = Freckles(rng, int(rng.integers(2, 12)), 0.06 * float(rng.random()) if freckled else 0.0)
        hairy = rng.random() < 0.22
        self.hairs = Hairs(rng, int(rng.integers(2, 11)) if hairy else 0, reach=1.6)
        self.flakes = Freckles(rng, 40, 0.35 if rng.random() < 0.25 else 0.0, (0.008, 0.022))

    def maps(self, x: Array, y: Array) -> dict[str, Array]:
        """Return the chromophore maps of the skin alone, without hairs and flakes."""
        fine, grain = self.fine.at(x, y), self.grain.at(x, y)
        cloud = 0.75 * self.coarse.at(x, y) + 0.5 * fine + 0.35 * grain
        lines = self._furrows(x, y)
        flush = self.flush.at(x, y)
        melanin = self.melanin * np.exp(self.sun * cloud) * (1 - 1.5 * self.furrow * lines)
        melanin = melanin + self.freckles.at(x, y)
        blood = self.blood * np.exp(0.18 * flush + 0.10 * grain)
        scattering = self.scattering * np.exp(0.05 * fine + 0.03 * grain) * (1 + self.furrow * lines)
        shape = (y.size, x.size)
        return {
            "melanin": melanin.astype(np.float32),
            "deep_melanin": np.zeros(shape, np.float32),
            "pheomelanin": np.full(shape, self.pheomelanin, np.float32),
            "blood": blood.astype(np.float32),
            "oxygenation": np.clip(self.oxygenation + 0.03 * flush, 0, 1).astype(np.float32),
            "scattering": scattering.astype(np.float32),
            "surface": np.zeros(shape, np.float32),
        }

    def cover(self, maps: dict[str, Array], x: Array, y: Array) -> None:
        """Add hairs and flakes on top of the `maps`, in place."""
        if self.hairs.count:
            hair = self.hairs.at(x, y)
            maps["melanin" if self.hairs.dark else "surface"] += np.float32(0.22 if self.hairs.dark else 0.3) * hair
        maps["surface"] += self.flakes.at(x, y)
        np.clip(maps["surface"], 0, 0.95, out=maps["surface"])

    def _furrows(self, x: Array, y: Array) -> Array:
        """Return two crossing families of fine lines, with values in -1 … 1."""
        warp = 2.5 * self.bend.at(x, y)
        total = np.zeros((y.size, x.size), np.float32)
        for turn in (self.lean, self.lean + 1.1):
            across = np.float32(self.pitch * np.cos(turn)) * x[None, :] + np.float32(self.pitch * np.sin(turn)) * y[:, None]
            total += 0.5 * np.cos(across + warp)
        return total


class Freckles(Spots):
    """Spots over the whole frame instead of inside the lesion."""

    def __init__(
        self, rng: np.random.Generator, count: int, amount: float, size: tuple[float, float] = (0.04, 0.14)
    ) -> None:
        super().__init__(rng, count, size, amount)
        self.centres = rng.uniform(-2.2, 2.2, (count, 2)).astype(np.float32)


class LesionPattern:
    """The colours and structures inside the outline, drawn from the traits."""

    def __init__(self, rng: np.random.Generator, traits: Traits) -> None:
        t = self.traits = traits
        self.level = t.melanin
        away = rng.uniform(0, 2 * np.pi)
        shift = rng.uniform(0.0, 0.45) * (0.3 + t.asymmetry)
        self.core_at = (float(shift * np.cos(away)), float(shift * np.sin(away)))
        self.clouds, self.grain, self.fray = Noise(rng, 0.3), Noise(rng, 0.11), Noise(rng, 0.06)
        self.blotch = Patch(rng, 0.45, t.blotch, 0.10)
        self.pale = Patch(rng, 0.5, t.pale, 0.18)
        self.veil = Patch(rng, 0.6, t.veil, 0.22)
        self.regression = Patch(rng, 0.5, t.regression, 0.15)
        self.red = Patch(rng, 0.5, t.red, 0.25)
        self.scale = Patch(rng, 0.09, t.scale, 0.7)
        self.network = Network(rng, t.disorder)
        self.globules = Spots(rng, int(rng.integers(25, 60)), (0.04, 0.075), t.globules)
        self.dots = Spots(rng, int(rng.integers(20, 70)), (0.016, 0.035), t.dots)
        self.cysts = Spots(rng, int(rng.integers(5, 16)), (0.03, 0.06), t.cysts)
        self.plugs = Spots(rng, int(rng.integers(4, 12)), (0.05, 0.10), t.comedones)
        self.vessels = Spots(rng, int(rng.integers(40, 80)), (0.025, 0.05), t.vessels, clusters=6)

    def settle(self, outline: Outline, axis: Array) -> None:
        """Set the pigment's level so that the lesion's colours vary about the melanin of its traits.

        The level is measured by the mean light that passes through the pattern, so that a lesion with a black blotch is
        paler elsewhere. A `SETTLING` of 1 would make all lesions of equal melanin equally dark.
        """
        polar = outline.polar(axis, axis)
        mask = lesion_mask(polar.phi)
        veil, regression = self.veil.at(axis, axis), self.regression.at(axis, axis)
        pigment = self._pigment(outline, polar, axis, axis) * (1 - 0.85 * regression) * (1 - 0.75 * veil)
        through = np.exp(-(pigment + 0.8 * veil)[mask]).mean()
        self.level = float(self.traits.melanin * (-np.log(through) / 0.8) ** -SETTLING)

    def rim(self, outline: Outline, polar: Polar, fray: Array) -> Array:
        """Return the pigment's rise across the border (0 outside, 1 inside), as sharp and as frayed as the traits say."""
        width = self.traits.fuzziness * outline.at_angle(outline.softness, polar)
        return sigmoid(
            (polar.phi + 0.3 * self.traits.fuzziness + width * (0.1 + 0.6 * self.traits.disorder) * fray) / (0.6 * width)
        )

    def paint(self, maps: dict[str, Array], outline: Outline, polar: Polar, x: Array, y: Array) -> None:
        """Add the lesion to the skin's `maps`, in place."""
        t, fray = self.traits, self.fray.at(x, y)
        rim = self.rim(outline, polar, fray)
        inside = smoothstep(polar.phi, -0.02, 0.06)
        veil, regression = self.veil.at(x, y) * rim, self.regression.at(x, y) * rim
        maps["melanin"] *= 1 - 0.7 * rim  # the nests displace the skin's own pigment
        maps["pheomelanin"] += rim * (t.pheomelanin - maps["pheomelanin"])
        pigment = rim * self._pigment(outline, polar, x, y) * (1 - 0.85 * regression) * (1 - 0.75 * veil)
        maps["melanin"] += self.level * pigment * np.exp(0.15 * fray)
        plugs, cysts = inside * self.plugs.at(x, y), inside * self.cysts.at(x, y)
        dots, globules = inside * self.dots.at(x, y), inside * self.globules.at(x, y)
        maps["melanin"] += 0.18 * plugs + 0.20 * dots + 0.55 * t.melanin * globules
        maps["melanin"] *= 1 - 0.6 * cysts
        maps["deep_melanin"] += (0.13 * veil + 0.06 * regression * dots) * (1 + 0.3 * self.clouds.at(x, y)).clip(0)
        red = self.red.at(x, y) * rim
        maps["blood"] *= (1 + t.redness * rim) * (1 + 2.2 * red) * (1 - 0.5 * regression)
        maps["blood"] += 0.10 * inside * self.vessels.at(x, y)
        maps["scattering"] *= 1 + 0.35 * regression
        maps["surface"] += 0.30 * cysts + 0.15 * inside * self.scale.at(x, y) + 0.035 * veil
        for name in ("melanin", "deep_melanin", "blood"):
            np.clip(maps[name], 0, None, out=maps[name])

    def _pigment(self, outline: Outline, polar: Polar, x: Array, y: Array) -> Array:
        """Return the epidermal melanin relative to the lesion's own level."""
        t = self.traits
        cx, cy = self.core_at
        core = smoothstep(polar.phi - 0.35 * (np.hypot(x[None, :] - cx, y[:, None] - cy) - 0.4), 0.05, 0.75)
        body = 1 - t.core * (0.55 - 0.95 * core)
        clouds = np.exp(t.mottle * (0.8 * self.clouds.at(x, y) + 0.6 * self.grain.at(x, y)))
        blotch, pale = self.blotch.at(x, y), self.pale.at(x, y)
        lines = 1 + 0.75 * t.network * self.network.at(x, y)
        pigment = body * clouds * (1 - 0.65 * pale) * (lines + (1 - lines) * blotch) * (1 + 2.0 * blotch)
        if t.streaks:
            edge = smoothstep(polar.phi, -0.1, 0.05) * smoothstep(polar.phi, 0.5, 0.15)
            pigment = pigment * (1 + 1.2 * edge * outline.at_angle(outline.spikes, polar))
        return np.asarray(pigment, dtype=np.float32)


class Scene:
    """A framed lesion on skin. It is drawn once from `rng`; `evaluate` gives it on any grid."""

    def __init__(self, rng: np.random.Generator, diagnosis: str) -> None:
        self.traits = draw_traits(rng, diagnosis)
        self.outline = Outline(rng, self.traits)
        self.pattern = LesionPattern(rng, self.traits)
        self.pattern.settle(self.outline, SURVEY[::2])
        self.skin = Skin(rng)
        self.relief = self.traits.relief * float(rng.uniform(-1.7, 1.7))
        self.window = self._frame()

    def evaluate(self, size: int) -> tuple[dict[str, Array], NDArray[np.bool_], Array]:
        """Return chromophore maps, true mask and relative lighting on a size × size grid over the window."""
        x, y = self.window.axes(size)
        polar = self.outline.polar(x, y)
        maps = self.skin.maps(x, y)
        self.pattern.paint(maps, self.outline, polar, x, y)
        self.skin.cover(maps, x, y)
        lit = np.exp(np.float32(self.relief) * smoothstep(polar.phi, -0.1, 0.35))
        return maps, lesion_mask(polar.phi), lit

    def _frame(self) -> Window:
        mask = lesion_mask(self.outline.polar(SURVEY, SURVEY).phi)
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        step = float(SURVEY[1] - SURVEY[0])
        sides = [(r[-1] - r[0] + 1) * step for r in (rows, cols)]
        centre = [float(SURVEY[r[0]] + SURVEY[r[-1]]) / 2 for r in (cols, rows)]
        return Window(centre[0], centre[1], CROP_SCALE * max(sides) / 2)
