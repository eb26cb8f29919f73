"""The rules of leaks, on records made by hand: a sound project is clean, each kind of leak is found, and nothing else."""

from dataclasses import replace

import pytest

from hyperderm.store.artefacts import Artefact, Trial
from hyperderm.store.leaks import KINDS, find_leaks
from hyperderm.store.manifest import Folds, Opening
from hyperderm.store.overlap import Row, StoreFacts

LR = {"learner.lr": 0.000123456789}
BEFORE, AFTER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"


def real(name="A", files="", groups=None, shape=(16, 16, 3)):
    """Ten lesions, lesion i in fold i mod 5, even ones melanoma; each with a file of its own below `files`."""
    kinds = ["melanoma", "dysplastic_nevus"]
    groups = groups or {}
    rows = tuple(
        Row(f"L{i}", groups.get(i, f"G{i}"), kinds[i % 2], frozenset({f"file {files or name} {i}"}), f"cube {name} {i}")
        for i in range(10)
    )
    return StoreFacts(
        name, f"at {name}", rows, shape, Folds(seed=0, count=5, groups={r.group: i % 5 for i, r in enumerate(rows)}), {}
    )


def made(name="S", fold=0, manifest="A", run="gen", rows=(), **source):
    facts = {"verb": "generate", "manifest": manifest, "fold": fold, "run": run, "checkpoint": "c0" * 8}
    drawn = rows or (Row("syn", "syn", "melanoma", frozenset(), "cube syn"),)
    return StoreFacts(name, f"at {name}", tuple(drawn), (16, 16, 3), None, {**facts, **source})


GENERATOR = Artefact("gen", "gen", "generator", manifest="A", fold=0, settings={"learner.lr": 1e-3})
SEARCH = Artefact("sweep", "sweep", "search", manifest="A", fold=0, trials=(Trial("trial 000", LR, "sweep/0"),))
CELL = Artefact(
    "cell", "grid/arm/cell", "classifier", True, "A", 0, ("melanoma", "dysplastic_nevus"), ("S",),
    (Opening("A", 0, AFTER),), BEFORE, {"learner.lr": 1e-4},
)  # fmt: skip


def kinds(verdict):
    return {one.kind for one in verdict.findings}


def only(verdict):
    (found,) = verdict.findings
    return found


def test_a_sound_project_is_clean():
    verdict = find_leaks([CELL, replace(GENERATOR, uses=("sweep",)), SEARCH], [real(), made()])
    assert (verdict.findings, verdict.unknown) == ((), ())
    assert (verdict.openings, verdict.roles, verdict.stores) == (1, 1, 2)
    assert verdict.counts == {"classifier": 1, "generator": 1, "search": 1, "set": 1}


def test_every_fold_with_its_own_set_is_clean():
    cells = [replace(CELL, key=f"cell {k}", fold=k, uses=(f"S{k}",), openings=(Opening("A", k, AFTER),)) for k in range(5)]
    makers = [replace(GENERATOR, key=f"gen {k}", fold=k) for k in range(5)]
    verdict = find_leaks([*cells, *makers], [real(), *(made(f"S{k}", k, run=f"gen {k}") for k in range(5))])
    assert (verdict.findings, verdict.unknown) == ((), ())


def test_a_generator_of_another_fold_leaks_through_each_of_its_steps():
    """Test role of fold 0: lesions 0 and 5. For fold 1 they are train; for fold 4 they are validation."""
    verdict = find_leaks([CELL, replace(GENERATOR, fold=1)], [real(), made(fold=1)])
    assert [(one.kind, one.lesions, one.held) for one in verdict.findings] == [("generator", 2, 2), ("set", 2, 2)]
    assert {one.how for one in verdict.findings} == {"same lesion 2"}
    assert {one.users for one in verdict.findings} == {("grid/arm/cell",)}
    assert {one.opened for one in verdict.findings} == {1}
    assert {one.data for one in verdict.findings} == {
        "train of fold 1 of store A",
        "made from train and validation of fold 1 of store A",
    }


def test_a_checkpoint_chosen_on_the_test_role_is_found():
    verdict = find_leaks([CELL, replace(GENERATOR, fold=4)], [real(), made()])
    assert (only(verdict).kind, only(verdict).data) == ("checkpoint", "validation of fold 4 of store A")


def test_a_set_alone_of_another_fold_is_found():
    assert only(find_leaks([CELL, GENERATOR], [real(), made(fold=2)])).kind == "set"


def test_only_what_was_read_counts():
    melanomas = replace(GENERATOR, fold=1, diagnoses=("melanoma",))
    assert {one.lesions for one in find_leaks([CELL, melanomas], [real(), made(fold=1)]).findings} == {1}
    nevi = replace(GENERATOR, fold=1, diagnoses=("nevus",))
    assert find_leaks([CELL, nevi], [real(), made(fold=1)]).findings == ()


def test_a_set_that_holds_test_lesions_is_found():
    copy = Row("syn", "syn", "melanoma", frozenset(), "cube A 5")
    assert only(find_leaks([CELL, GENERATOR], [real(), made(rows=(copy,))])).how == "same cube 1"
    derived = Row("syn", "syn", "melanoma", frozenset(), "cube new", "L0")
    assert (only(find_leaks([CELL, GENERATOR], [real(), made(rows=(derived,))])).kind) == "set"
    of_train = Row("syn", "syn", "melanoma", frozenset(), "cube new", "L2")
    assert find_leaks([CELL, GENERATOR], [real(), made(rows=(of_train,))]).findings == ()


def test_a_search_of_another_fold_behind_a_generator_is_found():
    searched = [CELL, replace(GENERATOR, uses=("sweep",)), replace(SEARCH, fold=3)]
    found = only(find_leaks(searched, [real(), made()]))
    assert (found.kind, found.by, found.lesions) == ("search", "sweep", 2)


def test_a_set_made_by_a_trial_of_another_folds_search_is_found():
    """The trial was chosen among all of them, so the search is what saw the role."""
    verdict = find_leaks([CELL, replace(SEARCH, fold=1)], [real(), made(fold=1, run="sweep/0")])
    assert ([(one.kind, one.by) for one in verdict.findings], verdict.unknown) == (
        [("set", "at S"), ("search", "sweep")],
        (),
    )
    assert find_leaks([CELL, SEARCH], [real(), made(run="sweep/0")]).findings == ()


def test_values_of_another_folds_search_are_recognised():
    copied = replace(GENERATOR, settings=LR)
    found = only(find_leaks([CELL, copied, replace(SEARCH, fold=3)], [real(), made()]))
    assert (found.kind, found.by) == ("values", "sweep")
    assert "trial 000 has the values of gen" in found.data


def test_values_that_the_own_search_gives_too_or_that_are_round_are_no_evidence():
    copied = replace(GENERATOR, settings=LR)
    other = replace(SEARCH, key="other", fold=3)
    assert find_leaks([CELL, copied, SEARCH, other], [real(), made()]).findings == ()
    round_values = replace(other, trials=(Trial("trial 000", {"learner.lr": 1e-3}),))
    assert find_leaks([CELL, GENERATOR, round_values], [real(), made()]).findings == ()


def test_a_classifier_tested_on_what_it_was_trained_on_is_found():
    cell = replace(CELL, uses=(), openings=(Opening("A", 2, AFTER),))
    assert (only(find_leaks([cell], [real()])).kind, only(find_leaks([cell], [real()])).lesions) == ("classifier", 2)
    cell = replace(CELL, uses=(), openings=(Opening("A", 1, AFTER),))
    assert only(find_leaks([cell], [real()])).kind == "checkpoint"


def test_a_classifier_that_opened_nothing_yet_is_judged_on_its_own_fold():
    waiting = replace(CELL, openings=(), chosen_at="")
    verdict = find_leaks([waiting, replace(GENERATOR, fold=1)], [real(), made(fold=1)])
    assert kinds(verdict) == {"generator", "set"}
    assert {one.opened for one in verdict.findings} == {0}


def test_choices_after_the_test_role_was_opened_are_found():
    late = replace(CELL, chosen_at=AFTER, openings=(Opening("A", 0, BEFORE),))
    assert only(find_leaks([late, GENERATOR], [real(), made()])).kind == "late"
    uncounted = only(find_leaks([replace(late, uses=())], []))
    assert (uncounted.kind, uncounted.lesions, uncounted.held, uncounted.how) == ("late", None, None, "")


@pytest.mark.parametrize("change", [{"chosen_at": ""}, {"openings": (Opening("A", 0),)}, {"chosen_at": "soon"}])
def test_times_that_are_missing_are_unknown(change):
    verdict = find_leaks([replace(CELL, **change), GENERATOR], [real(), made()])
    assert (verdict.findings, [name for name, _ in verdict.unknown]) == ((), ["grid/arm/cell"])


def test_a_test_role_opened_for_two_trials_of_a_search_is_peeking():
    trials = (Trial("trial 000", LR, "sweep/0"), Trial("trial 001", {"learner.lr": 0.0009876543}, "sweep/1"))
    search = replace(SEARCH, trials=trials)
    again = replace(CELL, key="second", name="second", uses=("T",))
    stores = [real(), made(run="sweep/0"), made("T", run="sweep/1")]
    found = only(find_leaks([CELL, again, search], stores))
    assert (found.kind, found.users) == ("peeking", ("grid/arm/cell", "second"))
    assert found.data == "opened for 2 choices: trial 000, trial 001"
    same = [real(), made(run="sweep/0"), made("T", run="sweep/0", seed=1)]
    assert find_leaks([CELL, again, search], same).findings == ()
    waiting = replace(again, openings=())
    assert find_leaks([CELL, waiting, search], stores).findings == ()
    elsewhere = replace(again, fold=1, openings=(Opening("A", 1, AFTER),))
    assert "peeking" not in kinds(find_leaks([CELL, elsewhere, search], stores))


def test_a_generator_and_a_set_of_the_same_trial_are_one_choice():
    by_grid = replace(GENERATOR, settings=LR, uses=("sweep",))
    again = replace(CELL, key="second", name="second", uses=("T",))
    stores = [real(), made(), made("T", run="sweep/0")]
    assert find_leaks([CELL, by_grid, again, SEARCH], stores).findings == ()
    other = replace(by_grid, settings={"learner.lr": 0.5})
    assert only(find_leaks([CELL, other, again, SEARCH], stores)).data == "opened for 2 choices: learner.lr=0.5, trial 000"


def test_the_same_pictures_in_another_store_are_recognised_by_their_files():
    """Store B holds the files of A under other names, groups and folds: its train role of fold 2 holds A's lesions 0, 5."""
    b = replace(real("B", files="A"), rows=tuple(replace(r, lesion_id=f"x{r.lesion_id}") for r in real("B", files="A").rows))
    maker = replace(GENERATOR, manifest="B", fold=2)
    verdict = find_leaks([CELL, maker], [real(), b, made(manifest="B", fold=2)])
    assert {(one.kind, one.how) for one in verdict.findings} == {("generator", "same file 2"), ("set", "same file 2")}
    apart = find_leaks([CELL, maker], [real(), real("B"), made(manifest="B", fold=2)])
    assert (apart.findings, apart.unknown) == ((), ())


def test_one_picture_under_two_groups_of_one_store_is_found():
    twice = real()
    rows = tuple(replace(r, cube="cube A 0") if r.lesion_id == "L2" else r for r in twice.rows)
    found = only(find_leaks([replace(CELL, uses=())], [replace(twice, rows=rows)]))
    assert (found.kind, found.how, found.lesions) == ("classifier", "same cube 1", 1)


def test_stores_that_cannot_be_compared_are_unknown():
    bare = replace(real("B", shape=(8, 8, 3)), rows=tuple(replace(r, files=frozenset()) for r in real("B").rows))
    verdict = find_leaks([CELL, replace(GENERATOR, manifest="B")], [real(), bare, made(manifest="B")])
    assert verdict.findings == ()
    assert all("only compared in part" in what for _, what in verdict.unknown)
    assert {name for name, _ in verdict.unknown} == {"gen", "at S"}


def test_without_its_store_another_fold_is_a_leak_that_is_not_counted():
    told = replace(CELL, uses=("gen",))
    verdict = find_leaks([told, replace(GENERATOR, fold=1)], [])
    assert (only(verdict).kind, only(verdict).lesions, only(verdict).held) == ("generator", None, None)
    verdict = find_leaks([told, GENERATOR], [])
    assert verdict.findings == ()
    assert "could not be read" in verdict.unknown[0][1]
    verdict = find_leaks([told, replace(GENERATOR, manifest="B")], [real()])
    assert verdict.findings == ()
    assert "cannot be told without both" in verdict.unknown[0][1]


def test_what_is_not_recorded_is_unknown():
    nameless = replace(GENERATOR, key="x", name="x", manifest="", fold=None, missing=("the store it read", "its fold"))
    verdict = find_leaks([CELL, GENERATOR, nameless], [real(), made()])
    assert verdict.unknown == (("x", "not recorded: the store it read"), ("x", "not recorded: its fold"))
    lost = find_leaks([CELL], [real(), made()])
    assert lost.unknown == (("at S", "made with gen, which is neither in MLflow nor among the stores"),)


def test_a_search_of_classifiers_is_judged_like_a_classifier():
    search = replace(SEARCH, classifies=True, uses=("S",), diagnoses=("melanoma",))
    verdict = find_leaks([search, GENERATOR], [real(), made(fold=1)])
    assert [(one.kind, one.users, one.lesions) for one in verdict.findings] == [("set", ("sweep",), 1)]


def test_users_of_one_leak_are_one_finding():
    cells = [replace(CELL, key=f"c{i}", name=f"c{i}") for i in range(4)]
    found = only(find_leaks([*cells, GENERATOR], [real(), made(fold=2)]))
    assert (found.users, found.opened) == (("c0", "c1", "c2", "c3"), 4)


def test_every_kind_has_a_title():
    trained = ["classifier", "evaluation", "generator", "segmenter", "unmixer", "photographs"]
    chosen = ["checkpoint", "set", "search", "values"]
    assert list(KINDS) == [*trained, *chosen, "description", "roles", "foreign", "late", "peeking"]


def test_what_a_generator_began_from_is_judged_too():
    """Another fold's pre-training has seen the test role, though the generator itself has not."""
    before = Artefact("before", "before", "generator", manifest="A", fold=0)
    begun = replace(GENERATOR, uses=("before",))
    assert not find_leaks([CELL, begun, before], [real(), made()]).findings
    found = only(find_leaks([CELL, begun, replace(before, fold=1)], [real(), made()]))
    assert (found.kind, found.by, found.lesions, found.users) == ("generator", "before", 2, ("grid/arm/cell",))


def test_a_fold_free_net_has_seen_every_lesion_that_its_store_shares_with_the_test_role():
    pixels = real("P", files="A")
    pixels = replace(pixels, folds=None)
    net = Artefact("net", "net", "unmixer", manifest="P", fold_free=True)
    verdict = find_leaks([replace(CELL, uses=("net",)), net], [real(), pixels])
    found = only(verdict)
    assert (found.kind, found.by, found.lesions, found.how) == ("unmixer", "net", 2, "same file 2")
    assert found.data == "every lesion of store P"
    assert not find_leaks([CELL, replace(GENERATOR), net], [real(), made(), pixels]).findings  # nothing was made with it
    unread = find_leaks([replace(CELL, uses=("net",)), net], [real()])
    assert unread.unknown == (("net", "is fold-free and read store P, which could not be compared"),)


def test_photographs_that_a_generator_learnt_are_compared_with_the_test_role():
    """Of the photographs those of a learnt diagnosis or of none count; L0 and L5 are the test role of fold 0."""
    shown = replace(real("R", files="A", shape=(16, 16, 3)), folds=None)
    fused = replace(GENERATOR, photographs="R", diagnoses=("melanoma",))
    found = only(find_leaks([CELL, fused], [real(), made(), shown]))
    assert (found.kind, found.by, found.lesions, found.how) == ("photographs", "gen", 1, "same file 1")  # L0, a melanoma
    unnamed = replace(shown, rows=tuple(replace(row, diagnosis=None) for row in shown.rows))
    assert only(find_leaks([CELL, fused], [real(), made(), unnamed])).lesions == 2
    assert only(find_leaks([CELL, replace(fused, diagnoses=None)], [real(), made(), shown])).lesions == 2
    others = replace(real("R", files="elsewhere"), folds=None)
    assert find_leaks([CELL, fused], [real(), made(), others]).findings == ()
    away = find_leaks([CELL, fused], [real(), made()])
    assert away.unknown == (("gen", "learnt photographs of store R, which could not be compared"),)


def test_clusters_of_a_net_are_judged_like_the_net_they_were_made_with():
    """A segmentation is no leak by itself; what uses it would be, if the net behind it has seen the test role."""
    net = Artefact("net", "net", "segmenter", manifest="A", fold=1)
    labels = Artefact("labels", "labels", "segmenter", manifest="A", fold=0, uses=("net",))
    assert not find_leaks([CELL, GENERATOR, net, labels], [real(), made()]).findings
    found = only(find_leaks([replace(CELL, uses=("labels",)), net, labels], [real()]))
    assert (found.kind, found.by) == ("segmenter", "net")


def test_a_description_of_all_roles_is_no_leak_unless_something_was_made_with_it():
    """It shows the test role's lesions as every paper does; only a choice or a training that names it would be one."""
    page = Artefact("page", "page", "description", manifest="A", fold_free=True)
    verdict = find_leaks([CELL, GENERATOR, page], [real(), made()])
    assert (verdict.findings, verdict.unknown, verdict.openings) == ((), (), 1)
    assert verdict.counts["description"] == 1
    found = only(find_leaks([replace(CELL, uses=("page",)), page], [real()]))
    assert (found.kind, found.by, found.lesions) == ("description", "page", 2)


def test_a_source_image_in_two_roles_of_a_fold_is_found():
    """Lesions 1 and 2 are validation and train of fold 0; with fold 3, where both are train, they do no harm."""
    store = real()
    shared = replace(
        store, rows=tuple(replace(r, image="I" if r.lesion_id in ("L1", "L2") else r.lesion_id) for r in store.rows)
    )
    found = only(find_leaks([replace(CELL, uses=())], [shared]))
    assert (found.kind, found.by, found.lesions, found.held, found.users) == ("roles", "at A", 2, 10, ("grid/arm/cell",))
    harmless = replace(CELL, uses=(), fold=3, openings=(Opening("A", 3, AFTER),))
    assert find_leaks([harmless], [shared]).findings == ()


@pytest.mark.parametrize(
    ("predicted", "foreign"), [({("L0", "G0"), ("L5", "G5")}, 0), ({("L0", "G0"), ("L2", "G2")}, 1), ({("L0", "other")}, 1)]
)
def test_predictions_of_lesions_outside_the_test_role_are_found(predicted, foreign):
    verdict = find_leaks([replace(CELL, uses=(), predicted=frozenset(predicted))], [real()])
    assert [(one.kind, one.by, one.lesions) for one in verdict.findings] == [("foreign", CELL.name, 1)] * foreign
