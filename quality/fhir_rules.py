"""The rules of FHIR R4 that are tables, made ready to ask: invariants, required bindings, what references may point at.

``schemas/fhir/derive.py`` says where the tables come from; those that end in ``_own`` say in each row why it is ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from quality.definitions import is_resource_type
from quality.fhir_tables import rows, value_set
from quality.fhirpath import Scene, compile_tree, reads
from quality.fhirpath_functions import truth
from schemas.fhirpath import parse

Ask = Callable[[Any, Scene], str | None]
_REFERENCE: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)/[A-Za-z0-9.\-]{1,64}(?:/_history/[A-Za-z0-9.\-]{1,64})?$")


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


@cache
def rules() -> Mapping[str, tuple[Check, ...]]:
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
    tree = parse(row["expression"])
    run = compile_tree(tree)

    def ask(node: Any, scene: Scene) -> str | None:
        return human if truth(run([node], scene)) is False else None

    names = reads(tree)
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
def targets() -> Mapping[str, frozenset[str]]:
    """Return the types that a reference may point at, by its element; one that may point at any is not there."""
    found: dict[str, frozenset[str]] = {}
    for row in (*rows("references.csv"), *rows("references_own.csv")):
        found[row["element"]] = found.get(row["element"], frozenset()) | frozenset(row["targets"].split())
    return found


@cache
def bound() -> Mapping[str, tuple[Check, ...]]:
    """Return the required bindings by the element that has one."""
    return {row["element"]: (_takes_from(row["value_set"]),) for row in rows("bindings.csv")}


def _takes_from(url: str) -> Check:
    members, name = value_set(url), url.rpartition("/")[2]
    told = f"a code of the value set {name} was expected, none came"

    def ask(node: dict[str, Any], _scene: Scene) -> str | None:
        if any((one.get("system"), one.get("code")) in members for one in node.get("coding", ())):
            return None
        return None if "coding" not in node and "extension" in node else told

    return Check("fhir_terminology", name, ask)


def points_at(allowed: frozenset[str]) -> Check:
    """Return the rule that a reference points at one of these types, contained resources among them."""
    told = f"a reference to {' or '.join(sorted(allowed))} was expected, one to another type came"

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
        return told if found is not None and found not in allowed else None

    return Check("fhir_reference", "reference", ask)
