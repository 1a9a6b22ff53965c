"""FHIR definitions compiled into validators that run in compiled code (pydantic-core).

One schema for each resource type, strict as FHIR's JSON is: a number is not a string, nothing is null but a
gap in an array of primitives, no array, object or string is empty, no element is unknown (FHIR R4, 2.6.2
JSON).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final

from pydantic_core import PydanticCustomError, SchemaValidator, core_schema
from pydantic_core.core_schema import CoreSchema

from quality.definitions import Definition, Element, definition
from quality.primitives import PRIMITIVES

Body = dict[str, Any]
Check = Callable[[Body], Body]
#: Checks a resource that stands inside another, by its own ``resourceType``.
Nested = Callable[[Any, core_schema.ValidationInfo[Any]], Any]

_TWIN: Final = "PrimitiveTwin"
#: Begins what an error's place says of a choice; it is no element.
TAG: Final = "?"


@cache
def validator(resource_type: str, nested: Nested) -> SchemaValidator:
    """Return the validator of one resource type; ``nested`` checks resources inside it."""
    names = list(_closure(resource_type))
    schemas = [_type_schema(definition(name), nested) for name in names]
    return SchemaValidator(
        core_schema.definitions_schema(
            core_schema.definition_reference_schema(resource_type), [*schemas, _twin_schema()]
        )
    )


def _closure(name: str) -> Iterator[str]:
    waiting, seen = [name, "Extension"], set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name
            waiting += [one.type for one in definition(name).elements if _is_complex(one)]


def _is_complex(element: Element) -> bool:
    return not element.primitive and element.type != "Resource"


def _type_schema(what: Definition, nested: Nested) -> CoreSchema:
    if what.name != "Extension":
        return core_schema.no_info_after_validator_function(
            _rules(what), _shape(what, what.elements, nested), ref=what.name
        )
    return _extension_schema(what, nested)


def _extension_schema(what: Definition, nested: Nested) -> CoreSchema:
    """An extension has a url and one of fifty values; looking for all fifty costs more than the rest of a resource."""
    choice = {name for names, _ in what.choices for name in names}
    rest = [one for one in what.elements if one.name not in choice]
    shapes: dict[str, CoreSchema] = {
        f"{TAG}{one.name}": _shape(what, [*rest, one], nested) for one in what.elements if one.name in choice
    }
    shapes[TAG] = core_schema.no_info_after_validator_function(_rules(what), _shape(what, what.elements, nested))

    def tag(value: Any) -> str:
        """The one value that stands beside a url: no rule is left to ask then. Anything else is asked everything."""
        if type(value) is not dict or "url" not in value:
            return TAG
        found = [name for name in value if name in choice]
        return f"{TAG}{found[0]}" if len(found) == 1 else TAG

    return core_schema.tagged_union_schema(shapes, tag, ref=what.name)


def _shape(what: Definition, elements: Iterable[Element], nested: Nested) -> CoreSchema:
    fields: dict[str, core_schema.TypedDictField] = {}
    for element in elements:
        required = element.required and not element.primitive
        fields[element.name] = core_schema.typed_dict_field(_element_schema(element, nested), required=required)
        if element.primitive:
            twin: CoreSchema = core_schema.definition_reference_schema(_TWIN)
            if element.many:
                twin = core_schema.list_schema(core_schema.nullable_schema(twin), min_length=1)
            fields[f"_{element.name}"] = core_schema.typed_dict_field(twin, required=False)
    if what.resource:
        fields["resourceType"] = core_schema.typed_dict_field(core_schema.literal_schema([what.name]))
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid", strict=True)


def _element_schema(element: Element, nested: Nested) -> CoreSchema:
    one: CoreSchema
    if element.type == "Resource":
        one = core_schema.with_info_plain_validator_function(nested)
    elif not element.primitive:
        one = core_schema.definition_reference_schema(element.type)
    elif element.codes:
        one = core_schema.literal_schema(list(element.codes))
    else:
        one = PRIMITIVES[element.type]
    if element.many and element.primitive:
        one = core_schema.nullable_schema(one)
    return core_schema.list_schema(one, min_length=1, strict=True) if element.many else one


def _twin_schema() -> CoreSchema:
    """The object beside a primitive that holds its id and extensions (FHIR R4, 2.6.2.3)."""
    extensions = core_schema.list_schema(core_schema.definition_reference_schema("Extension"), min_length=1)
    shape = core_schema.typed_dict_schema(
        {
            "id": core_schema.typed_dict_field(PRIMITIVES["string"], required=False),
            "extension": core_schema.typed_dict_field(extensions, required=False),
        },
        extra_behavior="forbid",
        strict=True,
    )
    return core_schema.no_info_after_validator_function(_not_empty, shape, ref=_TWIN)


def _not_empty(value: Body) -> Body:
    if not value:
        raise PydanticCustomError("empty_object", "an object is empty")
    return value


def _rules(what: Definition) -> Check:
    """What a type asks beyond the shape of each element, as one function."""
    checks: list[Check] = [_not_empty]
    needed = [one.name for one in what.elements if one.required and one.primitive]
    if needed:
        checks.append(_needs(needed))
    checks += [_one_of(names, must) for names, must in what.choices]
    lists = [one.name for one in what.elements if one.many and one.primitive]
    if lists:
        checks.append(_gaps_explained(lists))
    if len(checks) == 1:
        return _not_empty

    def check(value: Body) -> Body:
        for one in checks:
            one(value)
        return value

    return check


def _needs(names: list[str]) -> Check:
    def check(value: Body) -> Body:
        for name in names:
            if name not in value and "extension" not in value.get(f"_{name}", ()):
                raise PydanticCustomError("missing_element", "{name} is missing", {"name": name})
        return value

    return check


def _one_of(names: tuple[str, ...], must: bool) -> Check:
    allowed = frozenset(names)

    def check(value: Body) -> Body:
        found = len(allowed & value.keys())
        if found > 1 or (must and not found):
            raise PydanticCustomError("choice", "{count} of {name}", {"count": found, "name": _stem(names)})
        return value

    return check


def _stem(names: tuple[str, ...]) -> str:
    first = min(names)
    length = next(i for i in range(len(first), 0, -1) if all(name.startswith(first[:i]) for name in names))
    return f"{first[:length]}[x]"


def _gaps_explained(names: list[str]) -> Check:
    def check(value: Body) -> Body:
        for name in names:
            items = value.get(name)
            if items is not None and None in items:
                twins = value.get(f"_{name}") or ()
                if any(item is None and (i >= len(twins) or not twins[i]) for i, item in enumerate(items)):
                    raise PydanticCustomError("gap", "{name} has an unexplained gap", {"name": name})
        return value

    return check
