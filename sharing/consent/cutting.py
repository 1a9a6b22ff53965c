"""Which records may go: what the patients' statements on the chain say to one request, record by record.

A statement permits by dates: every permit's interval minus every denial's (``ledger.messages.consent``). A record goes
where all of its own time lies in what is permitted (``docs/decisions/0526``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol

from ledger.chain.roster import Registration
from ledger.chain.rules import Ledger
from ledger.chain.smt import state_key
from ledger.chain.state import CONSENT
from ledger.encoding import u32
from ledger.messages.consent import ConsentState
from ledger.messages.provisions import FOREVER, PURPOSES, Interval, Question, merged, minus
from shangmi import sm3
from sharing.consent.dates import extent, nobodys

#: For these nothing goes without the patient's permission; for the others all goes that the patient does not deny.
NEEDS_PERMIT: Final = frozenset({"care", "research", "claims"})
REASONS: Final = ("no-statement", "denied", "withdrawn", "date-not-permitted", "undated")
_ALWAYS: Final[tuple[Interval, ...]] = ((0, FOREVER),)
_READ: Final = 5_000
_DOMAIN: Final = b"XL/CONSENTS/1\0"


class View(Protocol):
    """The state after a block; ``ledger.chain.view.ChainView`` is one."""

    def state_values(self, keys: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the values that stand under these state keys."""
        ...


def statements(view: View | Ledger, holder: bytes, patients: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the statement that stands for each of these patients of a holder, as far as there is one.

    Args:
        view: The chain after a block, or in the middle of one.
        holder: Id of the institution that keeps the records.
        patients: Pseudonyms, ``vault.summaries.pseudonym``.

    Returns:
        By pseudonym the value of kind ``CONSENT``, as ``ConsentState`` encodes it.
    """
    named, found = list(dict.fromkeys(patients)), dict[bytes, bytes]()
    for at in range(0, len(named), _READ):
        keys = {state_key(CONSENT, holder + one): one for one in named[at : at + _READ]}
        if hasattr(view, "state_values"):
            found |= {keys[key]: value for key, value in view.state_values(keys).items()}
        else:
            values = ((one, view.get(CONSENT, holder + one)) for one in keys.values())
            found |= {one: value for one, value in values if value is not None}
    return found


class Cutter:
    """Says of each record whether the patient's statement lets it go.

    Args:
        view: The chain as of the decision.
        holder: Whose records.
        requester: Who is to get them.
        purpose: What for, one of ``PURPOSES``.
        time_ms: When, in the chain's time.
    """

    def __init__(self, view: View | Ledger, holder: bytes, requester: Registration, purpose: str, time_ms: int) -> None:
        if purpose not in PURPOSES:
            raise RuntimeError(f"{purpose} is no purpose")
        self._view, self._holder, self._requester = view, holder, requester
        self._purpose, self._time_ms = purpose, time_ms
        self._values: dict[bytes, bytes | None] = {}
        self._answers: dict[tuple[bytes, int], str | tuple[Interval, ...]] = {}

    def prepare(self, patients: Collection[bytes]) -> None:
        """The statements of these patients are read together; without it each is read when it is first asked for."""
        wanted = [one for one in patients if one not in self._values]
        found = statements(self._view, self._holder, wanted)
        self._values.update({one: found.get(one) for one in wanted})

    def refusal(self, patient: bytes, type_number: int, body: Mapping[str, Any]) -> str | None:
        """Return why a record may not go, of ``REASONS``; None where it may.

        Args:
            patient: Its patient's pseudonym at the holder, 32 bytes.
            type_number: Number of its type on the chain.
            body: The resource.
        """
        key = patient, type_number
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._answer(patient, type_number)
        if isinstance(answer, str):
            return answer
        if answer == _ALWAYS or body.get("resourceType") in nobodys():
            return None
        when = extent(body)
        if when is None:
            return "undated"
        return None if any(start <= when[0] and when[1] <= end for start, end in answer) else "date-not-permitted"

    def _answer(self, patient: bytes, type_number: int) -> str | tuple[Interval, ...]:
        """Return the dates that are permitted of a type, apart and in order; or why none is."""
        if patient not in self._values:
            self.prepare([patient])
        value = self._values[patient]
        return permitted(None if value is None else ConsentState.decode(value), self._question(type_number))

    def _question(self, type_number: int) -> Question:
        requester = self._requester
        return Question(self._purpose, requester.id, requester.class_, type_number, self._time_ms)

    @property
    def applied(self) -> Mapping[bytes, bytes]:
        """By pseudonym the statements that were asked, as they stood."""
        return {one: value for one, value in self._values.items() if value is not None}

    def digest(self) -> bytes:
        """Return the digest of the statements that were applied."""
        return digest_of(self._holder, self.applied)

    def changed(self, view: View | Ledger) -> set[bytes]:
        """Return the patients asked for whose statement is another by now: of whom nothing may leave as it was cut."""
        now = statements(view, self._holder, self._values)
        return {one for one, value in self._values.items() if now.get(one) != value}


def permitted(state: ConsentState | None, question: Question) -> str | tuple[Interval, ...]:
    """Return of what dates records may go by a patient's statement, apart and in order; or why none may, a reason.

    Args:
        state: The statement, or None where there is none.
        question: Who wants what for; with the type.
    """
    open_ = question.purpose not in NEEDS_PERMIT
    if state is None:
        return _ALWAYS if open_ else "no-statement"
    if state.withdrawn:
        return "withdrawn"
    if not open_:
        dates = _joined(state.permitted(question))
        return dates or ("no-statement" if state.standing(question) == "none" else "denied")
    denials = [one.data for one in state.provisions if not one.permits and one.covers(question)]
    return _joined(minus(_ALWAYS, denials)) or "denied"


def _joined(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    return tuple(merged(intervals))


def digest_of(holder: bytes, applied: Mapping[bytes, bytes]) -> bytes:
    r"""Return SM3 over ``"XL/CONSENTS/1\0"``, holder 16, n u32, and by pseudonym in order: it 32, SM3 of its value 32.

    Two processes that cut parts of one export give the digest of both their parts together.
    """
    ordered = sorted(applied.items())
    return sm3(_DOMAIN + holder + u32(len(ordered)) + b"".join(one + sm3(value) for one, value in ordered))
