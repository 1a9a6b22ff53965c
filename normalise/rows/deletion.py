"""What a resource says once its row was deleted: that it was entered in error, or is no longer active.

Sources: FHIR R4, the status elements of each type and invariants con-5 and ait-2.
"""

from __future__ import annotations

from typing import Any, Final

_VERIFICATION: Final = {
    "Condition": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
    "AllergyIntolerance": "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
}
_INACTIVE: Final = frozenset(
    {
        "Patient",
        "Practitioner",
        "PractitionerRole",
        "Organization",
        "RelatedPerson",
        "HealthcareService",
        "Person",
        "Group",
    }
)
_OTHER: Final = {"Location": "inactive", "Coverage": "entered-in-error", "Endpoint": "entered-in-error"}


def mark_deleted(body: dict[str, Any]) -> None:
    """The resource says that what it tells is not, or no longer, so."""
    type_ = body["resourceType"]
    if type_ in _INACTIVE:
        body["active"] = False
    elif type_ in _VERIFICATION:
        body.pop("clinicalStatus", None)
        body["verificationStatus"] = {"coding": [{"system": _VERIFICATION[type_], "code": "entered-in-error"}]}
    else:
        body["status"] = _OTHER.get(type_, "entered-in-error")
