"""The accountability model of the design, judged by the real rules of evidence on real ballots.

Four voters, quorum three, two of them byzantine: beyond what agreement survives. One byzantine has sent everything,
the other ranges over every set of messages against which there is no evidence, the two honest ones over everything
that the protocol lets them do. If no such run decides twice, then deciding twice convicts two; and no honest state may
ever be convicted. Votes are written as (round, block, round of the justification) and (round, block).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

from credit_ledger import BLOCK_A, BLOCK_B, commit, prepare, timeout

from ledger.agreement.certificate import Ballot
from ledger.credit.contradictions import contradiction
from ledger.credit.offences import BROKEN_LOCK, DOUBLE_VOTE
from ledger.credit.statements import Statement

BLOCKS = {"A": BLOCK_A, "B": BLOCK_B}
Prepare = tuple[int, str, int]
Commit = tuple[int, str]
#: What one voter said: a PREPARE or none and a COMMIT or none in each round.
Voter = tuple[tuple[Prepare | None, ...], tuple[Commit | None, ...]]
CHAIN = bytes(32)
SOUND = "no double decision without two guilty, and nobody honest framed"


@cache
def statement(kind: str, *numbers: object) -> Statement:
    """The signed statement that an abstract vote stands for."""
    make = {"prepare": prepare, "commit": commit, "timeout": timeout}[kind]
    ballot: Ballot = make(7, *numbers)  # type: ignore[operator]
    return Statement(b"voter", ballot.signed_bytes(CHAIN), b"", ballot)


def said(voter: Voter) -> list[Statement]:
    """Everything that a voter of the model signed."""
    prepares = [statement("prepare", one[0], BLOCKS[one[1]], one[2]) for one in voter[0] if one]
    return prepares + [statement("commit", one[0], BLOCKS[one[1]]) for one in voter[1] if one]


@cache
def convicted(voter: Voter, rules: frozenset[int]) -> bool:
    """Whether the real rules convict a voter of the model."""
    return any(contradiction(one, other) in rules for one, other in combinations(said(voter), 2))


@dataclass(frozen=True)
class Model:
    """One variant of protocol and evidence.

    Attributes:
        rounds: Rounds of the height.
        rules: Which evidence counts.
        same_justify: Whether the PREPAREs of one certificate name one justification.
    """

    rounds: int
    rules: frozenset[int] = frozenset({DOUBLE_VOTE, BROKEN_LOCK})
    same_justify: bool = True

    def check(self) -> str:
        """``SOUND``, or what is wrong."""
        for byzantine in self.unconvicted():
            fault = self.explore(byzantine)
            if fault:
                return fault
        return SOUND

    def unconvicted(self) -> Iterator[Voter]:
        """Everything that a voter can say without evidence against it."""
        prepares = [[None, *((r, b, j) for b in BLOCKS for j in range(-1, r))] for r in range(self.rounds)]
        commits = [[None, *((r, b) for b in BLOCKS)] for r in range(self.rounds)]
        for voter in product(product(*prepares), product(*commits)):
            if not convicted(voter, self.rules):
                yield voter

    def explore(self, byzantine: Voter) -> str | None:
        nothing: Voter = ((None,) * self.rounds, (None,) * self.rounds)
        seen = {(nothing, nothing)}
        queue = deque(seen)
        while queue:
            state = queue.popleft()
            if len({b for r in range(self.rounds) for b in BLOCKS if self.commits(state, byzantine, r, b) >= 3}) > 1:
                return "two blocks decided, and one of the two byzantine voters goes free"
            if any(convicted(one, self.rules) for one in state):
                return "an honest voter is framed"
            for place, voter in enumerate(state):
                for moved in self.steps(voter, state, byzantine):
                    after = [*state]
                    after[place] = moved
                    following = tuple(sorted(after, key=repr))
                    if following not in seen:
                        seen.add(following)
                        queue.append(following)
        return None

    def prepares(self, state: Sequence[Voter], byzantine: Voter, round_: int, block: str) -> int:
        """Most PREPAREs that make one certificate; the other byzantine voter sent them all."""
        votes = [one[0][round_] for one in (*state, byzantine)]
        of_block = [one for one in votes if one and one[1] == block]
        if not self.same_justify:
            return len(of_block) + 1
        return (
            max(sum(one[2] == justify for one in of_block) for justify in range(-1, round_)) + 1
            if round_
            else (len(of_block) + 1)
        )

    @staticmethod
    def commits(state: Sequence[Voter], byzantine: Voter, round_: int, block: str) -> int:
        return sum(one[1][round_] == (round_, block) for one in (*state, byzantine)) + 1

    def steps(self, voter: Voter, state: Sequence[Voter], byzantine: Voter) -> Iterator[Voter]:
        """What an honest voter may sign next: forwards only, and never against its lock."""
        prepared, committed = voter
        last = max(
            [(-1, 0)]
            + [(r, 1) for r in range(self.rounds) if prepared[r]]
            + [(r, 2) for r in range(self.rounds) if committed[r]]
        )
        lock = max((one for one in committed if one), default=None)
        for r, b in product(range(self.rounds), BLOCKS):
            if (r, 1) > last:
                for justify in (-1, *(j for j in range(r) if self.prepares(state, byzantine, j, b) >= 3)):
                    if lock and justify < lock[0]:
                        continue
                    yield (*prepared[:r], (r, b, justify), *prepared[r + 1 :]), committed
            if (r, 2) > last and self.prepares(state, byzantine, r, b) >= 3:
                yield prepared, (*committed[:r], (r, b), *committed[r + 1 :])


def honest_lives(rounds: int, strict: bool = True) -> Iterator[list[Statement]]:
    """Everything that one honest voter may say, whatever certificates it is shown by whomever.

    It goes forwards through (round, PREPARE, COMMIT, TIMEOUT), follows no certificate older than its lock, and reports
    its lock when it gives a round up. Where it is not strict it follows the block it is locked on under any.
    """
    choices = [
        product(
            [None, *((b, j) for b in BLOCKS for j in range(-1, r))], [None, *BLOCKS], [False, True]
        )
        for r in range(rounds)
    ]  # fmt: skip
    for life in product(*map(list, choices)):
        lock: tuple[int, str] | None = None
        spoken: list[Statement] = []
        for r, (prepared, committed, gave_up) in enumerate(life):
            if prepared:
                if lock and prepared[1] < lock[0] and (strict or prepared[0] != lock[1]):
                    break
                spoken.append(statement("prepare", r, BLOCKS[prepared[0]], prepared[1]))
            if committed:
                lock = (r, committed)
                spoken.append(statement("commit", r, BLOCKS[committed]))
            if gave_up:
                spoken.append(statement("timeout", r, lock[0] if lock else -1, BLOCKS[lock[1]] if lock else BLOCK_A))
        else:
            yield spoken
