"""A good example of the bytes of every decoder of the ledger, under the decoder's qualified name."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

from region_simulation import MEMBERS, START

from ledger.agreement.certificate import (
    COMMIT,
    NO_ROUND,
    PREPARE,
    TIMEOUT,
    Ballot,
    QuorumCertificate,
    TimeoutCertificate,
    Vote,
    qc_digest,
)
from ledger.agreement.proposal import Proposal
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.genesis import ChainParameters, Genesis
from ledger.chain.header import Header
from ledger.chain.leaves import Leaves, RecordLeaf, leaves_of
from ledger.chain.replica import FinalBlock
from ledger.chain.roster import Registration, Roster
from ledger.chain.rules import DENIED
from ledger.chain.smt import StateProof
from ledger.chain.state import BatchState, InstitutionState
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import Member, ValidatorSet
from ledger.contracts.governance import Propose
from ledger.contracts.governance import Vote as GovernanceVote
from ledger.contracts.member_changes import Freeze
from ledger.contracts.motions import Motion, decode_ballots, decode_index, encode_ballots
from ledger.contracts.policy import PolicySet
from ledger.credit.credit_messages import Finding, LateVote, Missed, Violation
from ledger.credit.evidence import Evidence
from ledger.credit.offences import Offence
from ledger.credit.scoring import CreditState
from ledger.credit.seats import ALARMS, Alarms
from ledger.credit.tally import Confirmed, EpochFacts, Facts, MissedTurn, Tally
from ledger.encoding import listed
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import RecordAsked, SelectionAsked
from ledger.messages.consent import Consent, ConsentState
from ledger.messages.delivery import Delivered, DeliveryState, Received
from ledger.messages.erasure import Erase, Tombstone
from ledger.messages.key_grants import KeyGrant, Wrap
from ledger.messages.notice import Notice, NoticeState
from ledger.messages.provisions import Provision
from ledger.messages.request_state import RequestState, Verdict, Voice
from ledger.messages.review import Emergency, Given, Review
from ledger.messages.sealed_summary import SEALED, Bundle, SealedSummary
from ledger.proofs.checkpoint import Checkpoint, Cosignature, Note
from ledger.proofs.receipts import EntryProof, ReceiptProof, Step, Trunk
from ledger.sync.comparing import Continuation, Standing
from ledger.sync.header_chain import CertifiedHeader, decode_headers, encode_headers
from ledger.sync.state_chunks import StateChunk
from schemas.records import Entry
from schemas.region import Parameters, Region
from shangmi import PrivateKey, sm3

Decoder = Callable[[bytes], Any]
RNG = random.Random(11)
KEYS = {one.id: PrivateKey.from_scalar(sm3(b"example" + one.id.encode())) for one in MEMBERS}
GENESIS = Genesis.from_region(
    Region("杏林示范区", START, MEMBERS, Parameters()), {one: key.public for one, key in KEYS.items()}
)


def blob(length: int = 32) -> bytes:
    return RNG.randbytes(length)


def ids(count: int) -> list[bytes]:
    return sorted(blob(16) for _ in range(count))


def entry(locator: str = "5f3a") -> Entry:
    return Entry(blob(16), 1 + RNG.randrange(9), blob(), blob(), bytes(32), 900, 14, locator)


BALLOT = Ballot(PREPARE, 7, 2, 0, blob(), 1, blob())
QC = QuorumCertificate(BALLOT, 5, (0, 2, 4), (blob(64), blob(64), blob(64)))
LOCK = QC.encode()
TC = TimeoutCertificate(
    7, 2, 0, 5, (1, 2, 3), ((NO_ROUND, bytes(32)), (2, qc_digest(LOCK)), (2, qc_digest(LOCK))), (blob(64),) * 3, (LOCK,)
)
BATCH = SubmitBatch(blob(), blob(16), blob(16), 3, blob(), 4, blob(16), 99, "vault of 东城医院", blob(64))
HEADER = GENESIS.header
ROSTER = Roster.from_members(GENESIS.validators.members, GENESIS.names)
BLOCK = Block(HEADER, LOCK, (BATCH.encode(), BATCH.encode()), (blob(90),))
EVEN, MIXED = leaves_of([entry(), entry()]), leaves_of([entry("a"), entry("bcd"), entry("东")])
PROPOSAL = Proposal(3, blob(16), BLOCK.encode(), LOCK, TC.encode(), (EVEN.encode(), MIXED.encode()), blob(64))
VOTE = Vote(BALLOT, blob(16), blob(64))
HEADING: dict[str, Any] = {
    "chain_id": blob(), "sender": blob(16), "key_id": blob(16), "nonce": blob(16), "expiry_height": 99,
    "signature": blob(64),
}  # fmt: skip
PROVISION = Provision(True, frozenset({"care", "research"}), ("A", "P"), tuple(ids(2)), (14, 20), (1, 9), (2, 8))
FREEZE = Freeze(blob(16))
TRUNK = Trunk(blob(), (Step(HEADER.encode(), LOCK, GENESIS.validators.encode()),), HEADER.encode(), LOCK)
FACTS = Facts(3, 40, 50, 1, 2, 1, 200, 2, True)
VIOLATION = Violation(blob(16), 2, blob(), 150, 40)
CHECKPOINT = Checkpoint(blob(), 40, blob(), blob(), blob())
COSIGNATURE = Cosignature("health-commission", blob(4), 1_700_000_000_000, blob(64))
SEALED_SUMMARY = b"XLS1" + struct.pack(">16s16sI", blob(16), blob(16), 3) + blob(SEALED - 40)
REQUEST = AccessRequest(
    **HEADING, asked=RecordAsked(3, 1, MIXED.record(2), (blob(), blob())), holders=(blob(16),), purpose="care",
    answer_key=blob(16), patient=blob(),
)  # fmt: skip

#: Bytes and decoder by ``module.Class.decode``; several examples of one decoder are told apart behind a colon.
EXAMPLES: dict[str, tuple[bytes, Decoder]] = {
    # --- blocks and what is in them ----------------------------------------------------------------------------------
    "header.Header.decode": (HEADER.encode(), Header.decode),
    "block.Block.decode": (BLOCK.encode(), Block.decode),
    "batch.SubmitBatch.decode": (BATCH.encode(), SubmitBatch.decode),
    "leaves.RecordLeaf.decode": (MIXED.record(2), RecordLeaf.decode),
    "leaves.Leaves.decode: one width": (EVEN.encode(), Leaves.decode),
    "leaves.Leaves.decode: different widths": (MIXED.encode(), Leaves.decode),
    "replica.FinalBlock.decode": (FinalBlock(BLOCK.encode(), LOCK, (EVEN.encode(),)).encode(), FinalBlock.decode),
    "header_chain.decode_headers": (encode_headers([CertifiedHeader(HEADER, LOCK)] * 2), decode_headers),
    "header_chain.CertifiedHeader.decode": (CertifiedHeader(HEADER, LOCK).encode(), CertifiedHeader.decode),
    # --- agreement ---------------------------------------------------------------------------------------------------
    "certificate.Vote.decode: PREPARE": (VOTE.encode(), Vote.decode),
    "certificate.Vote.decode: COMMIT": (
        Vote(Ballot(COMMIT, 7, 2, 0, blob(), 2, blob()), blob(16), blob(64)).encode(), Vote.decode,
    ),
    "certificate.Vote.decode: TIMEOUT": (
        Vote(Ballot(TIMEOUT, 7, 2, 0, bytes(32), 2, qc_digest(LOCK)), blob(16), blob(64), LOCK).encode(), Vote.decode,
    ),
    "certificate.QuorumCertificate.decode": (LOCK, QuorumCertificate.decode),
    "certificate.TimeoutCertificate.decode": (TC.encode(), TimeoutCertificate.decode),
    "proposal.Proposal.decode": (PROPOSAL.encode(), Proposal.decode),
    # --- the region --------------------------------------------------------------------------------------------------
    "validators.Member.decode": (GENESIS.validators.members[0].encode(), Member.decode),
    "validators.ValidatorSet.decode": (GENESIS.validators.encode(), ValidatorSet.decode),
    "genesis.ChainParameters.decode": (GENESIS.parameters.encode(), ChainParameters.decode),
    "genesis.Genesis.load": (GENESIS.encode(), Genesis.load),
    "roster.Registration.decode": (next(iter(ROSTER)).encode(), Registration.decode),
    "roster.Roster.decode": (ROSTER.encode(), Roster.decode),
    # --- state -------------------------------------------------------------------------------------------------------
    "state.InstitutionState.decode": (InstitutionState(5, blob(16)).encode(), InstitutionState.decode),
    "state.BatchState.decode": (BatchState(blob(), 5, 6, 7).encode(), BatchState.decode),
    "scoring.CreditState.decode": (CreditState(450, "member", 2, 4).encode(), CreditState.decode),
    "seats.Alarms.decode": (Alarms(3, ((ALARMS[0], blob(16)), (ALARMS[2], blob(16)))).encode(), Alarms.decode),
    "offences.Offence.decode": (Offence(1, blob(16), 40, 44).encode(), Offence.decode),
    "tally.EpochFacts.decode": (EpochFacts(dict.fromkeys(ids(2), FACTS)).encode(), EpochFacts.decode),
    "tally.Confirmed.decode": (Confirmed(40, 3, blob(16), tuple(ids(2))).encode(), Confirmed.decode),
    "tally.Tally.decode": (
        Tally(
            dict.fromkeys(ids(2), FACTS), (Confirmed(40, 3, blob(16), tuple(ids(2))),),
            (MissedTurn(41, 2, blob(16)),), 3, 2,
        ).encode(),
        Tally.decode,
    ),
    "erasure.Tombstone.decode": (Tombstone(40, "patient").encode(), Tombstone.decode),
    "consent.ConsentState.decode": (
        ConsentState(3, 40, False, blob(), KEYS["lab-centre"].public.bytes, (PROVISION,)).encode(), ConsentState.decode,
    ),
    "provisions.Provision.read": (PROVISION.encode(), Provision.read),
    "delivery.DeliveryState.decode": (
        DeliveryState("delivered", blob(), blob(), 3, 900, 40, 44).encode(), DeliveryState.decode,
    ),
    "notice.NoticeState.decode": (NoticeState("recut", 15, 40, blob(), blob(), 44).encode(), NoticeState.decode),
    "request_state.Verdict.decode": (
        Verdict(False, "forbidden", blob(), ("一条规则", "other")).encode(), lambda data: Verdict.decode(DENIED, data),
    ),
    "request_state.RequestState.decode": (
        RequestState(
            blob(16), blob(16), tuple(ids(2)), "care", "", bytes(32), blob(), bytes(16), 0, 0, blob(), 20, 40, 60,
            3, "pending", (Voice(blob(16), True), Voice(blob(16), False, "ethics")),
        ).encode(),
        RequestState.decode,
    ),
    "review.Emergency.decode": (
        Emergency(blob(16), blob(16), 7, 1_007, (Given(blob(16), "no-treatment", True, 9),)).encode(), Emergency.decode,
    ),
    "review.Given.decode": (Given(blob(16), "danger-confirmed", False, 9).encode(), Given.decode),
    "request_state.Voice.decode": (Voice(blob(16), False, "purpose").encode(), Voice.decode),
    "motions.Motion.decode": (Motion(blob(16), "冻结一家", FREEZE, 40, 3).encode(), Motion.decode),
    "motions.decode_ballots": (encode_ballots(dict.fromkeys(ids(2), 1)), decode_ballots),
    "motions.decode_index": (listed(sorted((blob(), blob()))), decode_index),
    # --- transactions ------------------------------------------------------------------------------------------------
    "transaction.Transaction.decode: GOV_PROPOSE": (
        Propose(**HEADING, title="冻结一家", change=FREEZE).encode(), Propose.decode,
    ),
    "transaction.Transaction.decode: GOV_VOTE": (
        GovernanceVote(**HEADING, proposal=blob(), choice=1).encode(), GovernanceVote.decode,
    ),
    "transaction.Transaction.decode: ACCESS_REQ": (REQUEST.encode(), AccessRequest.decode),
    "transaction.Transaction.decode: ACCESS_REQ for a dataset": (
        AccessRequest(
            **HEADING, asked=SelectionAsked(blob(), 90), holders=tuple(ids(3)), purpose="research",
            answer_key=blob(16), ethics=blob(),
        ).encode(),
        AccessRequest.decode,
    ),
    "transaction.Transaction.decode: APPROVAL": (
        Approval(**HEADING, request=blob(), digest=blob(), approves=False, reason="too-much").encode(), Approval.decode,
    ),
    "transaction.Transaction.decode: DELIVERED": (
        Delivered(**HEADING, request=blob(), package=blob(), manifest=blob(), records=3, size=900).encode(),
        Delivered.decode,
    ),
    "transaction.Transaction.decode: RECEIVED": (
        Received(**HEADING, request=blob(), holder=blob(16), package=blob()).encode(), Received.decode,
    ),
    "transaction.Transaction.decode: CONSENT": (
        Consent(
            **HEADING, patient=blob(), sequence=1, provisions=(PROVISION,), reference=blob(),
            patient_key=KEYS["lab-centre"].public.bytes, patient_signature=blob(64),
        ).encode(),
        Consent.decode,
    ),
    "transaction.Transaction.decode: ERASE": (
        Erase(**HEADING, reason="patient", records=tuple((one, 2) for one in ids(2))).encode(), Erase.decode,
    ),
    "transaction.Transaction.decode: NOTICE": (
        Notice(**HEADING, request=blob(), holder=blob(16), step="raised", affected=15).encode(), Notice.decode,
    ),
    "transaction.Transaction.decode: NOTICE of a package cut anew": (
        Notice(
            **HEADING, request=blob(), holder=blob(16), step="recut", package=blob(), manifest=blob(),
        ).encode(),
        Notice.decode,
    ),
    "transaction.Transaction.decode: REVIEW": (
        Review(**HEADING, request=blob(), reason="unexplained").encode(), Review.decode,
    ),
    "transaction.Transaction.decode: LATE_VOTE": (
        LateVote(**HEADING, vote=Vote(Ballot(COMMIT, 7, 2, 0, blob(), 2, blob()), blob(16), blob(64)).encode(),
                 certificate=LOCK).encode(),
        LateVote.decode,
    ),
    "transaction.Transaction.decode: MISSED": (Missed(**HEADING, certificate=TC.encode()).encode(), Missed.decode),
    "transaction.Transaction.decode: FINDING": (
        Finding(**HEADING, violation=VIOLATION, signatures=tuple((one, blob(64)) for one in ids(2))).encode(),
        Finding.decode,
    ),
    "transactions.open_transaction": (REQUEST.encode(), open_transaction),
    "credit_messages.Violation.decode": (VIOLATION.encode(), Violation.decode),
    "change.Change.decode: FREEZE": (FREEZE.content(), Freeze.decode),
    "evidence.Evidence.decode": (
        Evidence(1, 2, tuple((one, blob(64)) for one in sorted((blob(127), blob(127))))).encode(), Evidence.decode,
    ),
    "policy.PolicySet.decode": (PolicySet("permit(principal, action, resource);", "{}").encode(), PolicySet.decode),
    # --- proofs and what nodes serve ---------------------------------------------------------------------------------
    "smt.StateProof.decode": (StateProof((blob(), blob()), (blob(), blob())).encode(), StateProof.decode),
    "state_chunks.StateChunk.decode": (
        StateChunk((blob(), blob()), None, tuple((one + bytes(16), blob(9)) for one in ids(2))).encode(),
        StateChunk.decode,
    ),
    "receipts.Step.read": (TRUNK.steps[0].encode(), Step.read),
    "receipts.ReceiptProof.decode": (
        ReceiptProof(TRUNK, HEADER.encode(), (blob(),), blob(50), 3, (blob(), blob())).encode(), ReceiptProof.decode,
    ),
    "receipts.EntryProof.decode": (
        EntryProof(TRUNK, blob(40), StateProof((blob(),), None)).encode(), EntryProof.decode,
    ),
    "comparing.Standing.decode": (Standing(blob(16), HEADER, LOCK).encode(), Standing.decode),
    "comparing.Continuation.decode": (
        Continuation(blob(), blob(), (blob(),), (blob(), blob())).encode(), Continuation.decode,
    ),
    "checkpoint.Note.decode": (Note(CHECKPOINT, (COSIGNATURE,)).encode(), Note.decode),
    "key_grants.Wrap.read": (Wrap(blob(16), blob(16), blob(120)).encode(), Wrap.read),
    "key_grants.KeyGrant.decode": (
        KeyGrant(blob(), "hospital-east", 3, blob(), tuple(Wrap(one, blob(16), blob(120)) for one in ids(2))).encode(),
        KeyGrant.decode,
    ),
    "sealed_summary.SealedSummary.read": (SEALED_SUMMARY, SealedSummary.read),
    "sealed_summary.Bundle.decode": (Bundle(blob(), (SEALED_SUMMARY,)).encode(), Bundle.decode),
}  # fmt: skip

#: Decoders whose values have no ``encode`` of their own, by how to write one back.
WRITTEN: dict[str, Callable[[Any], bytes]] = {
    "change.Change.decode: FREEZE": lambda found: bytes(found.content()),
    "header_chain.decode_headers": encode_headers,
    "motions.decode_ballots": encode_ballots,
    "sealed_summary.SealedSummary.read": lambda found: bytes(found.data),
    "motions.decode_index": lambda found: (
        len(found).to_bytes(4, "big") + b"".join(b"\0\0\0\x20" + one for one in found)
    ),
}
