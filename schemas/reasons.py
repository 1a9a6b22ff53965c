"""Every reason for which something is set aside or refused, with the sentence a person reads."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

REASONS: Final = MappingProxyType(
    {
        "unreadable": "The file cannot be opened.",
        "unknown_media": "Nothing here reads this kind of record.",
        "not_dicom": "The bytes are neither a DICOM file nor a DICOM dataset.",
        "not_hl7": "The bytes are not an HL7 v2 message: they do not begin with MSH and its delimiters.",
        "not_xml": "The bytes are not a well-formed XML document.",
        "unsafe_xml": "The document has a DOCTYPE: entities and DTDs are never read.",
        "not_cda": "The XML document is not a CDA ClinicalDocument.",
        "truncated": "The message ends before it is complete.",
        "oversize": "The message is larger than the source's limit.",
        "charset": "The bytes cannot be decoded in the declared or any permitted character set.",
        "version": "The HL7 version in MSH-12 is not one this source may send.",
        "unknown_event": "The message type or event in MSH-9 is not one that is mapped.",
        "not_delivered": "The source lists it and did not hand it over; it is asked for again in its window.",
        "required": "An element that the standard or the mapping requires is missing.",
        "bad_value": "An element holds a value that its data type does not allow.",
        "unmapped": "No mapping table has this code or measure; it is kept as it came.",
        "not_json": "The bytes are not JSON.",
        "not_fit": "The bytes are not a FIT file: they do not begin with its header.",
        "checksum": "The checksum in the file does not agree with its bytes.",
        "overlap": "Two devices measured the same time; one of them is counted.",
        "imprecise": "A value was less exact than FHIR requires and was completed; what was added is said.",
        "structure": "Segments stand where the message structure does not allow them.",
        "fhir_structure": "The resulting resource is not valid FHIR R4.",
        "fhir_invariant": "The resource breaks an invariant of FHIR R4.",
        "fhir_reference": "A reference points at a type of resource that FHIR R4 does not allow there.",
        "fhir_terminology": "A code is not of the value set that FHIR R4 requires there.",
        "fhir_narrative": "The narrative holds what FHIR R4 does not allow in it.",
        "fhir_bundle": "The bundle breaks a rule of FHIR R4 about its entries or their addresses.",
        "unresolved": "Something that did not come is referred to; what it was called is kept.",
        "fhir_modifier": "An extension that changes the meaning is not understood, so nothing of it may be used.",
        "not_fhir": "The bytes are not a FHIR R4 resource in JSON.",
        "source_error": "The source itself reported that it could not hand something over.",
        "drift": "The source's table or records changed their shape, and the source sets such ones aside.",
        "mapping": "The source's own mapping does not know this record, or cannot be used.",
        "unmapped_column": "A column of the row is neither mapped nor left out on purpose.",
        "quality": "A quality rule of the source's suite failed.",
        "internal": "Xinglin itself has a fault that this record meets; replay it after the fix.",
        "control_id": "The message control id in MSH-10 is missing.",
    }
)


def sentence(code: str) -> str:
    """Return the sentence for a reason code; codes of suites (``quality:<rule>``) share one."""
    return REASONS[code.partition(":")[0]]
