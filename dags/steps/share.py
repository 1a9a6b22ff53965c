"""What tasks of `share_datasets` and `tell_region` do: a holder's part of datasets, and what it tells the region."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

from dags.steps.site import Site, site
from ledger.carrier import catch_up
from ledger.chain.state import DELIVERY
from ledger.messages.delivery import DeliveryState, allowed_request
from schemas.errors import ConfigurationError
from sharing.export import standing
from sharing.export.cutting import PATIENTS, Hands
from sharing.export.holder import Holder
from sharing.export.run import Export
from sharing.outgoing import Outgoing
from sharing.package.shelf import Shelf
from vault.exports import Progress

log = logging.getLogger(__name__)

#: Processes that one export takes by itself: a container sees its host's cores, and each takes its own memory.
MOST_PROCESSES: Final = 4


def holder(institution: str, at: Site) -> Holder:
    """Return an institution of this machine as one that exports."""
    folder = at.home.path / "exports" / institution
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    node = at.node(institution)
    return Holder(
        institution, at.vault(institution), at.keystore(institution), node, at.replica(institution),
        at.exchange, Outgoing(at.client[f"xinglin_{institution}"], node, at.exchange),
        Shelf(at.client["xinglin_exchange"]), folder,
    )  # fmt: skip


def due(institution: str, at: Site | None = None) -> list[str]:
    """Return the ids of the allowed datasets that wait for an institution's answer.

    A record asked for by itself is not among them.
    """
    at = at or site()
    catch_up(at.node(institution), at.exchange)
    one = holder(institution, at)
    found = [tx_id.hex() for tx_id, _ in standing.waiting(standing.now(one.replica), one.party)]
    log.info("share %s: %d wait", institution, len(found))
    return found


def lay_out(institution: str, at: Site | None = None) -> int:
    """Packages whose announcement is final are on the shelf, what was received is taken off it; returns how many."""
    at = at or site()
    catch_up(at.node(institution), at.exchange)
    one = holder(institution, at)
    noted = sum(_settle(one, progress) for progress in one.vault.exports.all())
    one.shelf.sweep(one.id, lambda request: _received(one, request))
    log.info("share %s: %d delivered since", institution, noted)
    return noted


def _settle(one: Holder, progress: Progress) -> bool:
    """Say whether an export's announcement has become final; if so its package is on the shelf."""
    ledger, tx_id = standing.now(one.replica), bytes.fromhex(progress.request)
    if progress.state != "offered" or (stored := ledger.get(DELIVERY, tx_id + one.party)) is None:
        return False
    answer = DeliveryState.decode(stored)
    here = Export(one, tx_id, allowed_request(ledger, tx_id)).lay_out(answer.package)
    reason = "" if here else "the announced package is lost here; the requester has to ask anew, with a new request"
    one.vault.exports.note(
        progress.request, "delivered", done=progress.parts, parts=progress.parts, reason=reason, height=answer.height
    )
    return True


def _received(one: Holder, request: bytes) -> bool:
    stored = standing.now(one.replica).get(DELIVERY, request + one.party)
    return stored is not None and DeliveryState.decode(stored).received > 0


def export(one: Holder, tx_id: bytes, *, again: bool = False, patients: int = PATIENTS) -> Export:
    """Return a holder's part of an allowed dataset, for as many processes as this machine has cores, four at most.

    ``XINGLIN_EXPORT_PROCESSES`` is another number of them. A small export takes one.

    Raises:
        Refused: The request is no longer one that was allowed.
        ConfigurationError: The number is none.
    """
    way = "again" if again else "run"
    command = (sys.executable, "-m", "dags.steps.cut", one.id, tx_id.hex(), way, str(patients))
    state = allowed_request(standing.now(one.replica), tx_id)
    return Export(one, tx_id, state, again=again, patients=patients, hands=Hands(command, _processes()))


def _processes() -> int:
    given = os.environ.get("XINGLIN_EXPORT_PROCESSES")
    if given is None:
        return min(MOST_PROCESSES, len(os.sched_getaffinity(0)))
    if not given.isdigit() or not int(given):
        raise ConfigurationError("XINGLIN_EXPORT_PROCESSES is not a number of processes")
    return int(given)


def share(institution: str, request: str, at: Site | None = None) -> str:
    """An institution's part of a dataset is packed and announced, or refused; returns its answer.

    Raises:
        Refused: The request is no longer one that was allowed.
    """
    at = at or site()
    one = holder(institution, at)
    answer = export(one, bytes.fromhex(request)).run()
    log.info("share %s: %s", institution, answer)
    return answer


def publish_catalogue(institution: str, at: Site | None = None) -> int:
    """What may be asked of an institution is counted, signed and shown; returns how many codes it names."""
    from sharing.catalogue import publish, refresh

    at = at or site()
    found = refresh(at.vault(institution))
    publish(at.exchange, found, at.node(institution).sign_catalogue)
    return len(found["codes"])


def raise_notices(institution: str, at: Site | None = None) -> int:
    """Who holds datasets of an institution's is told in the next block of rows that must go; returns how many are."""
    from sharing.consent.desk import Desk
    from sharing.consent.notices import raise_notices

    at = at or site()
    node = at.node(institution)
    catch_up(node, at.exchange)
    told = raise_notices(Desk(at.vault(institution), node, at.exchange, at.replica(institution)))
    log.info("notices of %s: %d", institution, len(told))
    return len(told)
