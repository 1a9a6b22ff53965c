"""The segment tables run: each row becomes one closure at import, each segment one pass over its rows.

A row says: this field, under this condition, by this type and vocabulary, stands at this path of the resource.
``docs/mapping.md`` gives the grammar of paths and conditions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.datatypes import Convert, converter
from normalise.hl7v2.memory import Remembered, loads
from normalise.hl7v2.message import Segment
from normalise.hl7v2.tables import rows

Put = Callable[[Body, Any], None]
Guard = Callable[[Segment], bool]
#: Whether the row applies; what it does with the field.
Run = Callable[[str, Body, Building], None]
Rule = tuple[Guard | None, Run]

_STEP: Final = re.compile(r"(\$this|[A-Za-z_][A-Za-z0-9_]*)(?:\[([^\]]*)\])?(?:\.|$)")
_FIELD: Final = re.compile(r"[A-Z][A-Z0-9]{2}-(\d+)(?:\.(\d+))?")
_EXTENSIONS: Final = "http://hl7.org/fhir/StructureDefinition/"


class Mapper:
    """One segment table, ``segments/PID-Patient.csv``, ready to run."""

    __slots__ = ("_rules",)

    def __init__(self, table: str, rows_of: Iterable[dict[str, str]]) -> None:
        found: dict[int, list[Rule]] = {}
        for row in rows_of:
            number, rule = _rule(row, table)
            found.setdefault(number, []).append(rule)
        self._rules = tuple(tuple(found.get(number, ())) for number in range(max(found) + 1))

    def apply(self, segment: Segment, body: Body, building: Building) -> Body:
        """Every valued field of the segment stands in ``body`` where the table says; returns ``body``."""
        building.at = segment
        for raw, rules_of in zip(segment.fields, self._rules, strict=False):
            if raw and rules_of:
                for guard, run in rules_of:
                    if guard is None or guard(segment):
                        run(raw, body, building)
        return body


@cache
def mapper(table: str) -> Mapper:
    """Return the mapper of a table; each is compiled once.

    Raises:
        ValueError: The table is wrong; the message names it and the cell.
    """
    return Mapper(table, rows(f"segments/{table}.csv"))


def _rule(row: dict[str, str], table: str) -> tuple[int, Rule]:
    match = _FIELD.fullmatch(row["field"])
    if match is None or match[2] or not row["field"].startswith(table.partition("-")[0]):
        raise ValueError(f"segments/{table}.csv: field {row['field']!r}; expected one of the segment, such as PID-7")
    try:
        convert = converter(row["type"], row["vocabulary"])
        put, repeats = compile_path(row["path"])
        guard = compile_condition(row["when"])
    except ValueError as error:
        raise ValueError(f"segments/{table}.csv: {row['field']}: {error}") from error
    number = int(match[1])
    if row["path"] == "$this":  # the function itself reads all repetitions
        return number, (guard, _once(convert, put, number, whole=True))
    run = _each(convert, put, number) if repeats else _once(convert, put, number)
    if isinstance(convert, Remembered) and convert.simple and row["path"].removesuffix("[]").isidentifier():
        run = _recalled(convert.known, run, row["path"].removesuffix("[]"), repeats)
    return number, (guard, run)


def _once(convert: Convert, put: Put, number: int, *, whole: bool = False) -> Run:
    def run(raw: str, body: Body, building: Building) -> None:
        if "~" in raw and not whole:
            raw, *others = raw.split("~")
            if any(other.strip("^&") for other in others):
                building.note("structure", number, "A field repeats that FHIR has once; the first is kept.")
        value = convert(raw, building, number)
        if value is not None:
            put(body, value)

    return run


def _recalled(known: dict[tuple[str, ...], bytes | str], otherwise: Run, name: str, repeats: bool) -> Run:
    """The way of most fields in one step: the whole field was met before, and its element is the resource's own."""

    def run(raw: str, body: Body, building: Building) -> None:
        kept = known.get((raw, building.scope))
        if kept is None:
            otherwise(raw, body, building)
        elif repeats:
            body.setdefault(name, []).append(loads(kept) if isinstance(kept, bytes) else kept)
        else:
            body[name] = loads(kept) if isinstance(kept, bytes) else kept

    return run


def _each(convert: Convert, put: Put, number: int) -> Run:
    def run(raw: str, body: Body, building: Building) -> None:
        for one in raw.split("~") if "~" in raw else (raw,):
            if one and (value := convert(one, building, number)) is not None:
                put(body, value)

    return run


def compile_path(path: str) -> tuple[Put, bool]:
    """Return what puts a value at a path of a resource, and whether each repetition gets a place of its own.

    Steps: ``name``; ``name[]`` a new element for each repetition; ``name[0]`` the one element that rows share;
    ``extension[NAME]`` a new extension with that url, ``extension[=NAME]`` with the bare name; ``$this`` merges the
    value's own elements into the resource.

    Raises:
        ValueError: The path is not of this grammar.
    """
    if path == "$this":
        return _merge, True
    steps: list[tuple[str, str | None]] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or match[1] == "$this":
            raise ValueError(f"path {path!r} cannot be read at character {position}")
        steps.append((match[1], match[2]))
        position = match.end()
    if not steps or (steps[-1][1] is not None and steps[-1][1] != ""):
        raise ValueError(f"path {path!r} must end with an element or with element[]")
    last, listed = steps[-1][0], steps[-1][1] == ""
    walk = tuple(_walker(name, index) for name, index in steps[:-1])
    repeats = any(index not in (None, "0") for _, index in steps)
    return _putter(walk, last, listed), repeats


def _putter(walk: tuple[Callable[[Body], Body], ...], last: str, listed: bool) -> Put:
    def append(body: Body, value: Any) -> None:
        for step in walk:
            body = step(body)
        body.setdefault(last, []).append(value)

    def replace(body: Body, value: Any) -> None:
        for step in walk:
            body = step(body)
        body[last] = value

    return append if listed else replace


def _walker(name: str, index: str | None) -> Callable[[Body], Body]:
    def inner(body: Body) -> Body:
        return body.setdefault(name, {})  # type: ignore[no-any-return]

    def shared(body: Body) -> Body:
        return body.setdefault(name, [{}])[0]  # type: ignore[no-any-return]

    def new(body: Body) -> Body:
        element: Body = {"url": url} if url else {}
        body.setdefault(name, []).append(element)
        return element

    if index is None:
        return inner
    if index == "0":
        return shared
    url = index[1:] if index.startswith("=") else index if ":" in index or not index else _EXTENSIONS + index
    return new


def _merge(body: Body, value: Body) -> None:
    for name, element in value.items():
        if isinstance(element, list) and name in body:
            body[name].extend(element)
        elif isinstance(element, dict) and name in body:
            body[name].update(element)
        else:
            body[name] = element


def compile_condition(condition: str) -> Guard | None:
    """Return what decides whether a row applies; None for always.

    ``PV1-45 empty``, ``PV1-45 valued``, ``PID-7 longer 8``, ``PV1-2 is P``, ``AL1-2 is-not MA MC``; a field's first
    component is compared, or the one named (``DG1-3.9 empty``).

    Raises:
        ValueError: The condition is not of this grammar.
    """
    if not condition:
        return None
    field, _, rest = condition.partition(" ")
    verb, *words = rest.split()
    match = _FIELD.fullmatch(field)
    if match is None or verb not in ("empty", "valued", "longer", "is", "is-not"):
        raise ValueError(f"condition {condition!r}; expected: FIELD empty|valued|longer N|is CODES|is-not CODES")
    number, component = int(match[1]), int(match[2] or 0)
    codes = frozenset(words)
    longest = int(words[0]) if verb == "longer" else 0
    return _guard(verb, number, component, codes, longest)


def _guard(verb: str, number: int, component: int, codes: frozenset[str], longest: int) -> Guard:
    def part(segment: Segment) -> str:
        return segment.first(number, component) if component else segment.get(number)

    def code(segment: Segment) -> str:
        return segment.first(number, component or 1).strip()

    return {
        "empty": lambda segment: not part(segment).strip("^&~ "),
        "valued": lambda segment: bool(part(segment).strip("^&~ ")),
        "longer": lambda segment: len(part(segment)) > longest,
        "is": lambda segment: code(segment) in codes,
        "is-not": lambda segment: code(segment) not in codes,
    }[verb]
