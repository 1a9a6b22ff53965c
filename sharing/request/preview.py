"""What a request would find at one holder: persons and rows, in tens, few ones hidden. The holder itself counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.sharing import DatasetRequest
from sharing.consent import Cutter
from sharing.export.cohort import rounded, select, within
from sharing.views import compile_view

if TYPE_CHECKING:
    from vault.store import Vault


@dataclass(frozen=True, slots=True)
class Preview:
    """What one holder has for a request, as it may be told to who may not know it.

    Attributes:
        persons: Persons whom the cohort means, in tens, or ``<10``.
        permitted: Persons of them with records that their statements let go, likewise.
        records: Records of theirs, likewise.
        rows: Rows of each table before the disclosure-risk gate, likewise; hidden where few persons are behind them.
        most_exceeded: Whether more records are meant than the request may have delivered.
    """

    persons: str
    permitted: str
    records: str
    rows: Mapping[str, str]
    most_exceeded: bool


def preview(vault: Vault, request: DatasetRequest, cutter: Cutter) -> Preview:
    """Return what a holder would have for a request now; records are opened, counted and forgotten.

    Args:
        vault: The holder's.
        request: What is asked.
        cutter: What patients permit the requester for the purpose.

    Raises:
        Malformed: A view cannot be applied to a record; says where in its definition.
    """
    selection = select(vault, request)
    views = [compile_view(one) for _, one in sorted(request.views.items())]
    rows, persons, records = dict.fromkeys((one.name for one in views), 0), set[bytes](), 0
    for opened in vault.extract.records(selection.owners, sorted({one.resource for one in views})):
        kept = [
            one
            for one in opened
            if within(one.body, request.cohort.period)
            and cutter.refusal(vault.summaries.pseudonym(one.owner), one.type, one.body) is None
        ]
        records += len(kept)
        persons |= {selection.persons[one.owner] for one in kept}
        for view in views:
            rows[view.name] += view.rows(one.body for one in kept)[0].num_rows
    few = rounded(len(persons))
    return Preview(
        rounded(selection.people), few, few if few.startswith("<") else rounded(records),
        {name: few if few.startswith("<") else rounded(count) for name, count in rows.items()}, records > request.most,
    )  # fmt: skip
