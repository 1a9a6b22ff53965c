"""A ViewDefinition read strictly: every element is known, of the right kind, and compiled; or its place is named.

Source: SQL on FHIR v2, StructureDefinition ViewDefinition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from sharing.errors import Malformed
from sharing.views.columns import Column, ansi_held, takes
from sharing.views.compiled import Code, Scope
from sharing.views.compiler import compile_expression
from sharing.views.faults import Fault
from sharing.views.model import PRIMITIVE, TEXTS, element, is_resource, is_type, resources, system


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: No definition asks for more than a table can be.
MOST_COLUMNS: Final = 1_000
MOST_SELECTS: Final = 500
DEEPEST: Final = 16
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}", re.ASCII)
_ANY: Final = frozenset({"id", "extension", "modifierExtension"})
_TOP: Final = _ANY | _words(
    "resourceType meta implicitRules language text contained url identifier version versionAlgorithmString "
    "versionAlgorithmCoding name title status experimental date publisher contact description useContext jurisdiction "
    "purpose copyright copyrightLabel fhirVersion profile resource constant select where"
)
_SELECT: Final = _ANY | {"column", "select", "forEach", "forEachOrNull", "repeat", "unionAll"}
_COLUMN: Final = _ANY | {"path", "name", "description", "collection", "type", "tag"}
_WHERE: Final = _ANY | {"path", "description"}
_TAG: Final = _ANY | {"name", "value"}
_CONSTANT_TYPES: Final = _words(
    "base64Binary boolean canonical code date dateTime decimal id instant integer integer64 oid string positiveInt "
    "time unsignedInt uri url uuid"
)
_CONSTANT: Final = _ANY | {"name"} | {f"value{one[0].upper()}{one[1:]}" for one in _CONSTANT_TYPES}
_PREFIXES: Final = ("http://hl7.org/fhir/StructureDefinition/", "http://hl7.org/fhirpath/System.", "FHIR.", "System.")
ROLES: Final = ("quasi-identifier", "sensitive", "identifier")
HIERARCHIES: Final = ("age", "date", "place", "code")


@dataclass(frozen=True, slots=True)
class Placed:
    """An expression and where it stands in the definition."""

    code: Code
    place: str


@dataclass(frozen=True, slots=True)
class Select:
    """One ``select``, compiled.

    Attributes:
        place: Where it stands.
        each: What it goes over: one expression, or several of ``repeat``; none stays where it is.
        kept: Whether a row stays where there is nothing to go over (``forEachOrNull``).
        repeat: Whether what is found is gone over again.
        columns: Its own columns and their expressions.
        selects: Nested ones, crossed with its columns and each other.
        unions: Branches of its ``unionAll``.
    """

    place: str
    each: tuple[Placed, ...] = ()
    kept: bool = False
    repeat: bool = False
    columns: tuple[tuple[Column, Placed], ...] = ()
    selects: tuple[Select, ...] = ()
    unions: tuple[Select, ...] = ()

    def all_columns(self) -> list[Column]:
        """Return its columns in the order of the table: own, nested, united."""
        nested = [column for select in self.selects for column in select.all_columns()]
        united = self.unions[0].all_columns() if self.unions else []
        return [*(column for column, _ in self.columns), *nested, *united]


@dataclass(frozen=True, slots=True)
class Definition:
    """A ViewDefinition, compiled.

    Attributes:
        name: Of the view.
        resource: Type of its resources.
        where: Conditions on a resource.
        root: All its selects.
        notes: What is right and yet most likely not meant.
    """

    name: str
    resource: str
    where: tuple[Placed, ...]
    root: Select
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Reader:
    """Reads one definition."""

    scope: Scope
    notes: list[str] = field(default_factory=list)
    selects: int = 0

    def expression(self, value: Any, place: str, scope: Scope) -> Placed:
        """Return a compiled expression."""
        if not isinstance(value, str):
            raise Malformed(f"{place}: expected a FHIRPath expression as text, found {_kind(value)}")
        noted = len(scope.notes)
        try:
            code = compile_expression(value, scope)
        except Fault as error:
            raise error.located(place) from None
        self.notes += [f"{place}: {note}" for note in scope.notes[noted:]]
        return Placed(code, place)

    def select(self, body: Any, place: str, scope: Scope, deep: int) -> Select:
        """Return a compiled select."""
        self.selects += 1
        if deep > DEEPEST or self.selects > MOST_SELECTS:
            raise Malformed(f"{place}: at most {MOST_SELECTS} selects, {DEEPEST} levels deep")
        _known(body, _SELECT, place)
        ways = [way for way in ("forEach", "forEachOrNull", "repeat") if way in body]
        if len(ways) > 1:
            raise Malformed(f"{place}: {' and '.join(ways)} stand together; one of them may")
        each: tuple[Placed, ...] = ()
        inner = scope
        if ways:
            paths = _list(body, "repeat", place, least=1) if ways == ["repeat"] else [body[ways[0]]]
            spots = [f"{place}.{ways[0]}{f'[{at}]' if ways == ['repeat'] else ''}" for at in range(len(paths))]
            over = scope.inside("") if ways == ["repeat"] and len(paths) > 1 else scope
            each = tuple(self.expression(path, spot, over) for path, spot in zip(paths, spots, strict=True))
            inner = scope.inside(each[0].code.type if len(each) == 1 and ways != ["repeat"] else "")
        unions = self._selects(body, "unionAll", place, inner, deep)
        _matching(unions)
        return Select(
            place,
            each,
            ways == ["forEachOrNull"],
            ways == ["repeat"],
            tuple(
                self.column(one, f"{place}.column[{at}]", inner) for at, one in enumerate(_list(body, "column", place))
            ),
            self._selects(body, "select", place, inner, deep),
            unions,
        )

    def _selects(self, body: Any, key: str, place: str, scope: Scope, deep: int) -> tuple[Select, ...]:
        prefix = f"{place}.{key}" if place else key
        return tuple(
            self.select(one, f"{prefix}[{at}]", scope, deep + 1) for at, one in enumerate(_list(body, key, place))
        )

    def column(self, body: Any, place: str, scope: Scope) -> tuple[Column, Placed]:
        """Return a column and its compiled expression."""
        _known(body, _COLUMN, place)
        name = _name(body, place)
        found = self.expression(_needed(body, "path", place), f"{place}.path", scope)
        tags = _tags(body, place)
        type_ = _type(_text(body, "type", place), f"{place}.type") or found.code.type
        collection = body.get("collection", False)
        if not isinstance(collection, bool):
            raise Malformed(f"{place}.collection: expected true or false, found {_kind(collection)}")
        column = Column(
            name,
            body["path"],
            type_,
            _text(body, "description", place),
            collection,
            _of("xinglin/role", tags, ROLES, place),
            _of("xinglin/hierarchy", tags, HIERARCHIES, place),
            tags.get("ansi/type", ""),
            tags,
        )
        self._fits(column, found, place, "type" in body)
        return column, found

    def _fits(self, column: Column, found: Placed, place: str, said: bool) -> None:
        if column.ansi:
            try:
                ansi_held(column.ansi)
            except Fault as error:
                raise error.located(f"{place}.tag") from None
        code = found.code
        if not takes(column.held, code.family):
            raise Malformed(
                f"{place}: column {column.name} is of type {column.ansi or column.type}, its path gives {code.type}"
            )
        if column.held == "element" and not said:
            raise Malformed(f"{place}.path: gives {code.type}, which is no value; go on to one, or name its type")
        if code.many and code.type and not column.collection:
            self.notes.append(f"{place}.path: may find several values in FHIR R4; then the view stops")


def read_definition(body: Any) -> Definition:
    """Return a definition, checked and compiled.

    Raises:
        Malformed: It is not a ViewDefinition; names the place, what was expected, what came.
    """
    _known(body, _TOP, "the definition")
    if not _text(body, "resourceType", "", "ViewDefinition").endswith("ViewDefinition"):
        raise Malformed(f"resourceType: expected ViewDefinition, found {_shown(body['resourceType'])}")
    resource = _resource(body)
    for key in ("title", "description"):
        _text(body, key, "")
    name = _name(body, "", "name") if "name" in body else resource.lower()
    _list(body, "select", "", least=1)
    scope = Scope(resource, resource, _constants(body))
    reader = _Reader(scope)
    where = tuple(_condition(one, f"where[{at}]", reader) for at, one in enumerate(_list(body, "where", "")))
    root = Select("", selects=reader._selects(body, "select", "", scope, 0))
    _table(root.all_columns())
    return Definition(name, resource, where, root, tuple(dict.fromkeys(reader.notes)))


def _resource(body: Mapping[str, Any]) -> str:
    resource = _needed(body, "resource", "")
    if not isinstance(resource, str) or not is_resource(resource) or resource in ("Resource", "DomainResource"):
        near = get_close_matches(resource, resources(), 1) if isinstance(resource, str) else []
        meant = f"; is {near[0]} meant?" if near else ""
        raise Malformed(f"resource: expected a type of resource of FHIR R4, found {_shown(resource)}{meant}")
    return resource


def _condition(body: Any, place: str, reader: _Reader) -> Placed:
    _known(body, _WHERE, place)
    found = reader.expression(_needed(body, "path", place), f"{place}.path", reader.scope)
    if found.code.family not in ("", "boolean"):
        raise Malformed(f"{place}.path: expected what is true or false, found {found.code.type}; write exists()?")
    return found


def _table(columns: list[Column]) -> None:
    if not 0 < len(columns) <= MOST_COLUMNS:
        raise Malformed(f"select: expected 1 to {MOST_COLUMNS:,} columns, found {len(columns):,}")
    seen: set[str] = set()
    for column in columns:
        if column.name.lower() in seen:  # names of SQL and of most file systems do not tell case
            raise Malformed(f"select: two columns are called {column.name}")
        seen.add(column.name.lower())


def _matching(branches: tuple[Select, ...]) -> None:
    """Every branch of a union has the same columns in the same order.

    Raises:
        Malformed: One has others.
    """
    first = [] if not branches else branches[0].all_columns()
    for branch in branches[1:]:
        columns = branch.all_columns()
        ours, theirs = ([column.name for column in one] for one in (first, columns))
        if ours != theirs:
            raise Malformed(
                f"{branch.place}: expected the columns {', '.join(ours)} in that order, "
                f"found {', '.join(theirs) or 'none'}"
            )
        for one, other in zip(first, columns, strict=True):
            if (one.held, one.collection) != (other.held, other.collection):
                raise Malformed(f"{branch.place}: column {one.name} is of another type than in the first branch")


def _constants(body: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for at, one in enumerate(_list(body, "constant", "")):
        place = f"constant[{at}]"
        _known(one, _CONSTANT, place)
        name = _name(one, place)
        keys = [key for key in one if key.startswith("value")]
        if len(keys) != 1:
            raise Malformed(f"{place}: expected one value, such as valueCode, found {len(keys)}")
        if name in found or name in ("rowIndex", "resource", "rootResource", "context"):
            raise Malformed(f"{place}.name: {name} is taken")
        type_ = next((one for one in _CONSTANT_TYPES if f"value{one[0].upper()}{one[1:]}" == keys[0]), "string")
        found[name] = (_constant(one[keys[0]], type_, f"{place}.{keys[0]}"), type_)
    return found


def _constant(value: Any, type_: str, place: str) -> Any:
    kinds: tuple[type, ...] = (str,) if type_ in TEXTS else (bool,) if type_ == "boolean" else (int,)
    if type_ == "integer64" and isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value, re.ASCII):
        return int(value)
    if not isinstance(value, (*kinds, float) if type_ == "decimal" else kinds) or (
        isinstance(value, bool) and type_ != "boolean"
    ):
        raise Malformed(f"{place}: expected {type_}, found {_kind(value)}")
    return value


def _type(text: str, place: str) -> str:
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    name = system(text)
    head, _, tail = name.rpartition(".")
    if not name or is_type(name) or name in PRIMITIVE or (head and element(head, tail) is not None):
        return name
    raise Malformed(f"{place}: FHIR R4 has no type {text[:60]!r}")


def _tags(body: Mapping[str, Any], place: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    for at, one in enumerate(_list(body, "tag", place)):
        _known(one, _TAG, f"{place}.tag[{at}]")
        name, value = (_needed(one, key, f"{place}.tag[{at}]") for key in ("name", "value"))
        if not isinstance(name, str) or not isinstance(value, str):
            raise Malformed(f"{place}.tag[{at}]: expected texts as name and value")
        tags[name] = value
    return tags


def _of(tag: str, tags: Mapping[str, str], known: tuple[str, ...], place: str) -> str:
    value = tags.get(tag, "")
    if value and value not in known:
        raise Malformed(f"{place}.tag: {tag} is one of {', '.join(known)}; found {value[:60]!r}")
    return value


def _known(body: Any, known: frozenset[str], place: str) -> None:
    """It is an object, and has no element that is not known.

    Raises:
        Malformed: It is none, or has one.
    """
    if not isinstance(body, Mapping):
        raise Malformed(f"{place}: expected an object, found {_kind(body)}")
    for key in body:
        if key not in known and not (isinstance(key, str) and key.startswith("_") and key[1:] in known):
            near = get_close_matches(str(key), known, 1)
            meant = f"; is {near[0]!r} meant?" if near else f"; there are {', '.join(sorted(known - _ANY))}"
            raise Malformed(f"{place}: no element {str(key)[:60]!r} here{meant}")


def _list(body: Mapping[str, Any], key: str, place: str, least: int = 0) -> list[Any]:
    found = body.get(key, [])
    where = f"{place}.{key}" if place else key
    if not isinstance(found, list):
        raise Malformed(f"{where}: expected a list, found {_kind(found)}")
    if len(found) < least:
        raise Malformed(f"{where}: expected at least {least} in the list, found {len(found)}")
    return found


def _needed(body: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in body:
        raise Malformed(f"{place or 'the definition'}: expected an element {key!r}, found none")
    return body[key]


def _name(body: Mapping[str, Any], place: str, key: str = "name") -> str:
    name = _needed(body, key, place)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        where = f"{place}.{key}" if place else key
        raise Malformed(f"{where}: expected letters, digits and _, a letter first, found {_shown(name)}")
    return name


def _text(body: Mapping[str, Any], key: str, place: str, otherwise: str = "") -> str:
    value = body.get(key, otherwise)
    if not isinstance(value, str):
        raise Malformed(f"{place}{'.' if place else ''}{key}: expected a text, found {_kind(value)}")
    return value


def _shown(value: Any) -> str:
    return repr(value[:60]) if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    names = ((Mapping, "an object"), (list, "a list"), (str, "a text"), (int | float, "a number"))
    return next((name for type_, name in names if isinstance(value, type_)), f"a {type(value).__name__}")
