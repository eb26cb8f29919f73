"""Which photographs of a store may serve lesions of a diagnosis, and the proof that none shows a held-out lesion."""

from collections.abc import Collection, Sequence

from hyperderm.errors import StoreError, StudyError
from hyperderm.store.manifest import Role
from hyperderm.store.overlap import LesionMatcher, StoreFacts, read_facts
from hyperderm.store.reader import Store

HELD_OUT: tuple[Role, ...] = ("validation", "test")


def photographs_of(rgb: Store, diagnosis: str, size: int, called: str = "--rgb") -> list[str]:
    """Return the ids of the photographs that cubes of `diagnosis` may be made from; all ids if no photograph is labelled.

    Args:
        rgb: the store of photographs.
        diagnosis: the diagnosis of the cubes.
        size: height and width of the cubes in pixels.
        called: how the user named the store, for error messages.

    Raises:
        StudyError: the store holds no photographs, too small ones, or none of the diagnosis.
    """
    uri, manifest = rgb.location.uri, rgb.manifest
    if manifest.kind != "rgb":
        raise StudyError(
            f"{called} {uri} holds {manifest.kind} cubes, not photographs",
            "Make a store of photographs: hyperderm ingest FOLDER --layout photographs --store …",
        )
    if min(manifest.shape[:2]) < size:
        raise StudyError(
            f"{called} {uri} holds photographs of {min(manifest.shape[:2])} pixels, this generator makes {size}",
            f"Ingest them again with --size {size} or more.",
        )
    labelled = set(manifest.diagnoses) != {"unknown"}
    if labelled and diagnosis not in manifest.diagnoses:
        raise StudyError(
            f"{called} {uri} holds no {diagnosis} (it holds {', '.join(manifest.diagnoses)})",
            "Give photographs of that diagnosis, or unlabelled ones that you know to be such.",
        )
    rows = rgb.index().to_pylist()
    return [str(row["lesion_id"]) for row in rows if not labelled or row["diagnosis"] == diagnosis]


def check_unrelated(
    store: Store,
    rgb: Store,
    chosen: Collection[str],
    fold: int,
    called: str = "data.photographs =",
    roles: Sequence[Role] = HELD_OUT,
) -> None:
    """Refuse photographs that show a lesion, or a patient, of some roles.

    They are recognised by the source file and by the group, in either store (`store.overlap.LesionMatcher`), and by a
    patient whom both stores name alike. A group that is only the name of its image tells no patient.

    They are not recognised by what they show. Nothing is trained on a store of photographs (`Store.check_cubes`), so `store`
    holds spectral cubes, and no pixels of theirs can equal those of a photograph. Another file of a held-out lesion, such as
    a photograph written anew or one taken beside the cube, is found only if one of the stores says that both belong to one
    group or patient.

    Args:
        store: the store of the cubes.
        rgb: the store of the photographs.
        chosen: ids of the photographs that would be learnt, or made into cubes.
        fold: the fold of the run.
        called: how the user named the store, for error messages.
        roles: those of held-out lesions; a grid adds train, since its photographs are to be of other lesions.

    Raises:
        StoreError: that is so; the message counts the lesions.
    """
    real, pictures = read_facts(store, cubes=False), read_facts(rgb, cubes=False)
    matcher = LesionMatcher([real, pictures])
    learnt = [(pictures.fingerprint, name) for name in chosen]
    for role in roles:
        held = real.roles(fold, (role,), None) or set()
        found = matcher.overlap(learnt, held)
        if found.lesions:
            how = ", ".join(f"{count} by {reason}" for reason, count in found.how)
            raise StoreError(
                f"{called} {rgb.location.uri} shows {found.lesions} of {len(held)} lesions of the {role} role of "
                f"fold {fold} ({how})",
                "Ingest the photographs without those lesions and their patients.",
            )
        if shared := sorted(_patients(real, held) & _patients(pictures, learnt)):
            raise StoreError(
                f"{called} {rgb.location.uri} shows patients of the {role} role of fold {fold}: both stores name "
                f"{shared[0]}" + (f" and {len(shared) - 1} more" if shared[1:] else ""),
                "Ingest the photographs without these patients, or by --groups with other names if they are other people.",
            )


def _patients(facts: StoreFacts, lesions: Collection[tuple[str, str]]) -> set[str]:
    wanted = {name for _, name in lesions}
    return {row.group for row in facts.rows if row.lesion_id in wanted and row.group != row.image}
