"""Optics of skin: the effect of melanin, blood and collagen on a spectrum between 440 and 660 nm.

The model has two layers. Light crosses the epidermis (melanin) and is partly scattered back in the papillary dermis (more at
short wavelengths: dermal melanin below it looks blue-grey, the "veil"). The rest returns from a semi-infinite dermis (blood
and collagen, Kubelka-Munk):

    R = s·W + (1 - s)·T_e·[ρ + (1 - ρ)²·T_d·R_∞],   T = exp(-d·f·μ_mel·L)                                          (1)
    R_∞ = 1 + K/S - sqrt((K/S)² + 2K/S),   K = 2·μ_a,   S = ¾·μ_s'                                                  (2)

Here T is the two-way transmission through melanin of volume fraction f (e: epidermal, d: dermal) and s is the keratin cover
(scale, milia-like cysts, grey hair) of white W. The instrument then sees g·E·(R + y), with one gain g per band, one exposure
E per image, and one stray light y for all bands (light that crossed polarisers let pass and lenses scatter). Without y the
darkest lesions would be darker in the blue than the published 0.5 % percentiles.

Sources: eumelanin and pheomelanin: C. Donner, H. W. Jensen, "A spectral BSSRDF for shading human skin" (EGSR 2006). Dermal
μ_s': S. L. Jacques, "Optical properties of biological tissues: a review", Phys. Med. Biol. 58 (2013). Haemoglobin: Prahl's
table (tables/haemoglobin.csv).
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import ConfigError

Array = NDArray[np.float32]
Vector = NDArray[np.float64]

MAPS: tuple[str, ...] = ("melanin", "deep_melanin", "pheomelanin", "blood", "oxygenation", "scattering", "surface")
"""The names of the chromophore maps.

In order: the melanosome volume fraction of the epidermis and of the papillary dermis, the share of pheomelanin in the
melanosomes, the blood volume fraction of the dermis, its oxygen saturation, scattering relative to normal dermis, and the
keratin cover of the surface.
"""

EPIDERMIS_CM = 60e-4  # thickness L; dermal melanin is counted over the same depth
DIFFUSE_PATH = 2 * 1.8  # d: in and out, each lengthened by oblique travel
BLOOD_G_L = 150.0  # haemoglobin in whole blood
HAEMOGLOBIN_G_MOL = 64500.0
BLOODLESS_ABSORPTION = 0.25  # /cm, bloodless dermis in the visible (Jacques 2013)
PAPILLARY_BACKSCATTER = 0.045  # ρ at 500 nm, falling with λ⁻³
KERATIN_WHITE = 0.72  # W
STRAY_LIGHT = 0.014  # y, in reflectance
BAND_WIDTH_NM = 12.0  # full width at half maximum of one mosaic filter


@dataclass(frozen=True)
class Optics:
    """Coefficients averaged over each band's filter. All have the shape (B,); absorptions are in 1/cm.

    Attributes:
        wavelengths_nm: the band centres in nm.
        eumelanin: absorption of a melanosome full of eumelanin.
        pheomelanin: absorption of a melanosome full of pheomelanin.
        oxy: absorption of fully oxygenated whole blood.
        deoxy: absorption of fully deoxygenated whole blood.
        scattering: reduced scattering μ_s' of normal dermis.
        backscatter: ρ of equation (1).
    """

    wavelengths_nm: Vector
    eumelanin: Vector
    pheomelanin: Vector
    oxy: Vector
    deoxy: Vector
    scattering: Vector
    backscatter: Vector


@cache
def read_table(name: str) -> dict[str, Vector]:
    """Return the columns of a committed table; lines that start with # name its source."""
    text = files("hyperderm.phantom").joinpath("tables", name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def melanin_absorption(nm: Vector) -> tuple[Vector, Vector]:
    """Return μ_mel (1/cm) of eumelanin, 6.6e11·λ^-3.33, and pheomelanin, 2.9e15·λ^-4.75 (Donner and Jensen 2006)."""
    nm = np.asarray(nm, dtype=np.float64)
    return 6.6e11 * nm**-3.33, 2.9e15 * nm**-4.75


def haemoglobin_extinction(nm: Vector) -> tuple[Vector, Vector]:
    """Return Prahl's molar extinction (cm⁻¹/M) of oxy- and deoxyhaemoglobin, linear between the table's 2 nm steps."""
    t = read_table("haemoglobin.csv")
    nm = np.asarray(nm, dtype=np.float64)
    lo, hi = t["wavelength_nm"][0], t["wavelength_nm"][-1]
    if nm.min() < lo or nm.max() > hi:
        raise ConfigError(
            f"wavelengths {nm.min():g}-{nm.max():g} nm",
            f"the haemoglobin table holds {lo:g}-{hi:g} nm: choose bands inside",
        )
    return np.interp(nm, t["wavelength_nm"], t["oxy"]), np.interp(nm, t["wavelength_nm"], t["deoxy"])


def blood_absorption(extinction: Vector) -> Vector:
    """Return μ_a (1/cm) of whole blood from the molar extinction of its haemoglobin."""
    return np.log(10.0) * extinction * BLOOD_G_L / HAEMOGLOBIN_G_MOL


def reduced_scattering(nm: Vector) -> Vector:
    """Return μ_s' (1/cm) of normal dermis: 46·(λ/500)^-1.42 (Jacques 2013)."""
    return 46.0 * (np.asarray(nm, dtype=np.float64) / 500.0) ** -1.42


def infinite_reflectance(absorption: Array, scattering: Array) -> Array:
    """Return the diffuse reflectance of a semi-infinite layer by equation (2) (Kubelka and Munk 1931)."""
    q = 2.0 * absorption / (0.75 * scattering)
    return np.asarray(1.0 + q - np.sqrt(q * q + 2.0 * q), dtype=np.float32)


def reflectance(maps: Mapping[str, Array], optics: Optics) -> Array:
    """Return the (B, H, W) reflectance of skin by equation (1) from its chromophore `maps` (see `MAPS`), each (H, W)."""
    f = {name: np.asarray(maps[name], dtype=np.float32) for name in MAPS}
    out = np.empty((optics.wavelengths_nm.size, *f["melanin"].shape), dtype=np.float32)
    path = DIFFUSE_PATH * EPIDERMIS_CM
    oxy_blood = f["blood"] * f["oxygenation"]
    deoxy_blood = f["blood"] - oxy_blood
    for b in range(out.shape[0]):
        rho = np.float32(optics.backscatter[b])
        eumelanin, pheomelanin = path * optics.eumelanin[b], path * optics.pheomelanin[b]
        μ_mel = np.float32(eumelanin) + np.float32(pheomelanin - eumelanin) * f["pheomelanin"]  # times the path
        μ_a = oxy_blood * np.float32(optics.oxy[b]) + deoxy_blood * np.float32(optics.deoxy[b]) + BLOODLESS_ABSORPTION
        μ_s = f["scattering"] * np.float32(optics.scattering[b])
        r_dermis = infinite_reflectance(np.asarray(μ_a, dtype=np.float32), μ_s)
        below = rho + (1 - rho) ** 2 * np.exp(-μ_mel * f["deep_melanin"]) * r_dermis
        skin = np.exp(-μ_mel * f["melanin"]) * below
        out[b] = skin + f["surface"] * (np.float32(KERATIN_WHITE) - skin)
    return out


@cache
def band_optics(wavelengths_nm: tuple[float, ...], width_nm: float = BAND_WIDTH_NM) -> Optics:
    """Return the bands' coefficients: each law averaged over a Gaussian filter of full width `width_nm` at half maximum."""
    centres = np.array(wavelengths_nm, dtype=np.float64)
    σ = width_nm / 2.3548
    offsets = np.linspace(-2.0, 2.0, 9) * σ
    weight = np.exp(-0.5 * (offsets / max(σ, 1e-9)) ** 2)
    nm = centres[:, None] + offsets  # (B, 9)

    def mean(values: Vector) -> Vector:
        return (values * weight).sum(axis=1) / weight.sum()

    oxy, deoxy = haemoglobin_extinction(nm)
    eumelanin, pheomelanin = melanin_absorption(nm)
    return Optics(
        wavelengths_nm=centres,
        eumelanin=mean(eumelanin),
        pheomelanin=mean(pheomelanin),
        oxy=mean(blood_absorption(oxy)),
        deoxy=mean(blood_absorption(deoxy)),
        scattering=mean(reduced_scattering(nm)),
        backscatter=mean(PAPILLARY_BACKSCATTER * (nm / 500.0) ** -3),
    )
