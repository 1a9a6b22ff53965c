"""An institution's vault on a region's chain in one process, and the way of its messages into blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from sharing_world import SharingRegion
from vault_world import observation, patient, seal_one

from ledger.chain.state import CONSENT
from ledger.chain.validators import institution_id
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import SelectionAsked
from ledger.messages.consent import ConsentState
from ledger.messages.delivery import Delivered
from ledger.messages.provisions import Provision
from shangmi import sm3
from sharing.consent.desk import Desk
from sharing.consent.filing import Wish
from vault.consents import Form
from vault.keystore import FileKeystore
from vault.store import Vault

EAST, WEST = institution_id("hospital-east"), institution_id("hospital-west")
RESEARCH = frozenset({"research"})
REGION_KEY = bytes(range(32))


class ConsentWorld:
    """hospital-east with its vault in the simulated region, and patients p0, p1, … in it."""

    def __init__(
        self, mongo: MongoClient[dict[str, Any]], folder: Path, keystore: FileKeystore, **numbers: int
    ) -> None:
        name = f"t{sm3(str(folder).encode()).hex()[:12]}"
        self.region = SharingRegion(mongo, folder, name, **numbers)
        self.mongo, self.vault_name, self.keystore = mongo, f"{name}_vault", keystore
        self.patients = 0

    @property
    def vault(self) -> Vault:
        """Opened anew, as another process would."""
        chain_id = self.region.genesis.chain_id
        database = self.mongo[self.vault_name]
        return Vault(database, self.keystore, "hospital-east", chain_id, region_key=REGION_KEY)

    @property
    def desk(self) -> Desk:
        node = self.region.node("hospital-east")
        return Desk(self.vault, node, self.region.exchange, node.replica)

    def close(self) -> None:
        self.region.close()
        self.mongo.drop_database(self.vault_name)

    def admit(self, count: int) -> list[str]:
        """So many further patients with a record each; returns their ids."""
        ids = [f"p{self.patients + number}" for number in range(count)]
        for number, id_ in enumerate(ids):
            seal_one(self.vault, self.patients + number, patient(id_), observation(f"o-{id_}", id_))
        self.patients += count
        return ids

    def block(self) -> None:
        """One block of all that is offered, as the notaries make it; what is final is offered no longer."""
        exchange = self.region.exchange
        offered = exchange.submissions()
        proposal = self.region.producer().propose(offered)
        assert proposal is not None, "nothing that was offered may enter a block"
        self.region.finish(proposal)
        for tx, leaves in offered:
            if self.region.node("hospital-east").fate(tx).height is not None:
                exchange.retire_submission(tx, leaves)

    def state(self, patient: str) -> ConsentState | None:
        pseudonym = self.vault.summaries.patient(patient)
        found = self.region.node("nursing-home").replica.view.state(CONSENT, EAST + pseudonym)
        return None if found is None else ConsentState.decode(found)

    def delivered(self, patients: Sequence[str], seed: bytes = b"selection", requester: str = "hospital-west") -> bytes:
        """A research dataset with these patients is delivered to hospital-west; returns its request's id."""
        region = self.region
        asked = region.sign(
            requester, AccessRequest, asked=SelectionAsked(sm3(seed), 100), holders=(EAST,), purpose="research",
            ethics=sm3(b"ethics"), answer_key=region.node(requester).heading()["key_id"],
        )  # fmt: skip
        region.block_of(asked)
        voices = ("lab-centre", "hospital-district")
        approval = {"request": asked.tx_id, "digest": sm3(seed), "approves": True}
        region.block_of(*(region.sign(one, Approval, **approval) for one in voices))
        self.vault.shares.note(asked.tx_id, map(self.vault.consents.owner, patients))
        package = {"package": sm3(b"package" + seed), "manifest": sm3(b"manifest"), "records": 50, "size": 900}
        region.block_of(region.sign("hospital-east", Delivered, request=asked.tx_id, **package))
        return asked.tx_id


def grant(patient: str, *provisions: Provision, **changes: Any) -> Wish:
    return Wish(patient, "grant", provisions or (Provision(True, RESEARCH),), paper(), place=patient, **changes)


def deny(patient: str, *provisions: Provision) -> Wish:
    return Wish(patient, "deny", provisions or (Provision(False, RESEARCH),), paper(), place=patient)


def withdraw(patient: str) -> Wish:
    return Wish(patient, "withdraw", (), paper(), place=patient)


def paper(reference: str = "cabinet 3, folder 17") -> Form:
    return Form.of(reference)
