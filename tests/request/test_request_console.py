"""`xinglin request` on a founded region: from a draft to what two members of the committee decide."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Binary
from console_run import ROOT, Done, run_here

from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.chain.leaves import Leaves
from ledger.chain.state import REQUEST
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.messages.access import AccessRequest
from ledger.messages.asked import RecordAsked, SelectionAsked
from ledger.messages.consent import Consent
from ledger.messages.provisions import Provision
from ledger.messages.request_state import RequestState
from schemas.records import Entry
from shangmi import PrivateKey, sm3
from sharing.errors import Refused
from sharing.request import desk as requests
from sharing.request import read_request, request_digest
from sharing.request.checks import require_answerable
from sharing.request.signing import Signatures, access_request, possession

INSTITUTE = "research-institute"
TODAY = datetime.now().astimezone().date()


def carried(at: Site) -> None:
    """A block with everything that is offered; who is not needed for it stays away."""
    carry_block([Carrier(at.node(one.id), at.exchange) for one in at.region.voters if one.weight > 1])


@dataclass(frozen=True, slots=True)
class Desk:
    """A person at the region's machine, in a folder of their own."""

    at: Site
    folder: Path

    def __call__(self, *arguments: object, code: int = 0, stdin: bytes = b"") -> Done:
        """Run `xinglin request …` and expect an exit code."""
        done = run_here(
            "request", *arguments, stdin=stdin, XINGLIN_HOME=str(self.at.home.path),
            XINGLIN_REGION=str(ROOT / "region.yaml"), MONGODB_URI=self.at.home.mongodb_uri(),
        )  # fmt: skip
        assert done.code == code, (done.told, done.output.decode())
        return done

    def read(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).output)

    def draft(self, name: str = "glucose", **changes: object) -> Path:
        """A draft with an ethics approval for the institute's research; options in place of its own."""
        (self.folder / "approval.pdf").write_bytes(b"%PDF approval")
        options: dict[str, object] = {
            "title": "血糖控制的地区差异 glucose control", "requester": INSTITUTE, "holder": "hospital-east",
            "purpose": "research", "code": "http://loinc.org|2339-0", "view": "laboratory_results",
            "from": "2025-01-01", "ages": "18-89", "keep-until": str(TODAY + timedelta(700)),
            "ethics": f"区伦理委员会,2026-117,2026-01-01,{TODAY + timedelta(300)},approval.pdf",
        } | {one.replace("_", "-"): value for one, value in changes.items()}  # fmt: skip
        path = self.folder / f"{name}.yaml"
        self("new", path, *(part for one, value in options.items() if value for part in (f"--{one}", value)))
        return path

    def signed(self, name: str = "glucose", **changes: object) -> Path:
        self("sign", self.draft(name, **changes))
        return self.folder / f"{name}.request.json"

    def submitted(self, name: str = "glucose", **changes: object) -> tuple[Path, str]:
        path = self.signed(name, **changes)
        sent = self.read("submit", path)
        carried(self.at)
        return path, sent["transaction"]

    def offers(self) -> list[bytes]:
        """What is offered and in no block."""
        node = self.at.node("hospital-west")
        return [one for one in self.at.exchange.transactions() if node.fate(one).height is None]

    def state(self, transaction: str) -> RequestState:
        value = self.at.replica("hospital-west").view.state(REQUEST, bytes.fromhex(transaction))
        return RequestState.decode(value or b"")


@pytest.fixture
def desk(at: Site, tmp_path: Path) -> Desk:
    if not at.node("hospital-west").height:
        at.exchange.post_submission(_statement(at), b"")
        carried(at)
    return Desk(at, tmp_path)


def _statement(at: Site) -> bytes:
    """Something to begin the chain with."""
    node = at.node("hospital-east")
    will = {"patient": sm3(b"p"), "sequence": 1, "provisions": (Provision(True),), "reference": sm3(b"form")}
    return node.sign(Consent(**node.heading(), **will))


# ---- The road ----


def test_a_request_goes_from_draft_to_allowed_by_two_members_and_everybody_reads_the_same(desk: Desk) -> None:
    draft = desk.draft()
    tried = desk("check", draft).output.decode()
    assert "The rules put it before the data access committee" in tried and "[research.dataset]" in tried
    assert "hospital-east: about <10 persons meant" in tried
    desk("sign", draft)
    path = desk.folder / "glucose.request.json"
    digest = request_digest(path.read_bytes()).hex()
    sent = desk.read("submit", path)
    assert sent["answer"] == "pending"
    desk("show", path, code=1)  # in no block so far
    carried(desk.at)
    shown = desk("show", path).output.decode()
    assert "Waits for the data access committee, up to block 80" in shown and digest in shown and "2026-117" in shown
    assert [one["stage"] for one in desk.read("list", "--waiting")][:1] == ["pending"]
    said = desk("approve", digest[:10], "--institution", "hospital-west", "--yes").output.decode()
    assert f"You sign: hospital-west approves the request {sent['transaction']}\nwith the digest {digest}." in said
    assert "区伦理委员会" in said and "区域医学研究所 (research-institute) asks" in said
    carried(desk.at)
    assert desk.read("show", path)["committee"] == [{"member": "hospital-west", "approves": True, "reason": ""}]
    assert desk.read("approve", path, "--institution", "health-commission", "--yes")["digest"] == digest
    carried(desk.at)
    found = desk.read("show", sent["transaction"][:12])
    assert (found["stage"], found["reason"], found["policies"]) == ("allowed", "permitted", ["research.dataset"])
    assert found["answers"] == [
        {"holder": "hospital-east", "answer": None, "records": None, "package": None, "height": None, "received": None}
    ]
    assert desk.state(sent["transaction"]).digest.hex() == digest
    told = desk("show", path).output.decode()
    assert "Allowed." in told and "hospital-east: no answer so far" in told


def test_two_refusals_close_a_request_and_show_why(desk: Desk) -> None:
    path, _ = desk.submitted()
    for member, reason in (("hospital-west", "too-much"), ("lab-centre", "ethics")):
        desk("refuse", path, "--reason", reason, "--institution", member, "--yes")
        carried(desk.at)
    told = desk("show", path).output.decode()
    assert "Refused by two members" in told and "it asks for more than the purpose needs" in told
    desk("approve", path, "--institution", "health-commission", "--yes", code=1)
    assert desk.offers() == []


def test_a_denied_request_is_kept_back_with_the_rule_and_what_would_change_it_or_denied_on_the_chain(
    desk: Desk,
) -> None:
    path = desk.signed("noethics", ethics="")
    done = desk("submit", path, code=1)
    told = done.output.decode()
    assert "The rules deny it." in told and "No rule permits it with these facts" in told
    assert "Two members of the data access committee approve it" in told and "fill in `ethics`" in told
    assert "not sent" in done.told and desk.offers() == []
    assert desk.read("submit", path, "--anyway")["answer"] == "denied"
    carried(desk.at)
    found = desk.read("show", path)
    assert (found["stage"], found["reason"]) == ("denied", "not permitted")
    assert "Denied by the rules." in desk("show", path).output.decode()


def test_a_person_is_asked_before_anything_is_signed(desk: Desk) -> None:
    path, _ = desk.submitted()
    done = desk("approve", path, "--institution", "hospital-west", stdin=b"n\n", code=1)
    assert "not signed" in done.told and desk.offers() == []
    desk("approve", path, "--institution", "hospital-west", code=1)  # nobody answers
    assert desk.offers() == []
    desk("approve", path, "--institution", "hospital-west", stdin=b"y\n")
    assert len(desk.offers()) == 1
    carried(desk.at)


def test_who_may_not_decide_is_refused_before_anything_is_signed(desk: Desk) -> None:
    path, _ = desk.submitted()
    for member, rule in ((INSTITUTE, "committee"), ("insurer", "committee")):
        assert rule in desk("approve", path, "--institution", member, "--yes", code=1).told
    desk("approve", path, "--institution", "hospital-west", "--yes")
    carried(desk.at)
    assert "spoken" in desk("approve", path, "--institution", "hospital-west", "--yes", code=1).told
    assert "expected one of" in desk("refuse", path, "--reason", "whim", "--yes", code=2).told
    assert desk.offers() == []


def test_nobody_signs_what_cannot_be_read(desk: Desk) -> None:
    path, transaction = desk.submitted()
    digest = desk.state(transaction).digest.hex()
    desk.at.client["xinglin_exchange"]["topics"].delete_many({"topic": f"request/{digest}"})
    assert (
        "nobody signs what cannot be read"
        in desk("approve", path, "--institution", "hospital-west", "--yes", code=1).told
    )
    assert desk.offers() == []


def test_who_has_the_chain_judge_something_else_than_people_read_is_found_out(desk: Desk) -> None:
    path = desk.signed()
    content, node = path.read_bytes(), desk.at.node(INSTITUTE)
    tx = access_request(read_request(content), content, node.heading())
    assert isinstance(tx.asked, SelectionAsked)
    other = replace(tx, asked=replace(tx.asked, most=900_000))
    requests.post(desk.at.exchange, content)
    desk.at.exchange.post_submission(node.sign(other), b"")
    carried(desk.at)
    id_ = other.tx_id.hex()
    for command in (("show", id_), ("approve", id_, "--institution", "hospital-west", "--yes")):
        assert "says something else" in desk(*command, code=1).told
    with pytest.raises(Refused, match="most"):
        require_answerable(read_request(content), desk.state(id_), 0)
    assert "(its file says something else than the chain)" in desk("list").output.decode()
    assert desk.offers() == []


def test_the_committee_decides_on_single_records_too(desk: Desk) -> None:
    at, west = desk.at, desk.at.node("hospital-west")
    envelope, locator = secrets.token_bytes(40), secrets.token_hex(16)
    at.client["xinglin_hospital-west"]["records"].insert_one({"_id": locator, "envelope": Binary(envelope)})
    record = Entry(secrets.token_bytes(16), 1, sm3(envelope), bytes(32), bytes(32), len(envelope), 13, locator)
    made = west.submit([record], west.next_seq(), "vault")
    at.exchange.post_submission(made.tx, made.leaves)
    carried(at)
    leaf = RecordAsked(west.next_seq() - 1, 0, Leaves.decode(made.leaves).record(0), ())
    regulator = at.node("health-commission")
    tx = AccessRequest(**(heading := regulator.heading()), asked=leaf, holders=(institution_id("hospital-west"),),
                       purpose="audit", answer_key=heading["key_id"])  # fmt: skip
    at.exchange.post_submission(regulator.sign(tx), b"")
    carried(at)
    id_ = tx.tx_id.hex()
    assert id_ not in [one["transaction"] for one in desk.read("list")]
    assert id_ in [one["transaction"] for one in desk.read("list", "--waiting")]
    for member in ("hospital-west", "lab-centre"):
        said = desk("approve", id_, "--institution", member, "--yes").output.decode()
        assert "for one record, version 1 of a DiagnosticReport; purpose: audit" in said
        assert f"with the digest {sm3(envelope).hex()}" in said
        carried(at)
    assert desk.read("show", id_)["stage"] == "allowed"


# ---- A key of the researcher's own ----


def test_a_dataset_for_one_person_is_asked_with_their_key_which_signs_too(desk: Desk) -> None:
    (desk.folder / "word").write_bytes(b"a long word\n")
    made = desk.read("key", desk.folder / "zhang.pem", "--password-file", desk.folder / "word")
    pem = (desk.folder / "zhang.pem").read_bytes()
    key = PrivateKey.from_pem(pem, b"a long word")
    assert made["recipient"] == key.public.bytes.hex() and b"ENCRYPTED" in pem
    assert (desk.folder / "zhang.pem").stat().st_mode & 0o77 == 0
    desk("sign", desk.draft(), "--key", desk.folder / "zhang.pem", "--password-file", desk.folder / "word")
    path = desk.folder / "glucose.request.json"
    content = path.read_bytes()
    assert read_request(content).recipient == key.public.bytes
    found = Signatures.decode(path.with_suffix(".sig").read_bytes())
    assert key.public.verify(found.recipient, possession(request_digest(content)))
    assert desk.read("submit", path)["answer"] == "pending"
    carried(desk.at)


def test_a_key_is_not_written_over_and_a_wrong_password_opens_none(desk: Desk) -> None:
    for name, word in (("word", b"a long word"), ("wrong", b"another word"), ("nothing", b"\n")):
        (desk.folder / name).write_bytes(word)
    pem = desk.folder / "zhang.pem"
    desk("key", pem, "--password-file", desk.folder / "word")
    before = pem.read_bytes()
    assert "there already" in desk("key", pem, "--password-file", desk.folder / "word", code=1).told
    desk("key", desk.folder / "new.pem", "--password-file", desk.folder / "nothing", code=2)
    draft = desk.draft()
    desk("sign", draft, "--key", pem, "--password-file", desk.folder / "wrong", code=1)
    desk("sign", draft, "--key", desk.folder / "none.pem", "--password-file", desk.folder / "word", code=3)
    assert pem.read_bytes() == before and not (desk.folder / "glucose.request.json").exists()


# ---- Bad input ----


def test_the_same_file_submitted_again_is_refused_however_it_is_signed(desk: Desk) -> None:
    path, transaction = desk.submitted()
    assert "block" in desk("submit", path, code=1).told
    desk("sign", path)  # signed anew: another transaction of the same file
    said = desk("submit", path, code=1).told
    assert "this very file was asked with before" in said and transaction in said
    assert desk.offers() == []


def test_an_unsigned_altered_or_swapped_request_is_refused_and_nothing_is_offered(desk: Desk) -> None:
    path = desk.signed()
    beside = path.with_suffix(".sig")
    good, signatures = path.read_bytes(), beside.read_bytes()
    beside.unlink()
    assert "is not signed" in desk("submit", path, code=1).told
    beside.write_bytes(signatures)
    path.write_bytes(good.replace(b'"most": 100000', b'"most": 900000'))
    assert "changed after it was signed" in desk("submit", path, code=1).told
    path.write_bytes(good[:-20])
    desk("submit", path, code=3)
    path.write_bytes(good)
    found = Signatures.decode(signatures)
    tx = open_transaction(found.transaction)
    assert isinstance(tx, AccessRequest)
    node = desk.at.node("hospital-west")
    request, key = read_request(good), PrivateKey.generate()
    foreign = access_request(request, good, tx_heading := {**node.heading()})
    spoiled = {
        "transaction": found.transaction[:-1] + bytes([found.transaction[-1] ^ 1]),
        "another's": node.sign(foreign),
        "more": access_request(request, good, tx_heading | {"sender": tx.sender}).encode() + bytes(64),
        "junk": b"junk",
    }
    for name, transaction in spoiled.items():
        beside.write_bytes(Signatures(found.digest, transaction).encode())
        assert desk("submit", path, code=1).told, name
    beside.write_bytes(Signatures(found.digest, found.transaction, key.sign(possession(found.digest))).encode())
    assert "recipient" in desk("submit", path, code=1).told
    for junk in (b"", b"{}", signatures[:-1], signatures.replace(b"digest", b"Digest")):
        beside.write_bytes(junk)
        desk("submit", path, code=1)
    assert desk.offers() == []


def test_a_request_of_another_region_is_refused(desk: Desk) -> None:
    path = desk.signed()
    chain = desk.at.genesis.chain_id.hex().encode()
    path.write_bytes(path.read_bytes().replace(chain, bytes(32).hex().encode()))
    assert "another region's chain" in desk("submit", path, code=1).told
    assert "another region's chain" in desk("check", path, code=1).output.decode()
    assert desk.offers() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"holder": "hospital-nort"}, "no institution 'hospital-nort'"),
        ({"holder": "insurer"}, "insurer publishes no records"),
        ({"code": "", "from": "", "ages": ""}, "asks for all records of every patient"),
        ({"from": "2999-01-01"}, "still to come"),
        ({"most": 1_000_001}, "at most 1000000 records"),
        ({"ethics": "区,7,2020-01-01,2021-01-01,approval.pdf"}, "the approval ended on 2021-01-01"),
        ({"ethics": "区,7,2998-01-01,2999-01-01,approval.pdf"}, "begins on 2998-01-01 only"),
        ({"keep_until": "2199-01-01"}, "at most 3660 days"),
        ({"requester": "university"}, "no institution 'university'"),
    ],
)
def test_what_the_region_does_not_let_be_asked_is_said_and_not_signed(
    desk: Desk, changes: dict[str, Any], said: str
) -> None:
    draft = desk.draft(**changes)
    assert said in desk("check", draft, code=1).output.decode()
    done = desk("sign", draft, code=1)
    assert said in done.told
    assert not list(desk.folder.glob("*.request.json")) and desk.offers() == []


def test_weak_demands_on_risk_are_not_signed(desk: Desk) -> None:
    draft = desk.draft()
    for old, new, place in (("k: 5", "k: 4", "demands/k"), ("suppression: 50", "suppression: 201", "suppression")):
        text = draft.read_text(encoding="utf-8")
        draft.write_text(text.replace(old, new), encoding="utf-8")
        assert place in desk("sign", draft, code=1).told
        draft.write_text(text, encoding="utf-8")


def test_faults_of_a_draft_end_with_code_3_and_their_lines(desk: Desk) -> None:
    draft = desk.draft()
    draft.write_text(draft.read_text(encoding="utf-8").replace("laboratory_results", "laboratory"), encoding="utf-8")
    for command in ("check", "sign"):
        assert "views/0: the library has no view 'laboratory'" in desk(command, draft, code=3).told
    desk("check", desk.folder / "none.yaml", code=3)
    assert "there already" in desk("new", draft, code=1).told


def test_only_the_requesters_own_node_signs(desk: Desk) -> None:
    done = desk("sign", desk.draft(), "--institution", "hospital-west", code=1)
    assert "only the node of research-institute signs" in done.told
    assert not (desk.folder / "glucose.request.json").exists()


def test_a_signature_of_a_key_that_was_changed_meanwhile_is_refused(desk: Desk) -> None:
    path = desk.signed()
    found = Signatures.decode(path.with_suffix(".sig").read_bytes())
    tx = open_transaction(found.transaction)
    assert isinstance(tx, AccessRequest)
    other = replace(tx, key_id=bytes(16), answer_key=bytes(16), signature=bytes(64))
    path.with_suffix(".sig").write_bytes(Signatures(found.digest, other.encode()).encode())
    assert "not research-institute's present one" in desk("submit", path, code=1).told
    late = replace(tx, expiry_height=0)
    node = desk.at.node(INSTITUTE)
    path.with_suffix(".sig").write_bytes(Signatures(found.digest, node.sign(late)).encode())
    assert "sign it again" in desk("submit", path, code=1).told
    assert desk.offers() == []


def test_questions_make_the_same_draft_as_options(desk: Desk) -> None:
    answers = [
        "glucose control by district", INSTITUTE, "hospital-east, hospital-west", "research",
        "http://loinc.org|2339-0,http://loinc.org|4548-4; http://hl7.org/fhir/sid/icd-10|E11", "2025-01-01", "",
        "18-89", "laboratory_results, patients", "2028-01-01", "",
    ]  # fmt: skip
    asked, given = desk.folder / "asked.yaml", desk.folder / "given.yaml"
    desk("new", asked, "--ask", stdin="\n".join(answers).encode() + b"\n")
    desk(
        "new", given, "--title", answers[0], "--requester", INSTITUTE, "--holder", "hospital-east", "--holder",
        "hospital-west", "--purpose", "research", "--code", answers[4].split("; ")[0], "--code",
        answers[4].split("; ")[1], "--from", "2025-01-01", "--ages", "18-89", "--view", "laboratory_results", "--view",
        "patients", "--keep-until", "2028-01-01",
    )  # fmt: skip
    assert asked.read_text(encoding="utf-8") == given.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wrong",
    [("--code", "2339-0"), ("--ages", "18"), ("--from", "1.1.2025"), ("--keep-until", "soon"), ("--ethics", "A,B")],
)
def test_options_that_cannot_be_meant_are_a_mistake_of_usage(desk: Desk, wrong: tuple[str, str]) -> None:
    desk("new", desk.folder / "x.yaml", *wrong, code=2)
    assert not (desk.folder / "x.yaml").exists()


def test_a_draft_can_be_tried_where_there_is_no_chain(desk: Desk, tmp_path: Path) -> None:
    draft = desk.draft()
    done = run_here("request", "check", draft, XINGLIN_HOME=str(tmp_path / "nothing"))
    assert done.code == 0 and "There is no chain here" in done.output.decode()


def test_what_nobody_asked_is_not_found(desk: Desk) -> None:
    before = desk.offers()
    for nothing in ("00" * 32, "abc"):
        done = desk("show", nothing, code=2)
        assert done.told.startswith(f"xinglin: {nothing}: 0 requests begin so") and done.output == b""
    assert desk.offers() == before
