"""The few facts of a FHIR resource that its summary says: a date, the kind of thing, the conclusion, the bill.

Only what was meant to be read without asking: types that stand for a visit, a diagnosis, a report, an operation or a
bill. Single observations have no summary; the report over them has. Only codes of standard systems, each in that
system's own form and class codes from closed lists, so that nobody's name can pass for a code (ledger.md 18).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from schemas.summary import MAX_CODE, NO_DATE, NO_TOTAL


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HL7: Final = "http://terminology.hl7.org/CodeSystem/"
#: Class codes by system: HL7 v2 table 0074, encounter classes, categories of FHIR, kinds of claims, DICOM modalities.
CLASSES: Final[Mapping[str, frozenset[str]]] = {
    f"{_HL7}v2-0074": _words(
        "AU BG BLB CG CH CP CT CTH CUS EC EN GE HM ICU IMG IMM LAB MB MCB MYC NMR NMS NRS OSL OT OTH OUS PF PHR PHY PT "
        "RAD RC RT RUS RX SP SR TX URN VR VUS XRC"
    ),
    f"{_HL7}v3-ActCode": _words("ACUTE AMB EMER FLD HH IMP NONAC OBSENC PRENC SS VR"),
    f"{_HL7}condition-category": frozenset({"problem-list-item", "encounter-diagnosis"}),
    f"{_HL7}claim-type": frozenset({"institutional", "oral", "pharmacy", "professional", "vision"}),
    "http://dicom.nema.org/resources/ontology/DCM": _words(
        "AR ASMT AU BDUS BI BMD CR CT DMS DG DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN "
        "LS MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE "
        "RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XC"
    ),
}
#: Forms of codes that may stand as a kind or a conclusion.
FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "http://loinc.org": re.compile(r"(LP|LA)?\d{1,8}-\d", re.ASCII),
    "http://snomed.info/sct": re.compile(r"\d{6,18}", re.ASCII),
    "http://hl7.org/fhir/sid/icd-10": re.compile(r"[A-Z]\d{2}(\.[\dXx]{1,5}([+*]|[A-Z]\d{0,3})?)?", re.ASCII),
    "http://hl7.org/fhir/sid/icd-9-cm": re.compile(r"[EV]?\d{2,3}(\.\d{1,4})?", re.ASCII),
    "http://hl7.org/fhir/sid/cvx": re.compile(r"\d{1,4}", re.ASCII),
}
_DATE: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a summary says beside who and what.

    Attributes:
        date: YYYYMMDD as a number, 00 for an unknown month or day; 0 for none.
        code_class: Of ``CLASSES`` or ``FORMS``, or "".
        conclusion: Of ``FORMS``, or "".
        total_fen: Hundredths of a yuan, or None.
    """

    date: int
    code_class: str
    conclusion: str
    total_fen: int | None


@dataclass(frozen=True, slots=True)
class _Elements:
    """Where a type says these things, in order of preference; ``a.b`` is b in a."""

    dates: tuple[str, ...]
    classes: tuple[str, ...] = ("category",)
    conclusions: tuple[str, ...] = ()
    totals: tuple[str, ...] = ()


#: The types that have summaries.
SUMMARISED: Final[Mapping[str, _Elements]] = {
    "Encounter": _Elements(("period.start",), ("class", "type"), ("reasonCode",)),
    "EpisodeOfCare": _Elements(("period.start",), ("type",)),
    "Condition": _Elements(("onsetDateTime", "onsetPeriod.start", "recordedDate"), ("category",), ("code",)),
    "AllergyIntolerance": _Elements(("recordedDate", "onsetDateTime"), (), ("code",)),
    "DiagnosticReport": _Elements(
        ("effectiveDateTime", "effectivePeriod.start", "issued"), ("category", "code"), ("conclusionCode",)
    ),
    "ImagingStudy": _Elements(("started",), ("modality",), ("reasonCode",)),
    "Procedure": _Elements(("performedDateTime", "performedPeriod.start"), ("category",), ("code",)),
    "Immunization": _Elements(("occurrenceDateTime",), (), ("vaccineCode",)),
    "Composition": _Elements(("date",), ("category", "type")),
    "DocumentReference": _Elements(("date",), ("category", "type")),
    "ChargeItem": _Elements(("occurrenceDateTime", "occurrencePeriod.start"), (), (), ("priceOverride",)),
    "Invoice": _Elements(("date",), ("type",), (), ("totalGross", "totalNet")),
    "Claim": _Elements(("billablePeriod.start", "created"), ("type",), (), ("total",)),
    "ExplanationOfBenefit": _Elements(("billablePeriod.start", "created"), ("type",), (), ("payment.amount",)),
}


def facts_of(body: Mapping[str, Any]) -> Facts | None:
    """Return what a resource's summary says, or None for a type that has none."""
    elements = SUMMARISED.get(str(body.get("resourceType")))
    if elements is None:
        return None
    return Facts(
        next((date for path in elements.dates if (date := _date(_at(body, path)))), NO_DATE),
        next((code for path in elements.classes for code in _codes(_at(body, path), CLASSES)), "")
        or next((code for path in elements.classes for code in _codes(_at(body, path), {})), ""),
        next((code for path in elements.conclusions for code in _codes(_at(body, path), {})), ""),
        next((total for path in elements.totals if (total := _fen(_at(body, path))) is not None), None),
    )


def _at(body: Any, path: str) -> Any:
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


def _date(value: Any) -> int:
    found = _DATE.match(value) if isinstance(value, str) else None
    return int(f"{found[1]}{found[2] or '00'}{found[3] or '00'}") if found else NO_DATE


def _codes(value: Any, classes: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Yield the standard codes in an element: a Coding, a CodeableConcept, or a list of either.

    With ``classes`` only those on its lists, else only those of a system's form.
    """
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            continue
        codings = one.get("coding", [one])
        for coding in codings if isinstance(codings, list) else ():
            system, code = _coded(coding)
            form = None if classes else FORMS.get(system)
            if code in classes.get(system, ()) or (form and len(code) <= MAX_CODE and form.fullmatch(code)):
                yield code


def _coded(coding: Any) -> tuple[str, str]:
    if not isinstance(coding, dict):
        return "", ""
    return str(coding.get("system", "")), str(coding.get("code", ""))


def _fen(money: Any) -> int | None:
    """Return an amount in hundredths of a yuan; None for none, another currency, or a credit."""
    if not isinstance(money, dict) or money.get("currency", "CNY") != "CNY" or "value" not in money:
        return None
    try:
        fen = Decimal(str(money["value"])) * 100
    except InvalidOperation:
        return None
    return int(fen.to_integral_value()) if fen.is_finite() and 0 <= fen < NO_TOTAL else None
