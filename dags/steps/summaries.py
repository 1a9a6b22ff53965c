"""What others may read without asking goes out with a batch: sealed summaries, and their keys for every member."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dags.steps.site import Site
from ledger.chain.roster import Registration
from ledger.errors import Refused
from ledger.messages.granted_keys import grant_topic
from ledger.messages.key_grants import MAX_GRANT, KeyGrant, grant
from ledger.messages.sealed_summary import Bundle, SealedSummary
from schemas.records import Entry
from shangmi import sm3
from vault.summaries import SummaryKey

log = logging.getLogger(__name__)


def members(at: Site, institution: str) -> tuple[int, list[Registration]]:
    """Return the epoch of the next block, and everyone who may act, as the institution's replica knows them."""
    view = at.replica(institution).view
    return at.genesis.epoch(view.head.height + 1), [one for one in view.roster if one.active]


def rotate(institution: str, at: Site) -> None:
    """What is sealed from now on is under a key for this epoch and these members; no other key of theirs serves."""
    epoch, active = members(at, institution)
    everyone = sm3(b"".join(one.id + one.key_id for one in active)).hex()[:16]
    at.vault(institution).summaries.rotate(f"{epoch}/{everyone}")


def offer(institution: str, tx_id: bytes, entries: Sequence[Entry], at: Site) -> int:
    """A batch's sealed summaries lie on the board, and every member was granted their keys; returns how many lie there.

    What was erased meanwhile is not offered.
    """
    summaries = at.vault(institution).summaries
    sealed = summaries.stored(entries)
    if not sealed:
        return 0
    used = {SealedSummary.read(one).key_id for one in sealed}
    _, active = members(at, institution)
    for key in summaries.keys(used):
        _announce(institution, key, active, at)
    at.board.put(tx_id, Bundle.of(tx_id, sealed).encode())
    return len(sealed)


def _announce(institution: str, key: SummaryKey, active: Sequence[Registration], at: Site) -> None:
    """The key is granted to each of these members' present keys, unless it was before."""
    made = grant(key.secret, at.genesis.chain_id, institution, key.number, active)
    topic, wanted = grant_topic(made.id), {(one.member, one.key_id) for one in made.wraps}
    for data in at.exchange.read(topic, MAX_GRANT):
        try:
            found = KeyGrant.decode(data)
        except Refused:
            continue  # anyone may list anything there
        if (found.granter, found.id) == (institution, made.id) and wanted <= {
            (one.member, one.key_id) for one in found.wraps
        }:
            return
    at.exchange.post(topic, made.encode())
    log.info("summary key %d of %s: granted to %d members", key.number, institution, len(made.wraps))
