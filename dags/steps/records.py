"""Single records at the point of care: what one institution's node does for them, and its desk opened."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dags.steps.site import Site, site

if TYPE_CHECKING:
    from sharing.record.desk import Desk
    from sharing.record.emergencies import Access
    from vault.alerts import News

log = logging.getLogger(__name__)


def desk(institution: str, at: Site | None = None) -> Desk:
    """Return what an institution asks, answers, reviews and erases with."""
    from sharing.record.desk import Desk

    at = at or site()
    own, shared = at.client[f"xinglin_{institution}"], at.client["xinglin_exchange"]
    return Desk.open(institution, at.node(institution), at.replica(institution), at.exchange, own, shared)


def answer_all(institution: str, at: Site | None = None) -> dict[str, int]:
    """Every allowed request for one of the institution's records is answered, as far as the chain is by now.

    Returns:
        Counts: requests ``waiting``, answers by what they say, ``shown`` to who asked, and ``taken`` away again.
    """
    from sharing.record.answering import answer_all as answer

    at = at or site()
    return answer(desk(institution, at), at.vault(institution))


def alarm(institution: str, run: str, at: Site | None = None) -> News:
    """Open emergency accesses to the institution's records stand among its alerts; returns what began, lasts, ended."""
    from sharing.record import emergencies

    at = at or site()
    return emergencies.alarm(desk(institution, at), at.vault(institution), run)


def overdue_reviews(institution: str, at: Site | None = None) -> list[Access]:
    """Return the region's emergency accesses whose review is overdue, as the institution's replica knows them."""
    from sharing.record.emergencies import open_accesses

    found = list(open_accesses(desk(institution, at).now()))
    late = [one for one in found if one.overdue]
    log.info("emergency accesses: %d without a review, %d of them overdue", len(found), len(late))
    return late
