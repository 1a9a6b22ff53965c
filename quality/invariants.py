"""What FHIR R4 asks of a resource beyond its structure: invariants, reference types, required bindings, narrative.

The rules are tables (``schemas/fhir``, from the official definitions). For each type they are compiled once into a
plan: what to ask of a node of that type, and which of its elements to go into. Only elements below which something
is asked are visited, and a rule is only evaluated where an element stands that can change its answer.

Not checked: bindings to value sets that need a terminology server, profiles, and whether what a reference points at
exists (a record holds only a part of the world).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from quality.definitions import Definition, definition, is_resource_type
from quality.fhir_tables import choice_names, rows, value_set
from quality.fhirpath import Scene, compile_expression, reads
from quality.fhirpath_functions import truth
from quality.narrative import check_narrative
from schemas.records import Refusal

#: Steps of an element's path that a message shows.
MAX_PATH: Final = 24
Ask = Callable[[Any, Scene], str | None]
_REFERENCE: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/[A-Za-z0-9.\-]{1,64}(?:/_history/[A-Za-z0-9.\-]{1,64})?$")
_TWIN: Final = "_"


@dataclass(slots=True)
class Check:
    """One rule, ready to ask.

    Attributes:
        code: The reason code of what it refuses.
        key: Its name in FHIR (``obs-6``).
        ask: Returns what is wrong with a node, or None.
        touched: Elements of which one must stand for the rule to be broken; None for any.
    """

    code: str
    key: str
    ask: Ask
    touched: frozenset[str] | None = None


@dataclass(slots=True)
class Plan:
    """What to ask of nodes of one type, and of their elements."""

    checks: list[Check] = field(default_factory=list)
    below: dict[str, Step] = field(default_factory=dict)


@dataclass(slots=True)
class Step:
    """One element: what to ask of each of its values, and the plan of its type (None: a primitive, or a resource)."""

    checks: list[Check]
    plan: Plan | None
    resource: bool = False
    contained: bool = False


def check_invariants(body: dict[str, Any]) -> Refusal | None:
    """Return None where a structurally valid resource breaks no rule of FHIR R4, else the first one broken.

    Returns:
        A refusal of code ``fhir_invariant``, ``fhir_reference``, ``fhir_terminology`` or ``fhir_narrative`` whose
        ``where`` is the element's path. Its message holds no value of the resource.
    """
    scene = Scene(body, body)
    fault = _visit(body, plan_of(body["resourceType"]), scene)
    if fault is None:
        return None
    check, told, steps = fault
    path = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in reversed(steps[-MAX_PATH:]))
    return Refusal(check.code, f"{body['resourceType']}{path}", f"{check.key}: {told}")


_Fault = tuple[Check, str, list[str | int]]


def _visit(node: dict[str, Any], plan: Plan, scene: Scene) -> _Fault | None:
    keys = node.keys()
    for check in plan.checks:
        if (check.touched is None or not check.touched.isdisjoint(keys)) and (told := check.ask(node, scene)):
            return check, told, []
    for key in keys & plan.below.keys():
        step, value = plan.below[key], node[key]
        if isinstance(value, list):
            for number, one in enumerate(value):
                if one is not None and (fault := _enter(one, step, scene)):
                    fault[2].extend((number, key))
                    return fault
        elif fault := _enter(value, step, scene):
            fault[2].append(key)
            return fault
    return None


def _enter(node: Any, step: Step, scene: Scene) -> _Fault | None:
    for check in step.checks:
        if told := check.ask(node, scene):
            return check, told, []
    if step.resource:
        return _visit(node, plan_of(node["resourceType"]), Scene(node, scene.root if step.contained else node))
    return _visit(node, step.plan, scene) if step.plan is not None else None


@cache
def plan_of(resource_type: str) -> Plan:
    """Return the plan of a resource type; elements that lead to nothing are left out."""
    built: dict[str, Plan] = {}
    root = _plan(resource_type, resource_type, built)
    useful = _useful(built)
    for plan in built.values():
        plan.below = {
            key: step
            for key, step in plan.below.items()
            if step.checks or step.resource or (step.plan is not None and id(step.plan) in useful)
        }
    return root


def _useful(built: Mapping[str, Plan]) -> set[int]:
    """Return the plans that ask something, themselves or below."""
    useful: set[int] = set()
    while True:
        more = {
            id(plan)
            for plan in built.values()
            if id(plan) not in useful
            and (
                plan.checks
                or any(step.checks or step.resource or id(step.plan) in useful for step in plan.below.values())
            )
        }
        if not more:
            return useful
        useful |= more


def _plan(type_: str, path: str, built: dict[str, Plan]) -> Plan:
    if type_ in built:
        return built[type_]
    plan = built[type_] = Plan()
    what = definition(type_)
    plan.checks = [*_rules().get(path, ()), *(_rules()["DomainResource"] if _is_domain(what) else ())]
    stems = {name: stem for names, _ in what.choices for stem in [_stem(names)] for name in names}
    for element in what.elements:
        name = stems.get(element.name, element.name)
        own = f"{path}.{name}"
        checks = [*_rules().get(own, ()), *_bound().get(own, ())]
        if element.type == "Reference" and own in _targets():
            checks.append(_points_at(_targets()[own]))
        if element.primitive:
            plan.below[f"{_TWIN}{element.name}"] = Step([], _twin(built))
            if element.type == "xhtml":
                checks = [Check("fhir_narrative", "txt-1", lambda node, _scene: check_narrative(node))]
            plan.below[element.name] = Step(checks, None)
        elif element.type == "Resource":
            plan.below[element.name] = Step(checks, None, True, element.name == "contained")
        else:
            inner = element.type if _is_datatype(element.type, type_) else f"{path}.{element.name}"
            plan.below[element.name] = Step(checks, _plan(element.type, inner, built))
    return plan


def _twin(built: dict[str, Plan]) -> Plan:
    """The plan of the object beside a primitive: its extensions."""
    if _TWIN not in built:
        built[_TWIN] = Plan()
        built[_TWIN].below["extension"] = Step([], _plan("Extension", "Extension", built))
    return built[_TWIN]


def _is_domain(what: Definition) -> bool:
    return what.resource and any(element.name == "contained" for element in what.elements)


def _is_datatype(name: str, inside: str) -> bool:
    """Whether an element's type is one that FHIR names, not the part of another that the models name after it."""
    return not name.startswith(inside) or name == inside


def _stem(names: tuple[str, ...]) -> str:
    shared = min(names)
    while not all(name.startswith(shared) for name in names) or not _is_stem(shared, names):
        shared = shared[:-1]
    return f"{shared}[x]"


def _is_stem(shared: str, names: tuple[str, ...]) -> bool:
    return not choice_names(shared).isdisjoint(names) or len(shared) == 1


@cache
def _rules() -> Mapping[str, tuple[Check, ...]]:
    """Return the invariants by the element that they are declared on."""
    found: dict[str, list[Check]] = {}
    own = list(rows("invariants_own.csv"))
    replaced = _NOT_HERE | {row["key"] for row in own}
    for row in (*own, *(row for row in rows("invariants.csv") if row["key"] not in replaced)):
        check = Check("fhir_invariant", row["key"], *_own(row))
        found.setdefault(row["element"], []).append(check)
    return {element: tuple(checks) for element, checks in found.items()}


#: Needs what stands outside the record (ctm-1), or is asked of the narrative by code (txt-1, txt-2).
_NOT_HERE: Final = frozenset({"ctm-1", "txt-1", "txt-2"})


def _own(row: Mapping[str, str]) -> tuple[Ask, frozenset[str] | None]:
    human = row["human"].rstrip(".")
    if (faster := _BY_HAND.get(row["key"])) is not None:
        broken, touched = faster
        return (lambda node, scene: human if broken(node, scene) else None), frozenset(touched)
    run = compile_expression(row["expression"])

    def ask(node: Any, scene: Scene) -> str | None:
        return human if truth(run([node], scene)) is False else None

    names = reads(row["expression"])
    nothing: dict[str, Any] = {}
    if names is None or ask(nothing, Scene(nothing, nothing)):
        return ask, None
    return ask, names


def _broken_extension(node: dict[str, Any], _scene: Scene) -> bool:
    return ("extension" in node) == any(key.startswith(("value", "_value")) for key in node)


def _dangling(node: dict[str, Any], scene: Scene) -> bool:
    """ref-1: what ``#x`` points at is contained; ``#`` alone is the container."""
    told = node["reference"]
    if not told.startswith("#") or told == "#":
        return False
    return all(one.get("id") != told[1:] for one in scene.root.get("contained", ()))


def _unreferenced(node: dict[str, Any], _scene: Scene) -> bool:
    """dom-3: what is contained is pointed at from elsewhere in the resource, or points at its container."""
    contained = node["contained"]
    texts = set(_texts(node))
    return any(f"#{one.get('id')}" not in texts and "#" not in set(_texts(one)) for one in contained)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        if node.startswith("#"):
            yield node
    elif isinstance(node, dict):
        for one in node.values():
            yield from _texts(one)
    elif isinstance(node, list):
        for one in node:
            yield from _texts(one)


#: The rules asked most often, and one that must look at all of a resource, written out.
_BY_HAND: Final[Mapping[str, tuple[Callable[[Any, Scene], bool], tuple[str, ...]]]] = {
    "ext-1": (_broken_extension, ("url",)),
    "ref-1": (_dangling, ("reference",)),
    "dom-3": (_unreferenced, ("contained",)),
}


@cache
def _targets() -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for row in (*rows("references.csv"), *rows("references_own.csv")):
        found[row["element"]] = found.get(row["element"], frozenset()) | frozenset(row["targets"].split())
    return found


@cache
def _bound() -> Mapping[str, tuple[Check, ...]]:
    return {row["element"]: (_takes_from(row["value_set"]),) for row in rows("bindings.csv")}


def _takes_from(url: str) -> Check:
    members, name = value_set(url), url.rpartition("/")[2]
    told = f"a code of the value set {name} was expected, none came"

    def ask(node: dict[str, Any], _scene: Scene) -> str | None:
        if any((one.get("system"), one.get("code")) in members for one in node.get("coding", ())):
            return None
        return None if "coding" not in node and "extension" in node else told

    return Check("fhir_terminology", name, ask)


def _points_at(targets: frozenset[str]) -> Check:
    told = f"a reference to {' or '.join(sorted(targets))} was expected, one to another type came"

    def ask(node: dict[str, Any], scene: Scene) -> str | None:
        found = node.get("type")
        match = _REFERENCE.search(node.get("reference", ""))
        if match and is_resource_type(match[1]):
            if found is not None and found != match[1]:
                return "the reference says one type and points at another"
            found = match[1]
        elif (told_of := node.get("reference", "")).startswith("#") and len(told_of) > 1:
            held = scene.root.get("contained", ())
            found = next((one.get("resourceType") for one in held if one.get("id") == told_of[1:]), None)
        return told if found is not None and found not in targets else None

    return Check("fhir_reference", "reference", ask)
