"""A founded region whose laboratory has published a day of results, and what people at three desks do with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from console.main import app
from dags.steps import publish
from dags.steps.records import answer_all, desk
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.chain.state import CONSENT, DELIVERY, REQUEST
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id
from ledger.chain.working_state import WorkingState
from ledger.messages.consent import Consent, ConsentState
from ledger.messages.delivery import DeliveryState
from ledger.messages.provisions import Provision
from ledger.messages.request_state import RequestState
from ledger.messages.summary_store import Listed
from schemas.records import RawRecord, Resource
from shangmi import sm3
from sharing.record.asking import Question, Reference, ask
from sharing.record.desk import Desk
from vault.batches import RecordResult

SOURCE, NAME = "lab-centre-lis", "欧阳䶮𠮷"
OWNER, READER, OTHER, REGULATOR = "lab-centre", "hospital-west", "hospital-east", "health-commission"
ROOT = Path(__file__).parents[2]
LEFT_OUT = ("nursing-home", "research-institute", "insurer")
PATIENTS = 28
WHEN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def small_region() -> str:
    """The repository's region with as few institutions as a region may have: a block takes half the time."""
    lines = (ROOT / "region.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(one for one in lines if not any(f"id: {left}," in one for left in LEFT_OUT))


def report_of(patient: str) -> Iterator[Resource]:
    """A patient, a report of 5 January 2026 in UTC+8, and one value in it."""
    subject = {"reference": f"Patient/{patient}"}
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    about = {"status": "final", "code": code, "subject": subject, "effectiveDateTime": "2026-01-05T06:57:22+08:00"}
    yield Resource({"resourceType": "Patient", "id": patient, "name": [{"text": NAME}]}, "PID", patient)
    yield Resource({"resourceType": "DiagnosticReport", "id": f"r-{patient}", **about}, "OBR", patient)
    value = {"value": 132, "unit": "g/L"}
    measured = {"resourceType": "Observation", "id": f"o-{patient}", **about, "valueQuantity": value}
    yield Resource(measured, "OBX", patient)


@dataclass
class World:
    """A site, and the summaries that the reader has read."""

    at: Site
    listed: list[Listed]
    taken: set[bytes] = field(default_factory=set)

    @classmethod
    def publish(cls, at: Site) -> World:
        """The owner's reports are sealed, published in block 1, and read in summaries; all patients permit everything.

        The statements stand in block 2.
        """
        vault = at.vault(OWNER)
        for number in range(PATIENTS):
            vault.landing.put(RawRecord(SOURCE, f"LIS|{number}", b"raw %d" % number, "hl7v2", WHEN))
        for batch in vault.batches.plan(SOURCE, 100, "run"):
            landed = list(vault.batches.records(batch))
            results = [
                RecordResult(one.id, "sealed", tuple(report_of(f"p{n}"))) for n, one in enumerate(landed)
            ]  # fmt: skip
            vault.batches.settle(batch, results, "map/1")
            vault.batches.reconcile(batch)
        publish.submit(OWNER, at)
        made = cls(at, [])
        made.block()
        made.read()
        for place in range(len(made.listed)):
            made.say(place, Provision(True))
        made.block()
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
        at = next(n for n in range(len(self.listed)) if self.patient(n) not in self.taken)
        self.taken.add(self.patient(at))
        return at

    def patient(self, at: int = 0) -> bytes:
        return self.listed[at].summary.patient

    def say(self, at: int, *provisions: Provision, withdraw: bool = False) -> None:
        """The patient's statement at the owner is offered to the next block."""
        before = self.now(OWNER).get(CONSENT, institution_id(OWNER) + self.patient(at))
        sequence = 1 if before is None else ConsentState.decode(before).sequence + 1
        self.offer(
            OWNER, Consent, patient=self.patient(at), sequence=sequence, provisions=provisions, withdraw=withdraw,
            reference=sm3(b"a signed form"),
        )  # fmt: skip

    def consent(self, at: int, *provisions: Provision, withdraw: bool = False) -> None:
        """The patient's statement at the owner stands in a block."""
        self.say(at, *provisions, withdraw=withdraw)
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


@dataclass(frozen=True, slots=True)
class Done:
    """What a command ended with."""

    code: int
    output: str
    told: str


def xinglin(*arguments: object) -> Done:
    """Run the command in this process, in the environment of the fixture."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "80"}, prog_name="xinglin")
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def said(*arguments: object) -> str:
    """Return what the command wrote; it did what it was asked."""
    done = xinglin(*arguments)
    assert (done.code, done.told) == (0, ""), done.told
    return done.output
