"""The segment tables run: each row becomes one closure at import, each segment one pass over its rows.

A row says: this field, under this condition, by this type and vocabulary, stands at this path of the resource.
``docs/mapping.md`` gives the grammar of paths and conditions.

Rows of codes, units and ranges are steady: laboratories send the same few thousand combinations all day. What such
rows of a table make of one segment is remembered together (``_Steady``), so that most segments take one look-up for
them and a pass over the other rows only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Final

from normalise.hl7v2.building import Body, Building
from normalise.hl7v2.datatypes import Convert, converter
from normalise.hl7v2.memory import LIMIT, LONGEST, Copy, Remembered, copier
from normalise.hl7v2.message import Segment
from normalise.hl7v2.tables import rows

Put = Callable[[Body, Any], None]
Guard = Callable[[Segment], bool]
#: What a row does with its field.
Run = Callable[[str, Body, Building], None]
#: The number of a field, whether the row applies, and what it does; in the order of the fields.
Rules = tuple[tuple[int, Guard | None, Run], ...]

_STEP: Final = re.compile(r"(\$this|[A-Za-z_][A-Za-z0-9_]*)(?:\[([^\]]*)\])?(?:\.|$)")
_FIELD: Final = re.compile(r"[A-Z][A-Z0-9]{2}-(\d+)(?:\.(\d+))?")
_EXTENSIONS: Final = "http://hl7.org/fhir/StructureDefinition/"


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, compiled.

    Attributes:
        number: The field's.
        element: The resource's own element that the path begins with.
        guard: Whether the row applies; None for always.
        run: What it does with the field.
        reads: The fields that decide what it does, where these are all and it may be remembered; else empty.
    """

    number: int
    element: str
    guard: Guard | None
    run: Run
    reads: frozenset[int]


class Mapper:
    """One segment table, ``segments/PID-Patient.csv``, ready to run."""

    __slots__ = ("_all", "_others", "_steady")

    def __init__(self, table: str, rows_of: Iterable[dict[str, str]]) -> None:
        found = [_row(row, table) for row in rows_of]
        shared = {row.element for row in found if not row.reads}
        steady = [row for row in found if row.reads and row.element not in shared]
        self._all = _rules(found)
        self._others = _rules([row for row in found if row not in steady])
        self._steady = _Steady(steady) if len(steady) > 1 else None

    def apply(self, segment: Segment, body: Body, building: Building) -> Body:
        """Every valued field of the segment stands in ``body`` where the table says; returns ``body``."""
        building.at = segment
        rules = self._all
        if self._steady is not None and self._steady.elements.isdisjoint(body):
            body.update(self._steady.recall(segment, building))
            rules = self._others
        _run(rules, segment, body, building)
        return body


class _Steady:
    """Rows whose elements nothing else touches, remembered together for each combination of the fields they read.

    Attributes:
        elements: The resource's own elements that the rows fill.
    """

    __slots__ = ("_known", "_picks", "_reads", "_rules", "elements")

    def __init__(self, rows_of: list[_Row]) -> None:
        self.elements = frozenset(row.element for row in rows_of)
        self._rules = _rules(rows_of)
        self._reads = sorted(frozenset().union(*(row.reads for row in rows_of)))
        #: By the number of fields of a segment: what takes those out that the rows read.
        self._picks: dict[int, Callable[[list[str]], Any]] = {}
        self._known: dict[tuple[Any, str], Copy] = {}

    def recall(self, segment: Segment, building: Building) -> Body:
        """Return what the rows make of the segment: a new copy each time."""
        fields = segment.fields
        key = (self._picks.get(len(fields)) or self._pick(len(fields)))(fields), building.scope
        kept = self._known.get(key)
        if kept is not None:
            return kept()  # type: ignore[no-any-return]
        asked = building.asked
        body: Body = {}
        _run(self._rules, segment, body, building)
        if building.asked == asked and sum(map(len, key[0])) <= LONGEST:
            if len(self._known) >= LIMIT:
                self._known.clear()
            self._known[key] = copier(body)
        return body

    def _pick(self, count: int) -> Callable[[list[str]], Any]:
        there = [number for number in self._reads if number < count]
        self._picks[count] = pick = itemgetter(*there) if there else lambda _: ()
        return pick


def _rules(rows_of: list[_Row]) -> Rules:
    return tuple((row.number, row.guard, row.run) for row in sorted(rows_of, key=lambda row: row.number))


def _run(rules: Rules, segment: Segment, body: Body, building: Building) -> None:
    fields = segment.fields
    count = len(fields)
    for number, guard, run in rules:
        if number >= count:
            return
        raw = fields[number]
        if raw and (guard is None or guard(segment)):
            run(raw, body, building)


@cache
def mapper(table: str) -> Mapper:
    """Return the mapper of a table; each is compiled once.

    Raises:
        ValueError: The table is wrong; the message names it and the cell.
    """
    return Mapper(table, rows(f"segments/{table}.csv"))


def _row(row: dict[str, str], table: str) -> _Row:
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
    element = _STEP.match(row["path"])
    assert element is not None  # compile_path has read it
    if row["path"] == "$this":  # the function itself reads all repetitions
        return _Row(number, "$this", guard, _whole(convert, number), frozenset())
    run = _each(convert, put, number) if repeats else _once(convert, put, number)
    reads = {number, *(int(field[1]) for field in _FIELD.finditer(row["when"]))}
    if not isinstance(convert, Remembered) or convert.fleeting:
        reads = set()
    elif convert.with_unit:
        reads.add(6)
    elif row["path"].removesuffix("[]").isidentifier():
        run = _recalled(convert.known, run, row["path"].removesuffix("[]"), repeats)
    return _Row(number, element[1], guard, run, frozenset(reads))


def _whole(convert: Convert, number: int) -> Run:
    def run(raw: str, body: Body, building: Building) -> None:
        value = convert(raw, building, number)
        if value:
            _merge(body, value)

    return run


def _once(convert: Convert, put: Put, number: int) -> Run:
    def run(raw: str, body: Body, building: Building) -> None:
        if "~" in raw:
            raw, *others = raw.split("~")
            if any(other.strip("^&") for other in others):
                building.note("structure", number, "A field repeats that FHIR has once; the first is kept.")
        value = convert(raw, building, number)
        if value is not None:
            put(body, value)

    return run


def _recalled(known: dict[tuple[str, ...], Copy], otherwise: Run, name: str, repeats: bool) -> Run:
    """The way of most fields in one step: the whole field was met before, and its element is the resource's own."""

    def run(raw: str, body: Body, building: Building) -> None:
        kept = known.get((raw, building.scope))
        if kept is None:
            otherwise(raw, body, building)
        elif repeats:
            body.setdefault(name, []).append(kept())
        else:
            body[name] = kept()

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
    ``extension[NAME]`` a new extension with that url, ``extension[=NAME]`` with the bare name; ``$this``, which may
    only be last, merges the value's own elements into the resource or element.

    Raises:
        ValueError: The path is not of this grammar.
    """
    if path == "$this":
        return _merge, True
    steps: list[tuple[str, str | None]] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or (match[1] == "$this" and match.end() < len(path)):
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
    def merge(body: Body, value: Any) -> None:
        for step in walk:
            body = step(body)
        _merge(body, value)

    def append(body: Body, value: Any) -> None:
        for step in walk:
            body = step(body)
        body.setdefault(last, []).append(value)

    def replace(body: Body, value: Any) -> None:
        for step in walk:
            body = step(body)
        body[last] = value

    if last == "$this":
        return merge
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
    if value.keys().isdisjoint(body):
        body.update(value)
        return
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
    component is compared, or the one named (``DG1-3.9 empty``). Several may be joined: ``TQ1-7 empty and TQ1-8 empty``.

    Raises:
        ValueError: The condition is not of this grammar.
    """
    if not condition:
        return None
    guards = [_compile_one(one) for one in condition.split(" and ")]
    return guards[0] if len(guards) == 1 else lambda segment: all(guard(segment) for guard in guards)


def _compile_one(condition: str) -> Guard:
    field, _, rest = condition.partition(" ")
    verb, *words = rest.split()
    match = _FIELD.fullmatch(field)
    if match is None or verb not in ("empty", "valued", "single", "repeats", "longer", "shorter", "is", "is-not"):
        raise ValueError(
            f"condition {condition!r}; expected: FIELD empty|valued|single|repeats|longer N|shorter N|is CODES|"
            "is-not CODES"
        )
    number, component = int(match[1]), int(match[2] or 0)
    codes = frozenset(words)
    longest = int(words[0]) if verb in ("longer", "shorter") else 0
    return _guard(verb, number, component, codes, longest)


def _guard(verb: str, number: int, component: int, codes: frozenset[str], longest: int) -> Guard:
    def part(segment: Segment) -> str:
        return segment.first(number, component) if component else segment.get(number)

    def code(segment: Segment) -> str:
        return segment.first(number, component or 1).strip()

    return {
        "empty": lambda segment: not part(segment).strip("^&~ "),
        "valued": lambda segment: bool(part(segment).strip("^&~ ")),
        "single": lambda segment: len(list(filter(None, segment.get(number).split("~")))) == 1,
        "repeats": lambda segment: len(list(filter(None, segment.get(number).split("~")))) > 1,
        "longer": lambda segment: len(part(segment)) > longest,
        "shorter": lambda segment: len(part(segment)) < longest,
        "is": lambda segment: code(segment) in codes,
        "is-not": lambda segment: code(segment) not in codes,
    }[verb]
