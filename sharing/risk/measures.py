"""k, l and t of every class, in whole numbers: a class is the rows that are alike in their quasi-identifiers.

- k (Sweeney 2002): distinct *persons* of the class; a person with a hundred rows is one.
- l, distinct (Machanavajjhala 2007): distinct values of a sensitive column in the class.
- t (Li, Li, Venkatasubramanian 2007): earth mover's distance of a class's distribution of a sensitive column from that
  of the table *as it leaves*; every person counts once for each value. Equal distance for categories; ordered distance
  for numbers, dates and ages, whose distinct values lie equally far apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: Whole numbers: of 64 bits, or Python's own where those could overflow.
    Whole = NDArray[Any]

_SAFE: Final = 2**62
#: Codes that are looked up in a table instead of being sorted, by how many there are at most.
_DENSE: Final = 4_000_000


def distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the different keys in order; a plain sort, since numpy 2.4's hashing `unique` takes ten times as long."""
    keys = np.sort(keys)
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys


def dense(keys: NDArray[np.int64], space: int) -> tuple[NDArray[np.int64], int]:
    """Return the keys numbered from 0 without gaps in their order, and how many there are.

    Args:
        keys: Numbers.
        space: All of them lie below it.
    """
    if not len(keys):
        return keys, 0
    if space <= min(_DENSE, 8 * len(keys) + 1_024):
        seen = np.zeros(space, np.int64)
        seen[keys] = 1
        numbers = np.cumsum(seen) - 1
        return numbers[keys], int(numbers[-1]) + 1
    found = distinct(keys)
    return np.searchsorted(found, keys).astype(np.int64, copy=False), len(found)


def numbered(keys: NDArray[np.int64], space: int) -> tuple[NDArray[np.int64], int]:
    """Return the keys numbered from 0 without gaps in whatever order, and how many there are; faster than `dense`."""
    import pyarrow as pa

    if space <= min(_DENSE, 8 * len(keys) + 1_024):
        return dense(keys, space)
    encoded = pa.array(keys).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def grouped(columns: list[NDArray[np.int32]], sizes: list[int], count: int) -> tuple[NDArray[np.int64], int]:
    """Return a class number for each row of codes, and how many classes there are.

    Args:
        columns: Codes, column by column.
        sizes: How many codes each column has.
        count: Rows; without columns all are one class.
    """
    keys, space = np.zeros(count, np.int64), 1
    for codes, size in zip(columns, sizes, strict=True):
        if size == 1:
            continue
        if space * size >= _SAFE:
            keys, space = numbered(keys, space)
        keys = keys * size + codes
        space *= size
    return numbered(keys, space)


@dataclass(frozen=True, slots=True)
class Heads:
    """Distinct persons by key. Those of one key are only counted: however keys are joined, they stay distinct.

    Attributes:
        single: By key, persons that have no other key.
        keys: Key of each pair of a person of several keys.
        persons: Their persons, numbered without gaps.
        several: How many such persons there are.
    """

    single: NDArray[np.int64]
    keys: NDArray[np.int64]
    persons: NDArray[np.int64]
    several: int

    @classmethod
    def of(cls, keys: NDArray[np.int64], persons: NDArray[np.int64], count: int, people: int) -> Heads:
        """Return the heads of these pairs, which may repeat.

        Args:
            keys: Below ``count``.
            persons: Below ``people``.
            count: Keys.
            people: Persons.
        """
        pairs = distinct(keys * people + persons)
        keys, persons = np.divmod(pairs, max(people, 1))
        several = np.bincount(persons, minlength=people)[persons] > 1
        numbers, found = numbered(persons[several], people)
        return cls(np.bincount(keys[~several], minlength=count), keys[several], numbers, found)

    def count(self, groups: NDArray[np.int64], into: int) -> NDArray[np.int64]:
        """Return distinct persons by group of keys.

        Args:
            groups: Group by key.
            into: How many groups there are.
        """
        heads = np.zeros(into, np.int64)
        np.add.at(heads, groups, self.single)
        if self.several:
            pairs = distinct(groups[self.keys] * self.several + self.persons)
            heads += np.bincount(pairs // self.several, minlength=into)
        return heads


@dataclass(frozen=True, slots=True)
class Spread:
    """Which values a sensitive column has in each class, and how many persons have each.

    Attributes:
        classes: Class of each pair of class and value.
        values: Rank of its value.
        persons: Persons of the class that have it.
    """

    classes: NDArray[np.int64]
    values: NDArray[np.int64]
    persons: NDArray[np.int64]

    def diversity(self, classes: int) -> NDArray[np.int64]:
        """Return distinct values by class."""
        return np.bincount(self.classes, minlength=classes)

    def farther(self, t: int, kept: NDArray[np.bool_], ordered: bool) -> NDArray[np.bool_]:
        """Return by class whether it is kept and lies farther from all that is kept than ``t`` thousandths.

        Args:
            t: Thousandths.
            kept: By class, whether it stays in the table.
            ordered: Whether their order counts.
        """
        far = np.zeros(len(kept), bool)
        mine = kept[self.classes]
        if not mine.any():
            return far
        places, present = dense(self.values[mine], int(self.values.max()) + 1)
        count, of = self.persons[mine], self.classes[mine]
        whole = np.bincount(places, weights=count).astype(np.int64)
        sizes = np.bincount(of, weights=count, minlength=len(kept)).astype(np.int64)
        steps = present - 1
        if not steps:
            return far
        moved = _ordered if ordered else _equal
        # Largest number below: 1,000 x persons of a class x persons of all x values.
        exact = 1_000 * int(sizes.max()) * int(whole.sum()) * (steps + 1) < _SAFE
        number = np.int64 if exact else object
        work = moved(of, places, count.astype(number), whole.astype(number), sizes.astype(number))
        allowed = t * sizes.astype(number) * whole.sum().astype(number) * (steps if ordered else 1)
        return np.asarray(1_000 * work > allowed, bool) & kept


def _equal(of: NDArray[np.int64], places: NDArray[np.int64], count: Whole, whole: Whole, sizes: Whole) -> Whole:
    """Return the equal distance by class, times persons of the class and of all: half the sum of differences."""
    total = whole.sum()
    above = np.maximum(count * total - whole[places] * sizes[of], 0)
    work = np.zeros(len(sizes), count.dtype)
    np.add.at(work, of, above)
    return work


def _ordered(of: NDArray[np.int64], places: NDArray[np.int64], count: Whole, whole: Whole, sizes: Whole) -> Whole:
    """Return the ordered distance by class, times persons of the class and of all and (values - 1).

    It is the sum over all values of |F - G|, the cumulated shares of class and table. F is constant between the
    values that a class has, so each such stretch is split where G passes F and summed with running totals of G.
    """
    total, last = whole.sum(), len(whole) - 1
    g = np.cumsum(whole)
    running = np.concatenate([np.zeros(1, whole.dtype), np.cumsum(g)])
    order = np.lexsort((places, of))
    of, places, count = of[order], places[order], count[order]
    first = np.concatenate([[True], of[1:] != of[:-1]])
    ends = np.concatenate([places[1:], [0]])
    ends[np.concatenate([first[1:], [True]])] = last
    before = np.cumsum(count)
    f = before - np.repeat((before - count)[first], np.diff(np.append(np.flatnonzero(first), len(of))))
    work = np.zeros(len(sizes), count.dtype)
    # Below its first value a class has F = 0, and the distance is G itself.
    np.add.at(work, of[first], running[places[first]] * sizes[of[first]])
    split = np.clip(np.searchsorted(g, f * total // sizes[of], side="right"), places, ends)
    share = f * total
    under = share * (split - places) - (running[split] - running[places]) * sizes[of]
    over = (running[ends] - running[split]) * sizes[of] - share * (ends - split)
    np.add.at(work, of, under + over)
    return work
