"""The content of the report of an evaluation, from its first sentence to its appendix."""

from hyperderm.metrics.as_published import METRICS as PUBLISHED_METRICS
from hyperderm.metrics.evaluation.measure import METRICS
from hyperderm.metrics.evaluation.orderings import SETS
from hyperderm.reports.document import Content, Section
from hyperderm.reports.evaluation import tables, words
from hyperderm.reports.evaluation.figures import drawings
from hyperderm.studies.evaluation import AUDIT_METRICS, Evaluated, Evaluation


def content(found: Evaluation) -> Content:
    """Return the whole report."""
    held = found.roles
    subtitle = (
        f"Real: {held.store.location.uri} ({held.store.name}), fold {held.fold}, {len(held.train)} train and "
        f"{len(held.held_out)} {held.role} lesions of {', '.join(held.diagnoses)}, {held.size} px, "
        f"{len(held.wavelengths)} bands. Synthetic: "
        + "; ".join(
            f"{each.made.name}, {len(each.made.cubes)} cubes ({each.made.store.location.uri})" for each in found.sets
        )
    )
    return Content(
        title=f"How good {'are' if len(found.sets) > 1 else 'is'} {words.listed([each.made.name for each in found.sets])}?",
        subtitle=subtitle,
        answer=words.answer(found),
        verdicts=words.details(found),
        warnings=_warnings(found),
        sections=tuple(_sections(found)),
    )


def _warnings(found: Evaluation) -> tuple[str, ...]:
    said = [*found.roles.notes, *found.missing]
    for each in found.sets:
        said += [f"{each.made.name}: {note}" for note in each.made.notes]
        if words.near_held_out(each):
            said.append(
                f"{each.made.name}: its cubes are nearer to held-out lesions than other real lesions are. Where its "
                "generator has seen these, every score against them is worthless."
            )
        if each.memorised:
            said.append(f"{each.made.name}: the audit calls this set memorised, and most scores praise copies.")
    if found.opening:
        said.append(
            f"The test role of fold {found.opening.fold} was opened at {found.opening.at}; MLflow holds the record. "
            "A choice made after reading this report is made on the test role."
        )
    return tuple(dict.fromkeys(said))


def _sections(found: Evaluation) -> list[Section]:
    left = _left(found)
    return [
        Section("cannot", "What this cannot tell", items=words.cannot_tell(found), boxed=True),
        *[section for k, each in enumerate(found.sets) for section in _pictures(found, each, k)],
        Section("scores", "All scores", tables=(tables.score_table(found),)),
        *([Section("left", "Left out", items=left)] if left else []),
        Section("bands", "Bands", tables=(tables.bands_table(found),)),
        Section(
            "published",
            "As the seeds computed",
            paragraphs=(
                "The documents that this project grew from printed numbers of generators. Here are the same numbers of this "
                "set, computed in their way, so that they can be compared; the tables above judge.",
            ),
            tables=(tables.published_table(found),),
        ),
        Section(
            "metrics",
            "Appendix: every metric",
            paragraphs=("The docstring of each function gives shapes and errors.",),
            tables=(tables.metrics_table([*METRICS.values(), *AUDIT_METRICS, *PUBLISHED_METRICS]),),
        ),
        Section(
            "orderings",
            "Appendix: what every score sees of known damage",
            paragraphs=(
                "Measured on phantom lesions of 64 px, 60 a set. Sees: the score lies outside the range of real cubes, and "
                "further out than that of fresh cubes by more than a quarter of the range's width; against train, copies "
                "count as seen where they are better than real. –: it is not seen. Cannot: it is not, by construction. "
                "Better: the score takes the damage for better than real cubes.",
            ),
            tables=(tables.orderings_table(),),
            items=tuple(f"{name}: {what}" for name, what in SETS.items()),
        ),
        Section("facts", "How this was made", items=tuple(f"{name}: {value}" for name, value in found.facts.items())),
    ]


def _pictures(found: Evaluation, each: Evaluated, number: int) -> list[Section]:
    """Return the sections of one set: its scores at a glance, its copies and its pictures."""
    prefix = f"set{number}"
    name = f": {each.made.name}" if len(found.sets) > 1 else ""
    drawn = {drawing.name.removeprefix(f"{prefix}-"): drawing for drawing in drawings(each.measured, found.how, prefix)}
    embeddings = tuple(drawing for key, drawing in drawn.items() if key.startswith("embedding"))
    table = tables.copies_table(each)
    return [
        Section(f"{prefix}-scores", f"At a glance{name}", drawings=(drawn["scores"],)),
        Section(
            f"{prefix}-copies",
            f"New or copied{name}",
            paragraphs=(_sentence(words.newness(each)),),
            items=_notes(each),
            tables=(table,) if table else (),
            drawings=(drawn["pairs"],),
        ),
        Section(f"{prefix}-cubes", f"Cubes{name}", drawings=(drawn["cubes"], drawn["bands"])),
        Section(f"{prefix}-spectra", f"Spectra{name}", drawings=(drawn["spectra"], drawn["angles"])),
        Section(f"{prefix}-levels", f"Single cubes{name}", drawings=(drawn["levels"],)),
        *([Section(f"{prefix}-embedding", f"The set as a whole{name}", drawings=embeddings)] if embeddings else []),
    ]


def _notes(each: Evaluated) -> tuple[str, ...]:
    """Return the notes of the audit, and what `generate` recorded of a derived set's own lesions where it judged them."""
    notes = each.audit.notes if each.audit else []
    recorded = each.recorded or {}
    if not recorded.get("own"):
        return tuple(notes)
    judged = [f"recorded when the set was generated: {note}" for note in recorded.get("notes", ()) if note not in notes]
    return (*(note for note in notes if not note.startswith("derived:")), *judged)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _left(found: Evaluation) -> tuple[str, ...]:
    return tuple(f"{each.made.name}, {left.key}: {left.why}" for each in found.sets for left in each.measured.scores.left)
