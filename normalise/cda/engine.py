"""The tables run: each row becomes one closure, each statement one pass over its table's rows.

A row says: what is found here, under this condition, by this type and vocabulary, stands at this path of the
resource. ``docs/mapping.md`` gives the grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from normalise.cda.datatypes import MAKERS, READERS, Read, check_vocabulary
from normalise.cda.paths import Find, Guard, find, guard
from normalise.cda.reading import Body, Reading
from normalise.cda.tables import VOCABULARIES, rows
from normalise.cda.tree import Node
from normalise.cda.values import term_coding
from normalise.hl7v2.engine import compile_path

#: Made by the modules that know people and statements; they enter themselves here.
REFERENCES: Final[dict[str, Read]] = {}
TABLE_READERS: Final[dict[str, Callable[[str], Callable[[Node, Node, Reading], Any]]]] = {}

_TYPE: Final = re.compile(r"([A-Za-z.]+)(?:\(([^)]*)\))?")
_CONSTANT: Final = Node("=", {})


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, compiled.

    Attributes:
        look: Finds what it is about.
        guard: Whether it applies; None for always.
        element: The resource's own element, where the row only fills what is still absent; else ``""``.
        read: Makes a value of one element found.
        put: Puts it in its place; None where making it is all.
        repeats: Whether each element found gets a place of its own.
    """

    look: Find
    guard: Guard | None
    element: str
    read: Callable[[Node, Node, Reading], Any]
    put: Callable[[Body, Any], None] | None
    repeats: bool


class Mapper:
    """One table, ``entries/Problem-Condition.csv``, ready to run.

    Attributes:
        type: What it makes: the end of its name.
        constants: Elements that it fills whatever the document says; alone they say nothing.
        needs: Elements without which what it makes is none (``language!``).
    """

    __slots__ = ("_rows", "constants", "needs", "type")

    def __init__(self, table: str) -> None:
        all_rows = list(rows(f"{table}.csv"))
        self.type = table.rpartition("-")[2]
        self._rows = tuple(_row(row, table) for row in all_rows)
        self.needs = frozenset(_top(row["to"]) for row in all_rows if row["to"].endswith("!"))
        self.constants = frozenset(_top(row["to"]) for row in all_rows if row["from"].startswith("="))

    def apply(self, node: Node, outer: Node | None, body: Body, reading: Reading) -> Body:
        """What the statement says stands in ``body`` where the table says; returns ``body``."""
        for row in self._rows:
            if row.guard is not None and not row.guard(node, outer):
                continue
            if row.element and row.element in body:
                continue
            for number, one in enumerate(row.look(node, outer), 1):
                reading.ordinal = number
                value = row.read(one, node, reading)
                if value is None:
                    continue
                if row.put is not None:
                    row.put(body, value)
                if not row.repeats:
                    break
        return body


@cache
def mapper(table: str) -> Mapper:
    """Return the mapper of a table of ``schemas/cda``; each is compiled once.

    Raises:
        ValueError: The table is wrong; the message names it and the cell.
    """
    return Mapper(table)


def _row(row: dict[str, str], table: str) -> _Row:
    try:
        return _compiled(row)
    except ValueError as error:
        raise ValueError(f"schemas/cda/{table}.csv: {row['from']} → {row['to']}: {error}") from error


def _compiled(row: dict[str, str]) -> _Row:
    source, path, condition = row["from"], row["to"].removesuffix("!"), row["when"]
    conditions = [one for one in condition.split(" and ") if one]
    check_vocabulary(row["vocabulary"])
    put, repeats = (None, True) if path == "-" else compile_path(path)
    element = _top(path) if "unset" in conditions else ""
    where = guard(" and ".join(one for one in conditions if one != "unset"))
    if source.startswith("="):
        value = _constant(source[1:], row["type"], row["vocabulary"])
        return _Row(lambda _, __: [_CONSTANT], where, element, lambda *_: _copied(value), put, repeats)
    return _Row(find(source), where, element, _reader(row["type"], row["vocabulary"]), put, repeats)


def _top(path: str) -> str:
    """The resource's own element that a path begins with."""
    return re.split(r"[.\[!]", path)[0]


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value)) if isinstance(value, dict) else value


def _constant(word: str, type_: str, vocabulary: str) -> Any:
    """A value that the table itself says: ``=active`` of a vocabulary, or as it is written."""
    if type_ in ("code", "string"):
        return word
    if type_ == "boolean" and word in ("true", "false"):
        return word == "true"
    term = VOCABULARIES[vocabulary].get(("", word)) if vocabulary else None
    if term is None or type_ not in ("CodeableConcept", "Coding"):
        raise ValueError(f"constant {word!r} needs type code, string or boolean, or a vocabulary that has it")
    return {"coding": [term_coding(term)]} if type_ == "CodeableConcept" else term_coding(term)


def _reader(type_: str, vocabulary: str) -> Callable[[Node, Node, Reading], Any]:
    match = _TYPE.fullmatch(type_)
    name, argument = (match[1], match[2] or "") if match else ("", "")
    if name in TABLE_READERS:
        return TABLE_READERS[name](argument)
    read: Read | None
    if argument and name in REFERENCES:
        read = _only(REFERENCES[name], frozenset(argument.split()))
    elif argument:
        made = MAKERS.get(name)
        read = made(argument) if made else None
    else:
        read = READERS.get(name) or REFERENCES.get(name)
    if read is None:
        raise ValueError(f"type {type_!r} is not known")
    chosen = read
    return lambda node, _, reading: chosen(node, reading, vocabulary)


def _only(read: Read, types: frozenset[str]) -> Read:
    """References to these types alone, for FHIR allows no others in the place; of others their name is kept."""

    def run(node: Node, reading: Reading, vocabulary: str) -> Body | None:
        found = read(node, reading, vocabulary)
        if found is None or "reference" not in found or found["reference"].partition("/")[0] in types:
            return found  # type: ignore[no-any-return]
        return {"display": found["display"]} if "display" in found else None

    return run


def _element(table: str) -> Callable[[Node, Node, Reading], Any]:
    def read(node: Node, outer: Node, reading: Reading) -> Body | None:
        run = mapper(table)
        found = run.apply(node, outer, {}, reading)
        return found if found.keys() - run.constants and run.needs <= found.keys() else None

    return read


TABLE_READERS["element"] = _element
