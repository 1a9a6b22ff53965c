"""What a node answers: a result, or one of the ledger's errors as it was raised, carried across whole.

``"XL/NODE/SAY/1" 0 || kind u8 || …``: a result has its bytes, a refusal ``rule || section || message || lock_qc``, what
comes too early the milliseconds left and its message, any other error its message.
"""

from __future__ import annotations

from typing import Final

from ledger.agreement.certificate import MAX_QC
from ledger.discretion import account
from ledger.encoding import Reader, u8, u64, var
from ledger.errors import Behind, Diverged, Halted, LedgerError, Malformed, Refused, TooEarly, Unreachable

_DOMAIN: Final = b"XL/NODE/SAY/1\0"
DONE, WANTED, REFUSED, MALFORMED, BEHIND, HALTED, DIVERGED, UNREACHABLE, TOO_EARLY = range(9)
_PLAIN: Final[dict[int, type[LedgerError]]] = {
    BEHIND: Behind,
    HALTED: Halted,
    DIVERGED: Diverged,
    UNREACHABLE: Unreachable,
}
MAX_TEXT: Final = 4_096
_MAX_NAME: Final = 64


class Wanted(Exception):
    """The node asks for the next of the earlier proposals that the caller can show."""


def done(result: bytes) -> bytes:
    """Return the answer that carries a result."""
    return _DOMAIN + u8(DONE) + result


def failure(error: Exception) -> bytes:
    """Return the answer that carries an error; of an error that is none of the ledger's, nothing it says."""
    if isinstance(error, Wanted):
        return _DOMAIN + u8(WANTED)
    if isinstance(error, Refused):
        if isinstance(error, Malformed):
            return _DOMAIN + u8(MALFORMED) + text(words_of(error))
        return _DOMAIN + u8(REFUSED) + refusal(error)
    if isinstance(error, TooEarly):
        return _DOMAIN + u8(TOO_EARLY) + u64(error.milliseconds) + text(str(error))
    kind = next((kind for kind, one in _PLAIN.items() if type(error) is one), UNREACHABLE)
    words = str(error) if isinstance(error, LedgerError) else f"the node failed: {account(error)}"
    return _DOMAIN + u8(kind) + text(words)


def words_of(error: Refused) -> str:
    """Return what a refusal says, without the rule and section that it begins with."""
    return str(error).removeprefix(f"{error.rule} (section {error.section}): ")


def refusal(error: Refused) -> bytes:
    """Return the bytes of a refusal: rule, section, words, lock."""
    lock = error.lock_qc if len(error.lock_qc) <= MAX_QC else b""
    return text(error.rule, _MAX_NAME) + text(error.section, _MAX_NAME) + text(words_of(error)) + var(lock)


def read_refusal(reader: Reader) -> Refused:
    """Read what ``refusal`` wrote, or raise Malformed."""
    rule, section, words = reader.text(_MAX_NAME), reader.text(_MAX_NAME), reader.text(MAX_TEXT)
    return Refused(rule, section, words, reader.var(MAX_QC))


def text(words: str, limit: int = MAX_TEXT) -> bytes:
    """Return words behind their length, cut between two characters where they are too long."""
    return var(words.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode())


def result_of(answer: bytes) -> Reader:
    """Return a reader of the result that an answer carries, or raise the error that it carries.

    Raises:
        Wanted: The node asks for more.
        LedgerError: What the node raised.
        Unreachable: The bytes are no answer: whoever listens there is no node.
    """
    try:
        error = _error_of(answer)
    except Malformed as fault:
        raise Unreachable(f"who listens on the node's socket is no node of this version: {fault}") from None
    if isinstance(error, Reader):
        return error
    raise error


def _error_of(answer: bytes) -> Reader | Exception:
    reader = Reader(answer, "answer")
    reader.constant(_DOMAIN)
    kind = reader.u8()
    if kind == DONE:
        return reader
    error: Exception
    if kind == WANTED:
        error = Wanted()
    elif kind == REFUSED:
        error = read_refusal(reader)
    elif kind == MALFORMED:
        error = Malformed(reader.text(MAX_TEXT))
    elif kind == TOO_EARLY:
        left = reader.u64()
        error = TooEarly(reader.text(MAX_TEXT), left)
    elif kind in _PLAIN:
        error = _PLAIN[kind](reader.text(MAX_TEXT))
    else:
        raise reader.wrong(f"kind {kind} is no answer")
    reader.end()
    return error
