"""Patients' wishes become statements on the chain: one, or a hospital's whole paper campaign.

A wish is joined with what stands (``sharing.consent.combining``); a statement on the chain is always complete. A person
whom this institution knows as several patients gets one for each. What stands already is not filed again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, Literal

from ledger.chain.replica import ReplicaView
from ledger.chain.smt import state_key
from ledger.chain.state import CONSENT
from ledger.chain.working_state import WorkingState
from ledger.encoding import SHORT_ID, ZERO_DIGEST
from ledger.errors import Refused as RefusedByRule
from ledger.messages.consent import Consent, ConsentState
from ledger.messages.provisions import Provision
from shangmi import PrivateKey
from sharing.consent.combining import Classes, denied, granted, tidied
from sharing.consent.cutting import statements
from sharing.consent.desk import Desk, carry_out, settle
from sharing.errors import Refused
from vault.consents import Filed, Form
from vault.store import Vault

Decision = Literal["grant", "deny", "withdraw", "replace"]
#: Patients that are filed together.
BATCH: Final = 200
#: Statements of one institution that wait for a block, at most: the exchange shows 1,000 messages of all together.
MOST: Final = 500
#: Times that a block is awaited before the rest is left for another call.
_PATIENCE: Final = 600


@dataclass(frozen=True, slots=True)
class Wish:
    """What one patient wants.

    Attributes:
        patient: Id of the Patient here.
        decision: ``grant`` and ``deny`` add to what stands, ``replace`` stands alone, ``withdraw`` takes all back.
        provisions: What is permitted or denied; none for a withdrawal.
        form: The signed paper; or None where ``key`` signs.
        key: The patient's own key.
        place: Where it came from, for people: a line of a file.
    """

    patient: str
    decision: Decision
    provisions: tuple[Provision, ...] = ()
    form: Form | None = None
    key: PrivateKey | None = None
    place: str = ""

    def __repr__(self) -> str:
        return f"Wish({self.decision}, place={self.place!r})"


@dataclass(slots=True)
class Counts:
    """What became of wishes.

    Attributes:
        wishes: Looked at.
        filed: Statements signed and offered; several where a person is several patients.
        same: Wishes of which all stands, or waits, already.
        waiting: Statements that no block holds yet, these and earlier ones.
        left: Wishes that were not looked at, since too many statements wait.
        refused: Place and reason of each that could not be filed; no patient is named.
    """

    wishes: int = 0
    filed: int = 0
    same: int = 0
    waiting: int = 0
    left: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def file_many(
    desk: Desk, wishes: Iterable[Wish], *, most: int = MOST, between: Callable[[], object] | None = None
) -> Counts:
    """Every wish stands as a statement that was offered to the next block, or is named with the reason why not.

    Called again with the same wishes it goes on where it was: what stands or waits is not filed again.

    Args:
        desk: The institution's.
        wishes: In order; a later one of the same patient is joined with the earlier.
        most: Statements that wait for a block at a time.
        between: Called again and again while so many wait, to make or await a block, 600 times at most; without it
            the rest is left for another call.
    """
    counts, coming = Counts(), iter(wishes)
    waiting = len(settle(desk))
    while True:
        waiting = _room(desk, waiting, most, between)
        some = list(islice(coming, min(BATCH, max(0, most - waiting))))
        if not some:
            break
        before = counts.filed
        _file(desk, some, counts)
        waiting += counts.filed - before
    counts.left = sum(1 for _ in coming)
    counts.waiting = waiting
    return counts


def _room(desk: Desk, waiting: int, most: int, between: Callable[[], object] | None) -> int:
    """Return how many statements wait, after as much patience as there is to be."""
    for _ in range(_PATIENCE):
        if waiting < most or between is None:
            break
        between()
        waiting = len(settle(desk))
    return waiting


def file_one(desk: Desk, wish: Wish) -> Counts:
    """The wish is filed as by ``file_many``.

    Raises:
        Refused: It cannot be filed; nothing was.
    """
    counts = file_many(desk, [wish], most=MOST)
    if counts.refused:
        raise Refused("consent", counts.refused[0][1])
    if counts.left:
        raise Refused("waiting", f"{counts.waiting} statements wait for a block; try again once one has taken them")
    return counts


def _file(desk: Desk, wishes: Sequence[Wish], counts: Counts) -> None:
    batch = _Batch(desk, desk.replica.view, people(desk.vault, [one.patient for one in wishes]))
    for one in wishes:
        counts.wishes += 1
        try:
            made = batch.file(one)
        except (Refused, RefusedByRule) as error:
            counts.refused.append((one.place, str(error)))
            continue
        counts.same += not made
    noted = desk.vault.consents.note(batch.made)
    carry_out(desk, batch.view, noted)
    counts.filed += len(noted)
    if lost := len(batch.made) - len(noted):
        counts.refused.append(("", f"{lost} not filed: somebody else filed for the same patients just now; try again"))


def people(vault: Vault, patients: Iterable[str]) -> dict[str, tuple[bytes, ...]]:
    """Return by id of a Patient the tokens of all patients who are that person, itself first.

    Ids of which nothing was ever sealed here are not there.
    """
    tokens = {one: vault.consents.owner(one) for one in patients}
    known = vault.consents.known(list(tokens.values()))
    shared = set(vault.persons.connected(list(known)))
    return {
        one: (token, *(other for other in _members(vault, token, shared) if other != token))
        for one, token in tokens.items()
        if token in known
    }


def _members(vault: Vault, token: bytes, shared: set[bytes]) -> tuple[bytes, ...]:
    return vault.persons.person(token).members if token in shared else (token,)


class _Batch:
    """Some wishes on their way: what stands of their patients, read once, and what was made of them."""

    def __init__(self, desk: Desk, view: ReplicaView, people: Mapping[str, tuple[bytes, ...]]) -> None:
        self.view, self.made = view, list[tuple[Filed, Form | None]]()
        self._desk, self._people = desk, people
        self._now = view.head.timestamp_ms
        self._classes: Classes = {one.id: one.class_ for one in view.roster}
        self._trial = WorkingState(view, self._now + 1)
        self._heading = desk.node.heading() if people else {}
        self._standing = self._read({owner for members in people.values() for owner in members})

    def _read(self, owners: set[bytes]) -> dict[bytes, ConsentState]:
        """Return what stands of these patients, or waits to."""
        consents, pseudonym = self._desk.vault.consents, self._desk.vault.summaries.pseudonym
        self._trial.prefetch([state_key(CONSENT, self._desk.holder + pseudonym(one)) for one in owners])
        values = statements(self.view, self._desk.holder, map(pseudonym, owners))
        found = {one: ConsentState.decode(values[name]) for one in owners if (name := pseudonym(one)) in values}
        for owner, filed in consents.newest(list(owners)).items():
            waiting = ConsentState.decode(filed.will)
            if owner not in found or waiting.sequence > found[owner].sequence:
                found[owner] = waiting
                self._trial.put(CONSENT, self._desk.holder + pseudonym(owner), filed.will)
        return found

    def file(self, wish: Wish) -> int:
        """Return how many statements were made of a wish; 0 where all of it stands.

        Raises:
            Refused: It cannot be said, or nothing is known of the patient here.
            RefusedByRule: The next block would not take it.
        """
        members = self._people.get(wish.patient)
        if members is None:
            raise Refused("patient", "no record of this patient was ever sealed here; check the id")
        drafts = [(owner, state) for owner in members if (state := self._state(wish, owner)) is not None]
        signed = [(owner, state, self._signed(wish, owner, state)) for owner, state in drafts]
        for owner, state, tx in signed:
            filed = Filed(owner, state.sequence, state.encode(), tx.encode(), tx.tx_id, tx.expiry_height)
            self.made.append((filed, wish.form))
            self._standing[owner] = state
        return len(signed)

    def _state(self, wish: Wish, owner: bytes) -> ConsentState | None:
        """Return the statement that makes a wish stand, or None where it does already."""
        before = self._standing.get(owner)
        stands = before.provisions if before else ()
        key = wish.key.public.bytes if wish.key else b""
        reference = wish.form.on_chain if wish.form else ZERO_DIGEST
        state = ConsentState(before.sequence + 1 if before else 1, 0, False, reference, key, ())
        if wish.decision == "withdraw":
            if before is None:
                raise Refused(
                    "consent", "nothing of this patient stands to withdraw; `consent deny` says no from now on"
                )
            return None if before.withdrawn else replace(state, withdrawn=True)
        provisions = self._joined(wish, stands)
        same = before is not None and not before.withdrawn and tidied(stands, self._now) == provisions
        return None if same else replace(state, provisions=provisions)

    def _joined(self, wish: Wish, stands: tuple[Provision, ...]) -> tuple[Provision, ...]:
        if wish.decision == "grant":
            return granted(stands, wish.provisions, self._classes, self._now)
        return denied(stands if wish.decision == "deny" else (), wish.provisions, self._now)

    def _signed(self, wish: Wish, owner: bytes, state: ConsentState) -> Consent:
        fields: dict[str, Any] = {**self._heading, "nonce": secrets.token_bytes(SHORT_ID)}
        draft = Consent(
            **fields, patient=self._desk.vault.summaries.pseudonym(owner), sequence=state.sequence,
            withdraw=state.withdrawn, provisions=state.provisions, reference=state.reference,
            patient_key=state.patient_key,
        )  # fmt: skip
        if wish.key is not None:
            draft = replace(draft, patient_signature=wish.key.sign(draft.statement()))
        with self._trial.attempt():
            draft.execute(self._trial)
        return Consent.decode(self._desk.node.sign(draft))
