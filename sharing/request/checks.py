"""What a region asks of a request beyond its form, before anybody signs it and again before anybody answers it.

The rules on the chain decide who may have what; these bounds are about the request itself, and hold for everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Final

from ledger.chain.roster import Roster
from ledger.chain.validators import institution_id
from ledger.encoding import ZERO_DIGEST
from ledger.messages.request_state import RequestState
from schemas.sharing import Cohort, DatasetRequest
from sharing.errors import Refused

#: What a region demands of every dataset, at least (GB/T 37964-2019 leaves the number to who shares).
MINIMUM_K: Final = 5
MOST_SUPPRESSION: Final = 200
#: Records in one dataset, at most; the rule ``never.whole-region`` says the same on the chain.
MOST_RECORDS: Final = 1_000_000
#: How long a dataset may be kept.
LONGEST_DAYS: Final = 3_660


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that keeps a request from being asked.

    Attributes:
        rule: The bound that it breaks.
        place: Where in the file, like ``cohort/period``.
        why: What was expected, what came, what would change the answer.
    """

    rule: str
    place: str
    why: str

    def __str__(self) -> str:
        return f"{self.place}: {self.why}"


def require_askable(request: DatasetRequest, roster: Roster, chain_id: bytes, today: date) -> None:
    """Return where a request may be asked in this region today.

    Raises:
        Refused: It may not; names the first rule, and says everything that is wrong.
    """
    if found := list(request_faults(request, roster, chain_id, today)):
        raise Refused(found[0].rule, "; ".join(map(str, found)))


def request_faults(request: DatasetRequest, roster: Roster, chain_id: bytes, today: date) -> Iterator[Fault]:
    """Yield everything that keeps a well-formed request from being asked in a region on a day."""
    if request.chain_id != chain_id:
        yield Fault("chain", "chain_id", "it was written for another region's chain; write it anew for this one")
        return
    yield from _parties(request, roster)
    yield from _cohort(request.cohort, today)
    yield from _amounts(request)
    yield from _dates(request, today)
    yield from _profile(request.profile)


def require_answerable(request: DatasetRequest, state: RequestState, decided_ms: int) -> None:
    """Return where a holder may answer an allowed request as its file says; the digest alone does not say so.

    Args:
        request: The file.
        state: What the chain holds of the request that names the file's digest.
        decided_ms: Time of the block of the decision, milliseconds since 1970 UTC.

    Raises:
        Refused: The requester had the chain judge something else than people read, the ethics approval did not hold on
            the day of the decision, or the file asks for everything or demands less of a table than the region does,
            whoever signed it.
    """
    agrees = {
        "requester": institution_id(request.requester) == state.requester,
        "holders": tuple(sorted(map(institution_id, request.holders))) == state.holders,
        "purpose": request.purpose == state.purpose,
        "reader": request.reader == state.reader,
        "most": request.most == state.most,
        "ethics": (request.ethics.digest if request.ethics else ZERO_DIGEST) == state.ethics,
    }
    if wrong := [name for name, holds in agrees.items() if not holds]:
        raise Refused("request file", f"the chain was asked something else than the file says about {', '.join(wrong)}")
    if request.ethics is not None and not request.ethics.held(decided_ms):
        first, last = request.ethics.valid
        raise Refused("ethics", f"the ethics approval holds from {first} to {last}; the decision fell on another day")
    if weak := [*_cohort(request.cohort, request.made), *_demands(request)]:
        raise Refused(weak[0].rule, "; ".join(map(str, weak)))


def _parties(request: DatasetRequest, roster: Roster) -> Iterator[Fault]:
    if roster.registration(institution_id(request.requester)) is None:
        yield Fault("requester", "requester", _unknown(request.requester, roster))
    for at, name in enumerate(request.holders):
        found = roster.registration(institution_id(name))
        if found is None:
            yield Fault("holder", f"holders/{at}", _unknown(name, roster))
        elif found.class_ in ("R", "P"):
            yield Fault("holder", f"holders/{at}", f"{name} publishes no records; leave it out")
        elif not found.active:
            yield Fault("holder", f"holders/{at}", f"{name} is {found.standing} and answers nobody; leave it out")


def _unknown(name: str, roster: Roster) -> str:
    near = get_close_matches(name, [one.name for one in roster], 1)
    return f"the region has no institution {name!r}" + (f"; {near[0]} is meant?" if near else "")


def _cohort(cohort: Cohort, today: date) -> Iterator[Fault]:
    if cohort == Cohort():
        why = "it asks for all records of every patient; name the codes, period, ages or sex that the purpose needs"
        yield Fault("cohort", "cohort", why)
    first = cohort.period[0]
    if first is not None and first > today:
        yield Fault("cohort", "cohort/period/from", f"{first} is still to come; no record has that date")


def _amounts(request: DatasetRequest) -> Iterator[Fault]:
    if request.most > MOST_RECORDS:
        yield Fault("amount", "most", f"expected at most {MOST_RECORDS} records, got {request.most}; ask for a part")
    yield from _demands(request)


def _demands(request: DatasetRequest) -> Iterator[Fault]:
    if request.demands.k < MINIMUM_K:
        why = f"expected at least {MINIMUM_K} persons alike, as the region demands, got {request.demands.k}"
        yield Fault("demands", "demands/k", why)
    if request.demands.suppression > MOST_SUPPRESSION:
        why = f"expected at most {MOST_SUPPRESSION} thousandths left out, got {request.demands.suppression}"
        yield Fault("demands", "demands/suppression", why)


def _dates(request: DatasetRequest, today: date) -> Iterator[Fault]:
    if request.made > today:
        yield Fault("date", "made", f"{request.made} is still to come; see this machine's clock")
    if request.keep_until < today:
        yield Fault(
            "retention", "keep_until", f"the dataset would have to be deleted on {request.keep_until}, in the past"
        )
    if (request.keep_until - request.made).days > LONGEST_DAYS:
        yield Fault("retention", "keep_until", f"expected at most {LONGEST_DAYS} days after the request")
    if request.ethics is not None:
        first, last = request.ethics.valid
        if today > last:
            yield Fault("ethics", "ethics/until", f"the approval ended on {last}; have the committee prolong it")
        elif today < first:
            yield Fault("ethics", "ethics/from", f"the approval begins on {first} only; ask then")


def _profile(name: str) -> Iterator[Fault]:
    from sharing.deidentify.profile import profile_names

    if name not in profile_names():
        yield Fault("profile", "profile", f"there is no profile {name!r}; there are {', '.join(profile_names())}")
