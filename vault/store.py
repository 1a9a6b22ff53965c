"""One institution's vault: everything it keeps, sealed, in one MongoDB database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pymongo.database import Database

from vault.alerts import Alerts
from vault.batches import Batches, Totals
from vault.blind_index import BlindIndex
from vault.bulk import Bulk
from vault.census import Census
from vault.consents import Consents
from vault.cursors import Cursors
from vault.entries import locator, versions_of
from vault.envelope import Context
from vault.exports import Exports
from vault.extract import Extract
from vault.keystore import FileKeystore
from vault.landing import Landing, LandingKeys
from vault.layout import Document, Layout
from vault.outbox import Outbox
from vault.owners import Owners
from vault.persons import Persons
from vault.quarantine import Quarantine
from vault.records import Records
from vault.rhythm import Rhythm
from vault.settling import Settler
from vault.shapes import Shapes
from vault.shares import Shares
from vault.summaries import Summaries
from vault.tallies import Tallies

#: The policy every envelope of this release is sealed under; the chain's parameters give it its meaning.
DEFAULT_POLICY = "region/default"


#: What an erasure does to a sealed version, and to a landed message.
_UNREADABLE: Final = {"$set": {"erased": True}, "$unset": {"key": "", "mac": "", "tokens": "", "summary": ""}}
_FORGOTTEN: Final = {"$unset": {"key": "", "body": ""}}


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure reached.

    Attributes:
        existed: Whether the patient had a key, or whether there is such a record.
        records: Sealed versions that nobody can read any more.
        landed: Raw records that nobody can read any more.
        bulk: Large objects that are gone.
    """

    existed: bool
    records: int
    landed: int
    bulk: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of one vault for people.

    Attributes:
        sources: Totals by source.
        resources: Newest versions by FHIR type.
        versions: Versions of all resources, sealed since the beginning.
        quarantined: Records set aside, by reason code.
        submissions: Entries by state of their submission (``assigned``, ``sent``, ``final``, ``lapsed``).
        waiting: Entries that wait for a submission.
    """

    sources: Mapping[str, Totals]
    resources: Mapping[str, int]
    versions: int
    quarantined: Mapping[str, int]
    submissions: Mapping[str, int]
    waiting: int

    @property
    def received(self) -> int:
        """Records received, repeats included."""
        return sum(one.received for one in self.sources.values())

    @property
    def duplicates(self) -> int:
        """Receptions beyond a record's first."""
        return sum(one.duplicate for one in self.sources.values())


class Vault:
    """Opens an institution's database; indexes stand once it is made.

    Args:
        database: Its database.
        keystore: Its keys.
        institution: Its id.
        chain_id: The region's chain.
        policy_id: What envelopes are sealed under.
        region_key: The region's secret for pseudonyms; without it no summaries are made.

    Attributes:
        institution: Whose it is.
        landing: Where records land first.
        bulk: Their large parts (pixel data).
        batches: Landed records on their way through.
        quarantine: What was set aside.
        cursors: How far sources were read.
        rhythm: How much came from them, hour by hour.
        shapes: Which parts their records have had so far.
        alerts: What is wrong with their feeds.
        records: What was sealed.
        outbox: What the ledger is to be told.
        persons: Which patients are one person.
        summaries: What others may read without asking.
        extract: Many patients' records, for exports.
        exports: How far those are.
        census: How much of what there is.
        shares: Who is in the datasets that left.
        consents: What patients signed, and where the paper lies.
        tallies: What could not be read fully, and codes without a standard one, by volume.

    Raises:
        WrongVault: The database was made with another keystore, institution or chain. Nothing is written.
    """

    def __init__(
        self,
        database: Database[Document],
        keystore: FileKeystore,
        institution: str,
        chain_id: bytes,
        policy_id: str = DEFAULT_POLICY,
        region_key: bytes | None = None,
    ) -> None:
        layout = Layout(database)
        layout.prepare(keystore, institution, chain_id)
        context = Context(chain_id, institution, policy_id)
        keys, index = LandingKeys(keystore), BlindIndex(keystore)
        self.institution = institution
        self._layout, self._index, self._owners = layout, index, Owners(layout, keystore)
        self.landing = Landing(layout, keys)
        self.bulk = Bulk(layout, keys, self._owners, institution)
        self.tallies = Tallies(layout, keys)
        self.summaries = Summaries(layout, index, keystore, institution, chain_id, region_key)
        settler = Settler(
            layout, index, self._owners, keys, self.landing, context, self.bulk, self.tallies, self.summaries
        )
        self.batches = Batches(layout, self.landing, self._owners, settler)
        self.quarantine = Quarantine(layout, self.landing, keys)
        self.cursors = Cursors(layout, keys)
        self.rhythm, self.shapes, self.alerts = Rhythm(layout), Shapes(layout), Alerts(layout)
        self.outbox = Outbox(layout, institution)
        self.records = Records(layout, index, self._owners, context)
        self.persons = Persons(layout, index)
        self.exports = Exports(layout)
        self.shares, self.consents = Shares(layout), Consents(layout, keystore, index)
        self.extract = Extract(layout, index, self._owners, context, self.persons)
        self.census = Census(layout, index, self.extract)

    def erase(self, patient: str) -> Erasure:
        """The patient's key is gone: nobody reads the sealed records and raw messages again.

        Envelopes, digests and versions stay, so the chain still verifies. Call it again after a crash. Not reached:
        records that are in quarantine or not settled yet (whose patient is not known), backups of the database's
        files, and keys already delivered to others.
        """
        owner = self._index.owner(patient)
        existed = self._owners.erase(owner)
        records = self._layout["records"].update_many({"owner": owner, "erased": {"$ne": True}}, _UNREADABLE)
        landed = self._layout["landing"].update_many({"owners": owner, "key": {"$exists": True}}, _FORGOTTEN)
        self.persons.forget(owner)
        return Erasure(existed, records.modified_count, landed.modified_count, self.bulk.erase(owner))

    def erase_record(self, rid: bytes, version: int | None = None) -> Erasure:
        """The data keys of one record, or of one version of it, are gone, and the raw messages these came in.

        A message that came with other patients' records stays, and so does one that repeated what was known already;
        so do large objects, whose key is the patient's. Sent again, the record is sealed anew, as a new version. Call
        it again after a crash.
        """
        wanted: Document = versions_of(rid) if version is None else {"_id": locator(rid, version)}
        found = list(self._layout["records"].find(wanted, {"owner": 1, "order": 1}))
        landed = 0
        for one in found:  # before the mark: what a crash leaves is found again by the record that still has its key
            raw = {"owners": [one["owner"]], "order": one["order"], "key": {"$exists": True}}
            landed += self._layout["landing"].update_one(raw, _FORGOTTEN).modified_count
        records = self._layout["records"].update_many({**wanted, "erased": {"$ne": True}}, _UNREADABLE)
        return Erasure(bool(found), records.modified_count, landed)

    def summary(self) -> Summary:
        """Return the vault's numbers."""
        return Summary(
            self.batches.totals(),
            self.records.counts(),
            self._layout["records"].estimated_document_count(),
            self.quarantine.counts(),
            self.outbox.counts(),
            self.outbox.waiting(),
        )
