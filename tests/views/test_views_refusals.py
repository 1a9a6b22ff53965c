"""What is wrong with a definition or a resource is said with its place, and nothing of it is used."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from sharing.errors import Malformed
from sharing.views import compile_view
from sharing.views.faults import Unfit

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "active": True,
    "gender": "female",
    "birthDate": "1970-06",
    "name": [{"family": "A", "given": ["a", "b"]}, {"family": "B"}],
    "telecom": [{"system": "phone"}, {"system": "email"}],
}


def definition(path: str = "id", **more: Any) -> dict[str, Any]:
    return {"resource": "Patient", "select": [{"column": [{"name": "a", "path": path, **more}]}]}


def refusal(body: Any, resources: Any = (PATIENT,)) -> str:
    """What is said of a definition; it and the resources are as they were."""
    before = copy.deepcopy((body, resources))
    with pytest.raises(Malformed) as caught:
        compile_view(body).rows(resources)
    assert (body, resources) == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"selct": []}, "the definition: no element 'selct' here; is 'select' meant?"),
        (
            {"resource": "Pateint"},
            "resource: expected a type of resource of FHIR R4, found 'Pateint'; is Patient meant?",
        ),
        ({"resource": 3}, "resource: expected a type of resource of FHIR R4, found a number"),
        ({"resource": "DomainResource"}, "resource: expected a type of resource"),
        ({"name": "1st view"}, "name: expected letters, digits and _, a letter first, found '1st view'"),
        ({"select": []}, "select: expected at least 1 in the list, found 0"),
        ({"select": {}}, "select: expected a list, found an object"),
        ({"select": [{}]}, "select: expected 1 to 1,000 columns, found 0"),
        ({"select": [3]}, "select[0]: expected an object, found a number"),
        ({"where": [{"path": "name.family"}]}, "where[0].path: expected what is true or false, found string"),
        ({"where": [{"path": "name"}]}, "where[0].path: expected what is true or false, found HumanName"),
        ({"where": [{}]}, "where[0]: expected an element 'path', found none"),
        ({"constant": [{"name": "c"}]}, "constant[0]: expected one value, such as valueCode, found 0"),
        ({"constant": [{"name": "c", "valueCode": 1}]}, "constant[0].valueCode: expected code, found a number"),
        ({"constant": [{"name": "c", "valueInteger": True}]}, "constant[0].valueInteger: expected integer, found true"),
        ({"constant": [{"name": "c", "valueQuantity": {}}]}, "constant[0]: no element 'valueQuantity' here"),
        ({"constant": [{"name": "resource", "valueCode": "x"}]}, "constant[0].name: resource is taken"),
        ({"resourceType": "Patient"}, "resourceType: expected ViewDefinition, found 'Patient'"),
        ({"description": 3}, "description: expected a text, found a number"),
    ],
)
def test_fault_in_a_definition_is_named_with_its_place(change: dict[str, Any], said: str) -> None:
    assert refusal({**definition(), **change}).startswith(said)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"path": "id", "type": "strin"}, "select[0].column[0].type: FHIR R4 has no type 'strin'"),
        (
            {"path": "birthDate", "type": "boolean"},
            "select[0].column[0]: column a is of type boolean, its path gives date",
        ),
        (
            {"path": "name", "type": "string"},
            "select[0].column[0]: column a is of type string, its path gives HumanName",
        ),
        (
            {"path": "name"},
            "select[0].column[0].path: gives HumanName, which is no value; go on to one, or name its type",
        ),
        ({"path": "id", "collection": "yes"}, "select[0].column[0].collection: expected true or false, found a text"),
        ({"path": "id", "tags": []}, "select[0].column[0]: no element 'tags' here; is 'tag' meant?"),
        ({"path": "id", "tag": [{"name": "xinglin/role"}]}, "select[0].column[0].tag[0]: expected an element 'value'"),
        (
            {"path": "id", "tag": [{"name": "xinglin/role", "value": "secret"}]},
            "select[0].column[0].tag: xinglin/role is one of quasi-identifier, sensitive, identifier; found 'secret'",
        ),
        (
            {"path": "id", "tag": [{"name": "ansi/type", "value": "BLOB"}]},
            "select[0].column[0].tag: ansi/type 'BLOB' is none of BOOLEAN",
        ),
        ({"path": 3}, "select[0].column[0].path: expected a FHIRPath expression as text, found a number"),
        ({}, "select[0].column[0]: expected an element 'path', found none"),
    ],
)
def test_fault_in_a_column_is_named_with_its_place(column: dict[str, Any], said: str) -> None:
    assert refusal({"resource": "Patient", "select": [{"column": [{"name": "a", **column}]}]}).startswith(said)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "character 1: expected a value, an element or a function, found the end"),
        ("name.", "character 6: expected the name of an element or function, found the end"),
        ("name.where(use = 'official'", "character 28: expected ',', found the end"),
        ("name[0", "character 7: expected ']', found the end"),
        ("(id", "character 4: expected ')', found the end"),
        ("id id", "character 4: expected an operator or the end, found 'id'"),
        ("id = 'it''s'", "character 10: expected an operator or the end, found \"'s'\""),
        ("name where", "character 6: expected an operator or the end, found 'where'"),
        ("'open", 'character 1: nothing of FHIRPath begins with "\'"'),
        ("'\\x'", "character 2: \\x is no escape of FHIRPath"),
        ("'\\ud800'", "character 1: half a character"),
        ("id ^ 2", "character 4: nothing of FHIRPath begins with '^'"),
        ("9" * 5000, "character 1: a number has at most 100 digits"),
        ("/* open", "character 1: expected a value, an element or a function, found '/'"),
        ("name.famly()", "character 6: no function famly()"),
        ("name.exist()", "character 6: no function exist(); is exists() meant?"),
        ("name.where()", "character 6: where() takes 1 arguments, not 0"),
        ("name.substring(1, 2, 3)", "character 6: substring() takes 1 to 2 arguments, not 3"),
        ("id.matches('(a+)+$')", "character 4: matches() is left out here: some patterns take forever"),
        ("now()", "character 1: now() is left out here: a dataset must not depend on the hour it was made at"),
        ("%missing", "character 1: %missing is no constant of this view; there are %resource, %rowIndex"),
        ("$total", "character 1: $total is not known here; there are $this and $index"),
        ("value.ofType(Quantty)", "character 14: FHIR R4 has no type 'Quantty'"),
        ("id is 3", "character 7: expected the name of a type, found '3'"),
        ("active + 1", "character 8: + takes numbers or texts, not a boolean"),
        ("birthDate + 1", "character 11: + takes numbers or texts, not a text"),
        ("active < 3", "character 8: < compares a boolean with a number"),
        ("name < name", "character 6: < does not order an element"),
        ("name.given['a']", "character 12: expected a whole number as index"),
        ("active.length()", "character 8: length() is asked of a text"),
        ("gender.lowBoundary()", "character 8: lowBoundary() is asked of a number, date, time, Quantity or Period"),
        ("link.other.getReferenceKey(Pateint)", "character 12: getReferenceKey() takes a type of resource of FHIR R4"),
        ("gender.getReferenceKey()", "character 8: getReferenceKey() is asked of a Reference"),
    ],
)
def test_fault_in_an_expression_is_named_with_its_character(path: str, said: str) -> None:
    assert refusal(definition(path)).startswith(f"select[0].column[0].path: {said}")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("name.family", "column a holds one value and 2 came; choose with first() or where(), join() them, or set"),
        ("name.single().family", "single() takes one value and there are 2; choose with first() or where()"),
        ("name.family + 'x'", "+ takes one value and there are 2"),
        ("name.family > 'x'", "> takes one value and there are 2"),
        ("contained.oddity < 3", "< compares two numbers, texts or dates, not values of different kinds"),
        ("contained.number & 'a'", "& joins texts; write toString() behind what is none"),
    ],
)
def test_resource_that_does_not_fit_is_named_by_its_number_without_its_values(path: str, said: str) -> None:
    odd = {**PATIENT, "contained": [{"oddity": "secret", "number": 1234567}]}
    with pytest.raises(Unfit) as caught:
        compile_view(definition(path)).rows([{"resourceType": "Patient"}, {"resourceType": "Group"}, odd])

    assert str(caught.value).startswith(f"select[0].column[0].path: {said}")
    assert caught.value.resource == 2
    assert "secret" not in str(caught.value)
    assert "1234567" not in str(caught.value)


@pytest.mark.parametrize(
    ("type_", "value", "said"),
    [
        ("string", 3, "column a holds texts (string), and a number came"),
        ("boolean", "true", "column a holds booleans, and a text came"),
        ("integer", 2.5, "column a holds whole numbers, and a number came"),
        ("integer", 2**31, "a value is beyond what int32 holds"),
        ("integer", float("nan"), "column a holds whole numbers, and a number came"),
        ("integer", float("-inf"), "column a holds whole numbers, and a number came"),
        ("decimal", True, "column a holds numbers, and a boolean came"),
        ("decimal", {"value": 1}, "column a holds numbers, and an element came"),
        ("Coding", "x", "column a holds elements (Coding), and a text came"),
    ],
)
def test_value_of_another_type_than_its_column_is_refused(type_: str, value: Any, said: str) -> None:
    body = definition("extension.odd", type=type_)  # an element that R4 has not: nothing is known of it before
    resource = {"resourceType": "Patient", "extension": [{"odd": value}]}

    assert refusal(body, [resource]) == f"select[0].column[0].path: {said}"


@pytest.mark.parametrize(
    ("type_", "values", "said"),
    [
        ("integer", [1, None, 2**31, 2**40], "a value is beyond what int32 holds"),
        ("integer64", [1, 2, 2**63, 4], "a value is beyond what int64 holds"),
        ("decimal", [0.5, 2**60, 10**400], "a value is beyond what double holds"),
        ("string", ["a", "b", "\ud800", "c"], "a value is beyond what string holds"),
    ],
)
def test_first_value_beyond_its_column_is_found_among_others_of_its_kind(
    type_: str, values: list[Any], said: str
) -> None:
    given = [{"resourceType": "Patient", "extension": [{"odd": value}]} for value in values]
    with pytest.raises(Unfit) as caught:
        compile_view(definition("extension.odd", type=type_)).rows(given)

    assert (str(caught.value), caught.value.resource) == (f"select[0].column[0].path: {said}", 2)


def test_whole_number_that_no_double_has_becomes_the_nearest_one() -> None:
    given = [{"resourceType": "Patient", "extension": [{"odd": value}]} for value in (1, 2**53 + 1, 2**70)]
    batch, _ = compile_view(definition("extension.odd", type="decimal")).rows(given)

    assert batch.column("a").to_pylist() == [1.0, 2.0**53, 2.0**70]


def test_condition_that_is_neither_true_nor_false_is_refused() -> None:
    body = {**definition(), "where": [{"path": "active"}, {"path": "extension.odd"}]}

    assert refusal(body, [{**PATIENT, "extension": [{"odd": "x"}]}]).startswith("where[1].path: expected what is true")


def test_columns_of_the_same_name_are_refused_whatever_their_case() -> None:
    column = {"path": "id", "name": "a"}
    for body in (
        [{"column": [column, {**column, "name": "A"}]}],
        [{"column": [column], "select": [{"column": [column]}]}],
        [{"column": [column]}, {"unionAll": [{"column": [column]}]}],
    ):
        assert refusal({"resource": "Patient", "select": body}) in (
            "select: two columns are called a",
            "select: two columns are called A",
        )


def test_branches_of_a_union_with_other_columns_are_refused() -> None:
    first = {"column": [{"name": "a", "path": "id", "type": "id"}]}
    for other, said in (
        ({"column": [{"name": "b", "path": "id", "type": "id"}]}, "expected the columns a in that order, found b"),
        ({"column": []}, "expected the columns a in that order, found none"),
        (
            {"column": [{"name": "a", "path": "active", "type": "boolean"}]},
            "column a is of another type than in the first",
        ),
    ):
        body = {"resource": "Patient", "select": [{"unionAll": [first, other]}]}
        assert refusal(body).startswith(f"select[0].unionAll[1]: {said}")


def test_two_ways_of_going_over_items_in_one_select_are_refused() -> None:
    body = {"resource": "Patient", "select": [{"forEach": "name", "repeat": ["name"], "column": []}]}

    assert refusal(body) == "select[0]: forEach and repeat stand together; one of them may"


@pytest.mark.parametrize(
    "path",
    [
        "(" * 5_000 + "id" + ")" * 5_000,
        "iif(" * 60 + "true" + ", 1, 2)" * 60,
        "-" * 9_000 + "1",
        ".".join(["name"] * 2_000),
        " + ".join(["1"] * 3_000),
        "name" + ".first()" * 1_000,
        "name" + "[0]" * 1_000,
        "x" * 20_000,
        "/**/" * 2_400 + "#",
        "/*" * 5_000,
    ],
)
def test_huge_expression_is_refused_at_once(path: str) -> None:
    begun = time.process_time()
    refusal(definition(path))

    assert time.process_time() - begun < 2


def test_selects_nested_without_end_are_refused() -> None:
    select: dict[str, Any] = {"column": [{"name": "a", "path": "id"}]}
    for _ in range(3_000):
        select = {"select": [select]}

    with pytest.raises(Malformed, match=r"at most 500 selects, 16 levels deep"):
        compile_view({"resource": "Patient", "select": [select]})


@pytest.mark.parametrize(
    ("select", "said"),
    [
        (
            [{"repeat": ["$this"], "column": [{"name": "a", "path": "id"}]}],
            "select[0].repeat[0]: finds more than 100,000 items; does it go down?",
        ),
        (
            [
                {"forEach": "name" + ".select($this.combine($this))" * 10, "column": [{"name": name, "path": "family"}]}
                for name in "ab"
            ],
            "select: sibling selects make 4,194,304 rows of one resource",
        ),
        (
            [{"column": [{"name": "a", "path": "name" + ".select($this.combine($this))" * 30 + ".count()"}]}],
            "select[0].column[0].path: more than 100,000 items in one collection",
        ),
        (
            [{"column": [{"name": "a", "path": "gender" + ".replace('', 'xxxxxxxxxx')" * 30}]}],
            "select[0].column[0].path: a text of more than 1,000,000 characters",
        ),
        (
            [{"column": [{"name": "a", "path": "99999999" + ".power(4)" * 20}]}],
            "",
        ),
        (
            [{"column": [{"name": "a", "path": " * ".join(["99999999999"] * 60)}]}],
            "select[0].column[0].path: a number of more than 40 digits",
        ),
    ],
)
def test_view_that_would_never_end_or_fill_the_memory_is_stopped(select: list[Any], said: str) -> None:
    begun = time.process_time()
    body = {"resource": "Patient", "select": select}
    if said:
        assert refusal(body).startswith(said)
    else:
        assert compile_view(body).rows([PATIENT])[0].to_pylist() == [{"a": None}]

    assert time.process_time() - begun < 10


def test_element_that_r4_has_not_is_noted_and_empty() -> None:
    view = compile_view(definition("name.famly.first()", type="string"))

    assert view.notes == (
        "select[0].column[0].path: character 6: FHIR R4 has no element 'famly' in HumanName; it is always empty",
    )
    assert view.rows([PATIENT])[0].to_pylist() == [{"a": None}]


def test_path_that_may_find_several_values_is_noted() -> None:
    assert compile_view(definition("name.family")).notes == (
        "select[0].column[0].path: may find several values in FHIR R4; then the view stops",
    )
    assert compile_view(definition("name.family", collection=True)).notes == ()


def test_resource_nested_too_deep_is_refused() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    body = {**definition("extension.odd.distinct().count()")}

    assert "nested too deep" in refusal_of_depth(body, {"resourceType": "Patient", "extension": [{"odd": deep}]})


def refusal_of_depth(body: Any, resource: Any) -> str:
    with pytest.raises(Malformed) as caught:
        compile_view(body).rows([resource])
    return str(caught.value)
