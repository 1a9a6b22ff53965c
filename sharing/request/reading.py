"""Request files, `xinglin-request/1`: read strictly, checked whole, digested (docs/formats/request.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import schemas
from ledger.contracts.policy_text import is_line
from schemas.sharing import Code, Cohort, DatasetRequest, Demands, Ethics
from shangmi import MalformedInput, PublicKey, sm3
from sharing.errors import Malformed
from sharing.request.canonical import decode, encode

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

FORMAT: Final = "xinglin-request/1"
_DOMAIN = b"XL/REQUEST-FILE/1\0"
_MAX_FAULTS: Final = 20
#: Where in a document something stands.
Place = tuple[str | int, ...]


def request_digest(content: bytes) -> bytes:
    """Return what the chain calls a request file: SM3 of its bytes behind a domain; 32 bytes."""
    return sm3(_DOMAIN + content)


def read_request(content: bytes) -> DatasetRequest:
    """Return what a request file asks for.

    Args:
        content: The file, as `xinglin request sign` wrote it.

    Raises:
        Malformed: It is not in the canonical form, breaks the schema, contradicts itself, or holds a view that does
            not compile; the message names every place.
    """
    document = decode(content)
    if found := list(faults(document)):
        raise Malformed("request: " + "; ".join(f"{place_name(place)}: {what}" for place, what in found))
    return _value(document)


def write_request(request: DatasetRequest) -> bytes:
    """Return the file of a request; ``read_request`` gives it back.

    Raises:
        Malformed: It cannot be asked for so.
    """
    content = encode(_document(request))
    read_request(content)
    return content


def place_name(place: Place) -> str:
    """Return a place as people read it: ``cohort/period/from``."""
    return "/".join(map(str, place)) or "the file"


@cache
def request_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    path = Path(schemas.__file__).parent / "request.schema.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(request_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def faults(document: object) -> Iterator[tuple[Place, str]]:
    """Yield where a document is no request, and what is wrong there; at most twenty."""
    found = [(tuple(one.absolute_path), _said(one)) for one in _validator().iter_errors(document)][:_MAX_FAULTS]
    if not found and isinstance(document, dict):
        found = [*_unseen(document), *_contradictions(document), *_view_faults(document["views"])]
    yield from found[:_MAX_FAULTS]


def _said(error: Any) -> str:
    """Return a schema's complaint in a sentence that repeats no long value."""
    value = json.dumps(error.instance, ensure_ascii=False, default=str)
    came = f", got {value}" if len(value) <= 60 else ""
    match error.validator:
        case "required":
            return str(error.message)
        case "additionalProperties" | "propertyNames":
            return f"{error.message}"[:200]
        case "enum":
            return f"expected one of {', '.join(map(repr, error.validator_value))}{came}"
        case "pattern" | "format":
            wanted = (
                error.schema.get("description") or error.schema.get("format") or f"text like {error.validator_value}"
            )
            return f"expected {wanted}{came}"
        case "minimum" | "maximum":
            bound = "at least" if error.validator == "minimum" else "at most"
            return f"expected {bound} {error.validator_value}{came}"
        case "type":
            return f"expected {_words(error.validator_value)}{came}"
        case "uniqueItems":
            return "names something twice"
    return f"breaks the rule {error.validator}: {error.validator_value}{came}"


def _words(types: str | list[str]) -> str:
    return " or ".join([types] if isinstance(types, str) else types)


def _unseen(document: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield texts with characters that nobody sees, since who approves must read what is digested; and fractions."""
    left: list[tuple[Place, object]] = [((), document)]
    while left:
        place, value = left.pop()
        if isinstance(value, dict):
            left += [((*place, key), one) for key, one in value.items()]
            left += [((*place, key), key) for key in value]
        elif isinstance(value, list):
            left += [((*place, at), one) for at, one in enumerate(value)]
        elif isinstance(value, str) and value:
            # A view's descriptions may have lines; everything else is one.
            text = " ".join(value.split("\n")).replace("\t", " ").strip() if place[0] == "views" else value
            if text and not is_line(text):
                yield place, "holds characters that are not seen, line ends, or spaces at its ends"
        elif isinstance(value, float) and place[0] != "views":
            yield place, f"expected a whole number, got {value}"


def _contradictions(document: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    cohort, ethics = document["cohort"], document["ethics"]
    if document["holders"] != sorted(document["holders"]):
        yield ("holders",), "not in alphabetical order"
    if document["requester"] in document["holders"]:
        yield ("holders",), "holds the requester itself; its own records need no request"
    if _after(cohort["period"]["from"], cohort["period"]["until"]):
        yield ("cohort", "period"), "ends before it begins"
    if cohort["ages"] and cohort["ages"]["from"] > cohort["ages"]["to"]:
        yield ("cohort", "ages"), "the least age is above the greatest"
    if ethics and _after(ethics["from"], ethics["until"]):
        yield ("ethics",), "ends before it begins"
    if _after(document["made"], document["keep_until"]):
        yield ("keep_until",), "is before the request itself"
    if document["recipient"] and not _is_key(document["recipient"]):
        yield ("recipient",), "is no point of the SM2 curve: nobody could open the dataset"


def _after(first: str | None, last: str | None) -> bool:
    return first is not None and last is not None and first > last


def _is_key(text: str) -> bool:
    try:
        PublicKey.from_bytes(bytes.fromhex(text))
    except MalformedInput:
        return False
    return True


def _view_faults(views: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    from sharing.views import compile_view

    for name, definition in sorted(views.items()):
        try:
            view = compile_view(definition)
        except Malformed as error:
            yield ("views", name), str(error)
            continue
        if view.name != name:
            yield ("views", name), f"the definition calls itself {view.name}; a table has its view's name"


def _value(document: Mapping[str, Any]) -> DatasetRequest:
    cohort, ethics = document["cohort"], document["ethics"]
    period, ages = cohort["period"], cohort["ages"]
    return DatasetRequest(
        chain_id=bytes.fromhex(document["chain_id"]),
        title=document["title"],
        requester=document["requester"],
        holders=tuple(document["holders"]),
        purpose=document["purpose"],
        reader=document["reader"],
        recipient=bytes.fromhex(document["recipient"]),
        cohort=Cohort(
            tuple(tuple(Code(one["system"], one["code"]) for one in some) for some in cohort["criteria"]),
            (_date(period["from"]), _date(period["until"])),
            (ages["from"], ages["to"]) if ages else None,
            tuple(cohort["sexes"]),
        ),
        views=document["views"],
        profile=document["profile"],
        demands=Demands(**document["demands"]),
        ndjson=document["ndjson"],
        most=document["most"],
        ethics=_ethics(ethics) if ethics else None,
        made=date.fromisoformat(document["made"]),
        keep_until=date.fromisoformat(document["keep_until"]),
        nonce=bytes.fromhex(document["nonce"]),
    )


def _ethics(found: Mapping[str, str]) -> Ethics:
    valid = date.fromisoformat(found["from"]), date.fromisoformat(found["until"])
    return Ethics(found["committee"], found["number"], valid, bytes.fromhex(found["document"]))


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _document(request: DatasetRequest) -> dict[str, Any]:
    cohort, ethics, demands = request.cohort, request.ethics, request.demands
    first, last = (None if one is None else one.isoformat() for one in cohort.period)
    return {
        "format": FORMAT,
        "chain_id": request.chain_id.hex(),
        "title": request.title,
        "requester": request.requester,
        "holders": list(request.holders),
        "purpose": request.purpose,
        "reader": request.reader,
        "recipient": request.recipient.hex(),
        "cohort": {
            "criteria": [[{"system": one.system, "code": one.code} for one in some] for some in cohort.criteria],
            "period": {"from": first, "until": last},
            "ages": {"from": cohort.ages[0], "to": cohort.ages[1]} if cohort.ages else None,
            "sexes": list(cohort.sexes),
        },
        "views": dict(request.views),
        "profile": request.profile,
        "demands": {"k": demands.k, "l": demands.l, "t": demands.t, "suppression": demands.suppression},
        "ndjson": request.ndjson,
        "most": request.most,
        "ethics": None
        if ethics is None
        else {
            "committee": ethics.committee,
            "number": ethics.number,
            "from": ethics.valid[0].isoformat(),
            "until": ethics.valid[1].isoformat(),
            "document": ethics.digest.hex(),
        },
        "made": request.made.isoformat(),
        "keep_until": request.keep_until.isoformat(),
        "nonce": request.nonce.hex(),
    }
