"""One holder's part of an approved dataset: cut, gated, packed, announced. Killed anywhere, it goes on where it was.

What is done so far lies in a scratch folder, sealed: parts of some patients each. Before a package is announced every
patient's statements are read again; a part made under other statements is made anew, so that a withdrawal counts until
the holder signs DELIVERED, and at the chain until the block that takes it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ledger.messages.delivery import GIVEN, Delivered, forbidden
from ledger.messages.notice import RECUT, Notice
from ledger.messages.request_state import RequestState
from schemas.sharing import Excluded
from shangmi import PublicKey
from sharing.consent import Cutter, digest_of, statements
from sharing.deidentify import Profile, load_profile
from sharing.errors import NotYet, Refused, RiskTooHigh
from sharing.export import part, standing
from sharing.export.cohort import Selection, select
from sharing.export.cutting import PATIENTS, Cutting, Hands, keep_selection, kept_selection
from sharing.export.holder import Holder
from sharing.export.packing import JSON, Packed, Persons, as_json, pack, plans
from sharing.export.resources import alike
from sharing.export.scratch import Scratch
from sharing.package import Finished, ManifestFacts, Writer
from sharing.package.evidence import gather, policies_at_decision
from sharing.request import desk, read_request
from sharing.request.checks import require_answerable
from sharing.views import View, compile_view

log = logging.getLogger(__name__)

#: How often parts are made anew because patients change their minds meanwhile, before somebody looks.
ROUNDS: Final = 20
#: What a refusal says to the requester, on the chain, by the rule that refused.
_ANSWERS: Final = {"cohort": "nobody", "most": "too-many", "risk": "risk-too-high"}


class Export:
    """One export.

    Args:
        holder: Who exports.
        tx_id: Id of the ACCESS_REQ on the chain.
        state: What the chain holds of it; allowed.
        again: Whether a dataset that was delivered is cut anew, of the same patients but those who took back theirs.
        patients: Patients of a part.
        hands: Processes beside this one, for a large export; None for none.

    Raises:
        NotYet: The request's file is not on the exchange.
    """

    def __init__(
        self, holder: Holder, tx_id: bytes, state: RequestState, *, again: bool = False, patients: int = PATIENTS,
        hands: Hands | None = None,
    ) -> None:  # fmt: skip
        self.holder, self.tx_id, self.state, self._again = holder, tx_id, state, again
        self._size, self._hands = patients, hands or Hands()
        found = desk.find(holder.exchange, state.digest)
        if found is None:
            raise NotYet("the file of the request is not on the exchange; the requester submits it again")
        self.content, self.request = found, read_request(found)
        key = holder.keystore.sealing_secret("XL/EXPORT/1", tx_id)
        self._name = tx_id.hex() + ("-again" if again else "")
        self.scratch = Scratch(holder.folder / self._name, key)

    @property
    def path(self) -> Path:
        """Where the package is made."""
        return self.holder.folder / f"{self._name}.xld"

    @cached_property
    def _views(self) -> list[View]:
        return [compile_view(one) for one in self.request.views.values()]

    @cached_property
    def _profile(self) -> Profile:
        return load_profile(self.request.profile)

    # --- the road ------------------------------------------------------------------------------------------------

    def run(self) -> str:
        """The holder's answer is offered to the next block; returns which, of ``delivery.ANSWERS``.

        Raises:
            NotYet: Patients changed their minds as fast as records were cut.
            OSError: The disk is full; what was done stays and is gone on with.
        """
        with self.holder.alone():
            return self._run()

    def _run(self) -> str:
        if (before := self.holder.outgoing.find(self._message)) is not None and isinstance(before.opened, Delivered):
            return before.opened.answer
        try:
            finished, packed = self._package()
        except (Refused, RiskTooHigh) as refusal:
            return self._refuse(refusal)
        self._note("offered", package=finished.package.hex(), records=finished.records, persons=len(packed.persons))
        return self._answer(
            GIVEN, package=finished.package, manifest=finished.manifest, records=finished.records, size=finished.size
        )

    def lay_out(self, package: bytes) -> bool:
        """The announced package is on the shelf, now that its DELIVERED is final, and no work is left here.

        Not before: whatever stops the announcement (a frozen requester, other rules) stops the package, too.

        Args:
            package: SM3 of it, as the chain has it.

        Returns:
            Whether it was here; where the disk lost it the requester has to ask anew.
        """
        here = self.path.is_file() and self.holder.shelf.put(self.path) == package
        self.clear()
        return here

    def recut(self) -> Finished:
        """A package without the rows that were called back is on the shelf, and announced to the next block.

        Raises:
            Refused: The request may no longer be answered, nothing is left, or nobody called rows back.
            RiskTooHigh: Who is left could be recognised; the requester must delete the dataset.
            NotYet: As ``run``.
        """
        with self.holder.alone():
            finished, _ = self._package()
            self.holder.shelf.put(finished.path)
            self.clear()
        notice = {"request": self.tx_id, "holder": self.holder.party, "step": RECUT}
        name = f"recut/{self.tx_id.hex()}/{finished.package.hex()}"
        self.holder.offer(name, Notice, **notice, package=finished.package, manifest=finished.manifest)
        return finished

    def _package(self) -> tuple[Finished, Packed]:
        for _ in range(ROUNDS):
            self._check_allowed()
            selection = self._selection()
            cutting = self._cut(selection)
            finished, packed = self._pack(selection, cutting)
            # Before the last look at the statements: a withdrawal after it finds its patient in the dataset.
            self.holder.vault.shares.note(self.tx_id, sorted(packed.owners))
            if self._current(selection):
                return finished, packed
            log.info("export: statements changed meanwhile; some parts are cut anew")
        raise NotYet(f"patients' statements changed {ROUNDS} times while records were cut; try again later")

    def _check_allowed(self) -> None:
        if (reason := forbidden(standing.now(self.holder.replica), self.state)) is not None:
            raise Refused("delivery", reason)
        require_answerable(self.request, self.state, self._decided_ms)

    @property
    def _decided_ms(self) -> int:
        return self.holder.replica.header(self.state.height).timestamp_ms

    def _selection(self) -> Selection:
        selection = select(self.holder.vault, self.request)
        if self._again:
            selection = selection.among(self.holder.vault.shares.owners(self.tx_id))
        if not selection.owners:
            raise Refused("cohort", "no patient of this institution is meant by the request")
        return selection

    # --- parts ---------------------------------------------------------------------------------------------------

    def _builder(self, selection: Selection) -> part.Builder:
        ledger, holder = standing.now(self.holder.replica), self.holder
        registration = ledger.roster.registration(self.state.requester)
        if registration is None:
            raise Refused("delivery", "the requester is not registered any more")
        # Validity is that of the day of the decision; the statements are those of now.
        cutter = Cutter(ledger, holder.party, registration, self.state.purpose, self._decided_ms)
        secret = holder.keystore.sealing_secret("XL/DATASET/1", self.tx_id, 32)
        return part.Builder(
            holder.vault, self.request, self._views, cutter, self._said, self._profile, secret, selection.persons
        )

    def _said(self, patients: Iterable[bytes]) -> bytes:
        """Return one digest of the statements of these patients, named by pseudonym, as they stand now."""
        party = self.holder.party
        return digest_of(party, statements(self.holder.replica.view, party, patients))

    def _cutting(self, selection: Selection) -> Cutting:
        return Cutting(self.scratch, self._builder(selection), selection.owners, self._size)

    def _cut(self, selection: Selection) -> Cutting:
        """Every part stands in the scratch folder under the statements of now."""
        cutting = self._cutting(selection)
        count = len(cutting)
        if (sharers := self._hands.for_parts(count)) > 1:
            keep_selection(self.scratch, selection)
        with self._hands.at_work(sharers):
            for done, _ in enumerate(cutting.cut(range(0, count, sharers)), 1):
                self._note("cutting", done=min(done * sharers, count), parts=count)
        if sharers > 1:
            cutting.finish(range(count))
        return cutting

    def help(self, first: int, step: int) -> None:
        """The parts that fall to a process beside the export's own stand in the scratch folder.

        Args:
            first: Number of its first part.
            step: How many processes share the parts.
        """
        cutting = self._cutting(kept_selection(self.scratch))
        cutting.finish(range(first, len(cutting), step))

    def _current(self, selection: Selection) -> bool:
        """Say whether what was packed is what would be cut now: nobody withdrew, nobody was erased."""
        if not set(selection.owners) <= set(self.holder.vault.extract.patients()):
            self.scratch.clear()
            return False
        return self._cutting(selection).current()

    # --- the package ---------------------------------------------------------------------------------------------

    def _pack(self, selection: Selection, cutting: Cutting) -> tuple[Finished, Packed]:
        count, holder = len(cutting), self.holder
        self._note("packing", done=count, parts=count)
        planned = plans(self._views, cutting.parts, self.request.demands)
        with Writer(self.path, self.tx_id, holder.id, self._recipient()) as writer:
            packed = pack(writer, self._views, cutting.parts, planned, self._resources(selection, cutting))
            self._check_size(packed)
            writer.plain("deidentification.json", JSON, as_json(packed.report.as_dict()))
            evidence = gather(holder.replica, self.tx_id, packed.records, holder=holder.id)
            facts = self._facts(selection, packed)
            return writer.finish(facts, evidence, lambda digest: holder.node.sign_manifest(self.tx_id, digest)), packed

    def _resources(self, selection: Selection, cutting: Cutting) -> Persons | None:
        if not self.request.ndjson:
            return None
        return alike(cutting.parts(), selection.persons, self.request.demands), selection.persons

    def _check_size(self, packed: Packed) -> None:
        if not packed.records:
            raise Refused("cohort", "nothing is left of what was asked for; the counts of what was left out say why")
        if len(packed.records) > self.state.most:
            raise Refused("most", f"{len(packed.records)} records are meant; at most {self.state.most} were asked for")

    def _recipient(self) -> PublicKey:
        if self.request.recipient:
            return PublicKey.from_bytes(self.request.recipient)
        registration = standing.now(self.holder.replica).roster.registration(self.state.requester)
        if registration is None:
            raise Refused("delivery", "the requester is not registered any more")
        return PublicKey.from_bytes(registration.public_key)

    def _facts(self, selection: Selection, packed: Packed) -> ManifestFacts:
        view = self.holder.replica.view
        left_out = (Excluded(stage, why, count) for (stage, why), count in sorted(packed.excluded.items()))
        return ManifestFacts(
            chain_id=view.genesis.chain_id,
            holder_key=self.holder.node.public.bytes,
            request_file=self.content,
            asked=self.state.digest,
            policies=policies_at_decision(self.holder.replica, self.tx_id),
            consents=self._said(map(self.holder.vault.summaries.pseudonym, selection.owners)),
            profile=(self.request.profile, self._profile.digest),
            made_height=view.head.height,
            made_ms=view.head.timestamp_ms,
            keep_until=self.request.keep_until,
            persons=len(packed.persons),
            records=len(packed.records),
            tables=tuple(packed.tables),
            excluded=(*selection.thinned, *left_out),
        )

    # --- the answer ----------------------------------------------------------------------------------------------

    def _refuse(self, refusal: Refused | RiskTooHigh) -> str:
        rule = refusal.rule if isinstance(refusal, Refused) else "risk"
        answer = _ANSWERS.get(rule, "not-permitted")
        log.info("export: refused by the rule %s", rule)
        self._note("refused", reason=str(refusal))
        self.clear()
        return self._answer(answer)

    @property
    def _message(self) -> str:
        """What the answer is kept under."""
        return f"dataset/{self.tx_id.hex()}"

    def _answer(self, answer: str, **fields: Any) -> str:
        self.holder.offer(self._message, Delivered, request=self.tx_id, answer=answer, **fields)
        return answer

    def clear(self) -> None:
        """Nothing of the work is left here; what is on the shelf stays."""
        self.scratch.clear()
        self.path.unlink(missing_ok=True)

    def _note(self, state: Any, **facts: Any) -> None:
        if self._again:
            return  # the vault remembers the delivery
        self.holder.vault.exports.note(self.tx_id.hex(), state, **facts)
