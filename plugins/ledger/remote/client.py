"""An institution's node behind its unix socket: a ``ledger.notary.Notary`` without key, vote store or replica."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ledger.agreement.certificate import COMMIT, MAX_QC, PREPARE, TIMEOUT
from ledger.agreement.following import FinalSource, Receipt
from ledger.agreement.production import SkipListener
from ledger.agreement.proposal import MAX_BLOCK, MAX_TC
from ledger.chain.batch import SubmitBatch
from ledger.chain.fate import Fate
from ledger.chain.leaves import leaves_of
from ledger.chain.transaction import MAX_TRANSACTION, Transaction
from ledger.chain.validators import institution_id
from ledger.encoding import DIGEST, PUBLIC_KEY, SHORT_ID, SIGNATURE, Reader, listed, u8, u32, u64, var
from ledger.errors import Malformed, Refused, Unreachable
from ledger.exchange import MAX_LISTED, MAX_OFFERED
from ledger.notary import sync_from
from ledger.proofs.checkpoint import MAX_NOTE
from ledger.remote.answers import MAX_TEXT, Wanted, read_refusal, result_of
from ledger.remote.framing import MAX_MESSAGE, Broken, Deadline, receive, send
from ledger.remote.protocol import (
    MAX_CIPHERTEXT,
    Method,
    flag,
    optional,
    question,
    read_flag,
    read_optional,
    read_receipt,
)
from ledger.signatory import Submission
from schemas.records import Entry
from shangmi import PublicKey

Found = TypeVar("Found")
_MAX_NAME = 256


class RemoteNode:
    """The node that listens on a socket.

    Each question is a connection of its own, so that a node that was started again is met again. Every question may
    be repeated by whoever gets ``Unreachable``.

    Args:
        path: The socket.
        institution: Whose node it must be.
        chain_id: Of the chain it must be on.
        patience: Seconds to wait for a node that is not there, or has no connection left.
        seconds: How long an answer may take: a full block is verified twice.

    Raises:
        Unreachable: By every method: nobody answers.
    """

    def __init__(
        self, path: Path, institution: str, chain_id: bytes, *, patience: float = 5.0, seconds: float = 600.0
    ) -> None:
        self.institution = institution
        self._path, self._chain_id = path, chain_id
        self._patience, self._seconds = patience, seconds

    def close(self) -> None:
        """Nothing is open between questions."""

    # --- publishing --------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Height of the last final block; 0 is genesis."""
        return self.status()[0]

    @property
    def is_voter(self) -> bool:
        """Whether the institution has a vote."""
        return self.status()[1]

    def status(self) -> tuple[int, bool, str]:
        """Return the height, whether the institution has a vote, and why the node signs nothing (empty: it does)."""

        def read(reader: Reader) -> tuple[int, bool, str]:
            if reader.text(_MAX_NAME) != self.institution:
                raise reader.wrong("another institution's node")
            return reader.u64(), read_flag(reader), reader.text(MAX_TEXT)

        return self._ask(Method.STATUS, b"", read)

    def next_seq(self) -> int:
        """Return the number the chain expects of this institution's next batch."""
        return self._ask(Method.NEXT_SEQ, b"", Reader.u64)

    def heading(self) -> dict[str, Any]:
        """Return the fields that every transaction of this institution begins with, by name; the nonce is new."""

        def read(reader: Reader) -> dict[str, Any]:
            if reader.take(DIGEST) != self._chain_id:
                raise reader.wrong("another chain")
            ids = {name: reader.take(SHORT_ID) for name in ("sender", "key_id", "nonce")}
            return {"chain_id": self._chain_id, **ids, "expiry_height": reader.u64()}

        return self._ask(Method.HEADING, b"", read)

    def sign(self, draft: Transaction) -> bytes:
        """Return a transaction signed as this institution; what a person decides on, for operators only."""
        encoded = draft.signed_bytes() + bytes(SIGNATURE)
        return self._ask(Method.SIGN, var(encoded), lambda reader: reader.var(MAX_TRANSACTION))

    def submit(self, entries: Sequence[Entry], seq: int, locator: str) -> Submission:
        """Return a signed batch of sealed records."""
        if not entries:
            raise Refused("batch size", "4", "0 records; a batch has at least one")
        leaves = leaves_of(entries).encode()
        arguments = u64(seq) + var(locator.encode()) + var(leaves)

        def read(reader: Reader) -> Submission:
            tx = reader.var(MAX_TRANSACTION)
            return Submission(tx, leaves, reader.take(DIGEST))

        made = self._ask(Method.SUBMIT, arguments, read)
        if SubmitBatch.decode(made.tx).tx_id != made.tx_id:
            raise Unreachable("the node's answer names another transaction than it holds")
        return made

    @property
    def public(self) -> PublicKey:
        """The public half of the node's key."""
        return PublicKey.from_bytes(self._ask(Method.PUBLIC_KEY, b"", lambda reader: reader.take(PUBLIC_KEY)))

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what was encrypted to the institution's key; Refused where nothing was."""
        if len(ciphertext) > MAX_CIPHERTEXT:
            raise Refused("ciphertext", "5", f"{len(ciphertext)} bytes; a wrapped key has at most {MAX_CIPHERTEXT}")
        return self._ask(Method.DECRYPT, var(ciphertext), lambda reader: reader.var(MAX_CIPHERTEXT))

    def cosign(self, height: int) -> bytes:
        """Return this auditor's signed checkpoint of one of its own final blocks."""
        return self._ask(Method.COSIGN, u64(height), lambda reader: reader.var(MAX_NOTE))

    def sign_manifest(self, request: bytes, digest: bytes) -> bytes:
        """Return the holder's signature on the manifest of a dataset that answers an allowed request."""
        if len(request) != DIGEST or len(digest) != DIGEST:
            raise Refused("manifest", "14", "expected a request's id and a digest, 32 bytes each")
        return self._ask(Method.SIGN_MANIFEST, request + digest, lambda reader: reader.take(SIGNATURE))

    def sign_catalogue(self, digest: bytes) -> bytes:
        """Return this institution's signature on its catalogue of what may be asked for."""
        if len(digest) != DIGEST:
            raise Refused("catalogue", "14", f"a digest of {len(digest)} bytes, expected {DIGEST}")
        return self._ask(Method.SIGN_CATALOGUE, digest, lambda reader: reader.take(SIGNATURE))

    def fate(self, tx: bytes) -> Fate:
        """Return what became of a transaction, by the node's own replica."""

        def read(reader: Reader) -> Fate:
            final, height, lapsed = read_flag(reader), reader.u64(), read_flag(reader)
            return Fate(height if final else None, lapsed)

        return self._ask(Method.FATE, var(tx), read)

    def observe(self, shown: Iterable[bytes]) -> None:
        """Let the node look for signatures of its own key that it does not know of."""
        fitting = [one for one in shown if len(one) <= MAX_TC][: 3 * MAX_LISTED]
        self._ask(Method.OBSERVE, listed(fitting), lambda _: None)

    # --- agreement ---------------------------------------------------------------------------------------------

    def producer(self, round: int = 0) -> str:
        """Return whose turn it is to propose the next block in a round."""
        return self._ask(Method.PRODUCER, u32(round), lambda reader: reader.text(_MAX_NAME))

    def is_producer(self, height: int, round: int) -> bool:
        """Say whether it is this institution's turn to propose."""
        return self._ask(Method.IS_PRODUCER, u64(height) + u32(round), read_flag)

    def propose(
        self,
        submissions: Iterable[tuple[bytes, bytes]],
        round: int = 0,
        tc: bytes | None = None,
        *,
        prepare_qc: bytes | None = None,
        carried: Iterable[bytes] = (),
        evidence: Iterable[bytes] = (),
        on_skip: SkipListener | None = None,
    ) -> bytes | None:
        """Return this producer's proposal for the next height, or None where there is nothing to do.

        Earlier proposals go over one at a time, and only where the node asks for them.
        """
        offered = list(_fitting(submissions))
        pairs = u32(len(offered)) + b"".join(var(tx) + var(leaves) for tx, leaves in offered)
        proofs = [one for one in evidence if len(one) <= MAX_BLOCK][:MAX_LISTED]
        named = [*(tx for tx, _ in offered), *proofs]
        fixed = u32(round) + optional(tc) + optional(prepare_qc) + pairs + listed(proofs)

        def read(reader: Reader) -> bytes | None:
            for _ in range(reader.count(2 * MAX_LISTED)):
                left_out = Reader(reader.var(MAX_QC), "submission left out")
                place, error = left_out.u32(), read_refusal(left_out)
                if on_skip is not None and place < len(named):
                    on_skip(named[place], error)
            return read_optional(reader, MAX_MESSAGE)

        waiting, sent, more = iter(carried), list[bytes](), True
        while True:
            try:
                return self._ask(Method.PROPOSE, fixed + listed(sent) + flag(more), read)
            except Wanted:
                sent = [one for one in (next(waiting, None),) if one is not None]
                more = bool(sent)

    def prepare(self, proposal: bytes) -> bytes:
        """Return this voter's PREPARE after the node verified everything itself."""
        return self._ask(Method.PREPARE, var(proposal), _vote)

    def commit(self, prepare_qc: bytes, proposal: bytes) -> bytes:
        """Return this voter's COMMIT."""
        return self._ask(Method.COMMIT, var(prepare_qc) + var(proposal), _vote)

    def open_round(self, height: int, round: int, cause: bytes) -> None:
        """The node counts a round's time from now or from before, where this is a reason for it to be open."""
        if len(cause) > MAX_TC:
            raise Refused("size", "0", f"{len(cause)} bytes; what opens a round has at most {MAX_TC}")
        self._ask(Method.OPEN_ROUND, u64(height) + u32(round) + var(cause), lambda _: None)

    def timeout(self, height: int, round: int, tc: bytes | None = None, shown: Iterable[bytes] = ()) -> bytes:
        """Return this voter's TIMEOUT of a round with its lock, once the round's time is over at the node."""
        fixed = u64(height) + u32(round) + optional(tc)
        return self._ask(Method.TIMEOUT, fixed + listed(_fitting_votes(shown)), _vote)

    def good_certificate(self, candidates: Iterable[bytes], height: int, round: int, type_: int) -> bytes | None:
        """Return the first of these that is a good certificate of a height and round, or None."""
        place = u64(height) + u32(round) + u8(type_)
        for data in candidates:
            if len(data) <= MAX_TC and self._ask(Method.GOOD_CERTIFICATE, place + var(data), read_flag):
                return data
        return None

    def assemble_prepare(self, votes: Iterable[bytes]) -> bytes | None:
        """Return a PrepareQC from these votes, or None."""
        return self._assemble(votes, PREPARE, 0, 0)

    def assemble_commit(self, votes: Iterable[bytes]) -> bytes | None:
        """Return a CommitQC from these votes, or None."""
        return self._assemble(votes, COMMIT, 0, 0)

    def assemble_tc(self, votes: Iterable[bytes], height: int, round: int) -> bytes | None:
        """Return the timeout certificate of a round from these votes, or None."""
        return self._assemble(votes, TIMEOUT, height, round)

    def _assemble(self, votes: Iterable[bytes], type_: int, height: int, round_: int) -> bytes | None:
        arguments = u8(type_) + u64(height) + u32(round_) + listed(_fitting_votes(votes))
        return self._ask(Method.ASSEMBLE, arguments, lambda reader: read_optional(reader, MAX_TC))

    # --- final blocks ------------------------------------------------------------------------------------------

    def apply(self, block: bytes, commit_qc: bytes, leaves: Sequence[bytes]) -> Receipt:
        """Make a certified block the replica's head after the node executed it again."""
        return self._ask(Method.APPLY, var(block) + var(commit_qc) + listed(leaves), read_receipt)

    def sync(self, *sources: FinalSource) -> int:
        """Catch up from the first source that has each next block, and return how many blocks were applied."""
        return sync_from(self, sources)

    # --- the socket --------------------------------------------------------------------------------------------

    def _ask(self, method: Method, arguments: bytes, read: Callable[[Reader], Found]) -> Found:
        message = question(self._chain_id, institution_id(self.institution), method, arguments)
        if len(message) > MAX_MESSAGE:
            raise Refused("size", "0", f"{len(message)} bytes; a node is asked with at most {MAX_MESSAGE}")
        reader = result_of(self._exchange(message))
        try:
            found = read(reader)
            reader.end()
        except Malformed as error:
            raise Unreachable(f"the node's answer cannot be read: {error}") from None
        return found

    def _exchange(self, message: bytes) -> bytes:
        with self._connect() as connection:
            with suppress(Broken):  # it may have said why before it hung up
                send(connection, message)
            try:
                return receive(connection, MAX_MESSAGE, Deadline(self._seconds))
            except (Broken, Malformed) as error:
                raise Unreachable(f"no answer from the node of {self.institution}: {error}; ask again") from None

    def _connect(self) -> socket.socket:
        end = time.monotonic() + self._patience
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(self._seconds)
                connection.connect(str(self._path))
                return connection
            except OSError as error:
                connection.close()
                if isinstance(error, PermissionError) or time.monotonic() >= end:
                    raise Unreachable(
                        f"the node of {self.institution} is not reached at its socket ({type(error).__name__}): "
                        "see that `xinglin node run` is running, and that this user may use the socket"
                    ) from None
                time.sleep(0.05)


def _vote(reader: Reader) -> bytes:
    return reader.var(MAX_QC + 1_024)


def _fitting_votes(votes: Iterable[bytes]) -> list[bytes]:
    return [one for one in votes if len(one) <= MAX_QC][:MAX_LISTED]


def _fitting(submissions: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield as many submissions as one question carries; what is beyond waits for a later block."""
    left = MAX_OFFERED
    for count, (tx, leaves) in enumerate(submissions):
        if count >= MAX_LISTED:
            return
        if len(tx) <= MAX_TRANSACTION and len(leaves) <= left:
            left -= len(leaves)
            yield tx, leaves
