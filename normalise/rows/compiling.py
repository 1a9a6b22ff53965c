"""A mapping document made ready: rules as functions, paths as parts, and the version that names both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from normalise.errors import set_aside
from normalise.rows.converting import Make, columns_of, maker
from normalise.rows.paths import Path, parse
from normalise.rows.reading import Reader, condition
from normalise.tables import version
from schemas.records import SourceContext

#: Texts that mean that nothing is known, where the mapping names none.
NULLS: Final = ("0000-00-00", "0000-00-00 00:00:00", "0000-00-00T00:00:00")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a resource.

    Attributes:
        path: Where it stands.
        make: What it becomes.
        needs: Path that must hold something for it to stand: constants alone say nothing. Empty for always.
    """

    path: Path
    make: Make
    needs: Path = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """One resource that a row of a table becomes.

    Attributes:
        type: FHIR type.
        name: Tells resources of one type and row apart.
        key: Columns of its id; empty for the row's key.
        own: Whether it is the patient's.
        mode: ``update`` or ``ensure``.
        met: Whether a row becomes it.
        elements: What is read from columns first, constants after.
    """

    type: str
    name: str
    key: tuple[str, ...]
    own: bool
    mode: Literal["update", "ensure"]
    met: Callable[[Reader], bool]
    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class TablePlan:
    """One table.

    Attributes:
        patient: Column with the patient's number, or ``""``.
        recorded: Column with the time of the row, or ``""``.
        known: Columns that are mapped, or left out on purpose.
        plans: Its resources.
    """

    patient: str
    recorded: str
    known: frozenset[str]
    plans: tuple[Plan, ...]


@dataclass(frozen=True, slots=True)
class RowMapping:
    """A mapping.

    Attributes:
        version: Digest of document and code.
        nulls: Texts that mean that nothing is known.
        patients: System of patients' numbers.
        dates: Forms of dates, or none for the usual ones.
        tables: Its tables, by the name that the source gives them.
    """

    version: str
    nulls: frozenset[str]
    patients: str
    dates: tuple[str, ...]
    tables: Mapping[str, TablePlan]


#: Version of the code that runs mappings; a record's own version takes its mapping in, too.
MAPPING: Final = version("rows", (), "rows")

# Mappings by the document's identity: the context hands over the same object for every row of a source.
_COMPILED: Final[dict[int, tuple[Mapping[str, Any], RowMapping]]] = {}
_HELD: Final = 64


def mapping_of(context: SourceContext) -> RowMapping:
    """Return the source's mapping, made ready once.

    Raises:
        SetAside: The source has none, or it cannot be used; the message says where.
    """
    document = context.mapping.get("rows")
    if not isinstance(document, Mapping):
        message = "Expected a mapping of the source's tables; write one and name it in the source's file."
        raise set_aside("mapping", "rows", message)
    held = _COMPILED.get(id(document))
    if held is None or held[0] is not document:
        try:
            held = (document, compiled(document))
        except (KeyError, TypeError, AttributeError, StopIteration):
            message = "The mapping does not follow schemas/mapping.schema.json; `xinglin source check` says where."
            raise set_aside("mapping", "rows", message) from None
        except ValueError as error:
            raise set_aside("mapping", "rows", f"The mapping cannot be used: {error}") from None
        if len(_COMPILED) >= _HELD:
            _COMPILED.clear()
        _COMPILED[id(document)] = held
    return held[1]


def compiled(document: Mapping[str, Any]) -> RowMapping:
    """Return the mapping of a document that follows its schema.

    Raises:
        ValueError: A path is none, or a rule names a code map that is not there; the message says which.
    """
    defaults = {"currency": document.get("currency", "CNY"), "dates": tuple(document.get("dates", ()))}
    defaults |= {"units": document.get("units", {})}
    maps = document.get("codes", {})
    canonical = json.dumps(document, sort_keys=True, default=str).encode()
    return RowMapping(
        f"{MAPPING}/{hashlib.sha256(canonical).hexdigest()[:16]}",
        frozenset(document.get("nulls", NULLS)),
        document.get("patients", {}).get("system", "patient"),
        defaults["dates"],
        {name: _table(name, one, maps, defaults) for name, one in document["tables"].items()},
    )


def _table(name: str, table: Mapping[str, Any], maps: Mapping[str, Any], defaults: Mapping[str, Any]) -> TablePlan:
    patient, recorded = table.get("patient", ""), table.get("recorded", "")
    plans, known = [], {patient, recorded, *table.get("ignore", ())}
    for one in table.get("resources", ()):
        try:
            plans.append(_plan(one, maps, defaults))
        except ValueError as error:
            raise ValueError(f"tables/{name}: {one['type']}: {error}") from None
        known |= {*one.get("id", ()), *columns_of(one.get("when", []))}
        known = known.union(*map(columns_of, one["elements"].values()))
    return TablePlan(patient, recorded, frozenset(known), tuple(plans))


def _plan(one: Mapping[str, Any], maps: Mapping[str, Any], defaults: Mapping[str, Any]) -> Plan:
    rules = {parse(path): rule for path, rule in one["elements"].items()}
    read = [path for path, rule in rules.items() if not _is_constant(rule)]
    elements = [Element(path, maker(rules[path], maps, defaults)) for path in read]
    for path, rule in rules.items():
        if _is_constant(rule):
            elements.append(Element(path, maker(rule, maps, defaults), _needs(path, read)))
    return Plan(
        one["type"], one.get("name", ""), tuple(one.get("id", ())), one.get("own", True), one.get("mode", "update"),
        condition(one.get("when", ())), tuple(elements),
    )  # fmt: skip


def _is_constant(rule: Any) -> bool:
    if isinstance(rule, list):
        return all(map(_is_constant, rule))
    return isinstance(rule, Mapping) and "constant" in rule


def _needs(path: Path, read: list[Path]) -> Path:
    """Return the innermost part around a constant that also takes something from a column."""
    for length in range(len(path) - 1, 0, -1):
        around = path[:length]
        if any(other[:length] == around for other in read):
            return around
    return ()
