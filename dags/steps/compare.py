"""One night's comparison of the region's replicas: each says where it stands, proves, is judged; the auditor signs."""

from __future__ import annotations

import logging
from typing import Final

from dags.steps.errors import Stop
from dags.steps.site import Site, site
from ledger.carrier import catch_up
from ledger.chain.validators import institution_id
from ledger.errors import Halted, Refused
from ledger.opening import replica_database
from ledger.proofs.checkpoint import MAX_NOTE, Note
from ledger.proofs.checkpoints import Checkpoints
from ledger.sync.comparing import MAX_CONTINUATION, MAX_STANDING, Comparison, Standing, compare, continuation, standing

log = logging.getLogger(__name__)
CHECKPOINTS: Final = "checkpoints"


def tell(institution: str, night: str, at: Site | None = None) -> dict[str, int]:
    """Where the institution's replica stands is shown to all, after catching up.

    Args:
        institution: Whose replica.
        night: Names this comparison; the same for all its steps.
        at: This machine's part of the region.

    Raises:
        Halted: The replica contradicts what a quorum signed; a person must look.
    """
    at = at or site()
    catch_up(at.node(institution), at.exchange)
    replica = at.replica(institution)
    if (reason := replica.conflict()) is not None:
        raise Halted(f"the replica of {institution} is halted: {reason}. Compare it with the others before going on")
    own = standing(replica, institution)
    at.exchange.post(f"standing/{night}", own.encode())
    return {"height": own.header.height}


def prove(institution: str, night: str, at: Site | None = None) -> dict[str, int]:
    """For every replica that stands lower, it is shown that this one's history continues it, or is not.

    Returns:
        How many were proved, and how many this replica cannot prove.
    """
    at = at or site()
    replica, counts = at.replica(institution), {"proved": 0, "contradicting": 0}
    told = [one for data in at.exchange.read(f"standing/{night}", MAX_STANDING) if (one := _opened(data)) is not None]
    own = next((one.header for one in told if _is_own(one, institution) and _has(at, institution, one)), None)
    if own is None:
        return counts
    for lower in {one.header.block_id: one.header for one in told if one.header.height < own.height}.values():
        proof = continuation(replica, lower, own)
        counts["proved" if proof else "contradicting"] += 1
        if proof is not None:
            at.exchange.post(f"continuation/{night}", proof.encode())
    return counts


def _opened(data: bytes) -> Standing | None:
    try:
        return Standing.decode(data)
    except Refused:
        return None


def _is_own(one: Standing, institution: str) -> bool:
    return one.institution == institution_id(institution)


def _has(at: Site, institution: str, one: Standing) -> bool:
    """Say whether this replica has the block: anybody may show anything under its name."""
    replica = at.replica(institution)
    return one.header.height <= replica.view.head.height and replica.header(one.header.height) == one.header


def judge(institution: str, night: str, at: Site | None = None) -> dict[str, int]:
    """Every pair of replicas was compared by this institution's own node; an auditor signed what all have in common.

    Returns:
        Counts: institutions ``compared`` and ``silent``, the ``common`` height.

    Raises:
        Stop: Two certified histories do not continue one another, or nobody proved that they do.
    """
    at = at or site()
    found = compared(institution, night, at)
    view = at.replica(institution).view
    counts = {"compared": len(found.heights), "silent": len(found.silent), "common": found.common}
    for one in found.silent:
        log.warning("%s shows no certified head; is its node down, or halted?", view.name(one))
    if not found.agrees:
        pairs = "; ".join(f"{view.name(one)} and {view.name(two)}" for one, two in found.contradicting)
        raise Stop(f"histories that do not continue one another: {pairs}. Stop, keep every replica as it is, compare")
    member = view.validators.member(institution_id(institution))
    if member is not None and member.role == "auditor" and found.common:
        at.exchange.post(CHECKPOINTS, at.node(institution).cosign(found.common))
    return counts


def compared(institution: str, night: str, at: Site) -> Comparison:
    """Return what an institution's own replica makes of what was shown."""
    standings = at.exchange.read(f"standing/{night}", MAX_STANDING)
    continuations = at.exchange.read(f"continuation/{night}", MAX_CONTINUATION)
    return compare(at.replica(institution).view, standings, continuations)


def keep(institution: str, at: Site | None = None) -> dict[str, int]:
    """Every good checkpoint shown is kept beside the institution's replica, to be served and put into proofs."""
    at = at or site()
    kept = 0
    checkpoints = Checkpoints(replica_database(at.home, institution, at.client), at.replica(institution))
    for data in at.exchange.read(CHECKPOINTS, MAX_NOTE):
        try:
            known = checkpoints.at(Note.decode(data).checkpoint.height)
            if known is None or known.encode() != data:
                kept += checkpoints.keep(data) != known
        except Refused as error:
            log.warning("%s: a checkpoint shown is none: %s", institution, error)
    return {"kept": kept}
