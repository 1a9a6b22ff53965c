"""Break-glass accesses: who waits for a review, and what people are told at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ledger.chain.state import REQUEST
from ledger.chain.working_state import WorkingState
from ledger.errors import Refused as NotTaken
from ledger.messages.request_state import RequestState
from ledger.messages.review import Review, emergency, unreviewed
from sharing.errors import Refused
from sharing.record.asking import Reference, state_name
from sharing.record.desk import Desk
from vault.alerts import News
from vault.store import Vault

#: Under which name emergencies stand among the vault's alerts, beside sources.
ALERTS: Final = "emergency-access"


@dataclass(frozen=True, slots=True)
class Access:
    """One emergency access that nobody has reviewed.

    Attributes:
        request: Id of its ACCESS_REQ.
        reference: The record.
        requester: Who may read it, by its id in the region's files.
        reader: Who is said to read: ``doctor``, …; "" for the institution.
        holder: Whose record it is.
        height: Block in which it was allowed.
        due: Last height at which a review is in time.
        overdue: Whether the chain is beyond it.
    """

    request: bytes
    reference: str
    requester: str
    reader: str
    holder: str
    height: int
    due: int
    overdue: bool


def open_accesses(state: WorkingState, holder: bytes | None = None) -> Iterator[Access]:
    """Yield the emergency accesses that wait for a review, oldest first; of one holder's records, or everybody's."""
    for tx_id, found in unreviewed(state):
        if holder not in (None, found.holder):
            continue
        request = RequestState.decode(state.get(REQUEST, tx_id) or b"")
        names = state_name(state, found.requester), state_name(state, found.holder)
        yield Access(
            tx_id, str(Reference(request.rid, request.version, names[1])), names[0], request.reader, names[1],
            found.height, found.due, overdue=state.height > found.due,
        )  # fmt: skip


def alarm(desk: Desk, vault: Vault, run: str = "") -> News:
    """Every open emergency access to this institution's records stands among its alerts; returns what is new.

    Args:
        desk: The custodian's.
        vault: Its vault.
        run: Who looks; the same run, taken up after a crash, is told the same news again.
    """
    found = {one.request.hex(): told(one) for one in open_accesses(desk.now(), desk.id)}
    return vault.alerts.update(ALERTS, found, run)


def told(one: Access) -> str:
    """Return in one line what a person has to know, without anything of a patient."""
    who = one.requester + (f" (for a {one.reader})" if one.reader else "")
    late = "overdue since" if one.overdue else "due by"
    return (
        f"{who} was allowed record {one.reference} in an emergency, without its patient's statement, in block "
        f"{one.height}; review {late} block {one.due}: xinglin record review {one.request.hex()[:16]} --reason …"
    )


def find(state: WorkingState, given: str) -> bytes:
    """Return the id of the emergency access that begins with these hex digits, or is these 64.

    Raises:
        Refused: None, or several, of those that wait for a review begin so.
    """
    given = given.lower()
    if len(given) == 64 and emergency(state, bytes.fromhex(given)) is not None:
        return bytes.fromhex(given)
    found = [tx_id for tx_id, _ in unreviewed(state) if tx_id.hex().startswith(given)]
    if len(found) != 1 or len(given) < 6:
        raise Refused("review", f"{len(found)} open emergency accesses begin with {given[:64]!r}; `xinglin record list "
                      "--emergency` has their ids")  # fmt: skip
    return found[0]


def review(desk: Desk, tx_id: bytes, reason: str) -> bytes:
    """The review is signed and offered to the next block; returns its transaction's id.

    Raises:
        Refused: It was no emergency, the institution may not review it, or a review with the last word stands.
    """
    state = desk.now()
    draft = Review(**desk.node.heading(), request=tx_id, reason=reason)
    try:
        with state.attempt():
            draft.execute(state)
    except NotTaken as error:
        raise Refused(error.rule, str(error)) from None
    return desk.outgoing.offer(f"review/{tx_id.hex()}", lambda: (draft, {"at": datetime.now(UTC)})).opened.tx_id
