"""Resources inside others: contained ones, and the entries of a Bundle; references between them still meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sharing.deidentify.definitions import resource_types
from sharing.deidentify.run import Run, Step

if TYPE_CHECKING:
    from sharing.deidentify.deidentifier import Deidentifier

#: Where the resources of a de-identified Bundle are said to be; relative references resolve against it (bundle.html).
BASE: Final = "https://deidentified.xinglin.invalid"


def within(run: Run, kind: str, contained: Any, steps: Mapping[str, Step]) -> Callable[[], list[dict[str, Any]]]:
    """Make the ids of contained resources that may leave known to references, and return what builds these resources.

    What it returns is called after the resource around them: only those referred to are built (FHIR R4 dom-3).
    """
    kept: dict[str, dict[str, Any]] = {}
    for one in contained if type(contained) is list else ():
        inner, id_ = (one.get("resourceType"), one.get("id")) if type(one) is dict else (None, None)
        if type(inner) is str and type(id_) is str and inner in steps:
            kept[id_] = one
            run.inside[id_] = run.pseudonyms.id("#", id_)
        else:
            named = inner if type(inner) is str and inner in resource_types() else "(not FHIR)"
            run.counts[f"{kind}.contained({named})", "type"] += 1

    def build() -> list[dict[str, Any]]:
        built: dict[str, dict[str, Any]] = {}
        while todo := [id_ for id_ in kept if id_ in run.seen and id_ not in built]:
            for id_ in todo:
                body = {name: item for name, item in kept[id_].items() if name not in _APART}
                inner = kept[id_]["resourceType"]
                found = steps[inner](body, run) or {}
                built[id_] = {"resourceType": inner, "id": run.inside[id_], **found}
        for id_ in kept.keys() - built.keys():
            run.counts[f"{kind}.contained({kept[id_]['resourceType']})", "unlisted"] += 1
        return [built[id_] for id_ in kept if id_ in built]

    return build


_APART: Final = frozenset({"resourceType", "id", "meta", "text", "contained", "modifierExtension", "implicitRules"})


def bundle(
    deidentifier: Deidentifier, run: Run, body: Mapping[str, Any], whose: Callable[[Mapping[str, Any]], bytes]
) -> dict[str, Any]:
    """Return a Bundle of type collection with what may leave of the entries of another."""
    entries = body.get("entry", ())
    pairs: list[tuple[Any, dict[str, Any]]] = [
        (one.get("fullUrl"), one["resource"])
        for one in (entries if type(entries) is list else ())
        if type(one) is dict and type(one.get("resource")) is dict
    ]
    types = deidentifier.profile.rules["types"]
    before = run.behind
    run.behind = before | {
        address for address, inner in pairs if type(address) is str and inner.get("resourceType") not in types
    }
    try:
        kept = [one for one in (_entry(deidentifier, run, *pair, whose) for pair in pairs) if one is not None]
    finally:
        run.behind = before
    return {"resourceType": "Bundle", "type": "collection", **({"entry": kept} if kept else {})}


def _entry(
    deidentifier: Deidentifier,
    run: Run,
    address: Any,
    resource: dict[str, Any],
    whose: Callable[[Mapping[str, Any]], bytes],
) -> dict[str, Any] | None:
    if resource.get("resourceType") == "Bundle":
        try:
            return {"resource": bundle(deidentifier, run, resource, whose)}
        except RecursionError:
            run.counts["Bundle.entry", "shape"] += 1
            return None
    found = deidentifier.resource(resource, whose(resource))
    if found is None:
        return None
    full = run.reference(address) if type(address) is str and address[:1] != "#" else None
    if full is None and "id" in found:
        full = f"{found['resourceType']}/{found['id']}"
    if full is None:
        return {"resource": found}
    return {"fullUrl": full if full.startswith("urn:") else f"{BASE}/{full}", "resource": found}
