"""Rules of a mapping as functions: what an element becomes of a row's columns.

A rule is a column's name, or an object with one of the words below and what belongs to it. A function returns the
element's value, or None where the columns hold nothing. What they hold and cannot be read is noted and left out; only
money and amounts that would have to be rounded refuse the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from normalise.rows.numbers import exact, number_of, quantity, reference_range
from normalise.rows.reading import Body, Reader, condition
from normalise.rows.record import as_text
from normalise.rows.times import day_of, is_instant, moment

Make = Callable[[Reader], Any]
#: Code maps by name.
Maps = Mapping[str, Mapping[str, Any]]
Rule = Mapping[str, Any]

UCUM: Final = "http://unitsofmeasure.org"


def maker(rule: str | Rule | list[str | Rule], maps: Maps, defaults: Rule) -> Make:
    """Return the function of a rule; of several, the first that gives a value is the one.

    Args:
        rule: As it stands in the mapping.
        maps: The mapping's code maps.
        defaults: ``currency`` and ``dates`` of the mapping.

    Raises:
        ValueError: It names a code map that is not there.
    """
    if isinstance(rule, str):
        rule = {"column": rule}
    if isinstance(rule, list):
        return _first([maker(one, maps, defaults) for one in rule])
    word = next(name for name in _MAKERS if name in rule)
    if isinstance(name := rule.get("map"), str):
        if name not in maps:
            raise ValueError(f"map {name} is not among codes")
        rule = {**rule, "map": maps[name]}
    made = partial(_MAKERS[word], {**defaults, **rule})
    if "when" not in rule:
        return made
    met = condition(rule["when"])
    return lambda reader: made(reader) if met(reader) else None


def _first(makers: list[Make]) -> Make:
    def first(reader: Reader) -> Any:
        return next((value for one in makers if (value := one(reader)) is not None), None)

    return first


def columns_of(rule: Any) -> set[str]:
    """Return the columns that a rule reads."""
    if isinstance(rule, str):
        return {rule}
    if isinstance(rule, list):
        return set().union(*map(columns_of, rule))
    found: set[str] = set()
    for name, one in rule.items():
        if name in ("concat", "when"):
            found |= columns_of(one)
        elif name in _COLUMNS and isinstance(one, str):
            found.add(one)
        elif name == "key":
            found |= set(one)
        elif name == "unit" and isinstance(one, dict):
            found.add(one["column"])
    return found


_COLUMNS: Final = frozenset(
    {
        "column", "date", "dateTime", "instant", "decimal", "integer", "boolean", "code", "concept", "coding",
        "identifier", "quantity", "result", "money", "patient", "range", "display", "logical",
    }
)  # fmt: skip


def _column(rule: Rule, reader: Reader) -> Any:
    return reader.text(rule["column"])


def _constant(rule: Rule, _: Reader) -> Any:
    return rule["constant"]


def _concat(rule: Rule, reader: Reader) -> str | None:
    """The parts that are there, between them the separator."""
    parts = [one["text"] if isinstance(one, dict) else reader.text(one) for one in rule["concat"]]
    if not any(reader.text(one) for one in rule["concat"] if isinstance(one, str)):
        return None
    return str(rule.get("separator", "")).join(part for part in parts if part)


def _time(rule: Rule, reader: Reader, word: str) -> str | None:
    column = rule[word]
    text = reader.text(column)
    if text is None:
        return None
    formats = tuple(rule.get("formats", rule["dates"]))
    value = moment(text, rule.get("zone", reader.context.time_zone), formats)
    if value is None:
        reader.note("bad_value", column, "Expected a date or time; it is left out.")
    return value


def _date(rule: Rule, reader: Reader) -> str | None:
    value = _time(rule, reader, "date")
    return value and day_of(value)


def _date_time(rule: Rule, reader: Reader) -> str | None:
    return _time(rule, reader, "dateTime")


def _instant(rule: Rule, reader: Reader) -> str | None:
    value = _time(rule, reader, "instant")
    if value is not None and not is_instant(value):
        reader.note("imprecise", rule["instant"], "Expected a time exact to the minute; it is left out.")
        return None
    return value


def _number(rule: Rule, reader: Reader, word: str) -> int | float | None:
    """The number, exactly; one that JSON cannot hold exactly refuses the row."""
    column = rule[word]
    value = reader.value(column)
    if value is None:
        return None
    number = number_of(value)
    if number is None:
        reader.note("bad_value", column, "Expected a number; it is left out.")
        return None
    plain = exact(-number if rule.get("negate") else number)
    if plain is None:
        message = "Expected a number of at most 15 digits; a longer one would be rounded, so the row is set aside."
        raise reader.refuse("bad_value", column, message)
    return plain


def _decimal(rule: Rule, reader: Reader) -> int | float | None:
    return _number(rule, reader, "decimal")


def _integer(rule: Rule, reader: Reader) -> int | None:
    value = _number(rule, reader, "integer")
    if isinstance(value, float):
        reader.note("bad_value", rule["integer"], "Expected a whole number; it is left out.")
        return None
    return value


def _money(rule: Rule, reader: Reader) -> Body | None:
    value = _number(rule, reader, "money")
    return None if value is None else {"value": value, "currency": rule["currency"]}


def _boolean(rule: Rule, reader: Reader) -> bool | None:
    column = rule["boolean"]
    value = reader.text(column)
    if value is None:
        return None
    for answer in (True, False):
        if value.lower() in _TRUTH[answer]:
            return answer
    reader.note("bad_value", column, "Expected yes or no; it is left out.")
    return None


_TRUTH: Final = {
    True: frozenset({"1", "true", "t", "y", "yes", "是", "有"}),
    False: frozenset({"0", "false", "f", "n", "no", "否", "无"}),
}


def _code(rule: Rule, reader: Reader) -> Any:
    column = rule["code"]
    value = reader.text(column)
    if value is None:
        return rule.get("default")
    found = rule.get("map", {}).get(value)
    if found is None and "map" in rule:
        if "default" not in rule:
            reader.note("bad_value", column, "The code is not in the mapping's map; it is left out.")
        return rule.get("default")
    return found["code"] if isinstance(found, dict) else found if found is not None else value


def _concept(rule: Rule, reader: Reader) -> Body | None:
    """What the code means by the map, then the code as it came, and its wording."""
    column = rule["concept"]
    value = reader.text(column)
    wording = reader.text(rule["display"]) if "display" in rule else None
    codings: list[Body] = []
    if value is not None:
        found = rule.get("map", {}).get(value)
        if isinstance(found, dict):
            codings.append(dict(found))
        elif "map" in rule:
            reader.note("bad_value", column, "The code is not in the mapping's map; it is kept as it came.")
        own: Body = {"system": reader.system(rule.get("system", column), "codes"), "code": value}
        codings.append(own | ({"display": wording} if wording else {}))
    body: Body = {"coding": codings} if codings else {}
    if wording:
        body["text"] = wording
    return body or None


def _coding(rule: Rule, reader: Reader) -> Body | None:
    """One Coding: what the map says, else the code as it came."""
    found = _concept({**rule, "concept": rule["coding"]}, reader)
    return found["coding"][0] if found and "coding" in found else None


def _identifier(rule: Rule, reader: Reader) -> Body | None:
    value = reader.text(rule["identifier"])
    if value is None:
        return None
    body: Body = {"system": reader.system(rule.get("system", rule["identifier"]), "ids"), "value": value}
    if "type" in rule:
        type_ = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": rule["type"]}
        body["type"] = {"coding": [type_]}
    if "use" in rule:
        body["use"] = rule["use"]
    return body


def _unit(rule: Rule, reader: Reader) -> Body:
    """The unit's elements: as UCUM where the map says so, else its wording alone."""
    said = rule.get("unit")
    text = reader.text(said["column"]) if isinstance(said, dict) else said
    if not text:
        return {}
    code = rule.get("units", {}).get(text) or (text if rule.get("ucum") else None)
    return {"unit": text, **({"system": UCUM, "code": code} if code else {})}


def _quantity(rule: Rule, reader: Reader) -> Body | None:
    column = rule["quantity"]
    value = reader.value(column)
    if value is None:
        return None
    found = quantity(value, _unit(rule, reader))
    if found is None:
        reader.note("bad_value", column, "Expected a number JSON can hold exactly; it is left out.")
    return found


def _result(rule: Rule, reader: Reader) -> Body | None:
    """A result as ``valueQuantity`` where it is a number or ``<0.01``, else the text as it came."""
    value = reader.value(rule["result"])
    if value is None:
        return None
    found = quantity(value, _unit(rule, reader))
    return {"valueQuantity": found} if found else {"valueString": as_text(value)}


def _range(rule: Rule, reader: Reader) -> Body | None:
    text = reader.text(rule["range"])
    return reference_range(text, _unit(rule, reader)) if text else None


def _reference(rule: Rule, reader: Reader) -> Body | None:
    """A Reference: to a patient by number, to the resource of a table's row by key, or by identifier alone."""
    display = reader.text(rule["display"]) if "display" in rule else None
    body: Body | None = None
    if "patient" in rule:
        id_ = reader.patient if rule["patient"] is True else reader.patient_of(rule["patient"])
        body = {"reference": f"Patient/{id_}"} if id_ else None
    elif "logical" in rule:
        value = reader.text(rule["logical"])
        if value is not None:
            body = {"identifier": {"system": reader.system(rule.get("system", rule["logical"]), "ids"), "value": value}}
    elif "table" in rule:
        id_ = reader.id_of(rule["reference"], rule["table"], rule.get("name", ""), rule["key"])
        body = {"reference": f"{rule['reference']}/{id_}"} if id_ else None
    elif display:
        body = {}
    return None if body is None else body | ({"display": display} if display else {})


_MAKERS: Final[dict[str, Callable[[Rule, Reader], Any]]] = {
    "reference": _reference,
    "constant": _constant,
    "concat": _concat,
    "date": _date,
    "dateTime": _date_time,
    "instant": _instant,
    "decimal": _decimal,
    "integer": _integer,
    "boolean": _boolean,
    "code": _code,
    "concept": _concept,
    "coding": _coding,
    "identifier": _identifier,
    "quantity": _quantity,
    "result": _result,
    "money": _money,
    "range": _range,
    "column": _column,
}
