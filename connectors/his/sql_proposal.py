"""A mapping proposed for tables, by what their columns are called and hold: a beginning for a person, never applied.

Names are those of ``schemas/rows/columns.csv``: English, pinyin and Chinese. Where a name says nothing, what the column
holds decides for resident identity numbers, telephones, diagnosis codes and sexes. What is not recognised is left out,
and shows as a note of every row until somebody maps it or names it under ``ignore``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import schemas
from connectors.his.sql_profile import ColumnProfile, Profile, TableProfile

_SEXES: Final = {
    "male": ("1", "M", "m", "男", "男性"),
    "female": ("2", "F", "f", "女", "女性"),
    "unknown": ("0", "9", "未知", "未说明的性别", "U"),
}
_FORMS: Final = {"identity": "identity", "phone": "phone", "icd": "diag_code"}
_RESIDENT: Final = "urn:oid:2.16.156.10011.1.3"
_CODE_SYSTEMS: Final = "http://terminology.hl7.org/CodeSystem/"

Rules = dict[str, Any]


@cache
def _roles() -> Mapping[str, str]:
    """What a column called so is."""
    path = Path(schemas.__file__).parent / "rows" / "columns.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        return {name: row["role"] for row in csv.DictReader(stream) for name in row["names"].split()}


def role_of(column: ColumnProfile) -> str | None:
    """Return what a column is by its name, else by what it holds, or None."""
    named = _roles().get(column.name.lower())
    return named or _FORMS.get(column.form)


def roles_of(table: TableProfile) -> dict[str, str]:
    """Return a table's columns by what they are; of several the first."""
    found: dict[str, str] = {}
    for column in sorted(table.columns, key=lambda one: _roles().get(one.name.lower()) is None):
        if (role := role_of(column)) is not None:
            found.setdefault(role, column.name)
    return found


def propose(profile: Profile) -> dict[str, Any]:
    """Return a mapping document (``mapping.schema.json``) for the tables of a profile.

    Tables that are recognised as nothing are left out; ``{}`` where none is.
    """
    codes: Rules = {}
    tables: Rules = {}
    visits = _visits(profile)
    for table in profile.tables:
        roles = roles_of(table)
        resources = [one for make in _MAKERS if (one := make(table, roles, visits, codes))]
        if resources:
            tables[table.name] = _whole(roles, resources)
    if not tables:
        return {}
    rows: Rules = {"currency": "CNY", "patients": {"system": "patient-number"}}
    return {"rows": {**rows, **({"codes": codes} if codes else {}), "tables": tables}}


def propose_tables(profile: Profile) -> dict[str, Any]:
    """Return ``settings.tables`` for the tables of a profile: keys, watermarks, tombstones."""
    found = {}
    for table in profile.tables:
        roles = roles_of(table)
        one: Rules = {"key": list(table.key or table.telling)}
        marks = [roles[role] for role in ("updated", "created") if role in roles]
        if marks:
            one["watermark"] = marks
        if "deleted" in roles:
            one["deleted_column"] = roles["deleted"]
        found[table.name] = one
    return found


def _whole(roles: Mapping[str, str], resources: list[Rules]) -> Rules:
    table: Rules = {"patient": roles["patient"]} if "patient" in roles else {}
    times = ("updated", "result_time", "bill_time", "diag_time", "start", "admission", "created")
    if recorded := next((roles[role] for role in times if role in roles), None):
        table["recorded"] = recorded
    return {**table, "resources": resources}


def _visits(profile: Profile) -> tuple[str, tuple[str, ...]] | None:
    """Return the table of visits and what its key columns are; others refer to it."""
    for table in profile.tables:
        roles = roles_of(table)
        if _is_visits(roles):
            names = {column: role for role, column in roles.items()}
            key = tuple(names.get(column, "") for column in table.key)
            return (table.name, key) if key and all(key) else None
    return None


def _is_visits(roles: Mapping[str, str]) -> bool:
    return {"patient", "admission"} <= roles.keys() and "result" not in roles


def _rule(rules: Rules, path: str, roles: Mapping[str, str], role: str, word: str = "column", **more: Any) -> None:
    """The element stands in the rules where the table has such a column."""
    if role in roles:
        rules[path] = roles[role] if word == "column" and not more else {word: roles[role], **more}


def _concept(rules: Rules, path: str, roles: Mapping[str, str], code: str, name: str, system: str) -> None:
    if code in roles:
        display = {"display": roles[name]} if name in roles else {}
        rules[path] = {"concept": roles[code], "system": system, **display}
    elif name in roles:
        rules[f"{path}.text"] = roles[name]


def _encounter(rules: Rules, path: str, roles: Mapping[str, str], visits: tuple[str, tuple[str, ...]] | None) -> None:
    if visits and all(role in roles for role in visits[1]):
        rules[path] = {"reference": "Encounter", "table": visits[0], "key": [roles[role] for role in visits[1]]}


def _patients(table: TableProfile, roles: Mapping[str, str], _: Any, codes: Rules) -> Rules | None:
    if not {"patient", "name"} <= roles.keys() or not roles.keys() & {"birth", "sex", "identity"}:
        return None
    rules: Rules = {"identifier[0]": {"identifier": roles["patient"], "system": "patient-number", "type": "MR"}}
    _rule(rules, "identifier[1]", roles, "identity", "identifier", system=_RESIDENT, type="NI")
    rules["active"] = {"constant": True}
    if "merged" in roles:
        rules["active"] = [
            {**rules["active"], "when": [{"column": roles["merged"], "empty": True}]},
            {"constant": False},
        ]
        rules["link[0].other"] = {"reference": "Patient", "patient": roles["merged"]}
        rules["link[0].type"] = {"constant": "replaced-by"}
    _rule(rules, "name[0].text", roles, "name")
    if "sex" in roles:
        codes["sex"] = _sexes(next(one for one in table.columns if one.name == roles["sex"]))
        rules["gender"] = {"code": roles["sex"], "map": "sex", "default": "unknown"}
    _rule(rules, "birthDate", roles, "birth", "date")
    _rule(rules, "address[0].text", roles, "address")
    if "phone" in roles:
        rules |= {"telecom[0].value": roles["phone"], "telecom[0].system": {"constant": "phone"}}
    return {"type": "Patient", "elements": rules}


def _sexes(column: ColumnProfile) -> Rules:
    known = {code: sex for sex, codes in _SEXES.items() for code in codes}
    return {code: known[code] for code in sorted(known) if not column.codes or code in column.codes} or {"1": "male"}


def _visit(_: TableProfile, roles: Mapping[str, str], __: Any, ___: Rules) -> Rules | None:
    if not _is_visits(roles):
        return None
    rules: Rules = {"status": {"constant": "unknown"}}
    if "discharge" in roles:
        open_ = [{"column": roles["discharge"], "empty": True}]
        rules["status"] = [{"constant": "in-progress", "when": open_}, {"constant": "finished"}]
    rules["class"] = {"constant": {"system": f"{_CODE_SYSTEMS}v3-NullFlavor", "code": "UNK"}}
    _rule(rules, "class", roles, "visit_type", "coding", system="visit-type")
    rules["subject"] = {"reference": "Patient", "patient": True}
    _rule(rules, "period.start", roles, "admission", "dateTime")
    _rule(rules, "period.end", roles, "discharge", "dateTime")
    _concept(rules, "serviceType", roles, "dept_code", "dept_name", "department")
    if "doctor" in roles:
        rules["participant[0].individual"] = {"reference": "Practitioner", "display": roles["doctor"]}
    return {"type": "Encounter", "elements": rules}


def _diagnosis(_: TableProfile, roles: Mapping[str, str], visits: Any, __: Rules) -> Rules | None:
    if "patient" not in roles or not roles.keys() & {"diag_code", "diag_name"} or "charges" in roles:
        return None
    rules: Rules = {}
    _concept(rules, "code", roles, "diag_code", "diag_name", "urn:oid:2.16.156.10011.2.3.3.11.3")
    rules["verificationStatus.coding[0].system"] = {"constant": f"{_CODE_SYSTEMS}condition-ver-status"}
    rules["verificationStatus.coding[0].code"] = {"constant": "confirmed"}
    rules["subject"] = {"reference": "Patient", "patient": True}
    _encounter(rules, "encounter", roles, visits)
    _rule(rules, "recordedDate", roles, "diag_time", "dateTime")
    return {"type": "Condition", "elements": rules}


def _order(_: TableProfile, roles: Mapping[str, str], visits: Any, __: Rules) -> Rules | None:
    if not {"patient", "dosage"} <= roles.keys() or not roles.keys() & {"item_code", "item_name"}:
        return None
    rules: Rules = {"status": {"constant": "unknown"}, "intent": {"constant": "order"}}
    _rule(rules, "identifier[0]", roles, "order_no", "identifier", system="order-number")
    _concept(rules, "medicationCodeableConcept", roles, "item_code", "item_name", "drug")
    rules["subject"] = {"reference": "Patient", "patient": True}
    _encounter(rules, "encounter", roles, visits)
    _rule(rules, "authoredOn", roles, "start", "dateTime")
    _rule(rules, "dosageInstruction[0].text", roles, "freq")
    unit = {"unit": {"column": roles["dosage_unit"]}} if "dosage_unit" in roles else {}
    _rule(rules, "dosageInstruction[0].doseAndRate[0].doseQuantity", roles, "dosage", "quantity", **unit)
    return {"type": "MedicationRequest", "elements": rules}


def _result(_: TableProfile, roles: Mapping[str, str], visits: Any, __: Rules) -> Rules | None:
    if not {"patient", "result"} <= roles.keys() or not roles.keys() & {"item_code", "item_name"}:
        return None
    unit = {"unit": {"column": roles["unit"]}} if "unit" in roles else {}
    rules: Rules = {"status": {"constant": "final"}}
    rules["category[0].coding[0].system"] = {"constant": f"{_CODE_SYSTEMS}observation-category"}
    rules["category[0].coding[0].code"] = {"constant": "laboratory"}
    _concept(rules, "code", roles, "item_code", "item_name", "lab-item")
    rules["subject"] = {"reference": "Patient", "patient": True}
    _encounter(rules, "encounter", roles, visits)
    _rule(rules, "effectiveDateTime", roles, "result_time", "dateTime")
    rules["value[x]"] = {"result": roles["result"], **unit}
    _rule(rules, "interpretation[0]", roles, "flag", "concept", system="abnormal-flag")
    _rule(rules, "referenceRange[0]", roles, "range", "range", **unit)
    return {"type": "Observation", "elements": rules}


def _charge(table: TableProfile, roles: Mapping[str, str], visits: Any, _: Rules) -> Rules | None:
    if not {"patient", "charges"} <= roles.keys():
        return None
    rules: Rules = {"status": {"constant": "billed"}}
    _rule(rules, "identifier[0]", roles, "bill_no", "identifier", system="bill-number")
    _concept(rules, "code", roles, "item_code", "item_name", "charge-item")
    rules["subject"] = {"reference": "Patient", "patient": True}
    _encounter(rules, "context", roles, visits)
    if "refund" in roles and len(table.key) == 1:
        rules["partOf[0]"] = {"reference": "ChargeItem", "table": table.name, "key": [roles["refund"]]}
    _rule(rules, "occurrenceDateTime", roles, "bill_time", "dateTime")
    _rule(rules, "quantity", roles, "quantity", "quantity")
    rules["priceOverride"] = {"money": roles["charges"]}
    return {"type": "ChargeItem", "elements": rules}


_MAKERS: Final = (_patients, _visit, _diagnosis, _order, _result, _charge)
