"""What institutions showed each other, looked at for double signing, missed turns and votes left out."""

from __future__ import annotations

import logging

from dags.steps.site import Site, site
from ledger.carrier import catch_up
from ledger.credit.watching import HEIGHTS, Watch

log = logging.getLogger(__name__)


def look(institution: str, heights: int = HEIGHTS, at: Site | None = None) -> dict[str, int]:
    """What the chain does not know yet is offered to the next producers, as this institution.

    Args:
        institution: Whose node looks.
        heights: Final heights below the head to look at, and the open one.
        at: This machine's part of the region.

    Returns:
        Counts: ``convictions`` that new evidence proves, ``late_votes`` and ``missed`` turns offered.
    """
    at = at or site()
    node = at.node(institution)
    catch_up(node, at.exchange)
    found = Watch(at.replica(institution), at.exchange, node).look(heights)
    counts = {
        "convictions": len(found.convictions),
        "late_votes": len(found.late_votes),
        "missed": len(found.missed),
    }
    log.info("watch %s: %s", institution, counts)
    return counts
