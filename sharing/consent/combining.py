"""What stands after a further wish: the later one counts, and all else that was said stays as it was.

The chain's rule is permits minus denials, whatever came first. A person who grants what was denied before means that
it is granted now, so the new statement's denials are cut by the grant. What cannot be cut so that nobody is let in or
kept out whom the patient did not mean is refused with the reason (``docs/decisions/0525``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ledger.chain.roster import CLASSES
from ledger.messages.consent import MAX_PROVISIONS
from ledger.messages.provisions import MAX_NAMED, Interval, Provision, minus
from sharing.consent.cutting import NEEDS_PERMIT
from sharing.errors import Refused

Provisions = tuple[Provision, ...]
#: Class of each registered institution by id.
Classes = Mapping[bytes, str]
_RULE: Final = "consent"


class _NotSayable(Exception):
    """What is left has no provision of its own: everyone but some, or all types but some."""


def granted(standing: Iterable[Provision], grants: Iterable[Provision], classes: Classes, now_ms: int) -> Provisions:
    """Return the provisions in force after these grants: what they cover is permitted, whatever stood before.

    Raises:
        Refused: A denial that stands cannot be lifted for these alone; or there would be too many provisions.
    """
    found = tidied(standing, now_ms)
    for one in grants:
        found = tidied(_granted(found, one, classes), now_ms)
    return _bounded(found)


def denied(standing: Iterable[Provision], denials: Sequence[Provision], now_ms: int) -> Provisions:
    """Return the provisions in force after these denials: what they cover is forbidden.

    Raises:
        Refused: There would be too many provisions.
    """
    left = (one for one in standing if not (one.permits and any(covers(no, one) for no in denials)))
    return _bounded(tidied([*left, *denials], now_ms))


def _granted(standing: Provisions, grant: Provision, classes: Classes) -> Provisions:
    permits = [one for one in standing if one.permits]
    denials: list[Provision] = []
    for no in standing:
        if no.permits or not _meet(no, grant, classes):
            denials += [] if no.permits else [no]
            continue
        outside, inside = _split(no, grant)
        denials += outside
        try:
            denials += _rest(inside, grant, classes)
        except _NotSayable:
            permits = _cut(permits, inside, classes)
    return (*permits, grant, *denials)


def _cut(permits: Iterable[Provision], denial: Provision, classes: Classes) -> list[Provision]:
    """Return the permits without what a denial takes from them: where a permit is needed, silence forbids as well."""
    told = ", ".join(sorted(denial.purposes))
    if not denial.purposes <= NEEDS_PERMIT:
        raise Refused(
            _RULE, f"a denial of {told} for more than is granted now cannot be lifted for that alone; deny anew whom "
            "it is to stand for, or withdraw and begin again"
        )  # fmt: skip
    try:
        return [left for one in permits for left in _less(one, denial, classes)]
    except _NotSayable:
        raise Refused(
            _RULE, f"the denial of {told} cannot be lifted for these alone, since other permits reach further; "
            "withdraw and begin again"
        ) from None  # fmt: skip


# --- sets of a provision -------------------------------------------------------------------------------------------


def covers(wide: Provision, narrow: Provision) -> bool:
    """Say whether one provision speaks of all that another speaks of, as far as their words show."""
    everyone = not (wide.classes or wide.institutions)
    named = bool(narrow.classes or narrow.institutions)
    parties = set(narrow.classes) <= set(wide.classes) and set(narrow.institutions) <= set(wide.institutions)
    return (
        narrow.purposes <= wide.purposes
        and _inside(narrow.valid, wide.valid)
        and _inside(narrow.data, wide.data)
        and (not wide.types or (bool(narrow.types) and set(narrow.types) <= set(wide.types)))
        and (everyone or (named and parties))
    )


def _inside(narrow: Interval, wide: Interval) -> bool:
    return wide[0] <= narrow[0] and narrow[1] <= wide[1]


def _meet(one: Provision, other: Provision, classes: Classes) -> bool:
    """Say whether two provisions speak of something in common."""
    return (
        bool(one.purposes & other.purposes)
        and max(one.valid[0], other.valid[0]) < min(one.valid[1], other.valid[1])
        and max(one.data[0], other.data[0]) < min(one.data[1], other.data[1])
        and (not one.types or not other.types or bool(set(one.types) & set(other.types)))
        and _parties_meet(one, other, classes)
    )


def _parties_meet(one: Provision, other: Provision, classes: Classes) -> bool:
    if not (one.classes or one.institutions) or not (other.classes or other.institutions):
        return True
    return (
        bool(set(one.classes) & set(other.classes) or set(one.institutions) & set(other.institutions))
        or any(classes.get(id_) in other.classes for id_ in one.institutions)
        or any(classes.get(id_) in one.classes for id_ in other.institutions)
    )


def _less(one: Provision, other: Provision, classes: Classes) -> list[Provision]:
    if not _meet(one, other, classes):
        return [one]
    outside, inside = _split(one, other)
    return [*outside, *_rest(inside, other, classes)]


def _split(one: Provision, other: Provision) -> tuple[list[Provision], Provision]:
    """Return what lies outside the other's purposes and times, in pieces, and what lies inside; they meet."""
    pieces = []
    if outside := one.purposes - other.purposes:
        pieces.append(replace(one, purposes=outside))
    one = replace(one, purposes=one.purposes & other.purposes)
    pieces += [replace(one, valid=left) for left in minus([one.valid], [other.valid])]
    one = replace(one, valid=_common(one.valid, other.valid))
    pieces += [replace(one, data=left) for left in minus([one.data], [other.data])]
    return pieces, replace(one, data=_common(one.data, other.data))


def _common(one: Interval, other: Interval) -> Interval:
    return max(one[0], other[0]), min(one[1], other[1])


def _rest(one: Provision, other: Provision, classes: Classes) -> Iterator[Provision]:
    """Yield what lies outside the other's types and parties, of what lies inside its purposes and times."""
    pieces: list[Provision] = []
    if other.types:
        if not one.types:
            raise _NotSayable
        if outside := tuple(sorted(set(one.types) - set(other.types))):
            pieces.append(replace(one, types=outside))
        one = replace(one, types=tuple(sorted(set(one.types) & set(other.types))))
    if other.classes or other.institutions:
        pieces += _other_parties(one, other, classes)
    yield from pieces


def _other_parties(one: Provision, other: Provision, classes: Classes) -> list[Provision]:
    kept = tuple(name for name in one.classes if name not in other.classes)
    if not (one.classes or one.institutions) or any(classes.get(id_) in kept for id_ in other.institutions):
        raise _NotSayable
    named = tuple(
        id_ for id_ in one.institutions if id_ not in other.institutions and classes.get(id_) not in other.classes
    )
    return [replace(one, classes=kept, institutions=named)] if kept or named else []


# --- few and in order ----------------------------------------------------------------------------------------------


def tidied(provisions: Iterable[Provision], now_ms: int) -> Provisions:
    """Return the same will in fewer words: without what is over or said twice, alike ones merged, permits first."""
    plain = (Provision.read(one.encode()) for one in provisions)  # lists in the chain's order
    found = [one for one in dict.fromkeys(plain) if one.valid[1] > now_ms]
    while (pair := _mergeable(found)) is not None:
        first, second, both = pair
        found = [one for one in found if one is not first and one is not second] + [both]
    return tuple(sorted(found, key=lambda one: (not one.permits, one.encode())))


def _mergeable(found: Sequence[Provision]) -> tuple[Provision, Provision, Provision] | None:
    for at, one in enumerate(found):
        for other in found[at + 1 :]:
            if one.permits == other.permits and (both := _merged(one, other)) is not None:
                return one, other, both
    return None


def _merged(one: Provision, other: Provision) -> Provision | None:
    """Return one provision that says what two say, or None: one covers the other, or they differ in one thing."""
    if covers(one, other):
        return one
    if covers(other, one):
        return other
    wider = replace(one, purposes=one.purposes | other.purposes)
    if wider == replace(other, purposes=wider.purposes):
        return wider
    valid, data = _joined(one.valid, other.valid), _joined(one.data, other.data)
    if valid and replace(one, valid=valid) == replace(other, valid=valid):
        return replace(one, valid=valid)
    if data and replace(one, data=data) == replace(other, data=data):
        return replace(one, data=data)
    return _merged_lists(one, other)


def _joined(one: Interval, other: Interval) -> Interval | None:
    first, second = sorted((one, other))
    return (first[0], max(first[1], second[1])) if second[0] <= first[1] else None


def _merged_lists(one: Provision, other: Provision) -> Provision | None:
    types = tuple(sorted({*one.types, *other.types}))
    wider = replace(one, types=types)
    if one.types and other.types and len(types) <= MAX_NAMED and wider == replace(other, types=types):
        return wider
    named = (one.classes or one.institutions) and (other.classes or other.institutions)
    classes = tuple(sorted({*one.classes, *other.classes}, key=CLASSES.index))
    institutions = tuple(sorted({*one.institutions, *other.institutions}))
    wider = replace(one, classes=classes, institutions=institutions)
    alike = wider == replace(other, classes=classes, institutions=institutions)
    return wider if named and alike and len(institutions) <= MAX_NAMED else None


def _bounded(found: Provisions) -> Provisions:
    if len(found) > MAX_PROVISIONS:
        raise Refused(
            _RULE, f"{len(found)} provisions, and a statement has at most {MAX_PROVISIONS}; withdraw and begin again "
            "with fewer"
        )  # fmt: skip
    return found
