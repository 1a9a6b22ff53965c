"""Which patients a request means: by blind index first, then by what their opened records say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from schemas.sharing import Code, Cohort, DatasetRequest, Excluded
from sharing.consent import dated
from vault.store import Vault

_FEW: Final = 10
Period = tuple[date | None, date | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Who is meant.

    Attributes:
        owners: Tokens of the patients, in order.
        persons: By patient the token of the person; patients that are one person have the same.
        thinned: How many patients each condition took away, in the order in which they were asked.
    """

    owners: tuple[bytes, ...]
    persons: Mapping[bytes, bytes]
    thinned: tuple[Excluded, ...]

    @property
    def people(self) -> int:
        """Persons among them."""
        return len(set(self.persons.values()))

    def among(self, owners: Iterable[bytes]) -> Selection:
        """Return those who are among these patients."""
        kept = set(owners)
        chosen = tuple(one for one in self.owners if one in kept)
        left = Excluded("cohort", "not-delivered-before", len(self.owners) - len(chosen))
        return Selection(chosen, {one: self.persons[one] for one in chosen}, (*self.thinned, left))


def select(vault: Vault, request: DatasetRequest) -> Selection:
    """Return the patients of one institution whom a request means.

    A person is meant where all of its patients together meet the conditions.
    """
    cohort, extract = request.cohort, vault.extract
    owners = extract.patients()
    persons = dict(extract.persons(owners))
    left, thinned = set(persons.values()), [Excluded("cohort", "patients", len(owners))]
    for number, codes in enumerate(cohort.criteria, 1):
        before, left = left, left & {persons[one] for one in _with(vault, codes, cohort) if one in persons}
        thinned.append(Excluded("cohort", f"criterion-{number}", len(before) - len(left)))
    if cohort.ages or cohort.sexes:
        on = reference_day(request)
        before, left = left, {persons[one] for one in _fitting(vault, owners, persons, left, cohort, on)}
        thinned.append(Excluded("cohort", "age-or-sex", len(before) - len(left)))
    chosen = tuple(one for one in owners if persons[one] in left)
    return Selection(chosen, {one: persons[one] for one in chosen}, tuple(thinned))


def reference_day(request: DatasetRequest) -> date:
    """Return the day on which ages are counted."""
    return request.cohort.period[1] or request.made


def _with(vault: Vault, codes: Sequence[Code], cohort: Cohort) -> Iterable[bytes]:
    """Yield the patients with a record of one of these codes that is dated within the period."""
    wanted = [(one.system, one.code) for one in codes]
    owners = vault.extract.with_codes(wanted)
    if cohort.period == (None, None):
        return owners
    return {
        one.owner
        for some in vault.extract.records(owners, codes=wanted)
        for one in some
        if within(one.body, cohort.period)
    }


def within(body: Mapping[str, Any], period: Period) -> bool:
    """Say whether a record counts in a period: some of its own days lie in it. One without any date does."""
    if period == (None, None) or (found := dated(body)) is None:
        return True
    first, last = period
    return (first is None or found[1] >= first) and (last is None or found[0] <= last)


def _fitting(
    vault: Vault, owners: Sequence[bytes], persons: Mapping[bytes, bytes], left: set[bytes], cohort: Cohort, on: date
) -> Iterator[bytes]:
    asked = [one for one in owners if persons[one] in left]
    for some in vault.extract.records(asked, types=["Patient"]):
        yield from (one.owner for one in some if fits(one.body, cohort, on))


def fits(patient: Mapping[str, Any], cohort: Cohort, on: date) -> bool:
    """Say whether a Patient has the age and sex that are asked for; what is not known fits nothing."""
    if cohort.sexes and patient.get("gender") not in cohort.sexes:
        return False
    if cohort.ages is None:
        return True
    years = age(str(patient.get("birthDate", "")), on)
    return years is not None and cohort.ages[0] <= years <= cohort.ages[1]


def age(born: str, on: date) -> int | None:
    """Return completed years on a day; of a partial birth date, those of its last day. None for no date."""
    try:
        parts = [int(one) for one in born.split("-")]
    except ValueError:
        return None
    if len(parts) > 3:
        return None
    year, month, day = (*parts, *(12, 31)[len(parts) - 1 :])
    return on.year - year - ((on.month, on.day) < (month, day))


def rounded(count: int) -> str:
    """Return a number of persons as it may be told to who may not know them: in tens, and few as ``<10``."""
    return f"<{_FEW}" if count < _FEW else f"{round(count, -1)}"
