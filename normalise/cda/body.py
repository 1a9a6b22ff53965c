"""The body: sections with their narrative and what their entries became (CDA R2 section 4.3)."""

from __future__ import annotations

from typing import Final

from normalise.cda.attachments import attachment
from normalise.cda.narrative import narrative
from normalise.cda.reading import NO_SECTION, Body, Reading
from normalise.cda.statements import entries
from normalise.cda.tables import SECTIONS, VOCABULARIES, SectionRule
from normalise.cda.tree import Node
from normalise.cda.values import concept, term_coding
from normalise.ids import id_within

_XHTML: Final = "http://www.w3.org/1999/xhtml"
_PLANNED: Final = frozenset({"MedicationRequest", "ServiceRequest"})


def sections(root: Node, composition: Body, reading: Reading) -> None:
    """The Composition has the document's sections, and everything that their entries became is added."""
    component = root.first("component")
    if component is None:
        reading.note("required", "A body was expected and does not stand there; the header alone is kept.", "component")
        return
    structured = component.first("structuredBody")
    found = _sections(structured, reading) if structured is not None else []
    whole = component.first("nonXMLBody")
    if whole is not None and (one := _unstructured(whole, composition, reading)) is not None:
        found.append(one)
    if found:
        composition["section"] = found


def _sections(parent: Node, reading: Reading) -> list[Body]:
    found: list[Body] = []
    for number, component in enumerate(parent.all("component"), 1):
        section = component.first("section")
        if section is not None:
            with reading.at(f"component[{number}]"):
                found.append(_section(section, reading))
    return found


def rule_of(section: Node) -> SectionRule:
    """Return the rule of a section: by its templates, the last first, else by its LOINC code."""
    for one in reversed(section.all("templateId")):
        if (rule := SECTIONS.get(one.get("root"))) is not None:
            return rule
    code = section.first("code")
    return SECTIONS.get(code.get("code"), NO_SECTION) if code is not None else NO_SECTION


def _section(section: Node, reading: Reading) -> Body:
    outer, reading.section = reading.section, rule_of(section)
    own = reading.section
    code, title = section.first("code"), section.first("title")
    coded = concept(code, reading) if code is not None else None
    name = (title.text if title is not None else "") or own.title or (coded or {}).get("text", "")
    body: Body = {"title": name} if name else {}
    if coded:
        body["code"] = coded
    references = list({one["reference"]: one for one in entries(section, reading)}.values())
    if own.key == "plan" and references:
        references.insert(0, _care_plan(references, name, reading))
    inner = _sections(section, reading)
    text = narrative(section)
    if text is not None:
        body["text"] = text
    elif not references and not inner:
        body["text"] = {"status": "empty", "div": f'<div xmlns="{_XHTML}">—</div>'}
        body["emptyReason"] = {"coding": [term_coding(VOCABULARIES["EmptyReason"]["", _null(section)])]}
    if references:
        body["entry"] = references
    if inner:
        body["section"] = inner
    reading.section = outer
    return body


def _null(section: Node) -> str:
    flavor = section.get("nullFlavor")
    return flavor if ("", flavor) in VOCABULARIES["EmptyReason"] else "NI"


def _care_plan(references: list[Body], title: str, reading: Reading) -> Body:
    """A CarePlan holds together what a plan of treatment asks for, and the goals it is for."""
    types = {one["reference"]: one["reference"].partition("/")[0] for one in references}
    body: Body = {
        "resourceType": "CarePlan",
        "status": "active",
        "intent": "plan",
        "category": [{"coding": [term_coding(VOCABULARIES["CarePlanCategory"]["", "plan"])]}],
        "title": title or "Plan of treatment",
        "subject": {"reference": f"Patient/{reading.patient}"},
    }
    if goals := [one for one in references if types[one["reference"]] == "Goal"]:
        body["goal"] = goals
    if asked := [one for one in references if types[one["reference"]] in _PLANNED]:
        body["activity"] = [{"reference": one} for one in asked]
    body["id"] = reading.statement_id("CarePlan", "", "")
    return reading.add(body)


def _unstructured(whole: Node, composition: Body, reading: Reading) -> Body | None:
    """A body that is a document of another kind (PDF, RTF, a picture) becomes a DocumentReference."""
    text = whole.first("text")
    with reading.at("component/nonXMLBody"):
        found = attachment(text, reading) if text is not None else None
        if found is None:
            reading.note("required", "An unstructured body holds neither bytes nor a reference to them.")
            return None
        found["title"] = composition["title"]
        body: Body = {
            "resourceType": "DocumentReference",
            "id": id_within("DocumentReference", reading.institution, composition["id"]),
            "status": "current",
            "type": composition["type"],
            "subject": composition["subject"],
            "content": [{"attachment": found}],
        }
        if "T" in composition.get("date", ""):
            body["date"] = composition["date"]
        for name in ("author", "custodian"):
            if name in composition:
                body[name] = composition[name]
        return {"title": composition["title"], "entry": [reading.add(body)]}


def report(composition: Body, kind: str, reading: Reading) -> None:
    """A document that is itself a report (WS/T 500.7, .6) has a DiagnosticReport of its observations."""
    results = [
        one
        for section in composition.get("section", ())
        for one in section.get("entry", ())
        if one["reference"].startswith("Observation/")
    ]
    if not results:
        return
    body: Body = {
        "resourceType": "DiagnosticReport",
        "id": id_within("DiagnosticReport", reading.institution, composition["id"]),
        "status": "final",
        "category": [{"coding": [term_coding(VOCABULARIES["ReportCategory"]["", kind])]}],
        "code": composition["type"],
        "subject": composition["subject"],
        "result": results,
    }
    if "T" in composition.get("date", ""):
        body["issued"] = composition["date"]
    if "custodian" in composition:
        body["performer"] = [composition["custodian"]]
    composition["section"][0].setdefault("entry", []).insert(0, reading.add(body))
