"""A draft becomes a request file: names become ViewDefinitions, files become digests, what is missing its default."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from shangmi import Sm3
from sharing.errors import Malformed
from sharing.request.canonical import MAX_FILE, encode, parse
from sharing.request.draft_text import MAX_DRAFT, read_draft, typed
from sharing.request.reading import FORMAT, Place, faults, place_name, request_schema

#: What the program fills in; a draft that writes it would be believed.
_OURS: Final = ("format", "chain_id", "made", "nonce")
_CHUNK: Final = 1 << 20


def finish(path: Path, chain_id: bytes, today: date, recipient: bytes | None = None) -> bytes:
    """Return the canonical request file of a draft; each call gives another one, since its nonce is new.

    Args:
        path: The draft, YAML. Files that it names are looked for beside it.
        chain_id: The chain that it is meant for.
        today: Date of the request.
        recipient: Key that the dataset shall be sealed to, x||y, where the draft names none.

    Raises:
        Malformed: It asks for nothing that could be asked so; names every place with its line.
        OSError: The draft, or a file that it names, cannot be read.
    """
    said, lines = read_draft(_bounded(path, MAX_DRAFT), path.name)
    trouble: list[tuple[Place, str]] = [
        ((name,), "is filled in by `sign`; leave it out") for name in _OURS if name in said
    ]
    schema = request_schema()
    document = typed({key: one for key, one in said.items() if key not in _OURS}, schema, schema)
    document |= {"format": FORMAT, "chain_id": chain_id.hex(), "made": today.isoformat()}
    document["nonce"] = secrets.token_bytes(16).hex()
    if recipient is not None:
        document["recipient"] = recipient.hex()
    if isinstance(document.get("holders"), list) and all(isinstance(one, str) for one in document["holders"]):
        document["holders"] = sorted(document["holders"])
    document["views"], more = _views(document.get("views"), path.parent)
    trouble += more
    trouble += _ethics(document, path.parent)
    trouble += [fault for fault in faults(document) if not _named(trouble, fault[0])]
    if trouble:
        told = (f"{_line(place, lines)}{place_name(place)}: {what}" for place, what in trouble)
        raise Malformed("\n".join([f"{path.name} cannot be signed yet:", *told]))
    return encode(document)


def _bounded(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Malformed(f"{path.name}: more than {most} bytes")
    return content


def _named(trouble: list[tuple[Place, str]], place: Place) -> bool:
    """Say whether something is said of a place, or of one above it, already."""
    return any(place[: len(one)] == one for one, _ in trouble)


def _line(place: Place, lines: Mapping[Place, int]) -> str:
    """Return in which line a place stands, or the nearest one above it that the draft has."""
    while place not in lines:
        place = place[:-1]
    return f"line {lines[place]}: " if place else ""


def _views(said: object, folder: Path) -> tuple[dict[str, Any], list[tuple[Place, str]]]:
    """Return ViewDefinitions by name, and what is wrong with how they are named.

    Views are named from the library, or by a file beside the draft that ends in ``.json``.
    """
    from sharing.views import library

    if not isinstance(said, list) or not said:
        return {}, [(("views",), f"expected a list of names or .json files; the library has: {', '.join(library())}")]
    found: dict[str, Any] = {}
    trouble: list[tuple[Place, str]] = []
    for at, name in enumerate(said):
        try:
            definition = _view(name, folder, library())
        except Malformed as error:
            trouble.append((("views", at), str(error)))
            continue
        own = definition.get("name")
        key = own if isinstance(own, str) else str(name)
        if key in found:
            trouble.append((("views", at), f"a second view that calls itself {key}"))
        found[key] = definition
    return found, trouble


def _view(name: object, folder: Path, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if not isinstance(name, str):
        raise Malformed("expected the name of a view, or of a file that ends in .json")
    if name.endswith(".json"):
        try:
            content = _bounded(folder / name, MAX_FILE)
        except OSError as error:
            raise Malformed(f"{name}: {error.strerror}") from None
        definition = parse(content, name)
        if not isinstance(definition, dict):
            raise Malformed(f"{name}: expected a ViewDefinition, a JSON object")
        return definition
    if name in known:
        return dict(known[name])
    near = get_close_matches(name, known, 1)
    meant = f"; {near[0]} is meant?" if near else f"; it has {', '.join(known)}"
    raise Malformed(f"the library has no view {name!r}{meant}. A file of your own ends in .json")


def _ethics(document: dict[str, Any], folder: Path) -> list[tuple[Place, str]]:
    """The approval's document is its digest from here on; returns what is wrong with it."""
    ethics = document.get("ethics")
    if not isinstance(ethics, dict) or not isinstance(named := ethics.get("document"), str):
        return []
    if len(named) == 64 and not set(named) - set("0123456789abcdef"):
        return []
    try:
        ethics["document"] = _digest(folder / named)
    except OSError as error:
        return [(("ethics", "document"), f"{named}: {error.strerror}; expected the document's file, or its SM3 as hex")]
    return []


def _digest(path: Path) -> str:
    found = Sm3()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            found.update(piece)
    return found.hexdigest()
