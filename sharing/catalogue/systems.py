"""Codes that may stand in a catalogue: of systems that everybody shares, in the form that system's codes have.

A hospital's own codes, and what stands in a code's place by mistake (a name, a number), are none of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vault.summarising import FORMS

_HL7: Final = "http://terminology.hl7.org/CodeSystem/"
_ICD10: Final = re.compile(r"[A-Z]\d[\dA-Z](\.[\dxX][\dA-Za-z]{0,7})?[+*]?", re.ASCII)
#: Beside those that summaries know: medicines, the Chinese modification of ICD-10, DICOM's and HL7's own short words.
_MORE: Final[Mapping[str, re.Pattern[str]]] = {
    "http://www.whocc.no/atc": re.compile(r"[A-Z](\d{2}([A-Z]([A-Z](\d{2})?)?)?)?", re.ASCII),
    "http://www.nlm.nih.gov/research/umls/rxnorm": re.compile(r"\d{1,8}", re.ASCII),
    "http://hl7.org/fhir/sid/icd-10-cm": _ICD10,
    "urn:oid:2.16.156.10011.2.3.3.11.3": _ICD10,  # GB/T 14396
    "http://dicom.nema.org/resources/ontology/DCM": re.compile(r"[A-Z]{2,16}|\d{5,6}", re.ASCII),
}
_WORD: Final = re.compile(r"[A-Z][A-Z0-9_]{0,15}|[a-z][a-z-]{0,40}", re.ASCII)


def known(system: str, code: str) -> bool:
    """Whether it is a code of a standard system, by its form."""
    form = FORMS.get(system) or _MORE.get(system) or (_WORD if system.startswith(_HL7) else None)
    return form is not None and form.fullmatch(code) is not None


def codings(body: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield system, code and display of every coding in a resource's ``code``, which is what cohorts are found by."""
    concept = body.get("code")
    for one in concept.get("coding", ()) if isinstance(concept, dict) else ():
        if "code" in one:
            yield {name: str(one.get(name, "")) for name in ("system", "code", "display")}
