"""Each question to a node, read whole before the node is asked; the node's own rules decide, never this.

Who may connect may have carried what any worker carries. What speaks for the institution as a whole (proposing and
voting in governance, findings, asking for a dataset and approving one) is signed for operators only: decision 141.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ledger.agreement.certificate import COMMIT, MAX_QC, PREPARE, TIMEOUT
from ledger.agreement.proposal import MAX_BLOCK, MAX_BODY, MAX_TC
from ledger.chain.leaves import Leaves, entries_of
from ledger.chain.transaction import MAX_TRANSACTION, Transaction
from ledger.chain.transactions import open_transaction
from ledger.encoding import DIGEST, Reader, listed, u32, u64, var
from ledger.errors import Refused
from ledger.exchange import MAX_LISTED
from ledger.messages.access import AccessRequest
from ledger.messages.asked import SelectionAsked
from ledger.node import Node
from ledger.remote.answers import Wanted, refusal, text
from ledger.remote.framing import MAX_MESSAGE
from ledger.remote.protocol import MAX_CIPHERTEXT, Method, Question, flag, optional, read_flag, read_optional, receipt

Work = Callable[[Node], bytes]
_MAX_LOCATOR: Final = 256
_MAX_VOTE: Final = MAX_QC + 1_024
#: Types of transaction that a person decides on, never a task: GOV_PROPOSE, GOV_VOTE, FINDING, APPROVAL, REVIEW.
OPERATORS_ONLY: Final = frozenset({2, 3, 11, 12, 14})


def work_of(question: Question, *, operator: bool) -> Work:
    """Return what the node must do for a question.

    Args:
        question: Its arguments are not read yet.
        operator: Whether an operator asks.

    Raises:
        Malformed: The arguments are not those of the method.
        Refused: Only an operator may ask this.
    """
    reader = question.arguments
    work = _sign(reader, operator=operator) if question.method is Method.SIGN else _READERS[question.method](reader)
    reader.end()
    return work


def _status(_: Reader) -> Work:
    def work(node: Node) -> bytes:
        return var(node.institution.encode()) + u64(node.height) + flag(node.is_voter) + text(node.halted or "")

    return work


def _producer(reader: Reader) -> Work:
    round_ = reader.u32()
    return lambda node: var(node.producer(round_).encode())


def _is_producer(reader: Reader) -> Work:
    height, round_ = reader.u64(), reader.u32()
    return lambda node: flag(node.is_producer(height, round_))


def _next_seq(_: Reader) -> Work:
    return lambda node: u64(node.next_seq())


def _heading(_: Reader) -> Work:
    def work(node: Node) -> bytes:
        fields = node.heading()
        return (
            bytes(fields["chain_id"]) + bytes(fields["sender"]) + bytes(fields["key_id"]) + bytes(fields["nonce"])
            + u64(fields["expiry_height"])
        )  # fmt: skip

    return work


def _sign(reader: Reader, *, operator: bool) -> Work:
    draft = open_transaction(reader.var(MAX_TRANSACTION))
    if not isinstance(draft, Transaction):
        raise Refused("draft", "4", "a batch is signed over its records: ask the node to submit them")
    if not operator and (draft.TYPE in OPERATORS_ONLY or _asks_for_a_dataset(draft)):
        raise Refused("operator", "0", f"{draft.NAME} speaks for the institution: an operator asks for it, no worker")
    return lambda node: var(node.sign(draft))


def _asks_for_a_dataset(draft: Transaction) -> bool:
    return isinstance(draft, AccessRequest) and isinstance(draft.asked, SelectionAsked)


def _submit(reader: Reader) -> Work:
    seq, locator, body = reader.u64(), reader.text(_MAX_LOCATOR), reader.var(MAX_BODY)
    entries = entries_of(Leaves.decode(body))

    def work(node: Node) -> bytes:
        made = node.submit(entries, seq, locator)
        return var(made.tx) + made.tx_id

    return work


def _public_key(_: Reader) -> Work:
    return lambda node: node.public.bytes


def _decrypt(reader: Reader) -> Work:
    ciphertext = reader.var(MAX_CIPHERTEXT)
    return lambda node: var(node.decrypt(ciphertext))


def _cosign(reader: Reader) -> Work:
    height = reader.u64()
    return lambda node: var(node.cosign(height))


def _sign_manifest(reader: Reader) -> Work:
    request, digest = reader.take(DIGEST), reader.take(DIGEST)
    return lambda node: node.sign_manifest(request, digest)


def _sign_catalogue(reader: Reader) -> Work:
    digest = reader.take(DIGEST)
    return lambda node: node.sign_catalogue(digest)


def _fate(reader: Reader) -> Work:
    tx = reader.var(MAX_TRANSACTION)

    def work(node: Node) -> bytes:
        fate = node.fate(tx)
        return flag(fate.height is not None) + u64(fate.height or 0) + flag(fate.lapsed)

    return work


def _observe(reader: Reader) -> Work:
    shown = reader.listed(3 * MAX_LISTED, MAX_TC)

    def work(node: Node) -> bytes:
        node.observe(shown)
        return b""

    return work


@dataclass(frozen=True, slots=True)
class Carried:
    """The earlier proposals sent with a question; asks for the next one where they were not enough."""

    sent: tuple[bytes, ...]
    more: bool

    def __iter__(self) -> Iterator[bytes]:
        yield from self.sent
        if self.more:
            raise Wanted


def _propose(reader: Reader) -> Work:
    round_ = reader.u32()
    tc, prepare_qc = read_optional(reader, MAX_TC), read_optional(reader, MAX_QC)
    offered = [(reader.var(MAX_TRANSACTION), reader.var(MAX_BODY)) for _ in range(reader.count(MAX_LISTED))]
    evidence = reader.listed(MAX_LISTED, MAX_BLOCK)
    carried = Carried(reader.listed(1, MAX_MESSAGE), read_flag(reader))

    def work(node: Node) -> bytes:
        places = {data: place for place, data in enumerate([*(tx for tx, _ in offered), *evidence])}
        left_out: list[bytes] = []
        made = node.propose(
            offered, round_, tc, prepare_qc=prepare_qc, carried=carried, evidence=evidence,
            on_skip=lambda tx, error: left_out.append(u32(places[tx]) + refusal(error)),
        )  # fmt: skip
        return listed(left_out) + optional(made)

    return work


def _prepare(reader: Reader) -> Work:
    proposal = reader.var(MAX_MESSAGE)
    return lambda node: var(node.prepare(proposal))


def _commit(reader: Reader) -> Work:
    certificate, proposal = reader.var(MAX_QC), reader.var(MAX_MESSAGE)
    return lambda node: var(node.commit(certificate, proposal))


def _timeout(reader: Reader) -> Work:
    height, round_, tc = reader.u64(), reader.u32(), read_optional(reader, MAX_TC)
    shown = reader.listed(MAX_LISTED, _MAX_VOTE)
    return lambda node: var(node.timeout(height, round_, tc, shown))


def _open_round(reader: Reader) -> Work:
    height, round_, cause = reader.u64(), reader.u32(), reader.var(MAX_TC)

    def work(node: Node) -> bytes:
        node.open_round(height, round_, cause)
        return b""

    return work


def _good_certificate(reader: Reader) -> Work:
    height, round_, type_, data = reader.u64(), reader.u32(), reader.u8(), reader.var(MAX_TC)
    return lambda node: flag(node.good_certificate([data], height, round_, type_) is not None)


def _assemble(reader: Reader) -> Work:
    type_, height, round_, votes = reader.u8(), reader.u64(), reader.u32(), reader.listed(MAX_LISTED, _MAX_VOTE)
    if type_ not in (PREPARE, COMMIT, TIMEOUT):
        raise reader.wrong(f"type {type_} is no vote")

    def work(node: Node) -> bytes:
        if type_ == TIMEOUT:
            return optional(node.assemble_tc(votes, height, round_))
        return optional(node.assemble_prepare(votes) if type_ == PREPARE else node.assemble_commit(votes))

    return work


def _apply(reader: Reader) -> Work:
    block, certificate, bodies = reader.var(MAX_BLOCK), reader.var(MAX_QC), reader.listed(1_024, MAX_BODY)
    return lambda node: receipt(node.apply(block, certificate, bodies))


_READERS: Final[dict[Method, Callable[[Reader], Work]]] = {
    Method.STATUS: _status,
    Method.PRODUCER: _producer,
    Method.IS_PRODUCER: _is_producer,
    Method.NEXT_SEQ: _next_seq,
    Method.HEADING: _heading,
    Method.SUBMIT: _submit,
    Method.FATE: _fate,
    Method.OBSERVE: _observe,
    Method.PROPOSE: _propose,
    Method.PREPARE: _prepare,
    Method.COMMIT: _commit,
    Method.TIMEOUT: _timeout,
    Method.GOOD_CERTIFICATE: _good_certificate,
    Method.ASSEMBLE: _assemble,
    Method.APPLY: _apply,
    Method.PUBLIC_KEY: _public_key,
    Method.DECRYPT: _decrypt,
    Method.COSIGN: _cosign,
    Method.OPEN_ROUND: _open_round,
    Method.SIGN_MANIFEST: _sign_manifest,
    Method.SIGN_CATALOGUE: _sign_catalogue,
}
