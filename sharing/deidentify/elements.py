"""Steps for FHIR's data types that are looked through as a whole: codes, references, identifiers, quantities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sharing.deidentify.definitions import ABSENT, resource_types
from sharing.deidentify.profile import Profile
from sharing.deidentify.run import Run, Step
from sharing.deidentify.tables import UCUM
from sharing.deidentify.values import dropped, number, text

IDENTIFIERS: Final = "urn:xinglin:pseudonym:identifier"
UIDS: Final = "urn:dicom:uid"
#: Why a value is missing, FHIR R4 data-absent-reason.
_REASONS: Final = frozenset(
    {
        "unknown", "asked-unknown", "temp-unknown", "not-asked", "asked-declined", "masked", "not-applicable",
        "unsupported", "as-text", "error", "not-a-number", "negative-infinity", "positive-infinity", "not-performed",
        "not-permitted",
    }
)  # fmt: skip
_CODING: Final = frozenset({"system", "code", "display"})
_CONCEPT: Final = frozenset({"coding", "text"})
_REFERENCE: Final = frozenset({"reference", "type", "identifier", "display"})
_IDENTIFIER: Final = frozenset({"type", "system", "value"})
_QUANTITY: Final = frozenset({"value", "comparator", "unit", "system", "code"})
_COMPARATORS: Final = frozenset({"<", "<=", ">=", ">"})


def absent(value: Any) -> dict[str, Any] | None:
    """Return FHIR's extension that says why something is missing, alone, or None where there is none."""
    extensions = value.get("extension") if type(value) is dict else None
    for one in extensions if type(extensions) is list else ():
        if type(one) is dict and one.get("url") == ABSENT:
            reason = one.get("valueCode")
            if type(reason) is str and reason in _REASONS:
                return {"extension": [{"url": ABSENT, "valueCode": reason}]}
    return None


def others(place: str, names: tuple[str, ...], rule: str = "unlisted") -> Callable[[dict[str, Any], Run], None]:
    """Return what counts the children of an element that go; names that FHIR does not know are not repeated."""
    known = {name: (f"{place}.{name}", rule) for one in names for name in (one, f"_{one}")}
    strange = (f"{place}.(not FHIR)", "unlisted")

    def count(left: dict[str, Any], run: Run) -> None:
        for name in left:
            run.counts[known.get(name, strange)] += 1

    return count


def coding(place: str, profile: Profile) -> Step:
    """Keep system and code of a coding where a list has them, with the list's display; else a pseudonym."""
    if profile.action("concept") == "drop":
        return dropped(place, profile.rule("concept"))
    listed, local = (place, profile.rule("concept")), (f"{place}.code", profile.rule("local-code"))
    wrong = (place, "shape")
    display = (f"{place}.display", profile.rule("concept"))
    left = others(place, ("id", "extension", "version", "userSelected"))

    def step(value: Any, run: Run) -> dict[str, str] | None:
        if type(value) is not dict:
            run.counts[wrong] += 1
            return None
        system, said = value.get("system", ""), value.get("code")
        if type(said) is not str or type(system) is not str:
            run.counts[listed] += 1
            return None
        if "display" in value:
            run.counts[display] += 1
        if not _CODING.issuperset(value):
            left({name: 0 for name in value if name not in _CODING}, run)
        found, known = run.coding(system, said)
        if not known:
            run.counts[local] += 1
        return found

    return step


def concept(place: str, profile: Profile) -> Step:
    """Keep the codings of a CodeableConcept that may leave, and its text where that is a laboratory's word."""
    if profile.action("concept") == "drop":
        return dropped(place, profile.rule("concept"))
    each, wrong = coding(f"{place}.coding", profile), (place, "shape")
    words = text(f"{place}.text", profile)
    left = others(place, ("id", "extension"))

    def step(value: Any, run: Run) -> dict[str, Any] | None:
        if type(value) is not dict:
            run.counts[wrong] += 1
            return None
        found: dict[str, Any] = {}
        codings = value.get("coding", ())
        if type(codings) is not list and codings != ():
            run.counts[wrong] += 1
            return None
        kept = [one for one in [each(coding, run) for coding in codings] if one is not None]
        if kept:
            found["coding"] = kept
        said = value.get("text")
        if said is not None:
            clean = said if type(said) is str and run.tables.result(said) else words(said, run)
            if clean is not None:
                found["text"] = clean
        if not _CONCEPT.issuperset(value):
            left({name: 0 for name in value if name not in _CONCEPT}, run)
        return found or absent(value)

    return step


def reference(place: str, profile: Profile) -> Step:
    """Put pseudonyms in a reference: literal, logical, or both; a display goes."""
    if profile.action("reference") == "drop":
        return dropped(place, profile.rule("reference"))
    done, dangling, wrong = (place, profile.rule("reference")), (place, "dangling"), (place, "shape")
    display = (f"{place}.display", "unlisted")
    number_of = identifier(f"{place}.identifier", profile)
    left = others(place, ("id", "extension"))

    def step(value: Any, run: Run) -> dict[str, Any] | None:
        if type(value) is not dict:
            run.counts[wrong] += 1
            return None
        found: dict[str, Any] = {}
        literal = value.get("reference")
        if type(literal) is str:
            to = run.reference(literal)
            if to is None:
                run.counts[dangling] += 1
                return None
            run.counts[done] += 1
            found["reference"] = to
        if len(value) > 1 or not found:
            if "display" in value:
                run.counts[display] += 1
            logical = number_of(value["identifier"], run) if "identifier" in value else None
            if logical is not None:
                found["identifier"] = logical
            kind = value.get("type")
            if found and type(kind) is str and kind in resource_types():
                found["type"] = kind
            if not _REFERENCE.issuperset(value):
                left({name: 0 for name in value if name not in _REFERENCE}, run)
        return found or absent(value)

    return step


def identifier(place: str, profile: Profile) -> Step:
    """Put the pseudonym of a number in its place: the same for the same system and value; only its kind stays.

    A DICOM UID is of class ``uid`` here as everywhere.
    """
    numbers, uids = profile.action("identifier") == "pseudonym", profile.action("uid") == "pseudonym"
    if not numbers and not uids:
        return dropped(place, profile.rule("identifier"))
    done, uid, wrong = (place, profile.rule("identifier")), (place, profile.rule("uid")), (place, "shape")
    kind = concept(f"{place}.type", profile)
    left = others(place, ("id", "extension", "use", "period", "assigner"))

    def step(value: Any, run: Run) -> dict[str, Any] | None:
        said = value.get("value") if type(value) is dict else None
        system = value.get("system", "") if type(value) is dict else None
        if type(said) is not str or type(system) is not str:
            run.counts[wrong] += 1
            return None
        is_uid = system == UIDS
        run.counts[uid if is_uid else done] += 1
        if not (uids if is_uid else numbers):
            return None
        found: dict[str, Any] = {}
        if "type" in value and (of := kind(value["type"], run)) is not None:
            found["type"] = of
        if is_uid:
            found |= {"system": UIDS, "value": f"urn:oid:{run.pseudonyms.uid(said.removeprefix('urn:oid:'))}"}
        else:
            found |= {"system": IDENTIFIERS, "value": run.pseudonyms.value(system, said)}
        if not _IDENTIFIER.issuperset(value):
            left({name: 0 for name in value if name not in _IDENTIFIER}, run)
        return found

    return step


def quantity(place: str, profile: Profile) -> Step:
    """Keep a number with its unit; a unit that no list has goes; a comparator unknown to FHIR takes all with it."""
    if profile.action("quantity") == "drop":
        return dropped(place, profile.rule("quantity"))
    of = number(f"{place}.value")
    wrong, unit = (place, "shape"), (f"{place}.unit", "not-closed")
    left = others(place, ("id", "extension", *_QUANTITY))

    def step(value: Any, run: Run) -> dict[str, Any] | None:
        if type(value) is not dict:
            run.counts[wrong] += 1
            return None
        found: dict[str, Any] = {}
        if "value" in value:
            amount = of(value["value"], run)
            if amount is None:
                return None
            found["value"] = amount
        comparator = value.get("comparator")
        if comparator is not None:
            if type(comparator) is not str or comparator not in _COMPARATORS:
                run.counts[wrong] += 1
                return None
            found["comparator"] = comparator
        said, system, code = value.get("unit"), value.get("system"), value.get("code")
        if said is not None:
            if type(said) is str and run.tables.unit(said):
                found["unit"] = said
            else:
                run.counts[unit] += 1
        if code is not None:
            if type(code) is str and type(system) is str and _coded(system, code, run):
                found["system"] = system
                found["code"] = code
            else:
                run.counts[unit] += 1
        if not _QUANTITY.issuperset(value):
            left({name: 0 for name in value if name not in _QUANTITY}, run)
        return found or absent(value)

    return step


def _coded(system: str, code: str, run: Run) -> bool:
    if system == UCUM:
        return run.tables.unit(code)
    return run.coding(system, code)[1]


def age(place: str, profile: Profile) -> Step:
    """Keep an age up to a bound; who is older has the bound and ``>=``."""
    if profile.action("age") == "drop":
        return dropped(place, profile.rule("age"))
    oldest, done = profile.classes["age"]["oldest"], (place, profile.rule("age"))
    plain = quantity(place, profile)

    def step(value: Any, run: Run) -> dict[str, Any] | None:
        found: dict[str, Any] | None = plain(value, run)
        if found is None or "value" not in found:
            return found
        a_year = _A_YEAR.get(found.get("code", found.get("unit", "a")))
        if a_year is None:  # years cannot be told from a unit that is none of time
            run.counts[done] += 1
            return None
        if found["value"] >= oldest * a_year:
            run.counts[done] += 1
            return {**found, "value": int(oldest * a_year), "comparator": ">="}
        return found

    return step


#: Of each unit of time, how many are a year.
_A_YEAR: Final = {
    "a": 1, "岁": 1, "年": 1, "yr": 1, "years": 1, "year": 1, "mo": 12, "月": 12, "months": 12, "month": 12,
    "wk": 52.18, "周": 52.18, "weeks": 52.18, "d": 365.25, "天": 365.25, "日": 365.25, "days": 365.25, "h": 8766,
}  # fmt: skip
