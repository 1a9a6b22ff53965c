"""What a record holds: one resource, or the entries of a bundle, each with the address it is known by.

Source: FHIR R4, 2.36 (Bundle), 2.36.4 (resolving references in bundles), 3.1.0 (requests), Bulk Data Access 2.0
(deleted resources are transactions of DELETE).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from normalise.errors import SetAside, set_aside

Body = dict[str, Any]

#: Bundles inside bundles, at most.
_NESTED: Final = 4
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_NAMED: Final = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/([A-Za-z0-9.\-]{1,64})(?:/_history/[A-Za-z0-9.\-]{1,64})?")
_UUID: Final = re.compile(r"urn:uuid:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_TYPES: Final = frozenset(
    ("document", "message", "transaction", "transaction-response", "batch", "batch-response", "history", "searchset")
) | {"collection"}
_REQUESTED: Final = frozenset({"batch", "transaction", "history"})
_ANSWERED: Final = frozenset({"batch-response", "transaction-response", "history"})
#: Bundles whose ``urn:`` references must be found in them.
WHOLE: Final = frozenset({"document", "message", "transaction"})


@dataclass(frozen=True, slots=True)
class Held:
    """One resource of a record, or the news that one was deleted.

    Attributes:
        where: The sender's coordinates: ``Observation``, ``Bundle.entry[3]``.
        address: Its fullUrl, or ``""``.
        body: The resource; for a deletion its ``resourceType`` and ``id``, no id where it is one by condition.
        deleted: Whether it was deleted.
        bundle: Type of the bundle around it, or ``""``.
    """

    where: str
    address: str
    body: Body
    deleted: bool = False
    bundle: str = ""


def held(body: Body, where: str = "", depth: int = 0) -> Iterator[Held]:
    """Yield the resources of a record: its own, those of a bundle, those of Parameters.

    Raises:
        SetAside: ``fhir_bundle`` where it breaks a rule of bundles.
    """
    kind = body["resourceType"]
    where = where or kind
    if kind == "Bundle":
        yield from _entries(body, where, depth)
    elif kind == "Parameters" and (parts := list(_parts(body.get("parameter"), f"{where}.parameter"))):
        for place, inner in parts:
            yield from held(inner, place, depth + 1)
    else:
        yield Held(where, "", body)


def _parts(parameters: Any, where: str) -> Iterator[tuple[str, Body]]:
    for number, one in enumerate(parameters if isinstance(parameters, list) else ()):
        if isinstance(one, dict):
            if _is_resource(one.get("resource")):
                yield f"{where}[{number}].resource", one["resource"]
            yield from _parts(one.get("part"), f"{where}[{number}].part")


def _entries(bundle: Body, where: str, depth: int) -> Iterator[Held]:
    type_ = bundle.get("type")
    if depth >= _NESTED:
        raise _broken(where, f"at most {_NESTED} bundles may stand in each other")
    if not isinstance(type_, str) or type_ not in _TYPES:
        raise _broken(f"{where}.type", "a type of bundle was expected; send Bundle.type")
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise _broken(f"{where}.entry", "an array of entries was expected")
    _check(bundle, type_, entries, where)
    for number, entry in enumerate(entries):
        yield from _entry(entry, type_, f"{where}.entry[{number}]", depth)


def _entry(entry: Body, type_: str, where: str, depth: int) -> Iterator[Held]:
    request = entry.get("request")
    method = request.get("method") if isinstance(request, dict) else None
    address, inner = entry.get("fullUrl", ""), entry.get("resource")
    if inner is None:
        if method == "DELETE" and isinstance(request, dict):
            yield _deletion(request.get("url"), where, type_)
        elif method == "PATCH":
            raise _broken(where, "a patch holds no resource; send the resource as it is after it")
        return
    if not _is_resource(inner):
        raise _broken(f"{where}.resource", "a resource with a resourceType was expected")
    if isinstance(request, dict) and "$" in str(request.get("url")):
        return  # what an operation is told is no record
    search = entry.get("search")
    if isinstance(search, dict) and search.get("mode") == "outcome":
        return
    if method == "PUT" and isinstance(request, dict) and not address.startswith("http"):
        address = _put(request.get("url"), inner) or address
    for one in held(inner, f"{where}.resource", depth + 1):
        yield Held(one.where, one.address or address, one.body, one.deleted, one.bundle or type_)


def _put(url: Any, inner: Body) -> str:
    """Return the relative address under which a PUT stores its resource; ``""`` for one by condition."""
    match = _NAMED.fullmatch(url) if isinstance(url, str) else None
    return f"{match[1]}/{match[2]}" if match and match[1] == inner["resourceType"] else ""


def _deletion(url: Any, where: str, type_: str) -> Held:
    if isinstance(url, str) and "?" in url:
        return Held(where, "", {"resourceType": url.partition("?")[0]}, True, type_)
    match = _NAMED.fullmatch(url) if isinstance(url, str) else None
    if match is None:
        raise _broken(f"{where}.request.url", "a deletion that names its resource was expected (Type/id)")
    return Held(where, url if ":" in url else "", {"resourceType": match[1], "id": match[2]}, True, type_)


def _is_resource(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("resourceType"), str)


def _check(bundle: Body, type_: str, entries: list[Body], where: str) -> None:
    """What FHIR asks of bundles is kept (invariants bdl-1 to bdl-12, and 2.36.4 on addresses)."""
    if "total" in bundle and type_ not in ("searchset", "history"):
        raise _broken(f"{where}.total", "bdl-1: only search results and histories have a total")
    _check_links(bundle.get("link"), where)
    first = entries[0].get("resource") if entries else None
    leads = {"document": "Composition", "message": "MessageHeader"}.get(type_)
    if leads and (not _is_resource(first) or first is None or first["resourceType"] != leads):
        raise _broken(f"{where}.entry[0]", f"bdl-11, bdl-12: a {type_} begins with its {leads}")
    if type_ == "document":
        identifier = bundle.get("identifier")
        named = isinstance(identifier, dict) and {"system", "value"} <= identifier.keys()
        if not named or "timestamp" not in bundle:
            raise _broken(where, "bdl-9, bdl-10: a document has an identifier with system and value, and a timestamp")
    seen: set[tuple[str, str]] = set()
    changed: set[str] = set()
    for number, entry in enumerate(entries):
        _check_entry(entry, type_, f"{where}.entry[{number}]", seen)
        if type_ == "transaction":
            _check_request(entry, f"{where}.entry[{number}]", changed)


def _check_links(links: Any, where: str) -> None:
    relations = [one.get("relation") for one in links if isinstance(one, dict)] if isinstance(links, list) else []
    if len({str(one) for one in relations}) < len(relations):
        raise _broken(f"{where}.link", "a kind of link may stand once in a bundle")


def _check_entry(entry: Body, type_: str, where: str, seen: set[tuple[str, str]]) -> None:
    if not entry.keys() & {"resource", "request", "response"}:
        raise _broken(where, "bdl-5: an entry holds a resource, a request or a response")
    if ("request" in entry) != (type_ in _REQUESTED):
        raise _broken(where, "bdl-3: entries of batches, transactions and histories have a request, others have none")
    if ("response" in entry) != (type_ in _ANSWERED):
        raise _broken(where, "bdl-4: entries of responses and histories have a response, others have none")
    if "search" in entry and type_ != "searchset":
        raise _broken(where, "bdl-2: only entries of search results say how they were found")
    address = entry.get("fullUrl")
    if address is None:
        return
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address) or "/_history/" in address:
        raise _broken(f"{where}.fullUrl", "bdl-8: an absolute address without a version was expected")
    if address.startswith("urn:uuid:") and not _UUID.fullmatch(address):
        raise _broken(f"{where}.fullUrl", "a UUID was expected behind urn:uuid (RFC 4122)")
    inner = entry.get("resource")
    meta = inner.get("meta") if isinstance(inner, dict) else None
    version = str(meta.get("versionId", "")) if isinstance(meta, dict) else ""
    if type_ != "history" and (address, version) in seen:
        raise _broken(f"{where}.fullUrl", "bdl-7: a fullUrl stands once in a bundle")
    seen.add((address, version))
    match = _NAMED.fullmatch(address) if address.startswith("http") and isinstance(inner, dict) else None
    if match and "request" not in entry and isinstance(inner, dict) and inner.get("id", match[2]) != match[2]:
        raise _broken(f"{where}.fullUrl", "a fullUrl that agrees with the id of its resource was expected")


def _check_request(entry: Body, where: str, changed: set[str]) -> None:
    """What an entry of a transaction asks for is a change of one resource that no other entry changes (3.1.0.11.2)."""
    request, inner = entry["request"], entry.get("resource")
    if not isinstance(request, dict) or not isinstance(request.get("url"), str):
        raise _broken(f"{where}.request", "a request with a url was expected")
    url, method = request["url"], request.get("method")
    if "$" in url:
        return
    if method == "POST" and _is_resource(inner) and isinstance(inner, dict) and url.strip("/") != inner["resourceType"]:
        raise _broken(f"{where}.request.url", "the type of the resource was expected")
    match = _NAMED.fullmatch(url)
    if match and method in ("PUT", "DELETE", "PATCH"):
        if (name := f"{match[1]}/{match[2]}") in changed:
            raise _broken(where, "two entries of one transaction change the same resource")
        changed.add(name)


def _broken(where: str, told: str) -> SetAside:
    return set_aside("fhir_bundle", where, (told if told.startswith("bdl-") else told[0].upper() + told[1:]) + ".")
