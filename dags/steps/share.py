"""What the tasks of `share_datasets` do: which approved requests wait for this holder, and its part of each."""

from __future__ import annotations

import logging

from dags.steps.site import Site, site
from ledger.carrier import catch_up
from ledger.chain.state import DELIVERY
from ledger.messages.delivery import DeliveryState, allowed_request
from sharing.export import standing
from sharing.export.holder import Holder
from sharing.export.run import Export
from sharing.package.shelf import Shelf

log = logging.getLogger(__name__)


def holder(institution: str, at: Site) -> Holder:
    """Return an institution of this machine as one that exports."""
    folder = at.home.path / "exports" / institution
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Holder(
        institution, at.vault(institution), at.keystore(institution), at.node(institution), at.replica(institution),
        at.exchange, Shelf(at.client["xinglin_exchange"]), folder,
    )  # fmt: skip


def due(institution: str, at: Site | None = None) -> list[str]:
    """Return the ids of the allowed datasets that wait for an institution's answer; what became final is noted.

    A record asked for by itself is not among them.
    """
    at = at or site()
    catch_up(at.node(institution), at.exchange)
    one = holder(institution, at)
    noted = _settle(one)
    found = [tx_id.hex() for tx_id, _ in standing.waiting(standing.now(one.replica), one.party)]
    log.info("share %s: %d wait, %d delivered since", institution, len(found), noted)
    return found


def _settle(one: Holder) -> int:
    """What the chain took of earlier answers is noted, and the work on it is cleared away; returns how many."""
    ledger, noted = standing.now(one.replica), 0
    for progress in one.vault.exports.all():
        if progress.state != "offered" or (stored := ledger.get(DELIVERY, _id(progress.request) + one.party)) is None:
            continue
        answer = DeliveryState.decode(stored)
        one.vault.exports.note(
            progress.request, "delivered", done=progress.parts, parts=progress.parts, height=answer.height
        )  # fmt: skip
        Export(one, _id(progress.request), allowed_request(ledger, _id(progress.request))).clear()
        noted += 1
    return noted


def _id(request: str) -> bytes:
    return bytes.fromhex(request)


def share(institution: str, request: str, at: Site | None = None) -> str:
    """An institution's part of a dataset is packed and announced, or refused; returns its answer.

    Raises:
        Refused: The request is no longer one that was allowed.
    """
    at = at or site()
    one = holder(institution, at)
    ledger = standing.now(one.replica)
    answer = Export(one, _id(request), allowed_request(ledger, _id(request))).run()
    log.info("share %s: %s", institution, answer)
    return answer
