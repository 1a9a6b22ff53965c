"""Every reason for which something is set aside or refused, with the sentence a person reads."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

REASONS: Final = MappingProxyType(
    {
        "unreadable": "The file cannot be opened.",
        "unknown_media": "Nothing here reads this kind of record.",
        "not_hl7": "The bytes are not an HL7 v2 message: they do not begin with MSH and its delimiters.",
        "truncated": "The message ends before it is complete.",
        "oversize": "The message is larger than the source's limit.",
        "charset": "The bytes cannot be decoded in the declared or any permitted character set.",
        "version": "The HL7 version in MSH-12 is not one this source may send.",
        "unknown_event": "The message type or event in MSH-9 is not one that is mapped.",
        "required": "An element that the standard or the mapping requires is missing.",
        "bad_value": "An element holds a value that its data type does not allow.",
        "imprecise": "A value was less exact than FHIR requires and was completed; what was added is said.",
        "structure": "Segments stand where the message structure does not allow them.",
        "fhir_structure": "The resulting resource is not valid FHIR R4.",
        "quality": "A quality rule of the source's suite failed.",
        "internal": "Xinglin itself has a fault that this record meets; replay it after the fix.",
        "control_id": "The message control id in MSH-10 is missing.",
    }
)


def sentence(code: str) -> str:
    """Return the sentence for a reason code; codes of suites (``quality:<rule>``) share one."""
    return REASONS[code.partition(":")[0]]
