"""The naive variants of sections 6 and 16 as mutants of the real code: each must be killed (section 17).

A mutant changes the code object of one function, so every module that imported it by name runs the mutant too. The
text that a mutant replaces must stand in the function exactly once: code that moves on takes its mutants along.
"""

from __future__ import annotations
import __future__

import inspect
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from types import CodeType, FunctionType
from typing import Any

import pytest

from ledger.agreement import judgement, votes
from ledger.agreement.judgement import Judgement
from ledger.agreement.pen import Pen
from ledger.chain import smt, validators, view
from ledger.chain.execution import Execution, Terms
from ledger.chain.replica import ReplicaView
from ledger.encoding import u32
from schemas import json_text
from shangmi import sm3

Apply = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One naive variant.

    Attributes:
        section: Where the design names it.
        variant: What it does, in the design's words.
        killed_by: The check in ``test_ledger_agreement_mutants`` that notices.
        apply: Puts it into the running code, for as long as the patch stands.
    """

    section: str
    variant: str
    killed_by: str
    apply: Apply


def rewritten(function: FunctionType, old: str, new: str) -> CodeType:
    """Return the code of a function whose source is changed in a place that stands there exactly once."""
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(old) != 1:
        raise RuntimeError(f"{function.__qualname__} has {source.count(old)} times {old!r}: renew the mutant")
    source = source.replace(old, new)
    names: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag
    exec(compile(source, f"<mutant of {function.__qualname__}>", "exec", flags), dict(function.__globals__), names)
    return plain(names[function.__name__]).__code__


def plain(function: Any) -> FunctionType:
    """Return the function behind a property, class method, static method or bound method."""
    found = getattr(function, "fget", None) or getattr(function, "__func__", None) or function
    assert isinstance(found, FunctionType)
    return found


def mutate(where: str, old: str, new: str) -> Apply:
    """Return what replaces one text of a function, ``module:name.of.it``, by another."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        module, _, name = where.partition(":")
        function = plain(attrgetter(name)(import_module(module)))
        patch.setattr(function, "__code__", rewritten(function, old, new))

    return apply


def together(*several: Apply) -> Apply:
    """Return what applies several changes."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        for one in several:
            one(patch)

    return apply


def replaced(owner: Any, name: str, other: Any) -> Apply:
    """Return what puts another function in place of one."""
    return lambda patch: patch.setattr(owner, name, other)


# --- variants that are no change of one text -------------------------------------------------------------------------


def _begins_anew(self: votes.VoteStore, path: Any, _init: Any = votes.VoteStore.__init__) -> None:
    if not path.is_file():
        shutil.copy(path.with_suffix(".empty"), path)
    _init(self, path)


def _signs_first(
    self: votes.VoteStore, chain_id: bytes, slot: votes.Slot, key: Any, draft: Any, *, expected: Any = None,
    lock: bytes = b"",
) -> votes.Signed:  # fmt: skip
    found = self.find(chain_id, slot)
    if found is None:
        message, payload = draft(self.lock(chain_id, slot.height))
        signature = key.sign(message)
        with self._alone(), self._transaction() as connection:
            self._reserve(connection, chain_id, slot, lambda _: (message, payload), lock)
        return votes.Signed(message, payload, signature)
    return votes.Signed(found.message, found.payload, key.sign(found.message))


def _xor_of_entries(self: smt.SparseTree, changes: Any) -> smt.StateChange:
    total = int.from_bytes(self.root, "big")
    for key, value in changes.items():
        total ^= int.from_bytes(sm3(key + value), "big")
    return smt.StateChange(total.to_bytes(32, "big"), {}, frozenset())


def _lottery(self: validators.ValidatorSet, height: int, round_: int) -> validators.Member:
    drawn = sm3(self.hash + u32(height) + u32(round_))
    return self.producers[drawn[0] % len(self.producers)]


def _judges_time_again(self: Judgement, at: Any, block: Any, final: Any, _apply: Any = Judgement.apply) -> None:
    self.time(at, block.header)
    _apply(self, at, block, final)


def _believes_the_header(genesis: Any, at: Any, block: Any, bodies: Any) -> Any:
    header = block.header
    made = Execution(genesis, at, Terms(block.prev_commit, header.builder_id, header.build_round, header.timestamp_ms))
    for encoded, body in zip(block.transactions, bodies, strict=True):
        made.add(encoded, body)
    return made


def _without_the_convicted(self: view.ChainView) -> validators.ValidatorSet:
    active = {one.id for one in self.roster if one.standing == "active"}
    found = self.voters_at(self.head.height + 1)
    return validators.ValidatorSet(one for one in found.members if one.id in active)


def _sees_nothing(self: Pen, at: Any, shown: Any) -> None:
    del self, at, shown


MUTANTS: dict[str, Mutant] = {
    # --- section 6 ---------------------------------------------------------------------------------------------------
    "one phase decides": Mutant(
        "6", "one phase, vote again next round", "a_prepare_certificate_makes_nothing_final",
        mutate("ledger.agreement.certificate:check_commit", old="ballot.type != COMMIT", new="ballot.type == TIMEOUT"),
    ),
    "one vote per height": Mutant(
        "6", "one phase, one vote per height (witness style): stuck", "a_split_vote_stops_no_height",
        mutate(
            "ledger.agreement.votes:VoteStore._reserve",
            old="if last is not None and slot <= last:",
            new="if last and (slot <= last or (slot.height == last.height and slot.step == 1)):",
        ),
    ),
    "no lock": Mutant(
        "6", "two phases, no lock", "the_code_is_the_model",
        mutate("ledger.agreement.proposal:check_against_lock", old="if not lock:", new="if True:"),
    ),
    "no timeout certificate": Mutant(
        "6", "two phases, no TC", "the_code_is_the_model",
        mutate(
            "ledger.agreement.proposal:_check_tc",
            old="proposal.round == 0:", new="proposal.round == 0 or not proposal.tc:",
        ),
    ),
    "the highest certificate may be hidden": Mutant(
        "6", "TC need not carry the highest QC", "the_code_is_the_model",
        mutate("ledger.agreement.proposal:check_proposal", old="if highest and", new="if False and"),
    ),
    "votes after its own TIMEOUT": Mutant(
        "6", "vote in a round after own TIMEOUT of it", "the_code_is_the_model",
        mutate(
            "ledger.agreement.votes:VoteStore._reserve",
            old="if last is not None and slot <= last:", new="if last and last.step != 3 and slot <= last:",
        ),
    ),
    "votes backwards": Mutant(
        "6", "votes not monotone in (height, round, step)", "the_code_is_the_model",
        mutate(
            "ledger.agreement.votes:VoteStore._reserve",
            old="if last is not None and slot <= last:", new="if False:",
        ),
    ),
    "times out on anybody's word": Mutant(
        "6", "TIMEOUT whenever a task asks, by no clock of the node", "a_round_has_its_time",
        mutate("ledger.agreement.round_timer:too_early", old="if left == 0:", new="if True:"),
    ),
    "forgets its lock": Mutant(
        "6", "the lock is not stored with the COMMIT", "the_code_is_the_model",
        mutate("ledger.agreement.votes:VoteStore._reserve", old="    if lock:\n", new="    if False:\n"),
    ),
    "begins anew without its votes": Mutant(
        "6", "vote state lost on restart", "a_key_without_its_votes_signs_nothing",
        replaced(votes.VoteStore, "__init__", _begins_anew),
    ),
    "signs before it writes": Mutant(
        "8", "the signature exists before its bytes are on disk", "a_process_killed_after_signing_signs_nothing_else",
        replaced(votes.VoteStore, "sign", _signs_first),
    ),
    "counts a signer twice": Mutant(
        "6", "duplicate signer counted twice", "a_quorum_is_what_the_reference_says",
        mutate(
            "ledger.agreement.certificate:assemble_qc",
            old="sum(validators.voters[one].weight for one in signers)",
            new="sum(validators.member(one.voter).weight for one in good_votes(votes, type_, chain_id, validators))",
        ),
    ),
    "simple majority": Mutant(
        "6", "simple majority 3 of 5", "a_quorum_is_what_the_reference_says",
        mutate("ledger.chain.validators:ValidatorSet.has_quorum", old="3 * weight > 2 *", new="2 * weight > 1 *"),
    ),
    "two thirds exactly": Mutant(
        "7", "3·w ≥ 2·W", "a_quorum_is_what_the_reference_says",
        mutate("ledger.chain.validators:ValidatorSet.has_quorum", old="3 * weight > 2 *", new="3 * weight >= 2 *"),
    ),
    "locked on the block": Mutant(
        "6", "value-only lock: E3 frames an honest voter", "a_lock_gives_way_to_no_older_certificate",
        mutate(
            "ledger.agreement.proposal:check_against_lock",
            old="locked = QuorumCertificate.decode(lock).ballot.round\n    if justify is None or",
            new=(
                "held = QuorumCertificate.decode(lock).ballot\n    locked = held.round\n"
                "    if justify is None or justify.ballot.block_id != held.block_id and"
            ),
        ),
    ),
    "mixed justifications": Mutant(
        "6", "PREPAREs of one certificate name different justifications", "two_justifications_do_not_add_up",
        together(
            mutate(
                "ledger.agreement.certificate:Ballot.signed_bytes",
                old="_VOTE + chain_id + self.encode()", new="_VOTE + chain_id + self.encode()[:49]",
            ),
            mutate(
                "ledger.agreement.certificate:assemble_qc",
                old="by_ballot.setdefault(vote.ballot, {})",
                new="by_ballot.setdefault(next((one for one in by_ballot "
                    "if one.block_id == vote.ballot.block_id), vote.ballot), {})",
            ),
        ),
    ),
    # --- section 16 --------------------------------------------------------------------------------------------------
    "odd leaf doubled": Mutant(
        "16", "Bitcoin-style odd-leaf duplication", "trees_commit_to_their_leaves",
        mutate(
            "ledger.chain.merkle:span_root",
            old="return node_hash(span_root(start, middle, node, hash_), span_root(middle, end, node, hash_), hash_)",
            new="right = span_root(middle, end, node, hash_)\n"
                "    for _ in range((middle - start - 1).bit_length() - (end - middle - 1).bit_length()):\n"
                "        right = node_hash(right, right, hash_)\n"
                "    return node_hash(span_root(start, middle, node, hash_), right, hash_)",
        ),
    ),
    "no prefixes": Mutant(
        "16", "no leaf/node prefix", "trees_commit_to_their_leaves",
        together(
            mutate("ledger.chain.merkle:leaf_hash", old='b"\\x00" + data', new="data"),
            mutate("ledger.chain.merkle:node_hash", old='b"\\x01" + left + right', new="left + right"),
            mutate("ledger.chain.merkle:Levels.__init__", old='b"\\x01" + hashes', new="hashes"),
            mutate("ledger.chain.merkle:Levels.over", old='b"\\x00" + leaf', new="leaf"),
        ),
    ),
    "no lengths": Mutant(
        "16", "items concatenated without lengths", "what_is_listed_is_told_apart",
        mutate("ledger.encoding:var", old="u32(len(value)) + value", new="value"),
    ),
    "xor of entries": Mutant(
        "16", "XOR of entry hashes as state root", "the_state_root_is_not_linear",
        replaced(smt.SparseTree, "update", _xor_of_entries),
    ),
    "the proof names its sizes": Mutant(
        "16", "proof names its own algorithm, sizes, path rule", "a_proof_names_nothing_itself",
        mutate(
            "ledger.proofs.strict_json:Fields.check_path",
            old="if given_size != size or index not in (None, given):", new="size = given_size\n    if False:",
        ),
    ),
    "the chain is not in what is signed": Mutant(
        "16", "server reports its own identity", "a_certificate_of_another_chain_certifies_nothing_here",
        mutate("ledger.agreement.certificate:Ballot.signed_bytes", old="_VOTE + chain_id +", new="_VOTE +"),
    ),
    "stops at two thirds": Mutant(
        "16", "stop at 2/3 of signatures", "a_quorum_is_what_the_reference_says",
        mutate(
            "ledger.agreement.certificate:_check_quorum",
            old="if not voters[place].verify(signature, message):",
            new="if validators.has_quorum(sum(voters[one].weight for one in signers if one < place)):\n"
                "            break\n        if not voters[place].verify(signature, message):",
        ),
    ),
    "the wall clock in replay": Mutant(
        "16", "wall clock in validation", "a_chain_is_followed_at_any_time",
        replaced(Judgement, "apply", _judges_time_again),
    ),
    "the producer is drawn": Mutant(
        "16", "randomness instead of round-robin", "producers_take_turns",
        replaced(validators.ValidatorSet, "producer", _lottery),
    ),
    "credit votes": Mutant(
        "16", "credit as vote weight", "credit_is_no_weight",
        mutate(
            "ledger.credit.seats:assign",
            old="goal = capped({one.id: one.weight for one in (*voters, *kept)})",
            new="goal = capped({one.id: one.score for one in (*voters, *kept)})",
        ),
    ),
    "demoted at once": Mutant(
        "16", "immediate demotion inside a round", "the_voters_of_a_height_stay",
        replaced(ReplicaView, "validators", property(_without_the_convicted)),
    ),
    "believes the header": Mutant(
        "16", "shared database as the replica: nobody recomputes", "an_invented_state_gets_no_vote",
        replaced(judgement, "check_block", _believes_the_header),
    ),
    "votes out of a backup": Mutant(
        "16", "vote state in a backup or snapshot", "a_vote_store_out_of_a_backup_is_noticed",
        replaced(Pen, "observe", _sees_nothing),
    ),
    "the last key wins": Mutant(
        "16", "JSON as signed bytes: the last duplicate counts", "a_proof_names_nothing_itself",
        replaced(json_text, "_unique", dict),
    ),
    "C1C2C3": Mutant(
        "16", "SM2 ciphertext C1C2C3 for C1C3C2", "ciphertexts_have_one_order",
        mutate(
            "shangmi.reference_engine:encrypt",
            old="+ c3 + _xor(plaintext, stream)", new="+ _xor(plaintext, stream) + c3",
        ),
    ),
    "old keys count for ever": Mutant(
        "16", "old validator keys kept", "an_old_head_is_refused",
        mutate("ledger.proofs.anchor:Anchor.check_head", old="if self.max_age_seconds is not None:", new="if False:"),
    ),
    "three voters": Mutant(
        "16", "2 of 3 institutions as consortium", "a_region_of_three_voters_is_refused",
        mutate("schemas.region:_check", old="len(region.voters) < MIN_VOTERS", new="len(region.voters) < 3"),
    ),
    # --- section 11 --------------------------------------------------------------------------------------------------
    "drift rounds down": Mutant(
        "11", "Python // in the drift", "drift_is_cut_off",
        mutate(
            "ledger.credit.scoring:toward_zero",
            old="quotient = abs(number) // divisor", new="return number // divisor",
        ),
    ),
}  # fmt: skip
