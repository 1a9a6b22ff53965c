"""The hospital's own codes beside those of LOINC, SNOMED CT, ICD-10 and UCUM, by the ConceptMaps it supplies.

A code is never replaced: the standard one stands beside it. What has none is kept as it came, and counted by who asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from schemas.records import Normalised, SourceContext
from schemas.terminology import UCUM, ConceptMaps, Target

Body = dict[str, Any]
Unmapped = tuple[str, str, str]

#: Elements whose code says what a resource is about; a local code there is worth mapping.
_SUBJECTS: Final = ("code", "vaccineCode", "medicationCodeableConcept", "productCodeableConcept", "serviceType")
#: Beginnings of systems that everybody shares.
_STANDARD: Final = ("http://", "https://", "urn:oid:", "urn:iso:", "urn:ietf:")
_NONE: Final = ConceptMaps()


def translate(made: Normalised, context: SourceContext) -> Normalised:
    """Return the record with the standard codes beside the source's own, and with what has no standard code."""
    maps: ConceptMaps = context.mapping.get("terminology", _NONE)
    told = [one for one in made.resources if one.type != "Provenance"]
    unmapped = tuple(local for one in told for local in _local(one.body, maps))
    if not maps.targets:
        return replace(made, unmapped=unmapped) if unmapped else made
    resources = tuple(
        one if one.type == "Provenance" else replace(one, body=_translated(one.body, maps)) for one in made.resources
    )
    return replace(made, resources=resources, unmapped=unmapped, mapping=f"{made.mapping}/{maps.digest}")


def _translated(value: Any, maps: ConceptMaps) -> Any:
    """The value with every concept and unit completed; what changes is copied, for parts may be shared."""
    if isinstance(value, list):
        return [_translated(one, maps) for one in value]
    if not isinstance(value, dict):
        return value
    if "coding" in value:
        return {**value, "coding": _codings(value["coding"], maps)}
    if "unit" in value and value.get("system") != UCUM:
        return _unit(value, maps)
    return {name: _translated(one, maps) if isinstance(one, (dict, list)) else one for name, one in value.items()}


def _codings(codings: list[Body], maps: ConceptMaps) -> list[Body]:
    found = {(one.get("system", ""), one.get("code", "")): one for one in codings}
    for key in tuple(found):
        for target in maps.targets.get(key, ()):
            found.setdefault((target.system, target.code), _coding(target))
    return list(found.values()) if len(found) > len(codings) else codings


def _coding(target: Target) -> Body:
    display = {"display": target.display} if target.display else {}
    return {"system": target.system, "code": target.code, **display}


def _unit(quantity: Body, maps: ConceptMaps) -> Body:
    """A unit has room for one code: the source's own words stay in ``unit``."""
    keys = [(quantity.get("system", ""), quantity.get("code", "")), ("", quantity["unit"])]
    for target in (target for key in keys for target in maps.targets.get(key, ()) if target.system == UCUM):
        return {**quantity, "system": UCUM, "code": target.code}
    return quantity


def _local(body: Body, maps: ConceptMaps) -> Iterator[Unmapped]:
    """What a resource is about in codes that only the institution knows; a unit that is no UCUM."""
    for name in _SUBJECTS:
        concept = body.get(name)
        if not isinstance(concept, dict):
            continue
        codings = concept.get("coding", ())
        if any(str(one.get("system", "")).startswith(_STANDARD) for one in codings):
            continue
        for one in codings:
            key = (one.get("system", ""), one.get("code", ""))
            if key[1] and key not in maps.targets:
                yield *key, one.get("display", "")
    quantity = body.get("valueQuantity")
    if isinstance(quantity, dict) and "unit" in quantity and quantity.get("system") != UCUM:
        key = (quantity.get("system", ""), quantity.get("code", quantity["unit"]))
        if key not in maps.targets and ("", quantity["unit"]) not in maps.targets:
            yield *key, quantity["unit"]
