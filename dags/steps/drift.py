"""A field that a source never sent before: taken in and told, its records set aside, or the batch stopped.

Kinds that are rows see their columns before they read them (``connectors/his/sql_tables.py``) and are passed over here.
A field that no longer comes is no drift: most fields of most records are optional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from dags.steps.errors import Stop
from dags.steps.onboarding.anatomy import anatomy
from dags.steps.onboarding.scorecard import load
from dags.steps.site import Site
from schemas.records import RawRecord, Refusal
from schemas.source import Source
from vault.landing import LandedRecord
from vault.results import RecordResult
from vault.shapes import Shapes, digest

#: Records of a slice whose fields are looked at where new ones are only told.
_LOOKED_AT: Final = 50
_ROWS: Final = frozenset({"row"})


class Drift:
    """Watches the shape of one batch's records against what the source is known to send."""

    def __init__(self, source: Source, at: Site, shapes: Shapes) -> None:
        """Read what is known: the fields met so far, and those of the scorecard; without either, this batch says it."""
        card = load(at.home, source.id)
        certified = {digest(source.id, one["path"]) for one in card["parts"]} if card else set()
        self._source = source
        self._shapes = shapes
        self._known = set(shapes.known(source.id)) | certified
        self._first = not self._known

    def look(self, records: Sequence[RawRecord]) -> dict[int, Refusal]:
        """Return which records are set aside for fields that never came before, by position.

        Raises:
            Stop: The source's ``drift`` is ``freeze`` and such a field came; nothing of the batch is published.
        """
        refusals: dict[int, Refusal] = {}
        new: dict[str, None] = {}
        some = self._source.drift == "evolve"
        for position, record in islice(enumerate(records), _LOOKED_AT if some else None):
            unknown = self._unknown(record)
            new |= dict.fromkeys(unknown)
            if unknown and not some and not self._first:
                refusals[position] = _refusal(self._source, unknown[0])
            if some or self._first:
                self._known |= {digest(self._source.id, name) for name in unknown}
        if refusals and self._source.drift == "freeze":
            raise Stop(f"{len(refusals)} records have fields that never came before: {', '.join(list(new)[:5])}")
        if new and (some or self._first):
            self._shapes.learn(self._source.id, new, self._first)
        return refusals

    def look_again(self, records: Sequence[LandedRecord], results: Sequence[RecordResult]) -> list[RecordResult]:
        """Return the results, those of records that `look` sets aside replaced by that.

        Raises:
            Stop: As `look` does.
        """
        refusals = self.look([record.raw for record in records])
        return [
            RecordResult(one.landed_id, "quarantined", (), refusals[at]) if at in refusals else one
            for at, one in enumerate(results)
        ]

    def _unknown(self, record: RawRecord) -> list[str]:
        how = None if record.media in _ROWS else anatomy(record.media, self._source.charset)
        names: Mapping[str, object] = how.fields(record.content) if how else {}
        return [name for name in names if digest(self._source.id, name) not in self._known]


def _refusal(source: Source, name: str) -> Refusal:
    return Refusal(
        "drift",
        name,
        f"expected the fields this source was certified with, {name} came besides; if it is meant, certify and enable "
        f"{source.id} anew and replay",
    )
