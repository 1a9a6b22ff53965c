"""The functions of FHIRPath that go over collections, and those of SQL on FHIR; how many arguments each takes.

Source: FHIRPath N1 (2.0.0), chapter 5; FHIR R4, 2.9.1.5; SQL on FHIR v2, required additional functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sharing.views.compiled import UNSAID, Call, Code, Env, Run
from sharing.views.faults import Fault
from sharing.views.model import PRIMITIVE, is_resource
from sharing.views.operators import cast, union
from sharing.views.scalars import SCALARS
from sharing.views.values import MOST_ITEMS, collected, distinct, items, number, one, shape, shapes, truth

Build = Callable[[Call], Code]

#: Functions that others have and why a view has not.
ABSENT: Final = {
    "now": "a dataset must not depend on the hour it was made at; use a constant",
    "today": "a dataset must not depend on the day it was made on; use a constant",
    "timeOfDay": "a dataset must not depend on the hour it was made at; use a constant",
    "matches": "some patterns take forever, and whoever asks writes them; use startsWith, contains or in",
    "matchesFull": "some patterns take forever, and whoever asks writes them; use startsWith, contains or in",
    "replaceMatches": "some patterns take forever, and whoever asks writes them; use replace",
    "resolve": "a view sees one resource; join the tables by getReferenceKey()",
    "memberOf": "value sets are not at hand where a view runs; list the codes as constants",
    "trace": "what it writes would hold patients' data",
    "aggregate": "a view has no loops of its own; aggregate the table",
    "descendants": "what it finds has no one type; name the path",
    "children": "what it finds has no one type; name the path",
}


def counted(build: Callable[[list[Any]], Any], type_: str = "boolean") -> Build:
    """Return the builder of a function without arguments that tells one thing about the whole collection."""

    def built(call: Call) -> Code:
        run = call.base.run
        return call.base.of(lambda node, env: build(items(run(node, env))), type_)

    return built


def _criteria(call: Call) -> Code:
    """Return the test of one item: what is true of it is kept, what is false or empty is not."""
    code = call.each()
    if code.family == "boolean" and not code.many:
        return code
    run, label = code.run, call.label
    return Code(lambda item, env: truth(run(item, env), label), "boolean", False, code.uses)


def _along(run: Run) -> Callable[[list[Any], Env], list[Any]]:
    """Return what applies a function to each item while ``$index`` counts along."""

    def along(found: list[Any], env: Env) -> list[Any]:
        outer, answers = env.index, []
        try:
            for env.index, item in enumerate(found):
                answers.append(run(item, env))
        finally:
            env.index = outer
        return answers

    return along


def _outer(call: Call, run: Run, inner: Code, type_: str, many: bool) -> Code:
    """Return the code of a function over items: what they read as ``$index`` is not read from outside."""
    return Code(run, type_, many, call.base.uses | (inner.uses - {"index"}))


def _where(call: Call) -> Code:
    criteria, run = _criteria(call), call.base.run
    test, along = criteria.run, _along(criteria.run)
    counts = "index" in criteria.uses

    def where(node: Any, env: Env) -> Any:
        found = run(node, env)
        if type(found) is not list:
            if found is None or counts:
                return found if found is not None and along([found], env) == [True] else None
            return found if test(found, env) is True else None
        if counts:
            kept = [item for item, answer in zip(found, along(found, env), strict=True) if answer is True]
        else:
            kept = [item for item in found if test(item, env) is True]
        return kept if len(kept) > 1 else kept[0] if kept else None

    return _outer(call, where, criteria, call.base.type, call.base.many)


def _exists(call: Call) -> Code:
    kept = _where(call) if call.node.inner else call.base
    run = kept.run
    return Code(lambda node, env: run(node, env) is not None, "boolean", False, kept.uses)


def _is_empty(call: Call) -> Code:
    run = call.base.run
    return call.base.of(lambda node, env: run(node, env) is None, "boolean")


def _all(call: Call) -> Code:
    criteria, run = _criteria(call), call.base.run
    along = _along(criteria.run)

    def all_(node: Any, env: Env) -> Any:
        return all(answer is True for answer in along(items(run(node, env)), env))

    return _outer(call, all_, criteria, "boolean", False)


def _select(call: Call) -> Code:
    inner, run = call.each(), call.base.run
    along = _along(inner.run)

    def select(node: Any, env: Env) -> Any:
        found = along(items(run(node, env)), env)
        return collected([below for item in found for below in items(item)])

    return _outer(call, select, inner, inner.type, call.base.many or inner.many)


def _repeat(call: Call) -> Code:
    inner, run = call.compile(call.node.inner[0], call.scope.inside("")), call.base.run

    def repeat(node: Any, env: Env) -> Any:
        seen: dict[Any, Any] = {}
        fresh = items(run(node, env))
        while fresh:
            found = [below for item in fresh for below in items(inner.run(item, env))]
            fresh = [item for item in distinct(found) if shape(item) not in seen]
            seen.update((shape(item), item) for item in fresh)
            if len(seen) > MOST_ITEMS:
                raise call.fault(f"finds more than {MOST_ITEMS:,} items")
        return collected(list(seen.values()))

    return _outer(call, repeat, inner, inner.type, True)


def _iif(call: Call) -> Code:
    asked = [call.each(index) for index in range(len(call.node.inner))]
    test, then, *rest = asked
    label, base = call.label, call.base.run

    def iif(node: Any, env: Env) -> Any:
        item = one(base(node, env), label)
        branch = then if truth(test.run(item, env), label) else rest[0] if rest else None
        return branch.run(item, env) if branch is not None else None

    types = {code.type for code in (then, *rest) if code.value is not None}
    type_ = types.pop() if len(types) == 1 else ""
    return Code(iif, type_, any(code.many for code in (then, *rest)), call.base.uses.union(*(c.uses for c in asked)))


def _slice(call: Call, cut: Callable[[list[Any]], Sequence[Any]], many: bool) -> Code:
    run = call.base.run
    return call.base.of(lambda node, env: collected(list(cut(items(run(node, env))))), call.base.type, many)


def _first(call: Call) -> Code:
    run = call.base.run

    def first(node: Any, env: Env) -> Any:
        found = run(node, env)
        return found[0] if type(found) is list else found

    return call.base.of(first, call.base.type)


def _single(call: Call) -> Code:
    run, label = call.base.run, call.label
    return call.base.of(lambda node, env: one(run(node, env), label), call.base.type)


def _counted_slice(cut: Callable[[list[Any], int], list[Any]]) -> Build:
    """Return the builder of take and skip."""

    def built(call: Call) -> Code:
        run, many, label = call.base.run, call.argument(0), call.label

        def sliced(node: Any, env: Env) -> Any:
            size = one(many.run(node, env), label)
            if size is None:
                return None
            if not isinstance(size, int) or isinstance(size, bool):
                raise call.fault("takes a whole number")
            return collected(cut(items(run(node, env)), max(size, 0)))

        return call.base.of(sliced, call.base.type, True, many)

    return built


def _combined(join: Callable[[list[Any], list[Any]], list[Any]]) -> Build:
    """Return the builder of what makes one collection of two."""

    def built(call: Call) -> Code:
        run, other = call.base.run, call.argument(0)

        def combined(node: Any, env: Env) -> Any:
            return collected(join(items(run(node, env)), items(other.run(node, env))))

        return call.base.of(combined, call.base.type if call.base.type == other.type else "", True, other)

    return built


def _compared(judge: Callable[[set[Any], set[Any]], bool]) -> Build:
    """Return the builder of subsetOf and supersetOf."""

    def built(call: Call) -> Code:
        run, other = call.base.run, call.argument(0)
        return call.base.of(
            lambda node, env: judge(shapes(items(run(node, env))), shapes(items(other.run(node, env)))),
            "boolean",
            False,
            other,
        )

    return built


def _all_are(wanted: bool, any_: bool) -> Build:
    """Return the builder of allTrue, anyTrue, allFalse and anyFalse."""

    def built(call: Call) -> Code:
        if call.base.family not in ("", "boolean"):
            raise call.fault("takes booleans")

        def judged(found: list[Any]) -> bool:
            answers = [truth(item, call.label) is wanted for item in found]
            return any(answers) if any_ else all(answers)

        return counted(judged)(call)

    return built


def _not(call: Call) -> Code:
    run, label = call.base.run, call.label

    def negated(node: Any, env: Env) -> Any:
        answer = truth(run(node, env), label)
        return None if answer is None else not answer

    return call.base.of(negated, "boolean")


def _extension(call: Call) -> Code:
    run, url = call.base.run, call.argument(0)
    if url.family not in ("", "text"):
        raise call.fault("takes the address of an extension as text")

    def extension(node: Any, env: Env) -> Any:
        wanted = one(url.run(node, env), call.label)
        return collected(
            [
                found
                for item in items(run(node, env))
                if isinstance(item, dict)
                for found in items(item.get("extension"))
                if isinstance(found, dict) and found.get("url") == wanted
            ]
        )

    return call.base.of(extension, "Extension", True, url)


def _as_type(call: Call) -> Code:
    return cast(call.base, call.node.inner[0].value)


def _has_value(call: Call) -> Code:
    run = call.base.run
    return call.base.of(
        lambda node, env: (found := run(node, env)) is not None and not isinstance(found, dict | list), "boolean"
    )


def _get_value(call: Call) -> Code:
    run = call.base.run

    def value(node: Any, env: Env) -> Any:
        found = run(node, env)
        return None if isinstance(found, dict | list) else found

    return call.base.of(value, call.base.type)


def _resource_key(call: Call) -> Code:
    """Return the key of a resource: its id (SQL on FHIR, getResourceKey)."""
    run = call.base.run
    if call.base.type in PRIMITIVE:
        raise call.fault("is asked of a resource")

    def key(node: Any, env: Env) -> Any:
        found = run(node, env)
        return found.get("id") if isinstance(found, dict) else None

    return call.base.of(key, "id")


def _reference_key(call: Call) -> Code:
    """Return the key of what a literal reference points at: ``Patient/1``, absolute or not, of any version.

    Of others (contained, ``urn:``, by identifier alone) there is none: SQL on FHIR wants them empty.
    """
    run = call.base.run
    type_ = call.node.inner[0].value if call.node.inner else ""
    if call.base.family not in ("", "element"):
        raise call.fault("is asked of a Reference")
    if type_ and not is_resource(type_):
        raise call.fault(f"takes a type of resource of FHIR R4, not {type_!r}")

    def of(item: Any) -> str | None:
        text = item.get("reference") if isinstance(item, dict) else None
        if not isinstance(text, str):
            return None
        kind, slash, id_ = text.partition("/")
        if "/" in id_:
            kind, slash, id_ = text.partition("/_history/")[0].rpartition("/")
            kind = kind.rpartition("/")[2]
        if not slash or not id_ or (kind != type_ if type_ else not kind[:1].isupper()):
            return None
        return id_

    def key(node: Any, env: Env) -> Any:
        found = run(node, env)
        if type(found) is dict:
            return of(found)
        return collected([text for item in items(found) if (text := of(item)) is not None])

    return call.base.of(key, "id", call.base.many)


def index_of(run: Run, index: Code) -> Run:
    """Return the item at a place, from 0; nothing where there is none."""
    at = index.value

    def constant(node: Any, env: Env) -> Any:
        found = run(node, env)
        if type(found) is list:
            return found[at] if 0 <= at < len(found) else None
        return found if at == 0 else None

    def computed(node: Any, env: Env) -> Any:
        place = one(index.run(node, env), "[]")
        if place is None:
            return None
        if not number(place) or place != int(place):
            raise Fault("[] takes a whole number")
        found = items(run(node, env))
        return found[int(place)] if 0 <= place < len(found) else None

    return constant if isinstance(at, int) and at is not UNSAID else computed


def _kept(found: list[Any], others: list[Any], wanted: bool) -> list[Any]:
    known = shapes(others)
    return [item for item in found if (shape(item) in known) is wanted]


#: Least and most arguments, and what builds it.
FUNCTIONS: Final[dict[str, tuple[int, int, Build]]] = {
    "empty": (0, 0, _is_empty),
    "exists": (0, 1, _exists),
    "all": (1, 1, _all),
    "allTrue": (0, 0, _all_are(True, False)),
    "anyTrue": (0, 0, _all_are(True, True)),
    "allFalse": (0, 0, _all_are(False, False)),
    "anyFalse": (0, 0, _all_are(False, True)),
    "subsetOf": (1, 1, _compared(set.issubset)),
    "supersetOf": (1, 1, _compared(set.issuperset)),
    "count": (0, 0, counted(len, "integer")),
    "distinct": (0, 0, lambda call: _slice(call, distinct, call.base.many)),
    "isDistinct": (0, 0, counted(lambda found: len(found) == len(distinct(found)))),
    "where": (1, 1, _where),
    "select": (1, 1, _select),
    "repeat": (1, 1, _repeat),
    "ofType": (1, 1, _as_type),
    "as": (1, 1, _as_type),
    "is": (1, 1, _as_type),
    "first": (0, 0, _first),
    "last": (0, 0, lambda call: _slice(call, lambda found: found[-1:], False)),
    "tail": (0, 0, lambda call: _slice(call, lambda found: found[1:], True)),
    "single": (0, 0, _single),
    "take": (1, 1, _counted_slice(lambda found, size: found[:size])),
    "skip": (1, 1, _counted_slice(lambda found, size: found[size:])),
    "intersect": (1, 1, _combined(lambda found, others: distinct(_kept(found, others, True)))),
    "exclude": (1, 1, _combined(lambda found, others: _kept(found, others, False))),
    "combine": (1, 1, _combined(lambda found, others: [*found, *others])),
    "union": (1, 1, lambda call: union(call.base, call.argument(0))),
    "iif": (2, 3, _iif),
    "not": (0, 0, _not),
    "extension": (1, 1, _extension),
    "hasValue": (0, 0, _has_value),
    "getValue": (0, 0, _get_value),
    "getResourceKey": (0, 0, _resource_key),
    "getReferenceKey": (0, 1, _reference_key),
    **SCALARS,
}
