"""A FHIR resource as its elements: what a person compares two conversions by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from schemas.records import Resource

#: What follows from other things and is no news by itself: ids, and what points at them.
_DERIVED: Final = frozenset({"id", "reference", "target"})
#: A record without an id of its own is known by a digest, which any change of it changes.
_DIGEST: Final = re.compile(r"[0-9a-f]{32,}")


def elements(resource: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """Return each plain value of a resource under its path, arrays without their numbers, ids and references left out.

    ``("Observation.valueQuantity.value", "7.2")``; what came from the mapping's own version is left out, too.
    """
    return Counter(_walk(resource, str(resource["resourceType"])))


def of_all(resources: Iterable[Resource]) -> Counter[tuple[str, str]]:
    """Return the elements of all resources together."""
    total: Counter[tuple[str, str]] = Counter()
    for resource in resources:
        total.update(elements(resource.body))
    return total


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key not in _DERIVED and key != "resourceType":
                yield from _walk(one, f"{path}.{key}")
    elif isinstance(value, list):
        for one in value:
            yield from _walk(one, path)
    elif path != "Provenance.agent.who.display" and not (".entity." in path and _DIGEST.search(str(value))):
        yield path, str(value)
