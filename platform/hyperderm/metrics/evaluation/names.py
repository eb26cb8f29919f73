"""The names of all scores of an evaluation, without torch: a wrong objective of a search is found in milliseconds."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "mean_spectra": ("lesion_angle", "skin_angle", "contrast_difference", "derivative_difference"),
    "level": (
        "spectral_smoothness", "spectral_entropy", "signature_angle", "total_variation", "variance", "spatial_entropy",
        "signal_to_noise", "spectrum_slope",
    ),
    "nearest": (
        "sam_nearest", "thumbnail_nearest", "sam", "sid", "relative_rmse", "ergas", "rase", "rase_as_published", "psnr",
        "ssim", "ms_ssim", "ms_gmsd", "mdsi", "haarpsi",
    ),
    "spectral": ("energy", "coverage", "two_sample_auroc"),
    "inception": (
        "frechet", "kernel", "precision", "recall", "density", "coverage", "two_sample_auroc", "frechet_unscaled",
    ),
    "lite0": ("frechet", "kernel", "precision", "recall", "density", "coverage", "two_sample_auroc"),
}  # fmt: skip
"""The metrics of each family. Of all but `ALONE` there is one against held-out cubes and one against train."""
ALONE = ("mean_spectra", "level")
REFERENCES = ("held_out", "train")

OBJECTIVES: tuple[str, ...] = tuple(
    f"{family}/{key}" if family in ALONE else f"held_out/{family}/{key}" for family, keys in FAMILIES.items() for key in keys
)
"""The scores that a search may take as its objective. Those against train are left out: a copier would win."""
SCORES: tuple[str, ...] = OBJECTIVES + tuple(
    f"train/{family}/{key}" for family, keys in FAMILIES.items() if family not in ALONE for key in keys
)
"""The keys of all scores."""
