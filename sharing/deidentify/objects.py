"""Steps that build an object anew of what may leave, and what FHIR demands where nothing may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sharing.deidentify import elements as whole
from sharing.deidentify.definitions import ABSENT, Element, elements
from sharing.deidentify.run import Run, Step

#: What stands where FHIR demands an element and nobody may see it (FHIR R4 data-absent-reason).
MASKED: Final[Mapping[str, Any]] = {"extension": [{"url": ABSENT, "valueCode": "masked"}]}
#: The same as a CodeableConcept, where an element says why another is missing.
MASKED_CONCEPT: Final[Mapping[str, Any]] = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "masked"}]
}


def masked(place: str) -> Step:
    """Nothing of the value leaves; ``_object_step`` puts the mask there."""
    applied = (place, "masked")

    def step(_: Any, run: Run) -> Mapping[str, Any]:
        run.counts[applied] += 1
        return MASKED

    return step


def each(place: str, step: Step) -> Step:
    """Apply a step to each value of an array; what does not leave closes up."""
    wrong = (place, "shape")

    def array(value: Any, run: Run) -> list[Any] | None:
        if type(value) is not list:
            run.counts[wrong] += 1
            return None
        return [one for one in [step(item, run) for item in value] if one is not None] or None

    return array


@dataclass(frozen=True, slots=True)
class _Demand:
    """An element that FHIR demands, or one of a choice of which it demands one.

    Attributes:
        names: As which it may stand in the result.
        key: As which the mask is put in.
        mask: What is put in where none of the names is there.
        applied: Place and rule for the report.
    """

    names: frozenset[str]
    key: str
    mask: Any
    applied: tuple[str, str]


def demanded(place: str, type_: str, known: Mapping[str, Element], listed: Mapping[str, Any]) -> list[_Demand]:
    """Return what must not be missing in an object: what FHIR demands, and what a rule masks in any case."""
    found: dict[str, _Demand] = {}
    for name, of in listed.items():
        if name not in known or not (known[name].required or of == "masked"):
            continue
        element = known[name]
        stem = element.choice or name
        names = [one for one in listed if one in known and (known[one].choice or one) == stem]
        both = frozenset(spelled for one in names for spelled in (one, f"_{one}"))
        shown = f"{place}.{stem}[x]" if element.choice else f"{place}.{name}"
        found.setdefault(stem, _Demand(both, as_absent(name, element), _absence(type_, element), (shown, "masked")))
    return list(found.values())


def _hidden(place: str, stem: str, instead: str, known: Mapping[str, Element]) -> _Demand:
    """Return what says that a value was there, where none of its choice left."""
    names = frozenset(name for name, element in known.items() if element.choice == stem)
    return _Demand(names, instead, MASKED_CONCEPT, (f"{place}.{stem}[x]", "masked"))


def as_absent(name: str, element: Element) -> str:
    """Return where a mask stands: beside a primitive, in place of anything else."""
    return f"_{name}" if element.primitive else name


def _absence(type_: str, element: Element) -> Any:
    """Return what stands in an element's place; its own elements that FHIR demands are masked one by one."""
    mask: Any = MASKED
    if element.type in ("BackboneElement", "Element"):
        inner = {name: one for name, one in elements(type_, element.path).items() if one.required and not one.choice}
        mask = {as_absent(name, one): _absence(type_, one) for name, one in inner.items()} or MASKED
    return [mask] if element.many else mask


def object_step(
    place: str,
    steps: Mapping[str, tuple[str, Step]],
    known: Mapping[str, Element],
    rule: Mapping[str, Any],
    demands: Sequence[_Demand],
) -> Step:
    """Return the step that builds an object anew of the elements that may leave."""
    modifiers = frozenset({"modifierExtension", "implicitRules"})
    wrong, modified, empty = (place, "shape"), (place, "modifier"), (place, "empty")
    plain = frozenset(f"_{name}" for name in steps if name in known and known[name].primitive)
    count = whole.others(place, tuple(known))
    needs = frozenset(rule.get("needs", ()))
    hides = [_hidden(place, stem, instead, known) for stem, instead in rule.get("hides", {}).items()]
    nested = "." in place

    def step(value: Any, run: Run) -> dict[str, Any] | None:
        if type(value) is not dict:
            run.counts[wrong] += 1
            return None
        if not modifiers.isdisjoint(value):
            run.counts[modified] += 1
            return None
        found: dict[str, Any] = {}
        left: dict[str, Any] = {}
        for name, item in value.items():
            taken = steps.get(name)
            if taken is None:
                left[name] = item
            elif (kept := taken[1](item, run)) is not None:
                found[taken[0]] = kept
        if left:
            _reasons(left, found, plain)
            count(left, run)
        if not found and nested:
            return whole.absent(value)
        if needs and needs.isdisjoint(found):
            run.counts[empty] += 1
            return None
        for one in hides:
            if one.names.isdisjoint(found) and not one.names.isdisjoint(value) and one.key not in found:
                found[one.key] = one.mask
                run.counts[one.applied] += 1
        for one in demands:
            if one.names.isdisjoint(found):
                found[one.key] = one.mask
                run.counts[one.applied] += 1
        return found

    return step


def _reasons(left: dict[str, Any], found: dict[str, Any], plain: frozenset[str]) -> None:
    """Move ``_name`` of listed primitives without a value from ``left`` to ``found``, where it says why that is."""
    for name in plain.intersection(left):
        if name[1:] not in found and (why := whole.absent(left[name])) is not None:
            found[name] = why
            del left[name]


def extension_step(place: str, steps: Mapping[str, Mapping[str, Step]]) -> Step:
    """Return the step that keeps listed extensions with one listed value each."""
    wrong, unlisted = (place, "shape"), (place, "unlisted")

    def step(value: Any, run: Run) -> list[Any] | None:
        if type(value) is not list:
            run.counts[wrong] += 1
            return None
        found = []
        for one in value:
            url = one.get("url") if type(one) is dict else None
            listed = steps.get(url) if type(url) is str else None
            if listed is None:
                run.counts[unlisted] += 1
                continue
            for name, take in listed.items():
                if name in one and (kept := take(one[name], run)) is not None:
                    found.append({"url": url, name: kept})
        return found or None

    return step
