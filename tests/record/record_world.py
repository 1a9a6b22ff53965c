"""A founded region whose laboratory has published a day of results, and what people at three desks do with them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from dags.steps import ingest, publish
from dags.steps.records import answer_all, desk
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.chain.state import CONSENT, DELIVERY, REQUEST
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id
from ledger.chain.working_state import WorkingState
from ledger.contracts.policy_request import type_name
from ledger.messages.consent import Consent, ConsentState
from ledger.messages.delivery import DeliveryState
from ledger.messages.provisions import Provision
from ledger.messages.request_state import RequestState
from ledger.messages.summary_store import Listed
from shangmi import sm3
from sharing.record.asking import Question, Reference, ask
from sharing.record.desk import Desk
from simulators.lis import Laboratory

SOURCE = "lab-centre-lis"
OWNER, READER, OTHER, REGULATOR = "lab-centre", "hospital-west", "hospital-east", "health-commission"


@dataclass
class World:
    """A site, and the summaries that the reader has read."""

    at: Site
    listed: list[Listed]
    taken: set[bytes] = field(default_factory=set)

    @classmethod
    def publish(cls, at: Site) -> World:
        """A day of results is sealed, published in block 1, and read in summaries."""
        folder = at.home.path / "inbox" / SOURCE
        folder.mkdir(parents=True)
        Laboratory(1).drop(folder, 1, 24, trouble=False, day=0)
        for path in folder.iterdir():
            os.utime(path, (1_760_000_000, 1_760_000_000))
        ingest.pull(SOURCE, at)
        batches = ingest.plan(SOURCE, "run", at)
        for batch in batches:
            ingest.process(SOURCE, batch, at)
        ingest.reconcile(SOURCE, batches, at)
        publish.submit(OWNER, at)
        made = cls(at, [])
        made.block()
        made.read()
        return made

    def read(self) -> None:
        for name in (OWNER, READER):
            assert self.at.summaries(name).follow().missing == 0
        store = self.at.summaries(READER)
        self.listed = list(store.read(self.at.exchange, self.at.keystore(READER).signing_key, OWNER))

    # --- the chain ---------------------------------------------------------------------------------------------

    def block(self, absent: str = "") -> int | None:
        """One block of everything that waits; None where nothing does."""
        everyone = [one.id for one in self.at.region.institutions if one.id != absent]
        return carry_block([Carrier(self.at.node(one), self.at.exchange) for one in everyone])

    def offer(self, institution: str, kind: type[Transaction], **content: Any) -> bytes:
        node = self.at.node(institution)
        draft = kind(**node.heading(), **content)
        self.at.exchange.post_submission(node.sign(draft), b"")
        return draft.tx_id

    def now(self, institution: str = READER) -> WorkingState:
        return desk(institution, self.at).now()

    def delivery(self, tx_id: bytes, holder: str = OWNER) -> DeliveryState | None:
        found = self.now().get(DELIVERY, tx_id + institution_id(holder))
        return None if found is None else DeliveryState.decode(found)

    def request(self, tx_id: bytes) -> RequestState | None:
        found = self.now().get(REQUEST, tx_id)
        return None if found is None else RequestState.decode(found)

    # --- people ------------------------------------------------------------------------------------------------

    def desk(self, institution: str = READER) -> Desk:
        return desk(institution, self.at)

    def answer(self) -> dict[str, int]:
        return answer_all(OWNER, self.at)

    def reference(self, at: int = 0) -> Reference:
        return Reference(self.listed[at].rid, self.listed[at].version, OWNER)

    def fresh(self) -> int:
        """Place of the summary of a report whose patient no test has touched."""
        reports = [n for n, one in enumerate(self.listed) if type_name(one.summary.resource_type) == "DiagnosticReport"]
        at = next(n for n in reports if self.patient(n) not in self.taken)
        self.taken.add(self.patient(at))
        return at

    def patient(self, at: int = 0) -> bytes:
        return self.listed[at].summary.patient

    def consent(self, at: int = 0, *provisions: Provision, withdraw: bool = False) -> None:
        """The patient's statement at the owner stands in a block."""
        before = self.now(OWNER).get(CONSENT, institution_id(OWNER) + self.patient(at))
        sequence = 1 if before is None else ConsentState.decode(before).sequence + 1
        given = () if withdraw else provisions or (Provision(True),)
        self.offer(
            OWNER, Consent, patient=self.patient(at), sequence=sequence, provisions=given, withdraw=withdraw,
            reference=sm3(b"a signed form"),
        )  # fmt: skip
        self.block()

    def ask(self, at: int = 0, purpose: str = "care", reader: str = "doctor", **changes: Any) -> bytes:
        """The request stands decided in a block."""
        question = Question(self.reference(at), purpose, reader, changes.pop("patient", self.patient(at)))
        tx_id = ask(self.desk(), question)
        self.block()
        return tx_id

    def delivered(self, tx_id: bytes) -> None:
        """The owner's answer stands in a block and lies on the shelf."""
        self.answer()
        self.block()
        assert self.answer().get("shown") == 1
        found = self.delivery(tx_id)
        assert found is not None and found.answer == "delivered"

    def shelf(self) -> list[str]:
        return sorted(one["_id"] for one in self.at.client["xinglin_exchange"]["answers"].find())
