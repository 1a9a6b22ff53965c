"""What FHIR R4 asks of a resource beyond its structure: invariants, reference types, required bindings, narrative.

The rules are tables (``schemas/fhir``, from the official definitions). For each type they are compiled once into a
plan: what to ask of a node of that type, and which of its elements to go into. Only elements below which something
is asked are visited, and a rule is only evaluated where an element stands that can change its answer.

Not checked: bindings to value sets that need a terminology server, profiles, and whether what a reference points at
exists (a record holds only a part of the world).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from quality.definitions import Definition, definition
from quality.fhir_rules import Check, bound, points_at, rules, targets
from quality.fhir_tables import choice_names
from quality.fhirpath import Scene
from quality.narrative import check_narrative
from schemas.records import Refusal

#: Steps of an element's path that a message shows.
MAX_PATH: Final = 24
_TWIN: Final = "_"


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
    # In the order of the elements' names: which fault is told first must not depend on a process's hash seed.
    for key in sorted(keys & plan.below.keys()):
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
    plan.checks = [*rules().get(path, ()), *(rules()["DomainResource"] if _is_domain(what) else ())]
    stems = {name: stem for names, _ in what.choices for stem in [_stem(names)] for name in names}
    for element in what.elements:
        name = stems.get(element.name, element.name)
        own = f"{path}.{name}"
        checks = [*rules().get(own, ()), *bound().get(own, ())]
        if element.type == "Reference" and own in targets():
            checks.append(points_at(targets()[own]))
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
