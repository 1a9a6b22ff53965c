"""Which groups of segments read a message: ``kinds.csv`` names them for each kind of ``events.csv``.

A new kind of message is a row there, and a group of segments that no other kind has is a module with a subclass of
``Group`` and a line in ``GROUPS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from normalise.hl7v2.billing import Accounts, Charges
from normalise.hl7v2.blood import Blood
from normalise.hl7v2.chart import Chart
from normalise.hl7v2.documents import Documents
from normalise.hl7v2.moves import Moves
from normalise.hl7v2.orders import Orders, Requests, Results
from normalise.hl7v2.pharmacy import Pharmacy
from normalise.hl7v2.problems import Problems
from normalise.hl7v2.referrals import Referrals
from normalise.hl7v2.requisitions import Requisitions
from normalise.hl7v2.scene import Group, Read
from normalise.hl7v2.scheduling import Appointments
from normalise.hl7v2.specimens import Specimens
from normalise.hl7v2.tables import KINDS
from normalise.hl7v2.vaccines import Vaccines

GROUPS: Final[Mapping[str, type[Group]]] = {
    "chart": Chart,
    "orders": Orders,
    "requests": Requests,
    "results": Results,
    "specimens": Specimens,
    "pharmacy": Pharmacy,
    "requisitions": Requisitions,
    "vaccines": Vaccines,
    "moves": Moves,
    "accounts": Accounts,
    "charges": Charges,
    "documents": Documents,
    "blood": Blood,
    "appointments": Appointments,
    "referrals": Referrals,
    "problems": Problems,
}


@dataclass(frozen=True, slots=True)
class Grammar:
    """What reads the segments of one kind of message.

    Attributes:
        groups: In order.
        reads: By segment id: the place of the group in ``groups``, and its method.
    """

    groups: tuple[type[Group], ...]
    reads: Mapping[str, tuple[int, Read]]


@cache
def grammar(kind: str) -> Grammar:
    """Return the grammar of a kind of ``kinds.csv``; where two groups read a segment, the later does.

    Raises:
        ValueError: The table names a group that does not exist.
    """
    names = KINDS[kind].groups
    if unknown := set(names) - GROUPS.keys():
        raise ValueError(f"schemas/hl7v2/kinds.csv: {kind}: no group {sorted(unknown)}; grammar.py lists them")
    groups = tuple(GROUPS[name] for name in names)
    return Grammar(groups, {id_: (at, read) for at, group in enumerate(groups) for id_, read in group.READS.items()})
