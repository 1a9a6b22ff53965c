"""Catalogues in the exchange: signed by who says so, believed of nobody else.

What lies there is canonical JSON: the catalogue, and the institution's SM2 signature over chain, institution and
the SM3 digest of the catalogue. A reader takes an institution's newest catalogue whose signature its registered key
made; an older one that somebody shows again stays older.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

import schemas
from ledger.errors import ProofError
from ledger.messages.catalogue_word import catalogue_message
from ledger.proofs.strict_json import MAX_FILE, Fields, parse
from schemas import json_text
from shangmi import MalformedInput, PublicKey, sm3
from sharing.errors import Malformed, Refused

if TYPE_CHECKING:
    from ledger.chain.roster import Registration
    from ledger.exchange import Exchange


@dataclass(frozen=True, slots=True)
class Published:
    """One institution's catalogue, its signature verified.

    Attributes:
        institution: Its id in region.yaml.
        title: What people call it.
        catalogue: What it says.
    """

    institution: str
    title: str
    catalogue: Mapping[str, Any]


def publish(exchange: Exchange, catalogue: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """The catalogue lies in the exchange, and what lay there of the institution before does not; returns its digest.

    Args:
        exchange: Where institutions leave each other bytes.
        catalogue: What ``describe`` returned.
        sign: Makes the institution's signature for a catalogue's digest (`ledger.notary.Notary.sign_catalogue`).

    Raises:
        Malformed: It is no catalogue.
        Refused: It is longer than readers take.
    """
    plain = _canonical(catalogue)
    _checked(catalogue)
    content = _canonical({"catalogue": catalogue, "signature": sign(sm3(plain)).hex()})
    if len(content) > MAX_FILE:
        raise Refused("catalogue", f"{len(content)} bytes; readers take {MAX_FILE}. Leave out views or codes")
    topic = _topic(catalogue["institution"])
    before = list(exchange.read(topic, MAX_FILE))
    digest = exchange.post(topic, content)
    for one in before:
        if one != content:
            exchange.retire(topic, one)
    return digest


def published(exchange: Exchange, roster: Iterable[Registration], chain_id: bytes) -> list[Published]:
    """Return the newest catalogue of every active institution that shows one, in order of institution.

    Args:
        exchange: Anybody may have put anything there; what is not signed, or no catalogue, is passed over.
        roster: Who is registered, with their keys.
        chain_id: The region's chain.
    """
    found = []
    for one in sorted(roster, key=lambda registration: registration.name):
        shown = list(_signed(exchange, one, chain_id)) if one.active else []
        if shown:
            newest = max(shown, key=lambda catalogue: (catalogue["counted"], _canonical(catalogue)))
            found.append(Published(one.name, one.title, newest))
    return found


def _signed(exchange: Exchange, who: Registration, chain_id: bytes) -> Iterable[Mapping[str, Any]]:
    for content in exchange.read(_topic(who.name), MAX_FILE):
        try:
            yield read_published(content, who, chain_id)
        except Malformed:
            continue


def read_published(content: bytes, who: Registration, chain_id: bytes) -> Mapping[str, Any]:
    """Return the catalogue that an institution signed.

    Raises:
        Malformed: It is none, in another form than the canonical one, another's, or not signed by this key.
    """
    try:
        fields = Fields(parse(content, "catalogue"), "catalogue").only(("catalogue", "signature"))
        catalogue, signature = fields.take("catalogue"), fields.hex("signature", 64)
        key = PublicKey.from_bytes(who.public_key)
    except (ProofError, MalformedInput) as error:
        raise Malformed(str(error)) from None
    checked = _checked(catalogue)
    if content != _canonical({"catalogue": checked, "signature": signature.hex()}):
        raise Malformed("catalogue: not in its canonical form")
    if checked["institution"] != who.name:
        raise Malformed("catalogue: is another institution's")
    if not key.verify(signature, catalogue_message(chain_id, who.id, sm3(_canonical(checked)))):
        raise Malformed("catalogue: the signature is not that of the institution's registered key")
    return checked


def _checked(value: object) -> Mapping[str, Any]:
    fault = next(_validator().iter_errors(value), None)
    if fault is not None:
        where = "/".join(map(str, fault.absolute_path)) or "the whole"
        raise Malformed(f"catalogue: {where} is not as schemas/catalogue.schema.json says ({fault.validator})")
    assert isinstance(value, dict)  # the schema says so
    return value


@cache
def _validator() -> Draft202012Validator:
    path = Path(schemas.__file__).parent / "catalogue.schema.json"
    return Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


def _canonical(value: object) -> bytes:
    try:
        return json_text.encode(value)
    except json_text.NotStrict as error:
        raise Malformed(f"catalogue: {error}") from None


def _topic(institution: str) -> str:
    return f"catalogue/{institution}"
