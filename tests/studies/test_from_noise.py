"""Synthetic sets and grids of a generator that takes noise, and of one that is told the diagnosis."""

from pathlib import Path

import numpy as np
import pytest

from hyperderm.config import Experiment
from hyperderm.errors import ConfigError, StudyError
from hyperderm.learners.spec import Drawing
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.studies.synthesis import generate_here
from tests.cluster.sweeps import Memory, train_once
from tests.learners.test_dcgan import experiment
from tests.learners.test_diffusion import experiment as diffusion
from tests.studies.grids import plan

FOLD = 1


@pytest.fixture(scope="module")
def real(phantom_store) -> Store:
    return open_store(str(phantom_store))


def trained(real: Store, folder: Path, made: Experiment) -> Path:
    provenance = {"run": "a", "hyperderm.manifest": real.manifest.fingerprint, "hyperderm.fold": str(FOLD)}
    train_once(made, real, folder, provenance, Memory())
    return folder / "best.pt"


def cubes(store: Store) -> np.ndarray:
    return np.stack([lesion.cube.reflectance for lesion in store.lesions()])


@pytest.fixture(scope="module")
def melanomas(real, tmp_path_factory) -> Path:
    return trained(real, tmp_path_factory.mktemp("noise"), experiment(data__fold=FOLD, data__diagnoses=["melanoma"]))


def test_noise_makes_new_lesions(tmp_path, real, melanomas):
    generate_here(real, melanomas, str(tmp_path / "s"), counts={"melanoma": 20})
    made = open_store(str(tmp_path / "s"))
    assert not origin_of(made.manifest).derived
    assert origin_of(made.manifest).generator == "dcgan"
    assert len(np.unique(cubes(made).reshape(20, -1), axis=0)) == 20


def test_truncated_noise_makes_a_set_that_varies_less_and_says_so(tmp_path, real, melanomas):
    for name, drawing in {"free": Drawing(), "cut": Drawing(truncation=0.2)}.items():
        generate_here(real, melanomas, str(tmp_path / name), counts={"melanoma": 12}, drawing=drawing)
    free, cut = open_store(str(tmp_path / "free")), open_store(str(tmp_path / "cut"))
    assert origin_of(cut.manifest).truncation == 0.2
    assert not {"truncation", "mix"} & set(free.manifest.source)
    assert free.manifest.fingerprint != cut.manifest.fingerprint
    assert cubes(cut).std(0).mean() < 0.6 * cubes(free).std(0).mean()
    with pytest.raises(StudyError, match=r"--mix: a generator of learner\.kind = dcgan has no styles"):
        generate_here(real, melanomas, str(tmp_path / "never"), counts={"melanoma": 1}, drawing=Drawing(mix=True))
    assert not (tmp_path / "never").exists()


def test_guidance_is_asked_for_when_the_set_is_made(tmp_path, real, melanomas):
    told = {
        "learner__conditioning": "class",
        "learner__class_dropout": 0.3,
        "learner__edm__sigma_max": 0.1,
    }  # so few steps leave much noise: little of it is put in
    made = diffusion(data__fold=FOLD, **told)
    checkpoint = trained(real, tmp_path / "run", made)
    sets = {}
    for guidance in (None, 1.0, 1.5):
        place = tmp_path / f"set{guidance}"
        generate_here(real, checkpoint, str(place), counts={"melanoma": 4}, drawing=Drawing(guidance=guidance))
        sets[guidance] = open_store(str(place))
    assert "guidance" not in sets[None].manifest.source
    assert origin_of(sets[1.5].manifest).guidance == 1.5
    np.testing.assert_array_equal(cubes(sets[None]), cubes(sets[1.0]))  # 1 is what the configuration says
    assert not np.array_equal(cubes(sets[None]), cubes(sets[1.5]))
    with pytest.raises(StudyError, match="--guidance 2: this generator has not learnt what cubes of all diagnoses"):
        generate_here(real, melanomas, str(tmp_path / "never"), counts={"melanoma": 1}, drawing=Drawing(guidance=2))
    for wrong in (-1.0, 101.0, float("nan")):
        with pytest.raises(ConfigError, match=f"--guidance {wrong:g}"):
            Drawing(guidance=wrong)


def test_a_class_conditional_generator_serves_every_diagnosis_it_learnt(tmp_path, real):
    made = experiment(data__fold=FOLD, learner__conditioning="class", training__images=96)
    checkpoint = trained(real, tmp_path / "run", made)
    counts = {"melanoma": 3, "dysplastic_nevus": 2}
    generate_here(real, checkpoint, str(tmp_path / "both"), counts=counts)
    both = open_store(str(tmp_path / "both"))
    assert dict(both.manifest.diagnoses) == counts
    generate_here(real, checkpoint, str(tmp_path / "one"), counts={"dysplastic_nevus": 2})
    np.testing.assert_array_equal(cubes(open_store(str(tmp_path / "one"))), cubes(both)[3:])


def test_what_noise_cannot_serve(tmp_path, real, melanomas):
    def refused(message: str, checkpoint: Path, **options) -> None:
        with pytest.raises(StudyError, match=message):
            generate_here(real, checkpoint, str(tmp_path / "never"), **{"counts": {"melanoma": 1}, **options})
        assert not (tmp_path / "never").exists()

    refused(r"'nevus' was not learnt.*data\.diagnoses: melanoma", melanomas, counts={"nevus": 2})
    both = trained(real, tmp_path / "run", experiment(data__fold=FOLD))
    refused(r"nobody knows which.*data\.diagnoses", both)


def test_a_grid_knows_what_a_generator_can_be_asked_for_before_it_trains(real):
    noisy = experiment(training__batch_size=2)
    with pytest.raises(ConfigError, match=r"arm shsgan_only, generator shsgan: .*nobody knows which") as refused:
        plan(real, {"shsgan": noisy}, arms=["only"])
    assert (
        """--set 'generator_settings={"shsgan": {"learner.conditioning": "class", "data.diagnoses": "all"}}'."""
        in refused.value.remedy
    )
    told = experiment(training__batch_size=2, learner__conditioning="class")
    assert plan(real, {"shsgan": told}, arms=["only"]).stage("generator")


def test_a_grid_tells_the_diagnosis_where_it_has_a_generator_learn_all(real):
    """The arm `only` needs cubes of every class: a generator of melanomas alone becomes one that is told the class."""
    alone = experiment(training__batch_size=2, data__diagnoses=["melanoma"])
    found = {
        job.label: job.experiment for job in plan(real, {"shsgan": alone}, arms=["synthetic", "only"]).stage("generator")
    }
    told = [made for made in found.values() if made.learner.condition == "class"]
    assert told
    assert all(set(made.data.diagnoses) >= {"melanoma", "dysplastic_nevus"} for made in told)
    assert all(made.data.diagnoses == ("melanoma",) for made in found.values() if made not in told)
