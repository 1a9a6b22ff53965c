"""The region's rules and what they say to a request: contracts as Cedar policies (section 14).

The rules stand in the chain's state as one value whose digest is in every header. A node asks its own engine, which
must be the chain's. Whatever is not plainly allowed is denied: an error in any rule, or an engine that comes to no
decision, is a denial, since an erroring ``forbid`` would otherwise vanish from the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import schemas
from ledger.chain.roster import Registration
from ledger.chain.rules import Ledger
from ledger.contracts.policy_engine import ENGINE, Answer, CompiledRules, require_engine
from ledger.contracts.policy_request import PartyFacts, Question, type_name
from ledger.contracts.policy_text import MAX_TEXT
from ledger.credit.credit import credit_of
from ledger.encoding import ZERO_DIGEST, Reader, var
from ledger.errors import Diverged, Refused
from shangmi import sm3

SHIPPED: Final = Path(schemas.__file__).parent / "policies"
#: Why a request was answered as it was.
PERMITTED, FORBIDDEN, NOT_PERMITTED, ERROR, NO_RULES = "permitted", "forbidden", "not permitted", "error", "no rules"
_DOMAIN = b"XL/POLICIES/1\0"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules said; the same on every node.

    Attributes:
        allowed: Whether it may be done.
        reason: ``PERMITTED``; or ``FORBIDDEN`` by the rules named, ``NOT_PERMITTED`` by any, ``ERROR`` where rules or
            facts are faulty, ``NO_RULES`` where the chain has none.
        policies: ``@id`` of the rules that decided, in order.
        policy_hash: Digest of the set that was asked; zeros where there is none.
    """

    allowed: bool
    reason: str
    policies: tuple[str, ...] = ()
    policy_hash: bytes = ZERO_DIGEST


@dataclass(frozen=True)
class PolicySet:
    """A region's rules, with all that their meaning depends on.

    Attributes:
        text: Cedar policies, each with an ``@id`` and a sentence in ``@says``.
        schema: What requests to them look like, in Cedar's schema language.
        engine: The engine that judges them, like ``cedar-4.12``.
    """

    text: str
    schema: str
    engine: str = ENGINE

    def encode(self) -> bytes:
        """Return the canonical bytes: the chain's value of kind POLICIES."""
        return _DOMAIN + b"".join(var(part.encode()) for part in (self.text, self.schema, self.engine))

    @classmethod
    def decode(cls, data: bytes) -> PolicySet:
        """Read what ``encode`` wrote, or raise Malformed; the rules are not judged."""
        reader = Reader(data, "policy set")
        reader.constant(_DOMAIN)
        found = cls(reader.text(MAX_TEXT), reader.text(MAX_TEXT), reader.text(32))
        reader.end()
        return found

    @cached_property
    def hash(self) -> bytes:
        """The ``policy_hash`` of the chain's parameters: SM3 over rules, schema and engine."""
        return sm3(self.encode())

    @cached_property
    def compiled(self) -> CompiledRules:
        """The rules as the engine reads them.

        Raises:
            Halted: The installed engine is not the set's.
            Diverged: It cannot read what the chain accepted.
        """
        require_engine(self.engine)
        try:
            return CompiledRules(self.text, self.schema)
        except (ValueError, KeyError) as error:
            raise Diverged(f"the engine cannot read the rules that stand on the chain: {error}") from None

    def decide(self, question: Question) -> Decision:
        """Return what the rules say; every owner's records must be allowed."""
        answers = self.compiled.ask(question.requests(), question.entities())
        verdicts = {one.verdict for one in answers}
        if not answers or "error" in verdicts:
            return Decision(False, ERROR, (), self.hash)
        if "deny" in verdicts:
            ids = self._named([one for one in answers if one.verdict == "deny"])
            return Decision(False, FORBIDDEN if ids else NOT_PERMITTED, ids, self.hash)
        return Decision(True, PERMITTED, self._named(answers), self.hash)

    def _named(self, answers: Iterable[Answer]) -> tuple[str, ...]:
        return tuple(sorted({self.compiled.ids[reason] for one in answers for reason in one.reasons}))


# The chain's set is asked for request after request.
_opened = lru_cache(maxsize=8)(PolicySet.decode)


def default_policies() -> bytes:
    """Return the encoded set that this program ships and new chains begin with."""
    text, schema = ((SHIPPED / name).read_text(encoding="utf-8") for name in ("default.cedar", "schema.cedarschema"))
    return PolicySet(text, schema).encode()


def permits(
    ledger: Ledger,
    action: str,
    principal: bytes,
    owners: Sequence[bytes],
    *,
    purpose: str = "",
    reader: str = "",
    consent: str = "none",
    dataset: bool = False,
    ethics: bool = False,
    approved: bool = False,
    erased: bool = False,
    type_: int = 0,
    records: int = 1,
    recent: int = 0,
    waited: int = 0,
) -> Decision:
    """Return whether the rules in force allow an institution an action on others' records.

    Args:
        ledger: The chain.
        action: ``upload``, ``access`` or ``download``.
        principal: Who wants to, by id.
        owners: Whose records, by id; all must be allowed.
        purpose: What for, one of ``consent.PURPOSES``.
        reader: Who will read, where it is not the institution itself: ``doctor`` or ``patient``.
        consent: What the patient's statement says: ``permit``, ``deny`` or ``none``.
        dataset: Whether many patients' records are asked for.
        ethics: Whether it names an ethics committee's approval.
        approved: Whether the data access committee approved it.
        erased: Whether the record is erased.
        type_: Number of its resource type; 0 for a batch or a dataset.
        records: How many at most.
        recent: Requests of its kind that the institution had made in the epoch before it.
        waited: Blocks since the decision, for a download.

    Raises:
        Refused: Somebody named is not registered.
        Halted: The installed engine is not the chain's.
    """
    people = {one: _registration(ledger, one) for one in (principal, *owners)}
    if not ledger.policies:
        own = action == "upload" and people[principal].class_ in ("A", "B", "C") and set(owners) == {principal}
        return Decision(own, PERMITTED if own else NO_RULES)
    facts = {one: party_facts(ledger, registration) for one, registration in people.items()}
    return _opened(ledger.policies).decide(
        Question(
            action=action, principal=facts[principal], owners=tuple(facts[one] for one in owners),
            now_ms=ledger.time_ms, reader=reader, purpose=purpose, consent=consent, dataset=dataset,
            ethics=ethics, approved=approved, erased=erased, type=type_name(type_), records=records, recent=recent,
            waited=waited,
        )
    )  # fmt: skip


def _registration(ledger: Ledger, id_: bytes) -> Registration:
    found = ledger.roster.registration(id_)
    if found is None:
        raise Refused("party", "14", "an institution that the request names is not registered")
    return found


def party_facts(ledger: Ledger, one: Registration) -> PartyFacts:
    """Return an institution as the rules see it now."""
    return PartyFacts(one.name, one.class_, one.party, one.standing, credit_of(ledger, one.id).score)
