"""Who wore it and what it was: Patient by the user's id, Device by serial number or name.

A user's id means somebody inside one source only, unless it says more: ``system|value``, or a resident identity number
with a right checksum. A record that names nobody gets a Patient of its own, under the digest of its bytes: never
somebody else's. The suite sets it aside; after a mapping or the source's settings say whose it is, it is replayed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from normalise.collecting import Body, Collector
from normalise.ids import id_within, local_uri
from normalise.patients import patient_id
from schemas.residents import RESIDENT, is_resident_number

_SYSTEM: Final = re.compile(r"(?:https?://|urn:[a-z0-9][a-z0-9-]+:)[\x21-\x7b\x7d\x7e]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
#: Longest text of a sender's that is taken over as a name, characters.
_LONGEST: Final = 200
_LONGEST_ID: Final = 512
#: Longest note, characters.
NOTE: Final = 4_000


def cleaned(text: Any, longest: int = _LONGEST) -> str:
    """Return a sender's text on one line without blanks at its ends, bounded; ``""`` where it is none."""
    if not isinstance(text, str):
        return ""
    one_line = _CONTROL.sub(" ", text.encode("utf-8", "replace").decode())
    return " ".join(one_line.split())[:longest].strip()


def identifier(user: str, collector: Collector) -> Body:
    """Return the Identifier that a user's id is."""
    system, bar, value = user.partition("|")
    if bar and value and _SYSTEM.fullmatch(system):
        return {"system": system, "value": value}
    if is_resident_number(user):
        return {"system": RESIDENT, "value": user}
    context = collector.context
    return {"system": local_uri(context.institution, "wearer", context.source), "value": user}


def add_patient(collector: Collector, user: str, record: bytes, facts: Mapping[str, Any]) -> str:
    """The Patient belongs to the record; returns its id.

    Args:
        collector: The record.
        user: The user's id as it came, or ``""``.
        record: Its bytes, which name a person of whom nothing else is known.
        facts: What the record says of the person, as elements of Patient.
    """
    user = cleaned(user, _LONGEST_ID + 1)
    if user and len(user) <= _LONGEST_ID:  # a longer one, cut off, might become somebody else
        named = identifier(user, collector)
    else:
        system = local_uri(collector.context.institution, "unattributed", collector.context.source)
        named = {"use": "temp", "system": system, "value": hashlib.sha256(record).hexdigest()[:32]}
        collector.note(
            "required",
            "user",
            "Nothing says whose this is; send the user's id, or let settings.user name the folder or topic level.",
        )
    id_ = patient_id([named], collector.context.institution)
    assert id_ is not None, "an identifier with a value names somebody"
    collector.add({"resourceType": "Patient", "id": id_, "identifier": [named], **facts}, "user", id_, "ensure")
    return id_


def add_device(collector: Collector, patient: str, where: str, **said: str) -> Body | None:
    """The Device belongs to the record; returns a reference to it, or None where nothing is said of one.

    One with a serial number is the institution's: residents may share it. One with only a name is the patient's,
    because people call their watches by their own names.

    Args:
        collector: The record.
        patient: Id of the Patient.
        where: The sender's coordinates.
        said: Any of ``maker``, ``model``, ``serial``, ``version``, ``name``.
    """
    facts = {name: text for name, value in said.items() if (text := cleaned(value))}
    if not facts:
        return None
    institution = collector.context.institution
    body: Body = {"resourceType": "Device"}
    if "serial" in facts:
        owner = None
        body["id"] = id_within("Device", institution, facts.get("maker", ""), facts["serial"])
        system = local_uri(institution, "device", facts.get("maker", "") or collector.context.source)
        body["identifier"] = [{"system": system, "value": facts["serial"]}]
        body["serialNumber"] = facts["serial"]
    else:
        owner = patient
        parts = [facts.get(name, "") for name in ("maker", "model", "name")]
        body["id"] = id_within("Device", institution, patient, *parts)
        body["patient"] = {"reference": f"Patient/{patient}"}
    body |= _described(facts)
    collector.add(body, where, owner, "ensure")
    return {"reference": f"Device/{body['id']}"}


def _described(facts: Mapping[str, str]) -> Body:
    body: Body = {}
    if "maker" in facts:
        body["manufacturer"] = facts["maker"]
    if "name" in facts:
        body["deviceName"] = [{"name": facts["name"], "type": "user-friendly-name"}]
    if "model" in facts:
        body["modelNumber"] = facts["model"]
    if "version" in facts:
        body["version"] = [{"value": facts["version"]}]
    return body
