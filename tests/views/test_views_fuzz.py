"""Whatever is handed over as a definition or a resource: a table, or Malformed with its place; nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharing.errors import Malformed
from sharing.views import compile_view, library
from sharing.views.functions import FUNCTIONS
from sharing.views.model import resources

_BOUNDED = settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
elements = st.sampled_from(
    "name given active birthDate value valueQuantity code coding system extension item $this $index %rowIndex "  # noqa: SIM905
    "%resource Patient `odd` contained id effective period".split()
)
literals = st.sampled_from(
    [
        "true",
        "{}",
        "1",
        "0",
        "-3",
        "2.50",
        "'a'",
        "''",
        "'\\u00e9'",
        "@2020",
        "@2020-02-30",
        "@T12:00",
        "@2020-01-01T10:00Z",
    ]
)
types = st.sampled_from(["Quantity", "string", "System.Integer", "Patient", "date", "Coding", "FHIR.code", "Bundle"])
operators = st.sampled_from(
    "+ - * / div mod & | = != ~ !~ < > <= >= and or xor implies in contains".split()  # noqa: SIM905
)


def called(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Calls with any number of arguments, right or wrong, of any of these kinds."""
    names = st.sampled_from([*FUNCTIONS, "nothing", "matches", "now"])
    arguments = st.lists(inner | types, max_size=3).map(", ".join)
    return st.builds("{}.{}({})".format, inner, names, arguments) | st.builds("{}({})".format, names, arguments)


expressions = st.recursive(
    elements | literals,
    lambda inner: (
        st.builds("{} {} {}".format, inner, operators, inner)
        | st.builds("({})".format, inner)
        | st.builds("{}.{}".format, inner, elements)
        | st.builds("{}[{}]".format, inner, inner)
        | st.builds("-{}".format, inner)
        | st.builds("{} {} {}".format, inner, st.sampled_from(["is", "as"]), types)
        | called(inner)
    ),
    max_leaves=8,
)

texts = st.text(max_size=5) | st.sampled_from(["2020-01", "1999-12-31T23:59:59+08:00", "12:30", "Patient/1", "", "😀"])
leaves = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | texts
bodies = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "given", "active", "birthDate", "valueQuantity", "value", "code", "coding", "url"])
            | st.sampled_from(
                ["extension", "system", "item", "period", "start", "end", "_birthDate", "reference", "id"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
patients = bodies.filter(lambda body: isinstance(body, dict)).map(lambda body: {**body, "resourceType": "Patient"})


#: A place in the definition, and what is wrong there.
REFUSED = r"(the definition|[a-zA-Z]+[\w.\[\]]*): \S"
READ_OR_REFUSED = re.compile(rf"the view's own table$|{REFUSED}")


def tried(definition: Any, given_resources: list[Any]) -> str:
    """Whose table came of it, or what Malformed says."""
    try:
        view = compile_view(definition)
        batch, sources = view.rows(given_resources)
    except Malformed as error:
        return str(error)
    batch.validate(full=True)
    return "the view's own table" if (batch.schema, len(batch)) == (view.schema, len(sources)) else "another table"


def of(path: str, **more: Any) -> dict[str, Any]:
    return {"resource": "Patient", "select": [{"column": [{"name": "a", "path": path, **more}]}]}


@given(json)
@_BOUNDED
def test_any_json_as_a_definition_is_malformed(definition: Any) -> None:
    with pytest.raises(Malformed) as caught:
        compile_view(definition)
    assert re.match(REFUSED, str(caught.value))


@given(st.text(max_size=40))
@_BOUNDED
def test_any_text_as_an_expression_is_read_or_malformed(path: str) -> None:
    assert READ_OR_REFUSED.match(tried(of(path), [{"resourceType": "Patient"}]))


@given(
    expressions, st.lists(patients, max_size=3), st.sampled_from(["", "string", "integer", "boolean", "date", "Coding"])
)
@_BOUNDED
def test_any_expression_over_any_resource_gives_a_table_or_is_malformed(
    path: str, given_resources: list[Any], type_: str
) -> None:
    for collection in (False, True):
        found = tried(of(path, collection=collection, **({"type": type_} if type_ else {})), given_resources)
        assert READ_OR_REFUSED.match(found)


@given(expressions, expressions, expressions, st.lists(patients, max_size=3))
@settings(_BOUNDED, max_examples=60)
def test_any_selects_over_any_resource_give_a_table_or_are_malformed(
    one: str, other: str, path: str, given_resources: list[Any]
) -> None:
    column = {"column": [{"name": "b", "path": path, "collection": True}]}
    for way in ({"forEach": one}, {"forEachOrNull": one}, {"repeat": [one, other]}):
        select = [{**way, "column": [{"name": "a", "path": other, "collection": True}]}, {"forEach": other, **column}]
        union = [{"unionAll": [{**way, **column}, {"forEach": other, **column}]}]
        for body in (select, union):
            for where in ({"where": [{"path": path}]}, {}):
                found = tried({"resource": "Patient", **where, "select": body}, given_resources)
                assert READ_OR_REFUSED.match(found)


@given(st.sampled_from(sorted(library())), st.data())
@settings(_BOUNDED, max_examples=80)
def test_a_shipped_view_with_one_part_replaced_is_read_or_malformed(name: str, data: st.DataObject) -> None:
    import copy

    definition = copy.deepcopy(dict(library()[name]))
    at: Any = definition
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(json)
    assert READ_OR_REFUSED.match(tried(definition, []))


@given(st.sampled_from(sorted(library())), st.lists(patients, min_size=1, max_size=3))
@settings(_BOUNDED, max_examples=80)
def test_a_shipped_view_over_any_resource_gives_a_table_or_is_malformed(name: str, bodies_: list[Any]) -> None:
    definition = library()[name]
    found = tried(definition, [{**body, "resourceType": definition["resource"]} for body in bodies_])
    assert READ_OR_REFUSED.match(found)


def test_every_type_of_resource_can_be_asked_for() -> None:
    for resource in resources():
        if resource not in ("Resource", "DomainResource"):
            assert compile_view({**of("id"), "resource": resource}).resource == resource
