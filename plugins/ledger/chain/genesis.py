"""Genesis: the bytes every member begins from, the chain's id, and the trust anchor made of them (sections 1, 12)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ledger.chain.header import VERSION, Header
from ledger.chain.merkle import tree_root
from ledger.chain.roster import CLASS_PARTY, PARTIES, Roster
from ledger.chain.smt import MemoryNodes, SparseTree, state_key, value_hash
from ledger.chain.state import INSTITUTION, ONLY, PARAMETERS, POLICIES, ROSTER, VALIDATORS, InstitutionState
from ledger.chain.validators import MAX_MEMBERS, Member, ValidatorSet, institution_id, key_id
from ledger.encoding import DIGEST, SHORT_ID, ZERO_DIGEST, Reader, listed, u8, u32, u64, var
from shangmi import PublicKey, sm3

if TYPE_CHECKING:
    from schemas.region import Region

ALGORITHM_SM3 = 1
SM2_ID = b"1234567812345678"  # GM/T 0009; named here so that no message can name another
MAX_GENESIS = 1 << 20
_DOMAIN = b"XL/GENESIS/1\0"

#: The rule a batch is published under until governance writes others: members, but no auditor, upload their own.
DEFAULT_POLICY: Final = sm3(b"XL/POLICY/1\0members upload their own records")[:SHORT_ID]


@dataclass(frozen=True, slots=True)
class ChainParameters:
    """Rules that genesis sets and governance may change, the length of an epoch excepted.

    Attributes:
        epoch_blocks: Blocks in an epoch; the same for ever, so that a height says its epoch.
        batch_entries: Entries in one batch, and in one block, at most.
        clock_drift_ms: How far a new block's time may be from a validator's clock, milliseconds.
        expiry_blocks: Blocks after which an unconfirmed batch lapses.
        sample_envelopes: Envelopes each validator reads back of every block.
        round_seconds: How long round 0 waits for its votes, seconds.
        jail_epochs: Epochs that whoever signed two ways stays out, at least.
        evidence_blocks: How old evidence may be, in blocks; keys are kept as long.
        late_blocks: Blocks within which a voter left out of a certificate may be added.
        deliver_blocks: Blocks within which a holder delivers what a contract allowed.
        lock_epochs: Whole epochs that a widening change waits.
        policies: Ids of the policies a batch may be published under.
        policy_hash: SM3 of the policy set in force; governance changes both together.
    """

    epoch_blocks: int
    batch_entries: int
    clock_drift_ms: int
    expiry_blocks: int
    sample_envelopes: int
    round_seconds: int
    jail_epochs: int = 4
    evidence_blocks: int = 1_000
    late_blocks: int = 20
    deliver_blocks: int = 100
    lock_epochs: int = 1
    policies: tuple[bytes, ...] = (DEFAULT_POLICY,)
    policy_hash: bytes = ZERO_DIGEST

    def epoch_of(self, height: int) -> int:
        """Return the epoch of a height; genesis and the first ``epoch_blocks`` blocks are epoch 0."""
        return max(height - 1, 0) // self.epoch_blocks

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        numbers = b"".join(u32(getattr(self, name)) for name in NUMBERS)
        return _PARAMETERS + numbers + listed(self.policies) + self.policy_hash

    @classmethod
    def decode(cls, data: bytes) -> ChainParameters:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "parameters")
        reader.constant(_PARAMETERS)
        numbers = {name: reader.u32() for name in NUMBERS}
        policies, policy_hash = reader.listed(1_000, SHORT_ID), reader.take(DIGEST)
        reader.end()
        found = cls(**numbers, policies=policies, policy_hash=policy_hash)
        if not all(numbers.values()):
            raise reader.wrong("a parameter is 0")
        if any(len(one) != SHORT_ID for one in policies):
            raise reader.wrong("a policy id is not 16 bytes")
        return found

    @property
    def hash(self) -> bytes:
        """Digest that every header carries."""
        return sm3(self.encode())


#: The whole numbers among the parameters, in the order of their bytes; each a u32 and not 0.
NUMBERS: Final = (
    "epoch_blocks", "batch_entries", "clock_drift_ms", "expiry_blocks", "sample_envelopes", "round_seconds",
    "jail_epochs", "evidence_blocks", "late_blocks", "deliver_blocks", "lock_epochs",
)  # fmt: skip
_PARAMETERS = b"XL/PARAMS/1\0" + u8(ALGORITHM_SM3) + var(SM2_ID)


@dataclass(frozen=True)
class Genesis:
    """What a chain begins from.

    Attributes:
        name: The region's name.
        founded_ms: Time of block 0, milliseconds since 1970 UTC.
        parameters: The chain's rules.
        names: Id, title and party (``ledger.chain.roster.PARTIES``) of each institution by its 16-byte id.
        validators: The first validator set.
        policies: The first policy set, as ``ledger.contracts.policy`` encodes it.
    """

    name: str
    founded_ms: int
    parameters: ChainParameters
    names: Mapping[bytes, tuple[str, str, str]]
    validators: ValidatorSet
    policies: bytes = b""

    @classmethod
    def from_region(cls, region: Region, keys: Mapping[str, PublicKey] | None = None, policies: bytes = b"") -> Genesis:
        """Return the genesis of a region.

        Args:
            region: Its checked YAML file.
            keys: Public key by institution, for those whose key the file does not give.
            policies: The first policy set; with none, contracts allow nothing but uploads.

        Raises:
            KeyError: An institution has no public key in either place.
            Malformed: Two institutions share a key.
        """
        keys = keys or {}
        rules = region.parameters
        members = [
            Member(
                institution_id(one.id), one.class_, one.role, one.weight,
                bytes.fromhex(one.public_key) if one.public_key else keys[one.id].bytes,
            )
            for one in region.institutions
        ]  # fmt: skip
        return cls(
            region.name,
            int(region.founded.timestamp() * 1000),
            ChainParameters(**{name: getattr(rules, name) for name in NUMBERS}, policy_hash=sm3(policies)),
            {
                institution_id(one.id): (one.id, one.name, one.party or CLASS_PARTY[one.class_])
                for one in region.institutions
            },
            ValidatorSet(members),
            policies,
        )

    def encode(self) -> bytes:
        """Return the canonical genesis bytes."""
        names = [_encode_name(*self.names[one.id]) for one in self.validators.members]
        return (
            _DOMAIN
            + var(self.name.encode())
            + u64(self.founded_ms)
            + var(self.parameters.encode())
            + listed(names)
            + var(self.validators.encode())
            + var(self.policies)
        )

    @classmethod
    def load(cls, data: bytes) -> Genesis:
        """Read genesis bytes.

        Raises:
            Malformed: They are not canonical, or names and validators do not belong together.
        """
        reader = Reader(data, "genesis")
        reader.constant(_DOMAIN)
        name = reader.text(1_000)
        founded = reader.u64()
        parameters = ChainParameters.decode(reader.var(MAX_GENESIS))
        pairs = [_read_name(one) for one in reader.listed(MAX_MEMBERS, 2_000)]
        validators = ValidatorSet.decode(reader.var(MAX_GENESIS))
        policies = reader.var(MAX_GENESIS)
        reader.end()
        names = {institution_id(id_): (id_, title, party) for id_, title, party in pairs}
        if [institution_id(id_) for id_, _, _ in pairs] != [one.id for one in validators.members]:
            raise reader.wrong("names and validators differ")
        if parameters.policy_hash != sm3(policies):
            raise reader.wrong("the parameters name another policy set")
        return cls(name, founded, parameters, names, validators, policies)

    @cached_property
    def chain_id(self) -> bytes:
        """SM3 of the genesis bytes behind a domain."""
        return sm3(b"XL/CHAIN/1\0" + self.encode())

    def state(self) -> dict[bytes, bytes]:
        """Return the values that stand in the state before block 1, by key."""
        roster = Roster.from_members(self.validators.members, self.names)
        institutions = {
            state_key(INSTITUTION, one.id): InstitutionState(0, key_id(one.public_key)).encode()
            for one in self.validators.members
        }
        return {
            **institutions,
            state_key(VALIDATORS, u32(0)): self.validators.encode(),
            state_key(PARAMETERS, ONLY): self.parameters.encode(),
            state_key(POLICIES, ONLY): self.policies,
            state_key(ROSTER, ONLY): roster.encode(),
        }

    @cached_property
    def header(self) -> Header:
        """Header of block 0, final by definition."""
        hashes: dict[bytes, bytes | None] = {key: value_hash(value) for key, value in self.state().items()}
        nothing = tree_root([])
        return Header(
            version=VERSION,
            chain_id=self.chain_id,
            height=0,
            epoch=0,
            prev_block_id=ZERO_DIGEST,
            prev_commit_digest=ZERO_DIGEST,
            tx_root=nothing,
            tx_count=0,
            history_root=nothing,
            state_root=SparseTree(MemoryNodes()).update(hashes).root,
            receipts_root=nothing,
            evidence_root=nothing,
            validators_hash=self.validators.hash,
            next_validators_hash=self.validators.hash,
            params_hash=self.parameters.hash,
            timestamp_ms=self.founded_ms,
            builder_id=bytes(SHORT_ID),
            build_round=0,
        )

    def epoch(self, height: int) -> int:
        """Return the epoch of a height; genesis and the first ``epoch_blocks`` blocks are epoch 0."""
        return self.parameters.epoch_of(height)

    def institution(self, id_: bytes) -> str:
        """Return an institution's id in the region's file, or its hex where genesis does not know it."""
        return self.names.get(id_, (id_.hex(), "", ""))[0]

    def anchor(self, max_age_seconds: int | None = None) -> bytes:
        """Return the trust anchor file that offline verifiers are given by hand (``docs/formats/proof.md``)."""
        document = {
            "format": "xinglin-anchor/v1",
            "chain_id": self.chain_id.hex(),
            "genesis": self.encode().hex(),
            "max_age_seconds": max_age_seconds,
        }
        return json.dumps(document, indent=1).encode() + b"\n"


def _encode_name(name: str, title: str, party: str) -> bytes:
    return var(name.encode()) + var(title.encode()) + u8(PARTIES.index(party))


def _read_name(data: bytes) -> tuple[str, str, str]:
    reader = Reader(data, "genesis name")
    name, title, party = reader.text(100), reader.text(1_000), reader.one_of(PARTIES)
    reader.end()
    return name, title, party
