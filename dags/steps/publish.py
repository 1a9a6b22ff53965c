"""From the vault's outbox to the consortium: what was sealed is signed and offered, and what became of it is noted."""

from __future__ import annotations

import logging

from dags.steps import summaries
from dags.steps.site import Site, site
from ledger.carrier import catch_up
from ledger.chain.leaves import leaves_of

log = logging.getLogger(__name__)


def submit(institution: str, at: Site | None = None) -> dict[str, int]:
    """Everything reconciled and not yet offered is in signed batches on the exchange.

    A batch that was signed before a crash is offered again as it was signed then: SM2 would give other bytes. What
    is final, or has lapsed, is noted first; the entries of a lapsed batch are signed anew.

    Returns:
        Counts: ``entries`` and ``batches`` offered now, ``final`` and ``lapsed`` noted, and batches still ``open``,
        by this call or one that was killed.
    """
    at = at or site()
    counts = {"entries": 0, "batches": 0, **settle(institution, at)}
    outbox, node = at.vault(institution).outbox, at.node(institution)
    while (submission := outbox.assign(at.region.parameters.batch_entries)) is not None:
        waiting = outbox.outstanding()
        seq = max([node.next_seq(), *(one.seq + 1 for one in waiting)])
        locator = f"xinglin_{institution}/records"
        signed = node.submit(submission.entries, seq, locator)
        sent = outbox.sent(submission.id, signed.tx_id.hex(), seq, signed.tx)
        if sent.state == "sent":  # else another run offered it, and it is through already
            at.exchange.post_submission(sent.tx, signed.leaves)
            summaries.offer(institution, bytes.fromhex(sent.tx_id), submission.entries, at)
        counts["entries"] += len(submission.entries)
        counts["batches"] += 1
    summaries.rotate(institution, at)
    counts["open"] = len(outbox.outstanding())
    log.info("submit %s: %s", institution, counts)
    return counts


def settle(institution: str, at: Site) -> dict[str, int]:
    """What the chain made of earlier batches is noted in the outbox; returns how many are ``final`` and ``lapsed``.

    What is still open stands on the exchange again, should it have got lost there.
    """
    outbox, node = at.vault(institution).outbox, at.node(institution)
    catch_up(node, at.exchange)
    counts = {"final": 0, "lapsed": 0}
    for sent in outbox.outstanding():
        fate, leaves = node.fate(sent.tx), leaves_of(outbox.entries(sent.id)).encode()
        if fate.height is not None:
            outbox.final(sent.id, fate.height)
            counts["final"] += 1
        elif fate.lapsed or counts["lapsed"]:  # numbers have no gaps: what follows a lapsed batch lapses with it
            outbox.lapsed(sent.id)
            counts["lapsed"] += 1
        else:
            at.exchange.post_submission(sent.tx, leaves)
            continue
        at.exchange.retire_submission(sent.tx, leaves)
    return counts
