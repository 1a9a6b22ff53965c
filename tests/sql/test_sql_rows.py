"""Rows as FHIR: by a mapping alone, exactly, with nothing lost in silence and nothing raised but a refusal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sql_world import SYNTHEA_TABLES, ZH_TABLES, pull

from connectors.his.sql_tables import TablesConnector
from connectors.his.sql_values import dumps, native_id, record
from normalise import convert as dispatch
from normalise.errors import SetAside
from normalise.rows import MAPPING, convert
from normalise.rows.numbers import exact
from normalise.rows.record import read
from normalise.rows.times import moment
from quality.gate import Gate
from schemas.documents import check_document, load_document
from schemas.errors import ConfigurationError
from schemas.records import Normalised, RawRecord, SourceContext
from schemas.source import Source

MAPPINGS = Path(__file__).parents[2] / "sources" / "mappings"


def context_of(mapping: dict[str, Any]) -> SourceContext:
    return SourceContext("east-db", "hospital-east", "Asia/Shanghai", "auto", mapping)


def rows_of(text: str) -> dict[str, Any]:
    document = yaml.safe_load(text)
    check_document(document, "mapping", "test")
    return document


def row(table: str, key: dict[str, Any], values: dict[str, Any], *, deleted: bool = False) -> bytes:
    return record(table, key, {**key, **values}, deleted=deleted)


@pytest.fixture(scope="module")
def zh() -> SourceContext:
    return context_of(load_document(MAPPINGS / "zh-his.yaml", "mapping"))


def body(made: Normalised, type_: str) -> dict[str, Any]:
    return next(one.body for one in made.resources if one.type == type_)


BILL = {
    "patient_id": "P1", "visit_id": 1, "item_class": "A", "item_code": "110", "item_name": "诊查费",
    "amount": Decimal("0.33"), "quantity": Decimal("2.00"), "charges": Decimal("0.66"), "refund_of": None,
    "bill_time": "2026-06-01 08:00:00",
}  # fmt: skip


@pytest.mark.conformance
def test_the_chinese_his_becomes_valid_fhir_and_its_charges_add_up_to_the_cent(
    zh_sqlite: Path, sql_source: Callable[..., Source], zh: SourceContext, corpora: Path
) -> None:
    records, _ = pull(TablesConnector(sql_source("sqlite:///his.db", ZH_TABLES), zh_sqlite.parent))
    made = [dispatch("row", one.content, zh) for one in records if isinstance(one, RawRecord)]
    report = Gate("rows").check(made)
    expected = json.loads((corpora / "his-sql/zh-his/his_26.expected.json").read_text("utf-8"))
    assert len(report.passed) == len(made) == 2371
    assert Counter(note.where for one in made for note in one.notes) == {}
    bodies = [one.body for each in made for one in each.resources]
    # As sealed: through canonical JSON and back, each price the decimal that the hospital wrote.
    prices = [
        Decimal(repr(orjson.loads(orjson.dumps(one))["priceOverride"]["value"]))
        for one in bodies if one["resourceType"] == "ChargeItem"
    ]  # fmt: skip
    assert sum(prices) == Decimal(expected["charges_sum"])
    assert sum(price < 0 for price in prices) == expected["refunds"]
    results = [one for one in bodies if one["resourceType"] == "Observation"]
    assert len(results) == expected["lab"]
    # `<0.01` and `>50.00` are numbers with a comparator; the corpus counts them with the words as not numeric.
    plain = [one for one in results if "valueQuantity" in one and "comparator" not in one["valueQuantity"]]
    assert len(results) - len(plain) == expected["lab_nonnumeric"]
    patients = [one for one in bodies if one["resourceType"] == "Patient"]
    assert sum(one["active"] is False and one["link"][0]["type"] == "replaced-by" for one in patients) == 7
    assert sum("birthDate" not in one for one in patients) == 9


@pytest.mark.conformance
def test_synthea_tables_become_valid_fhir_row_by_row(synthea_sqlite: Path, sql_source: Callable[..., Source]) -> None:
    context = context_of(load_document(MAPPINGS / "synthea.yaml", "mapping"))
    connector = TablesConnector(sql_source("sqlite:///synthea.db", SYNTHEA_TABLES), synthea_sqlite.parent)
    records, last = pull(connector)
    made = [convert(one.content, context) for one in records if isinstance(one, RawRecord)]
    report = Gate("rows").check(made)
    assert last.expected == len(made) == len(report.passed) == 4780
    assert all(each.resources for each in made)
    assert {note.code for each in made for note in each.notes} == set()


def test_a_refund_takes_back_the_charge_it_names(zh: SourceContext) -> None:
    charge = convert(row("BILL_DETAIL", {"bill_no": "B1"}, BILL), zh)
    back = {**BILL, "quantity": Decimal("-2.00"), "charges": Decimal("-0.66"), "refund_of": "B1"}
    refund = body(convert(row("BILL_DETAIL", {"bill_no": "B1R"}, back), zh), "ChargeItem")
    assert refund["priceOverride"] == {"value": -0.66, "currency": "CNY"}
    assert refund["quantity"] == {"value": -2}
    assert refund["partOf"] == [{"reference": f"ChargeItem/{body(charge, 'ChargeItem')['id']}"}]


def test_a_bill_stands_on_the_account_of_its_visit(zh: SourceContext) -> None:
    visit = {
        "visit_type": "I", "dept_code": "0301", "dept_name": "内科", "admission_time": "2026-06-01 08:00:00",
        "discharge_time": None, "doctor": "欧阳喆", "insurance_type": "自费",
    }  # fmt: skip
    stay = convert(row("PAT_VISIT", {"patient_id": "P1", "visit_id": 1}, visit), zh)
    bill = convert(row("BILL_DETAIL", {"bill_no": "B1"}, BILL), zh)
    assert body(bill, "Invoice")["account"] == {"reference": f"Account/{body(stay, 'Account')['id']}"}
    assert body(bill, "ChargeItem")["context"] == {"reference": f"Encounter/{body(stay, 'Encounter')['id']}"}
    assert body(stay, "Encounter")["status"] == "in-progress"
    assert body(stay, "Coverage")["payor"] == [body(stay, "Encounter")["subject"]]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("<0.01", {"value": 0.01, "comparator": "<"}),
        (">50.00", {"value": 50, "comparator": ">", "_value": 2}),
        ("7.35", {"value": 7.35}),
        ("10.80", {"value": 10.8, "_value": 2}),
        ("弱阳性", "弱阳性"),
        ("1,234", "1,234"),
        ("123456789012345678.9", "123456789012345678.9"),
    ],
)
def test_a_result_is_a_number_where_it_is_one_and_else_the_text_as_it_came(
    zh: SourceContext, sent: str, expected: Any
) -> None:
    values = {
        "patient_id": "P1", "visit_id": 1, "item_code": "GLU", "item_name": "葡萄糖", "result": sent, "unit": "mmol/L",
        "ref_range": "3.9-6.1", "abnormal": "N", "result_time": "2026-06-01 08:00:00",
    }  # fmt: skip
    made = body(convert(row("LAB_RESULT", {"test_no": "T1", "item_no": 1}, values), zh), "Observation")
    if isinstance(expected, str):
        assert made["valueString"] == expected
        return
    quantity = made["valueQuantity"]
    places = quantity.pop("_value", {"extension": [{"valueInteger": None}]})["extension"][0]["valueInteger"]
    assert quantity == {
        **{name: one for name, one in expected.items() if name != "_value"},
        "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L",
    }  # fmt: skip
    assert places == expected.get("_value")


def test_money_that_would_have_to_be_rounded_sets_the_row_aside(zh: SourceContext) -> None:
    large = {**BILL, "charges": Decimal("12345678901234567.89")}
    with pytest.raises(SetAside) as refused:
        convert(row("BILL_DETAIL", {"bill_no": "B1"}, large), zh)
    assert (refused.value.refusal.code, refused.value.refusal.where) == ("bad_value", "BILL_DETAIL.charges")
    assert "1234" not in str(refused.value)


@pytest.mark.parametrize(
    ("type_", "table", "key", "expected"),
    [
        ("Patient", "PAT_MASTER_INDEX", {"patient_id": "P1"}, {"active": False}),
        ("Condition", "DIAGNOSIS", {"patient_id": "P1", "visit_id": 1, "diag_no": 1}, {"verificationStatus": "error"}),
        ("ChargeItem", "BILL_DETAIL", {"bill_no": "B1"}, {"status": "entered-in-error"}),
        ("Invoice", "BILL_DETAIL", {"bill_no": "B1"}, {"status": "entered-in-error"}),
    ],
)
def test_a_deleted_row_says_that_it_was_entered_in_error_or_is_inactive(
    zh: SourceContext, type_: str, table: str, key: dict[str, Any], expected: dict[str, Any]
) -> None:
    values = {**BILL, "name": "张三", "sex": "1", "icd10": "I10", "diag_name": "高血压", "merged_into": None}
    made = convert(row(table, key, values, deleted=True), zh)
    alive = convert(row(table, key, values), zh)
    said = body(made, type_)
    assert said["id"] == body(alive, type_)["id"]
    if "verificationStatus" in expected:
        assert said["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    else:
        assert {name: said[name] for name in expected} == expected
    assert body(made, "Provenance")["activity"] == {"text": "delete"}
    assert Gate("rows").check([made]).passed == [0]


def test_a_column_nobody_maps_has_a_note_and_one_that_is_ignored_has_none() -> None:
    mapping = rows_of(
        "rows: {tables: {T: {patient: p, ignore: [b], resources: [{type: Patient, elements: {'name[0].text': n}}]}}}"
    )
    made = convert(row("T", {"p": "1"}, {"n": "张三", "a": "x", "b": "y", "c": None}), context_of(mapping))
    assert [(note.code, note.where) for note in made.notes] == [("unmapped_column", "T.a")]


def test_a_table_nobody_maps_is_set_aside_under_its_name(zh: SourceContext) -> None:
    with pytest.raises(SetAside) as refused:
        convert(row("DICT_ICD", {"code": "I10"}, {}), zh)
    assert (refused.value.refusal.code, refused.value.refusal.where) == ("mapping", "DICT_ICD")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rows": {}},
        {"rows": {"tables": {"T": {"resources": [{"type": "Patient", "elements": {"a[": "x"}}]}}}},
        {"rows": {"tables": {"T": {"resources": [{"type": "Patient", "elements": {"a": {"code": "x", "map": "m"}}}]}}}},
        {"rows": {"tables": {"T": {"resources": [{"type": "Patient", "elements": {"a": {}}}]}}}},
    ],
)
def test_a_mapping_that_cannot_be_used_sets_rows_aside_and_raises_nothing_else(document: dict[str, Any]) -> None:
    with pytest.raises(SetAside) as refused:
        convert(row("T", {"p": "1"}, {}), context_of(document))
    assert refused.value.refusal.code in ("mapping", "required")


@pytest.mark.parametrize(
    "rule", ["{colum: x}", "{date: x, code: y}", "{code: x, map: Sex}", "[]", "{reference: patient, patient: true}"]
)
def test_the_schema_refuses_a_rule_that_means_nothing(rule: str) -> None:
    with pytest.raises(ConfigurationError):
        rows_of(f"rows: {{tables: {{T: {{resources: [{{type: Patient, elements: {{gender: {rule}}}}}]}}}}}}")


def test_constants_alone_make_no_element() -> None:
    mapping = rows_of(
        """
        rows:
          tables:
            T:
              patient: p
              resources:
                - type: Patient
                  elements:
                    telecom[0].system: {constant: phone}
                    telecom[0].value: phone
                    name[0].use: {constant: official}
                    name[0].text: name
        """
    )
    made = convert(row("T", {"p": "1"}, {"phone": "", "name": "张三"}), context_of(mapping))
    assert "telecom" not in body(made, "Patient")
    assert body(made, "Patient")["name"] == [{"use": "official", "text": "张三"}]


def test_the_same_patient_has_the_same_id_in_every_table(zh: SourceContext) -> None:
    patient = convert(row("PAT_MASTER_INDEX", {"patient_id": "P1"}, {"name": "张三", "sex": "1"}), zh)
    bill = convert(row("BILL_DETAIL", {"bill_no": "B1"}, BILL), zh)
    assert body(bill, "ChargeItem")["subject"]["reference"] == f"Patient/{body(patient, 'Patient')['id']}"
    assert {one.patient for one in bill.resources} == {body(patient, "Patient")["id"]}


def test_the_version_names_code_and_document(zh: SourceContext) -> None:
    one = convert(row("BILL_DETAIL", {"bill_no": "B1"}, BILL), zh)
    changed = json.loads(json.dumps(zh.mapping))
    changed["rows"]["currency"] = "USD"
    other = convert(row("BILL_DETAIL", {"bill_no": "B1"}, BILL), context_of(changed))
    assert one.mapping != other.mapping != MAPPING
    assert body(one, "Provenance")["entity"][0]["what"]["identifier"]["value"] == "BILL_DETAIL/B1"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2026-05-01 08:00:00", "2026-05-01T08:00:00+08:00"),
        ("20260501080000", "2026-05-01T08:00:00+08:00"),
        ("2026/5/1", "2026-05-01"),
        ("2026年5月1日", "2026-05-01"),
        ("2026-05-01T00:00:00Z", "2026-05-01T00:00:00+00:00"),
        ("2026-05", "2026-05"),
        ("1986-05-04 02:30:00", "1986-05-04T02:30:00+08:00"),
        ("2026-02-30", None),
        ("0000-00-00", None),
        ("昨天", None),
        ("9999-12-31 23:59:59", "9999-12-31T23:59:59+08:00"),
    ],
)
def test_dates_as_hospitals_write_them(sent: str, expected: str | None) -> None:
    assert moment(sent, "Asia/Shanghai") == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9))
def test_every_amount_of_money_is_the_same_after_it_was_sealed(value: Decimal) -> None:
    number = exact(value)
    assert number is not None
    assert Decimal(repr(orjson.loads(orjson.dumps(number)))) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40))
def test_a_number_is_exact_or_is_none(value: Decimal) -> None:
    number = exact(value)
    assert number is None or Decimal(repr(number)) == value


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30),
    lambda inner: st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(), _values))
def test_canonical_json_reads_back_as_what_it_was_with_every_digit(value: dict[str, Any]) -> None:
    read = json.loads(dumps(value), parse_float=Decimal)
    assert read == value
    assert dumps(read) == dumps(value)


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_bytes_come_only_a_refusal_is_raised(content: bytes) -> None:
    with pytest.raises(SetAside):
        convert(content, context_of(_ZH))


_cells = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just({"base64": "AAE="}) | st.decimals()


@settings(deadline=None)
@given(st.sampled_from(sorted(ZH_TABLES)), st.lists(_cells, min_size=12, max_size=12))
def test_whatever_columns_hold_only_a_refusal_is_raised(table: str, cells: list[Any]) -> None:
    context = context_of(_ZH)
    columns = _ZH_COLUMNS[table]
    finite = [None if isinstance(one, Decimal) and not one.is_finite() else one for one in cells]
    values = dict(zip(columns, finite, strict=False))
    try:
        made = convert(record(table, {columns[0]: values[columns[0]]}, values), context)
    except SetAside as refused:
        assert refused.refusal.where.startswith(table)
        return
    orjson.dumps([one.body for one in made.resources])


_ZH = load_document(MAPPINGS / "zh-his.yaml", "mapping")
_ZH_COLUMNS = {
    "PAT_MASTER_INDEX": ["patient_id", "name", "sex", "date_of_birth", "id_no", "merged_into", "phone", "update_time"],
    "PAT_VISIT": ["patient_id", "visit_id", "visit_type", "dept_code", "admission_time", "discharge_time", "doctor"],
    "DIAGNOSIS": ["patient_id", "visit_id", "icd10", "diag_name", "diag_time", "diag_type"],
    "ORDERS": ["patient_id", "order_no", "item_code", "dosage", "dosage_unit", "freq", "start_time", "status"],
    "LAB_RESULT": ["patient_id", "test_no", "item_code", "result", "unit", "ref_range", "abnormal", "result_time"],
    "BILL_DETAIL": ["patient_id", "bill_no", "amount", "quantity", "charges", "refund_of", "bill_time", "visit_id"],
}


def test_a_row_is_named_alike_where_it_is_read_and_where_it_is_mapped() -> None:
    key = {"a": Decimal("1.50"), "b": "x"}
    made = convert(row("T", key, {}), context_of(rows_of("rows: {tables: {T: {resources: []}}}")))
    (note,) = (one for one in made.notes if one.code == "mapping")
    assert note.where == "T"
    assert read(record("T", key, key)).name == native_id("T", key) == "T/1.50/x"
