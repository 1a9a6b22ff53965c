"""The second act of `xinglin demo`: patients permit, a researcher asks and receives, an insurer is refused.

Every step is what people do with commands; here it is done for them, and Airflow exports as it always does.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from console.exits import fail

if TYPE_CHECKING:
    from dags.steps.site import Site
    from ledger.chain.transaction import Transaction
    from schemas.sharing import DatasetRequest
    from sharing.audit import Access
    from sharing.request.answer import Answer

HOLDERS: Final = ("hospital-east", "hospital-west")
RESEARCHER: Final = "research-institute"
INSURER: Final = "insurer"
COMMITTEE: Final = ("hospital-district", "health-commission")
VIEWS: Final = ("laboratory_results", "patients")
#: Whose tests are asked for: procalcitonin, creatinine, C-reactive protein, alanine aminotransferase.
TESTS: Final = ("33959-8", "2160-0", "1988-5", "1742-6")
#: One patient in so many says nothing, and one in so many more says no.
_SILENT: Final = 8
_DENIES: Final = 13
_SECONDS: Final = 600.0
Fetched = TypeVar("Fetched")


@dataclass(slots=True)
class Shared:
    """What was asked, decided, delivered and opened.

    Attributes:
        title: Of the request.
        filed: Statements of patients filed now, by hospital.
        approved: Block of the request, rules that permit it, and who approved.
        denied: Block of the insurer's, and why.
        parts: By holder what its package holds: records, persons, rows by table, and what was left out.
        values: Rows, patients and median of the most frequent laboratory test, from the opened tables.
        refused: What the rules say to the insurer.
        faults: What was wrong.
    """

    title: str
    filed: dict[str, int] = field(default_factory=dict)
    approved: tuple[int, tuple[str, ...], tuple[str, ...]] = (0, (), ())
    denied: tuple[int, str] = (0, "")
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    values: str = ""
    refused: Answer | None = None
    faults: list[str] = field(default_factory=list)

    def take_decisions(self, found: list[Access]) -> None:
        """What the blocks hold of both requests is noted; another decision than expected is a fault."""
        mine, theirs = found
        verdict, other = mine.decision, theirs.decision
        if verdict is None or other is None or not verdict.pending or other.allowed or other.pending:
            self.faults.append("the rules decided otherwise than the default rules do")
            return
        approved = tuple(one["who"] for one in mine.later if one["what"] == "approved")
        self.approved, self.denied = (mine.height, verdict.policies, approved), (theirs.height, other.reason)

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        yield f"\nShared: “{self.title}”, asked by {RESEARCHER} of {', '.join(HOLDERS)}"
        filed = ", ".join(f"{count} at {name}" for name, count in self.filed.items())
        yield f"  consents   {filed} filed now; who says nothing is not in it"
        height, rules, members = self.approved
        yield f"  decided    in block {height} by the rule {', '.join(rules)}; approved by {' and '.join(members)}"
        for name, part in self.parts.items():
            rows = ", ".join(f"{table} {count}" for table, count in part["rows"].items())
            yield f"  delivered  {name}: {part['records']} records of {part['persons']} persons; rows: {rows}"
            yield f"             left out: {part['excluded']}"
        yield f"  opened     {self.values}"
        height, reason = self.denied
        yield f"\nRefused: the same, asked by {INSURER}: {reason}, in block {height}"
        if self.refused is not None:
            rules_said = [f"{one.says} [{one.id}]" for one in self.refused.reasons]
            yield f"  {' '.join(rules_said) or 'No rule permits it; what none permits is denied.'}"
            for remedies in self.refused.remedies[:1]:
                yield f"  it would be allowed if: {' '.join(remedies)}"


def share(at: Site, say: Callable[[str], None]) -> Shared:
    """The second act is over; what happened is returned."""
    from ledger.messages.approval import Approval
    from sharing.request import request_digest, write_request

    request = _request(at, RESEARCHER)
    shared = Shared(request.title)
    say("patients permit research; a researcher and an insurer ask; two of the committee approve the researcher's")
    shared.filed = {holder: _consents(at, holder) for holder in HOLDERS}
    tx_id, refused = _submit(at, request), _submit(at, _request(at, INSURER))
    for member in COMMITTEE:  # each on its own machine, after reading it: `xinglin request approve`
        _offer(at, member, Approval, request=tx_id, digest=request_digest(write_request(request)), approves=True)
    _await(lambda: len(_decisions(at, tx_id, refused)) == 2, "both decisions in a block")
    shared.take_decisions(_decisions(at, tx_id, refused))
    shared.refused = _rules_on(at, _request(at, INSURER))
    say("a block has decided; each hospital exports its part, and a block announces it")
    _await(lambda: _delivered(at, tx_id) is not None, "every holder's answer on the chain")
    say("the researcher fetches, verifies and opens")
    _receive(at, tx_id, shared)
    return shared


# --- patients --------------------------------------------------------------------------------------------------------


def _consents(at: Site, holder: str) -> int:
    """Most patients of a hospital permit research on a signed form; some say nothing, a few say no."""
    from ledger.messages.provisions import Provision
    from sharing.consent.desk import Desk
    from sharing.consent.filing import Wish, file_many
    from vault.consents import Form

    vault = at.vault(holder)
    ids = [
        one.body["id"] for some in vault.extract.records(vault.extract.patients(), ["Patient"]) for one in some
    ]  # fmt: skip
    permit, deny = (Provision(permits=permits, purposes=frozenset({"research"})) for permits in (True, False))
    wishes = [
        Wish(id_, "deny" if number % _DENIES == 1 else "grant", (deny if number % _DENIES == 1 else permit,),
             Form.of(f"paper campaign, folder {number // 50}"))
        for number, id_ in enumerate(sorted(ids)) if number % _SILENT
    ]  # fmt: skip
    desk = Desk(vault, at.node(holder), at.exchange, at.replica(holder))
    counts = file_many(desk, wishes, between=lambda: time.sleep(1))
    if counts.refused:
        fail(f"{holder}: a consent could not be filed: {counts.refused[0][1]}")
    return counts.filed


# --- the request -----------------------------------------------------------------------------------------------------


def _request(at: Site, requester: str) -> DatasetRequest:
    from schemas.sharing import Code, Cohort, DatasetRequest, Demands, Ethics
    from shangmi import sm3
    from sharing.views import library

    today = date.today()  # noqa: DTZ011  (a day on paper)
    ethics = Ethics(
        "区域伦理委员会", "2026-117", (today - timedelta(30), today + timedelta(700)), sm3(b"scan of the approval")
    )
    return DatasetRequest(
        at.genesis.chain_id, "Laboratory values of inpatients by age and sex", requester, HOLDERS, "research", "", b"",
        Cohort(criteria=(tuple(Code("http://loinc.org", one) for one in TESTS),), ages=(0, 120)),
        {name: dict(library()[name]) for name in VIEWS}, "gbt-37964", Demands(suppression=200), False,
        100_000, ethics, today, today + timedelta(365), secrets.token_bytes(16),
    )  # fmt: skip


def _submit(at: Site, request: DatasetRequest) -> bytes:
    """The request is checked, signed by its requester and offered to the next block; returns its id.

    As `xinglin request sign` and `submit --anyway` do: what the rules would deny is denied on the chain.
    """
    from sharing.export import standing
    from sharing.request import write_request
    from sharing.request.signing import sign_request
    from sharing.request.submitting import submit

    content, ledger = write_request(request), standing.now(at.replica(request.requester))
    signed = sign_request(content, at.node(request.requester)).encode()
    sent = submit(at.exchange, ledger, content, signed, request.made, anyway=True)
    if sent.tx_id is None:
        fail("the request was kept back")
    return sent.tx_id


def _offer(at: Site, institution: str, kind: type[Transaction], **fields: Any) -> None:
    node = at.node(institution)
    at.exchange.post_submission(node.sign(kind(**node.heading(), **fields)), b"")


def _decisions(at: Site, *requests: bytes) -> list[Access]:
    """Return those of the requests that a final block decided, with all that came of them."""
    from sharing.audit import accesses

    found = {one.request: one for one in accesses(at.replica(RESEARCHER))}
    return [found[one] for one in requests if one in found]


def _rules_on(at: Site, request: DatasetRequest) -> Answer:
    """Return what the rules say to a request, and what would change it."""
    from sharing.export import standing
    from sharing.request import write_request
    from sharing.request.answer import answer
    from sharing.request.signing import access_request

    ledger = standing.now(at.replica(request.requester))
    tx = access_request(request, write_request(request), at.node(request.requester).heading())
    return answer(ledger, tx.facts(ledger))


# --- the datasets ----------------------------------------------------------------------------------------------------


def _delivered(at: Site, tx_id: bytes) -> list[Any] | None:
    """Return every holder's answer, or None as long as one is missing."""
    from sharing.package.receiving import announced

    answers = announced(at.replica(RESEARCHER).view, tx_id)
    return answers if all(one.delivery is not None for one in answers) else None


def _receive(at: Site, tx_id: bytes, shared: Shared) -> None:
    """The packages are fetched, verified offline, opened with the researcher's key and confirmed."""
    from ledger.messages.delivery import Received
    from sharing.errors import SharingError
    from sharing.package.receiving import fetch
    from sharing.package.shelf import Shelf
    from sharing.reader import open_dataset

    folder = at.home.path / "datasets"
    folder.mkdir(exist_ok=True, mode=0o700)
    frames, shelf = [], Shelf(at.client["xinglin_exchange"])
    for one in _delivered(at, tx_id) or []:
        path = folder / f"{tx_id.hex()[:16]}-{one.holder}.xld"
        try:
            delivery = _once_there(lambda one=one, path=path: fetch(shelf, one, path))  # type: ignore[misc]
            with open_dataset(path, at.node(RESEARCHER).decrypt, at.home.anchor) as dataset:
                shared.parts[one.holder] = _part(dataset.manifest)
                frames.append(dataset.pandas("laboratory_results"))
        except SharingError as error:
            shared.faults.append(f"{one.holder}: {error}")
            continue
        _offer(at, RESEARCHER, Received, request=tx_id, holder=one.party, package=delivery.package)
    shared.values = _values(frames)


def _part(manifest: Any) -> dict[str, Any]:
    left = [f"{one.count} {one.reason}" for one in manifest.excluded if one.stage != "cohort" and one.count]
    return {
        "records": manifest.records, "persons": manifest.persons,
        "rows": {one.name: one.rows for one in manifest.tables}, "excluded": ", ".join(left) or "nothing",
    }  # fmt: skip


def _values(frames: list[Any]) -> str:
    """Return one line on what the researcher sees."""
    import pandas as pd

    if not frames:
        return "nothing"
    table = pd.concat(frames)
    numbers = table.dropna(subset=["value"])
    code = numbers["code"].mode().iat[0]
    chosen = numbers[numbers["code"] == code]
    unit = chosen["unit"].mode().iat[0]
    return (
        f"{len(table)} laboratory results of {table['patient'].nunique()} persons; LOINC {code}: "
        f"{len(chosen)} values, median {chosen['value'].astype(float).median():g} {unit}"
    )


def _once_there(fetched: Callable[[], Fetched]) -> Fetched:
    """Return what is fetched as soon as the holder has laid it out: after the block that announces it."""
    from sharing.errors import NotYet

    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return fetched()
        except NotYet:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _await(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not ready():
        if time.monotonic() > deadline:
            fail(f"not there after {_SECONDS:.0f} s: {what}; see `xinglin status`")
        time.sleep(0.5)
