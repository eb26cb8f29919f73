"""Cubes from colours by an unmixing net alone: what it sees in an image, mixed by its endmembers, plus the residual.

Hypothesis: photographs of lesions that train does not hold are new lesions, and the net's abundances of them, mixed by
endmembers of train, have the spectra of skin; so these cubes help a classifier, without any generator network.
Command: make train-unmixer NAME=colours SET=learner.bands=rgb, then make train-colour_unmixing SET=learner.unmixing=colours
and hyperderm generate --rgb URI; in a grid: make ablation SET='generators=["colour_unmixing"] rgb=URI
unmixers={"colour_unmixing":"unmixer"} generator_settings={"unmixer":{"learner.bands":"rgb"}}'
Expected: no training but that of the net; sharp lesions with the geometry of their images.
Result (these commands, fold 0, one seed, 32 px, the phantom's 330 lesions; 200 other phantom lesions as photographs of a
camera with other gains; 100 melanomas, measured on 17 of validation): the net takes 20 s of one core and this run 2 s.
From photographs: distance −0.01 and coverage 0.99 (real train cubes −0.02 and 0.99), told from real 0.98 (0.85 to 1.00), no
copies, none out of range; root mean square difference from the true cube of the photograph 0.041. Less contrast of lesion
and skin than real cubes have. From train's own colours: distance 0.00, coverage 0.99, told from real 0.97. Lesions that
look like their photographs, a little paler, with 0.84 (green, yellow) to 1.01 (red) of the true cubes' finest detail.
"""

from hyperderm.config import DataConfig, Experiment, SweepConfig, TrainingConfig
from hyperderm.learners.colour_unmixing import ColourUnmixingConfig
from hyperderm.registry import Profile


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; both profiles take one core seconds, once the net is trained."""
    return Experiment(
        name="colour_unmixing",
        profile=profile,
        data=DataConfig(size=32, diagnoses="all") if profile == "small" else DataConfig(diagnoses="all"),
        learner=ColourUnmixingConfig(),
        training=TrainingConfig(batch_size=8, images=8, validate_every=8, validation_samples=64),
        sweep=SweepConfig(trials=2, concurrent=2, grace_images=8, startup_trials=2),
    )
