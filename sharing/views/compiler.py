"""FHIRPath compiled to closures over plain JSON, once; what is evaluated a million times looks nothing up but data.

Whatever is not here is a fault when compiled, never a wrong answer. Source: FHIRPath N1 (2.0.0), chapters 3 to 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import takewhile
from typing import Any, Final

from schemas.errors import ExpressionError
from schemas.fhirpath import Node, parse
from sharing.views.compiled import Call, Code, Env, Run, Scope
from sharing.views.faults import Fault
from sharing.views.functions import ABSENT, FUNCTIONS, index_of
from sharing.views.model import Element, capitalised, choices, element, is_resource, is_type, system
from sharing.views.operators import OPERATORS, cast, is_of, signed
from sharing.views.values import collected, tagged

#: Variables of every expression (SQL on FHIR, ``%rowIndex``; FHIRPath N1, 9; FHIR R4, 2.9.1.4).
_NAMED: Final = {"sct": "http://snomed.info/sct", "loinc": "http://loinc.org", "ucum": "http://unitsofmeasure.org"}


def compile_expression(text: str, scope: Scope) -> Code:
    """Return the function that evaluates an expression on one node.

    Raises:
        Fault: It is wrong, or uses what is not here; says at which character.
    """
    try:
        tree = parse(text)
    except ExpressionError as error:
        raise Fault(error.why, error.at) from None
    return compile_node(tree, scope)


def compile_node(node: Node, scope: Scope) -> Code:
    """Return the function of one tree."""
    return _COMPILE[node.kind](node, scope)


def _literal(node: Node, _scope: Scope) -> Code:
    value = node.value
    return Code(lambda _node, _env: value, node.type, many=False, value=value)


def _empty(_node: Node, _scope: Scope) -> Code:
    return Code(lambda _node, _env: None, many=False, value=None)


def _this(_node: Node, scope: Scope) -> Code:
    return Code(lambda node, _env: node, scope.type, many=False)


def _index(_node: Node, _scope: Scope) -> Code:
    return Code(lambda _node, env: env.index, "integer", many=False, uses=frozenset({"index"}))


def _variable(node: Node, scope: Scope) -> Code:
    name = node.value
    if name in scope.constants:
        value, type_ = scope.constants[name]
        return Code(lambda _node, _env: value, type_, many=False, value=value)
    if name == "rowIndex":
        return Code(lambda _node, env: env.row, "integer", many=False, uses=frozenset({"row"}))
    if name in ("resource", "rootResource", "context"):
        return Code(lambda _node, env: env.resource, scope.resource, many=False, uses=frozenset({"resource"}))
    if name in _NAMED:
        text = _NAMED[name]
        return Code(lambda _node, _env: text, "uri", many=False, value=text)
    known = ", ".join(f"%{one}" for one in (*scope.constants, "resource", "rowIndex"))
    raise Fault(f"%{name} is no constant of this view; there are {known}", node.at)


def _member(node: Node, scope: Scope) -> Code:
    if node.base is None and node.value[:1].isupper():
        return _root(node.value, scope)
    names = [node.value]
    base = node.base
    while base is not None and base.kind == "member" and not (base.base is None and base.value[:1].isupper()):
        names.append(base.value)
        base = base.base
    start = _this(node, scope) if base is None else compile_node(base, scope)
    type_, many = start.type, start.many
    steps: list[tuple[str, tuple[str, ...]]] = []
    for name in reversed(names):
        found = _declared(type_, name, scope, node)
        steps.append((name, choices(name) if found is None else found.choices))
        type_, many = (found.type, many or found.many) if found is not None else ("", True)
    child = steps[0][0] if base is None and len(steps) == 1 and not steps[0][1] else ""
    return Code(_walk(start.run if base is not None else None, steps), type_, many, start.uses, child=child)


def _declared(type_: str, name: str, scope: Scope, node: Node) -> Element | None:
    found = element(type_, name) if type_ else None
    if found is None and type_ and type_ not in ("Resource", "DomainResource"):
        scope.notes.append(f"character {node.at}: FHIR R4 has no element {name!r} in {type_}; it is always empty")
    return found


def _root(name: str, scope: Scope) -> Code:
    """Return the node itself where it is of that type: ``Patient.name`` is ``name`` of a Patient."""
    if not is_type(name):  # not of R4: a resource's own word decides, and an element may begin so, too
        return Code(lambda node, _env: node if is_named(node, name) else below(node, name))
    if not is_resource(name):
        return Code(lambda node, _env: node if is_of(node, name, scope.type) else None, name, many=False)

    def same(node: Any, _env: Env) -> Any:
        return node if isinstance(node, dict) and is_of(node, name) else None

    return Code(same, name if name not in ("Resource", "DomainResource") else scope.type, many=False)


def is_named(node: Any, name: str) -> bool:
    """Whether a node is a resource that calls itself so."""
    return isinstance(node, dict) and node.get("resourceType") == name


def _walk(start: Run | None, steps: Sequence[tuple[str, tuple[str, ...]]]) -> Run:
    """Return what goes down a path of elements: by ``dict.get`` as long as each stands once."""
    run = start
    while steps:
        plain = tuple(name for name, _ in takewhile(lambda step: not step[1], steps))
        if plain:
            run = _path(run, plain) if run is not None or len(plain) > 1 else _child(plain[0])
            steps = steps[len(plain) :]
        else:
            run = _several(run, *steps[0])
            steps = steps[1:]
    assert run is not None
    return run


def _child(name: str) -> Run:
    def child(node: Any, _env: Env) -> Any:
        found = node.get(name) if type(node) is dict else below(node, name)
        return cleaned(found) if type(found) is list else found

    return child


def _path(start: Run | None, names: tuple[str, ...]) -> Run:
    def path(node: Any, env: Env) -> Any:
        if start is not None:
            node = start(node, env)
        for name in names:
            if type(node) is dict:
                node = node.get(name)
            elif node is None:
                return None
            else:
                node = below(node, name)
        return cleaned(node) if type(node) is list else node

    return path


def _several(start: Run | None, name: str, types: tuple[str, ...]) -> Run:
    """Return what finds an element that can have several types: ``value`` is ``valueQuantity`` or another."""
    names = tuple((name + capitalised(type_), type_) for type_ in types)

    def several(node: Any, env: Env) -> Any:
        found = node if start is None else start(node, env)
        if type(found) is list:
            return collected([child for item in found for child in listed(chosen(item, name, names))])
        return chosen(found, name, names)

    return several


def listed(value: Any) -> list[Any]:
    """Return a collection as a list."""
    return value if type(value) is list else [] if value is None else [value]


def chosen(item: Any, name: str, names: tuple[tuple[str, str], ...]) -> Any:
    """Return the element of an item under its own name or one that says its type."""
    if not isinstance(item, dict):
        return None
    if name in item:
        return below(item, name)
    return next((tagged(item[key], type_) for key, type_ in names if key in item), None)


def below(value: Any, name: str) -> Any:
    """Return the elements of that name of every item."""
    if isinstance(value, dict):
        found = value.get(name)
        return cleaned(found) if type(found) is list else found
    if type(value) is not list:
        return None
    return collected([child for item in value for child in listed(below(item, name) if item is not None else None)])


def cleaned(found: list[Any]) -> Any:
    """Return a list of JSON as a collection; null stands in it for a primitive that has only extensions."""
    if len(found) == 1:
        return found[0]
    if None in found:
        found = [item for item in found if item is not None]
        return found if len(found) > 1 else found[0] if found else None
    return found or None


def _item(node: Node, scope: Scope) -> Code:
    assert node.base is not None
    base, index = compile_node(node.base, scope), compile_node(node.inner[0], scope)
    if index.family not in ("", "number"):
        raise Fault("expected a whole number as index", node.inner[0].at)
    return base.of(index_of(base.run, index), base.type, False, index)


def _call(node: Node, scope: Scope) -> Code:
    name = node.value
    if name not in FUNCTIONS:
        if name in ABSENT:
            raise Fault(f"{name}() is left out here: {ABSENT[name]}", node.at)
        near = get_close_matches(name, FUNCTIONS, 1)
        raise Fault(f"no function {name}(){f'; is {near[0]}() meant?' if near else ''}", node.at)
    least, most, build = FUNCTIONS[name]
    if not least <= len(node.inner) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise Fault(f"{name}() takes {wanted} arguments, not {len(node.inner)}", node.at)
    if name == "is":
        asked = node.base or Node("this", "$this", node.at)
        return _operator(Node("operator", "is", node.at, None, (asked, node.inner[0])), scope)
    if name == "ofType" or (name == "as" and node.base is not None):
        return _of_type(node, scope)
    base = compile_node(node.base, scope) if node.base is not None else _this(node, scope)
    if name == "extension" and node.base is not None and node.base.kind == "member":
        base = _extended(node.base, base, scope)
    return build(Call(node, base, scope, compile_node))


def _extended(member: Node, found: Code, scope: Scope) -> Code:
    """Return an element, and that which holds the extensions of a primitive in its place (FHIR R4, 2.6.2.3)."""
    if found.family == "element":
        return found
    parent = compile_node(member.base, scope) if member.base is not None else _this(member, scope)
    twin, own = f"_{member.value}", found.run

    def both(node: Any, env: Env) -> Any:
        return collected([*listed(own(node, env)), *listed(below(parent.run(node, env), twin))])

    return Code(both, "", True, found.uses)


def _type_name(node: Node) -> str:
    name = system(node.value)
    if not is_type(name):
        raise Fault(f"FHIR R4 has no type {node.value!r}", node.at)
    return name


def _of_type(node: Node, scope: Scope) -> Code:
    """Return what is of a type; behind an element of several types that is one look-up: ``valueQuantity``."""
    type_ = _type_name(node.inner[0])
    base = node.base
    if base is None or base.kind != "member" or not choices(base.value):
        found = compile_node(base, scope) if base is not None else _this(node, scope)
        return cast(found, type_)
    parent = compile_node(base.base, scope) if base.base is not None else _this(node, scope)
    known = element(parent.type, base.value) if parent.type else None
    if known is not None and known.choices and type_ not in known.choices:
        scope.notes.append(f"character {node.at}: {base.value!r} is never a {type_} in FHIR R4; it is always empty")
    return parent.of(_choice(parent.run if base.base is not None else None, base.value, type_), type_, parent.many)


def _choice(parent: Run | None, name: str, type_: str) -> Run:
    full = name + capitalised(type_)

    def of_one(item: Any) -> Any:
        if not isinstance(item, dict):
            return None
        found = item.get(full)
        if found is None and name in item:  # an element of that very name: a Quantity's value, a Bundle's resource
            return collected([one for one in listed(item[name]) if is_of(one, type_)])
        return found

    def choice(node: Any, env: Env) -> Any:
        if type(node) is dict and parent is None:
            found = node.get(full)
            if found is not None:
                return found
        value = node if parent is None else parent(node, env)
        if type(value) is list:
            return collected([found for item in value for found in listed(of_one(item))])
        return of_one(value)

    return choice


def _operator(node: Node, scope: Scope) -> Code:
    left = compile_node(node.inner[0], scope)
    if node.value in ("is", "as"):
        type_ = _type_name(node.inner[1])
        if node.value == "as":
            return _of_type(Node("call", "ofType", node.at, node.inner[0], (node.inner[1],)), scope)
        known, run = left.type, left.run
        if node.inner[0].kind == "member" and choices(node.inner[0].value):
            typed = _of_type(Node("call", "ofType", node.at, node.inner[0], (node.inner[1],)), scope.inside(scope.type))
            return left.of(
                lambda one, env: None if run(one, env) is None else typed.run(one, env) is not None, "boolean"
            )
        return left.of(
            lambda one, env: None if (found := run(one, env)) is None else is_of(found, type_, known), "boolean"
        )
    return OPERATORS[node.value](node, left, compile_node(node.inner[1], scope))


def _signed(node: Node, scope: Scope) -> Code:
    return signed(node, compile_node(node.inner[0], scope))


def _stray(node: Node, _scope: Scope) -> Code:
    raise Fault("the name of a type stands where no type is wanted", node.at)


_COMPILE: Final[dict[str, Callable[[Node, Scope], Code]]] = {
    "literal": _literal,
    "empty": _empty,
    "this": _this,
    "index": _index,
    "variable": _variable,
    "member": _member,
    "item": _item,
    "call": _call,
    "operator": _operator,
    "sign": _signed,
    "type": _stray,
}
