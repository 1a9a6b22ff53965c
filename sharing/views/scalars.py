"""The functions of FHIRPath that take one value: texts, numbers, conversions, boundaries.

Source: FHIRPath N1 (2.0.0), 5.5 to 5.7; ``join``, ``split``, ``trim``, ``lowBoundary`` and ``highBoundary`` from its
draft, as SQL on FHIR wants them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from sharing.views.compiled import Call, Code, Env
from sharing.views.model import TEMPORAL
from sharing.views.operators import bounded, calculate
from sharing.views.temporal import boundary, read, read_time
from sharing.views.values import LONGEST_TEXT, TaggedText, collected, exact, items, number, one

Build = Callable[[Call], Code]
_TRUE: Final = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0", "0.0"})
_NUMBER: Final = re.compile(r"[+-]?\d{1,40}(\.\d{1,40})?", re.ASCII)


def _text(apply: Callable[..., Any], type_: str, *kinds: type) -> tuple[int, int, Build]:
    """Return a function of one text and of arguments of these kinds; with an empty one it is empty."""
    return len(kinds), len(kinds), _texts(apply, type_, kinds)


def _texts(apply: Callable[..., Any], type_: str, kinds: tuple[type, ...], least: int | None = None) -> Build:
    def built(call: Call) -> Code:
        if call.base.family not in ("", "text"):
            raise call.fault("is asked of a text")
        run, label = call.base.run, call.label
        arguments = [call.argument(index) for index in range(len(call.node.inner))]
        for argument, kind in zip(arguments, kinds, strict=False):
            if argument.family not in ("", "text" if kind is str else "number"):
                raise call.fault(f"takes a {'text' if kind is str else 'whole number'} here")

        def applied(node: Any, env: Env) -> Any:
            text = one(run(node, env), label)
            given = [one(argument.run(node, env), label) for argument in arguments]
            if text is None or None in given[:least]:
                return None
            if not isinstance(text, str):
                raise call.fault("is asked of a text")
            for value, kind in zip(given, kinds, strict=False):
                if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                    raise call.fault(f"takes a {'text' if kind is str else 'whole number'} here")
            return apply(text, *given)

        many = type_ == "string*"
        return call.base.of(applied, type_.rstrip("*"), many, *arguments)

    return built


def _substring(text: str, start: int, length: int | None = None) -> str | None:
    if not 0 <= start < len(text):
        return None
    return text[start:] if length is None else text[start : start + max(length, 0)]


def _replaced(text: str, old: str, new: str) -> str:
    if len(text) * (1 + len(new)) > LONGEST_TEXT:  # before it is made
        bounded(text.replace(old, "") + new * (text.count(old) if old else len(text) + 1))
    return text.replace(old, new)


def _join(call: Call) -> Code:
    """Return the texts as one, directly behind each other where no separator is given (FHIRPath draft, 5.6.12)."""
    run, label = call.base.run, call.label
    separators = [call.argument(0)] if call.node.inner else []
    if any(code.family not in ("", "text") for code in (call.base, *separators)):
        raise call.fault("takes texts")

    def joined(node: Any, env: Env) -> Any:
        found = items(run(node, env))
        between = one(separators[0].run(node, env), label) if separators else ""
        if not found:
            return None
        if not all(isinstance(item, str) for item in (*found, between or "")):
            raise call.fault("takes texts")
        return bounded((between or "").join(found))

    return call.base.of(joined, "string", False, *separators)


def _numeric(apply: Callable[..., Any], type_: str, least: int = 0, most: int = 0) -> tuple[int, int, Build]:
    """Return a function of one number."""

    def built(call: Call) -> Code:
        arguments = [call.argument(index) for index in range(len(call.node.inner))]
        if any(code.family not in ("", "number") for code in (call.base, *arguments)):
            raise call.fault("takes numbers")
        run, label = call.base.run, call.label

        def applied(node: Any, env: Env) -> Any:
            values = [one(run(node, env), label), *(one(code.run(node, env), label) for code in arguments)]
            if None in values:
                return None
            if not all(map(number, values)):
                raise call.fault("takes numbers")
            return calculate(apply, *map(exact, values))

        return call.base.of(applied, type_ or call.base.type, False, *arguments)

    return least, most, built


def _rounded(value: Any, places: Any = 0) -> Any:
    if not 0 <= places <= 28 or places != int(places):
        return None
    return Decimal(value).quantize(Decimal(1).scaleb(-int(places)), ROUND_HALF_UP)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        return base**exponent if abs(base) < 2 or exponent * math.log10(abs(base)) < 40 else None
    return Decimal(base) ** Decimal(exponent)


def as_text(value: Any) -> str | None:
    """Return a value as FHIR writes it; None for an element (N1, 5.5.5)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if number(value):
        return format(exact(value), "f") if not isinstance(value, int) else str(value)
    return value if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool | int):
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,40}", value, re.ASCII) else None


def _decimal(value: Any) -> Any:
    if isinstance(value, bool) or number(value):
        return Decimal(int(value)) if isinstance(value, bool) else Decimal(exact(value))
    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    text = (as_text(value) or "").lower()
    return True if text in _TRUE else False if text in _FALSE else None


def _date(value: Any) -> str | None:
    return value[:10] if isinstance(value, str) and read(value) is not None else None


def _moment(value: Any) -> str | None:
    return value if isinstance(value, str) and read(value) is not None else None


def _time(value: Any) -> str | None:
    text = value.removeprefix("T") if isinstance(value, str) else ""
    return text if read_time(text) is not None else None


def _converted(convert: Callable[[Any], Any], type_: str) -> tuple[int, int, Build]:
    def built(call: Call) -> Code:
        run, label = call.base.run, call.label

        def converted(node: Any, env: Env) -> Any:
            value = one(run(node, env), label)
            return None if value is None else convert(value)

        return call.base.of(converted, type_)

    return 0, 0, built


def _boundary(high: bool) -> Build:
    def built(call: Call) -> Code:
        if call.base.family == "boolean" or (call.base.family == "text" and not call.base.temporal):
            raise call.fault("is asked of a number, date, time, Quantity or Period")
        run, label, type_ = call.base.run, call.label, call.base.type

        def bound(node: Any, env: Env) -> Any:
            return _bounds(one(run(node, env), label), type_, high)

        kind = {"instant": "instant", "Period": "dateTime"}.get(type_, type_)
        return call.base.of(bound, "decimal" if call.base.family == "number" else kind)

    return built


def _bounds(value: Any, type_: str, high: bool) -> Any:
    if isinstance(value, str):
        type_ = value.type if isinstance(value, TaggedText) else type_
        if type_ not in TEMPORAL:
            type_ = "time" if read_time(value) and ":" in value else "dateTime" if "T" in value else "date"
        return boundary(value, type_, high)
    if number(value):
        given = Decimal(exact(value))
        half = Decimal(5).scaleb(min(int(given.as_tuple().exponent), 0) - 1)
        return calculate(lambda: given + half if high else given - half)
    if isinstance(value, dict) and number(value.get("value")):
        return {**value, "value": _bounds(value["value"], "decimal", high)}
    if isinstance(value, dict):
        edge = value.get("end" if high else "start")
        return boundary(edge, "dateTime", high) if isinstance(edge, str) else None
    return None


SCALARS: Final[dict[str, tuple[int, int, Build]]] = {
    "indexOf": _text(str.find, "integer", str),
    "lastIndexOf": _text(str.rfind, "integer", str),
    "startsWith": _text(str.startswith, "boolean", str),
    "endsWith": _text(str.endswith, "boolean", str),
    "contains": _text(lambda text, part: part in text, "boolean", str),
    "substring": (1, 2, _texts(_substring, "string", (int, int), 1)),
    "upper": _text(str.upper, "string"),
    "lower": _text(str.lower, "string"),
    "trim": _text(str.strip, "string"),
    "length": _text(len, "integer"),
    "toChars": _text(lambda text: collected(list(text)), "string*"),
    "split": _text(lambda text, by: collected(text.split(by) if by else list(text)), "string*", str),
    "replace": _text(_replaced, "string", str, str),
    "join": (0, 1, _join),
    "abs": _numeric(abs, ""),
    "ceiling": _numeric(math.ceil, "integer"),
    "floor": _numeric(math.floor, "integer"),
    "truncate": _numeric(int, "integer"),
    "round": _numeric(_rounded, "decimal", 0, 1),
    "sqrt": _numeric(lambda value: Decimal(value).sqrt(), "decimal"),
    "exp": _numeric(lambda value: Decimal(value).exp(), "decimal"),
    "ln": _numeric(lambda value: Decimal(value).ln(), "decimal"),
    "log": _numeric(lambda value, base: Decimal(value).ln() / Decimal(base).ln(), "decimal", 1, 1),
    "power": _numeric(_power, "", 1, 1),
    "toString": _converted(as_text, "string"),
    "toInteger": _converted(_integer, "integer"),
    "toDecimal": _converted(_decimal, "decimal"),
    "toBoolean": _converted(_boolean, "boolean"),
    "toDate": _converted(_date, "date"),
    "toDateTime": _converted(_moment, "dateTime"),
    "toTime": _converted(_time, "time"),
    "convertsToString": _converted(lambda value: as_text(value) is not None, "boolean"),
    "convertsToInteger": _converted(lambda value: _integer(value) is not None, "boolean"),
    "convertsToDecimal": _converted(lambda value: _decimal(value) is not None, "boolean"),
    "convertsToBoolean": _converted(lambda value: _boolean(value) is not None, "boolean"),
    "convertsToDate": _converted(lambda value: _date(value) is not None, "boolean"),
    "convertsToDateTime": _converted(lambda value: _moment(value) is not None, "boolean"),
    "convertsToTime": _converted(lambda value: _time(value) is not None, "boolean"),
    "lowBoundary": (0, 0, _boundary(False)),
    "highBoundary": (0, 0, _boundary(True)),
}
