"""CDA documents (C-CDA R1.1 to R3, WS/T 500-2016) as FHIR R4 resources. Pure functions: no I/O, no clock.

``docs/mapping.md`` says how to change what an element becomes; the tables are in ``schemas/cda``.
"""

from __future__ import annotations

from normalise.cda import body, header
from normalise.cda.reading import Reading
from normalise.cda.tables import MAPPING, REPORTS
from normalise.cda.tree import Node, parse
from normalise.errors import set_aside
from schemas.records import Normalised, SourceContext

__all__ = ["MAPPING", "convert"]


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that one CDA document becomes.

    Args:
        content: One document.
        context: The source.

    Raises:
        SetAside: The document is refused; the only exception that any bytes can cause.
    """
    parsed = parse(content, context.charset)
    root = parsed.root
    if root.name != "ClinicalDocument":
        shape = "another namespace" if root.name.endswith("}ClinicalDocument") else "another root element"
        raise set_aside("not_cda", "file", f"A ClinicalDocument of urn:hl7-org:v3 was expected; {shape} came.")
    reading = Reading(context, header.identity(root, content))
    reading.collector.notes.extend(parsed.notes)
    if reading.document.startswith("sha256:"):
        reading.note("required", "The document has no id and is known by its bytes; a correction is another one.", "id")
    reading.mentions = parsed.mentions
    header.patient(root, reading)
    _compose(root, reading)
    recorded = header.recorded(root, reading)
    kind = header.template(root)
    reading.collector.facts = _facts(root, kind, recorded)
    return reading.collector.finish(recorded, kind or reading.collector.facts["code"])


def _compose(root: Node, reading: Reading) -> None:
    composition = header.composition(root, reading)
    if related := header.relations(root, reading):
        composition["relatesTo"] = related
    body.sections(root, composition, reading)
    for one in root.all("templateId"):
        if one.get("root") in REPORTS:
            body.report(composition, REPORTS[one.get("root")], reading)
            break
    reading.add(composition)


def _facts(root: Node, kind: str, recorded: str) -> dict[str, str]:
    """What quality rules read beside the resources; ``effectiveTime`` is a FHIR instant, or empty."""
    code = root.first("code")
    language = root.first("languageCode")
    return {
        "document": kind,
        "code": code.get("code") if code is not None else "",
        "effectiveTime": recorded,
        "languageCode": language.get("code") if language is not None else "",
    }
