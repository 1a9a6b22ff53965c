"""What the demo found, for somebody who manages a hospital: what came, what became of it, who confirmed it."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.screen import columns
from schemas.reasons import sentence

if TYPE_CHECKING:
    from console.demo import Account
    from console.demo_sharing import Shared
    from console.region.airflow import Airflow
    from dags.steps.site import Site
    from ledger.chain.chain_check import ChainReport
    from simulators.sent import Sent

SAMPLE: Final = 20
#: Reasons that a summary spells out.
REASONS: Final = 8


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the summary says, counted from the vaults and replicas.

    Attributes:
        title: Name of the region.
        rows: By source: received, sealed, repeats, set aside, refused, of this run.
        expected: The same as the simulators count it.
        set_aside: Records in quarantine, by reason and coordinates.
        refused: Messages refused at the door, by reason.
        resources: Newest versions by FHIR type.
        sealed_now: Versions sealed in this run.
        blocks: What a person asks of each new block.
        chain: What recomputing each replica found.
        equal: Whether all replicas have the same head.
        sampled: Stored records read back, opened, and proved offline.
        faults: What was wrong with the sample, in sentences.
        folder: Where logs and keys are.
        shared: What was asked, delivered and refused.
    """

    title: str
    rows: Mapping[str, tuple[int, ...]]
    expected: Mapping[str, tuple[int, ...]]
    set_aside: Mapping[tuple[str, str], int]
    refused: Mapping[str, int]
    resources: Mapping[str, int]
    sealed_now: int
    blocks: list[dict[str, Any]]
    chain: Mapping[str, ChainReport]
    equal: bool
    sampled: int
    faults: list[str]
    folder: str
    shared: Shared

    @property
    def ok(self) -> bool:
        """Whether every check holds: account, chain, sample, datasets."""
        good = self.rows == self.expected and self.equal and not self.faults and not self.shared.faults
        return good and all(one.ok for one in self.chain.values())

    @classmethod
    def make(cls, at: Site, before: Account, sent: Mapping[str, Sent], shared: Shared) -> Report:
        """Verify everything and return what was found."""
        from console.demo import Account
        from console.ledger import block_facts
        from console.records import vaults
        from ledger.chain.chain_check import verify_chain

        after = Account.of(at)
        replicas = {one.id: at.replica(one.id) for one in at.region.institutions}
        stores = dict(vaults(at))
        resources: Counter[str] = Counter()
        aside: Counter[tuple[str, str]] = Counter()
        for vault in stores.values():
            resources.update(vault.summary().resources)
            aside.update((one.code, one.where) for one in vault.quarantine.list(limit=100_000))
        refused: Counter[str] = Counter()
        for one in after.refused.values():
            refused.update(one)
        sampled, faults = _sample(at)
        rows = {name: _row(after, before, name) for name in sent}
        return cls(
            at.region.name,
            rows,
            {name: _expected(one, rows[name]) for name, one in sent.items()},
            aside,
            refused,
            resources,
            after.resources - before.resources,
            [
                block_facts(at.replica(at.region.voters[0].id), height)
                for height in range(before.height + 1, after.height + 1)
            ],
            {name: verify_chain(replica) for name, replica in replicas.items()},
            len({replica.view.head.block_id for replica in replicas.values()}) == 1,
            sampled,
            faults,
            str(at.home.path),
            shared,
        )

    def lines(self, airflow: Airflow, seconds: float) -> Iterator[str]:
        """Yield the summary, line by line."""
        yield f"\n{self.title}: what came, and what became of it ({seconds:.0f} s)\n"
        headings = ("source", "received", "sealed", "repeats", "set aside", "refused")
        yield columns(headings, [(name, *row) for name, row in self.rows.items()], numbers=5)
        yield from _reasons("Set aside, kept encrypted for repair", self.set_aside)
        yield from _reasons("Refused at the door, left with the sender", {(c, ""): n for c, n in self.refused.items()})
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.resources.items()))
        yield f"\nSealed: {self.sealed_now} new FHIR resources. The vaults hold {kinds}.\n"
        yield from map(_block, self.blocks)
        if not self.blocks:
            yield "No new block: nothing new was sealed."
        yield from self.shared.lines()
        yield "\nVerified"
        yield from self._checks()
        command = "xinglin" if shutil.which("xinglin") else os.path.relpath(sys.argv[0])
        yield "\nWhere to look next"
        yield f"  Airflow    {airflow.address}   user admin   password {airflow.password}"
        yield f"  Chain      {command} ledger show {self.blocks[-1]['height'] if self.blocks else 1}"
        yield f"  Set aside  {command} quarantine list"
        yield f"  Datasets   {self.folder}/datasets; who received what: {command} dataset audit"
        yield "  The region keeps running; stop it with: make down"

    def _checks(self) -> Iterator[str]:
        report = next(iter(self.chain.values()))
        checks = {
            "account: what was sent is what arrived, to the message": self.rows == self.expected,
            f"chain: {len(self.chain)} replicas computed again from genesis and equal; {report.blocks} blocks, "
            f"{report.entries} entries, {report.signatures} signatures each": self.equal
            and all(one.ok for one in self.chain.values()),
            f"sample: {self.sampled} stored records opened, and proved offline from the trust anchor": not self.faults,
            f"datasets: {len(self.shared.parts)} packages verified from the trust anchor alone, opened with the "
            "researcher's key": bool(self.shared.parts) and not self.shared.faults,
        }
        for check, holds in checks.items():
            yield f"  {'✓' if holds else '✗'} {check}"
        for name, row in self.rows.items():
            if row != self.expected[name]:
                yield f"    {name}: expected {self.expected[name]}, found {row}"
        for name, one in self.chain.items():
            if one.fault:
                yield f"    {name}: block {one.fault.height}: {one.fault.message}"
        yield from (f"    {fault}" for fault in (self.faults + self.shared.faults)[:10])


def _reasons(title: str, counts: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Yield a line a reason, the most frequent first, with the coordinates it was met at."""
    totals: Counter[str] = Counter()
    places: dict[str, set[str]] = {}
    for (code, where), count in counts.items():
        totals[code] += count
        places.setdefault(code, set()).add(where)
    if totals:
        yield f"\n{title}"
    for code, count in totals.most_common(REASONS):
        met = ", ".join(sorted(places[code] - {""}))
        yield f"  {count:4}  {code}{f' at {met}' if met else ''}: {sentence(code)}"
    if rest := totals.most_common()[REASONS:]:
        others = sum(count for _, count in rest)
        yield f"  {others:4}  for {len(rest)} other reasons, each named in `xinglin quarantine list`"


def _block(facts: Mapping[str, Any]) -> str:
    return (
        f"Block {facts['height']}: {_held(facts)}, built by {facts['builder']},\n"
        f"  confirmed by {', '.join(facts['confirmed_by'])} ({facts['weight']} of {facts['of']} votes)"
    )


def _held(facts: Mapping[str, Any]) -> str:
    """Return what a block holds: entries and whose, and messages by kind."""
    whose = ", ".join(sorted({batch["institution"] for batch in facts["batches"]}))
    kinds = Counter(one["type"] for one in facts["messages"])
    held = [f"{facts['entries']} entries of {whose}"] if whose else []
    return ", ".join((*held, *(f"{count} {kind}" for kind, count in sorted(kinds.items())))) or "nothing"


def _row(after: Account, before: Account, name: str) -> tuple[int, ...]:
    outcomes = after.outcomes.get(name, {})
    earlier = before.outcomes.get(name, {})
    return (
        after.received.get(name, 0) - before.received.get(name, 0),
        *(outcomes.get(key, 0) - earlier.get(key, 0) for key in ("sealed", "repeats", "set aside")),
        sum(after.refused.get(name, {}).values()) - sum(before.refused.get(name, {}).values()),
    )


def _expected(sent: Sent, row: tuple[int, ...]) -> tuple[int, ...]:
    """What must have become of it; how often an overlap met the same again, only the reader knows."""
    repeats = max(row[2], sent.repeats) if sent.reread else sent.repeats
    received = sent.sealed + repeats + sent.set_aside.total()
    return received, sent.sealed, repeats, sent.set_aside.total(), sent.refused.total()


def _sample(at: Site) -> tuple[int, list[str]]:
    """Return how many records were drawn from every vault, and what was wrong with them."""
    from console.records import vaults
    from ledger.errors import LedgerError
    from ledger.proofs.proof import verify_proof
    from ledger.proofs.proving import prove
    from vault.errors import VaultError

    anchor, faults, drawn = at.home.anchor.read_bytes(), [], 0
    replica = at.replica(at.region.voters[0].id)
    for name, vault in vaults(at):
        for found in vault.records.sample(SAMPLE):
            drawn += 1
            try:
                vault.records.verify(found.rid, found.version)
                proof = prove(replica, found.rid, found.version, name)
                verify_proof(orjson.dumps(proof), anchor, vault.records.envelope(found.locator))
            except (VaultError, LedgerError, KeyError) as error:
                faults.append(f"{name}, record {found.locator}: {error}")
    return drawn, faults
