"""The values of one column, numbered as they are met; text in one form whatever Arrow type they had."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from sharing.risk.hierarchies import age_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

Text = str | None


def text_of(value: Any) -> Text:
    """Return what stands for a value in hierarchies and comparisons; None is a value of its own."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):  # datetimes are dates too
        return value.isoformat()
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()


class Values:
    """Numbers for the distinct values of a column, from 0 in order of arrival.

    Args:
        name: The column's name.
        hierarchy: ``age`` and ``date`` are ordered although they may be text.
    """

    def __init__(self, name: str, hierarchy: str) -> None:
        self.name = name
        self._hierarchy = hierarchy
        self._numbers: dict[Text, int] = {}
        self._met: list[Any] = []
        self._numeric = False

    def __len__(self) -> int:
        return len(self._met)

    @property
    def texts(self) -> list[Text]:
        """The distinct values as text, by number."""
        return list(self._numbers)

    def encode(self, array: pa.Array, *, closed: bool = False) -> NDArray[np.int32]:
        """Return the number of each value.

        Args:
            array: Of any Arrow type.
            closed: Whether a value that was not met before is a fault.

        Raises:
            RuntimeError: It is, and one came.
        """
        places, distinct = _distinct(array)
        numbers = np.fromiter((self._number(one, closed) for one in distinct), np.int32, len(distinct))
        self._numeric = self._numeric or _is_numeric(array)
        return numbers[places]

    def _number(self, value: Any, closed: bool) -> int:
        text = text_of(value)
        if (found := self._numbers.get(text)) is not None:
            return found
        if closed:
            raise RuntimeError(f"column {self.name}: a value that the gate has not counted came to be let through")
        self._numbers[text] = len(self._met)
        self._met.append(value)
        return len(self._met) - 1

    @property
    def ordered(self) -> bool:
        """Whether distances between values mean something: numbers, times, ages, dates."""
        return self._numeric or self._hierarchy in {"age", "date"}

    def ranks(self) -> NDArray[np.int32]:
        """Return the place of each number's value in the column's own order, which does not depend on arrival."""
        if self._numeric:
            keys: list[Any] = [
                (one is not None, one != one, 0 if one is None or one != one else one) for one in self._met
            ]
        elif self._hierarchy == "age":
            keys = [(one is not None, age_of(one or ""), one or "") for one in self._numbers]
        else:
            keys = [(one is not None, one or "") for one in self._numbers]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        return ranks


def _distinct(array: pa.Array) -> tuple[NDArray[np.int32], Sequence[Any]]:
    """Return the place of each value among the distinct ones, and these."""
    import pyarrow as pa

    if pa.types.is_nested(array.type) or pa.types.is_null(array.type):
        texts = [text_of(one) for one in array.to_pylist()]
        distinct = list(dict.fromkeys(texts))
        numbers = {one: place for place, one in enumerate(distinct)}
        return np.fromiter((numbers[one] for one in texts), np.int32, len(texts)), distinct
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    encoded = array.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()


def _is_numeric(array: pa.Array) -> bool:
    import pyarrow as pa

    of = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_temporal)
    return any(test(of) for test in tests)
