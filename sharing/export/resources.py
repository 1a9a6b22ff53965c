"""De-identified FHIR beside the tables: of persons alone who are alike enough in what a Patient says of them.

The gate generalises tables; a resource stands as de-identification left it. So whoever is told apart by birth, sex or
place among fewer than k persons is left out of the resources, within the same budget.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import orjson

from schemas.sharing import Demands
from sharing.errors import RiskTooHigh
from sharing.export.part import Part

if TYPE_CHECKING:
    from sharing.package import Writer

NDJSON: Final = "application/fhir+ndjson"
_TELLING: Final = (
    "birthDate",
    "gender",
    "address",
    "maritalStatus",
    "deceasedDateTime",
    "deceasedBoolean",
    "extension",
)


def alike(parts: Iterator[Part], persons: Mapping[bytes, bytes], demands: Demands) -> set[bytes]:
    """Return the persons of whom at least k are alike.

    Args:
        parts: All parts.
        persons: By patient the token of the person.
        demands: k, and the budget in thousandths of the persons.

    Raises:
        RiskTooHigh: More persons than the budget allows would have to be left out.
    """
    known = _known(parts, persons)
    classes = Counter(known.values())
    kept = {person for person, seen in known.items() if classes[seen] >= demands.k}
    left = len(known) - len(kept)
    if left * 1_000 > demands.suppression * len(known):
        raise RiskTooHigh(
            f"FHIR resources: {left} of {len(known)} persons are alike in birth, sex and place with fewer than "
            f"{demands.k - 1} others, and {demands.suppression} in a thousand may be left out; ask for tables alone"
        )
    return kept


def _known(parts: Iterator[Part], persons: Mapping[bytes, bytes]) -> dict[bytes, frozenset[bytes]]:
    found: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for part in parts:
        for at, line in part.lines.get("Patient", ()):
            found[_person(part, at, persons)].add(_telling(orjson.loads(line)))
        for lines in part.lines.values():
            for at, _ in lines:
                found[_person(part, at, persons)]  # whose Patient does not leave is alike with the others of whom so
    return {person: frozenset(seen) for person, seen in found.items()}


def _telling(patient: Mapping[str, Any]) -> bytes:
    return orjson.dumps({name: patient.get(name) for name in _TELLING}, option=orjson.OPT_SORT_KEYS)


def _person(part: Part, record: int, persons: Mapping[bytes, bytes]) -> bytes:
    return persons[part.owners[part.whose[record]]]


class Resources:
    """The NDJSON files of a package, one a FHIR type, sealed as they grow.

    Args:
        writer: The package.
        types: FHIR types that may come.
        kept: Whose resources go in.
        persons: By patient the token of the person.
        stack: Ends the files.
    """

    def __init__(
        self, writer: Writer, types: set[str], kept: set[bytes], persons: Mapping[bytes, bytes], stack: ExitStack
    ) -> None:
        self._kept, self._persons, self.left_out = kept, persons, 0
        self._files: dict[str, BinaryIO] = {
            one: stack.enter_context(writer.sealed(f"resources/{one}.ndjson", NDJSON)) for one in sorted(types)
        }

    def write(self, part: Part) -> set[int]:
        """The part's resources are in; returns the places of the records that they come from."""
        used: set[int] = set()
        for type_, lines in part.lines.items():
            for at, line in lines:
                if _person(part, at, self._persons) in self._kept:
                    self._files[type_].write(line + b"\n")
                    used.add(at)
                else:
                    self.left_out += 1
        return used
