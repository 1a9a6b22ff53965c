"""The pages on bytes say what the code does: every example there is made again, or verified, here."""

from __future__ import annotations

import re
from pathlib import Path

from ledger.agreement.certificate import COMMIT, PREPARE, Ballot, QuorumCertificate
from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.genesis import DEFAULT_POLICY, ChainParameters
from ledger.chain.header import Header, history_leaf
from ledger.chain.leaves import Leaves, RecordLeaf
from ledger.chain.merkle import tree_root
from ledger.chain.smt import MemoryNodes, SparseTree, state_key
from ledger.chain.validators import Member, institution_id, key_id
from ledger.proofs.proof import verify_proof
from shangmi import PrivateKey

FORMATS = Path(__file__).parents[2] / "docs" / "formats"


def run_of(start: int, length: int = 32) -> bytes:
    """Consecutive bytes from ``start`` on, as the page writes them."""
    return bytes((start + i) % 256 for i in range(length))


def examples() -> dict[str, bytes]:
    """Every example of ``block.md``, by its name there."""
    key = PrivateKey.from_scalar(bytes(31) + b"\x05").public.bytes
    member = Member(institution_id("hospital-east"), "A", "producer", 3, key)
    parameters = ChainParameters(100, 100_000, 30_000, 1_000, 64, 20, policy_hash=run_of(7))
    leaf = RecordLeaf(run_of(0, 16), 1, run_of(16), run_of(48), bytes(32), 900, 14, b"5f3a")
    other = RecordLeaf(run_of(1, 16), 2, run_of(17), run_of(49), bytes(32), 901, 1, b"77")
    batch = SubmitBatch(
        run_of(0), member.id, key_id(key), 7, tree_root([leaf.encode(), other.encode()]), 2, DEFAULT_POLICY, 1042,
        "vault of 东城医院", run_of(128, 64),
    )  # fmt: skip
    header = Header(
        1, run_of(0), 42, 0, run_of(1), run_of(2), tree_root([batch.encode()]), 1, run_of(3), run_of(4), run_of(5),
        tree_root([]), run_of(6), run_of(6), parameters.hash, 1_793_462_460_000, member.id, 0,
    )  # fmt: skip
    prepare = Ballot(PREPARE, 42, 1, 0, header.block_id)
    commit = Ballot(COMMIT, 42, 1, 0, header.block_id, 1, run_of(9))
    certificate = QuorumCertificate(commit, 5, (0, 2, 3), (run_of(0, 64), run_of(64, 64), run_of(128, 64)))
    tree = SparseTree(MemoryNodes())
    return {
        "institution id of `hospital-east`": institution_id("hospital-east"),
        "public key of the private key 5": key,
        "its key id": key_id(key),
        "member": member.encode(),
        "parameters": parameters.encode(),
        "params_hash": parameters.hash,
        "state key of the institution": state_key(1, member.id),
        "state root with the one value hash `00..1f` under it": tree.update({state_key(1, member.id): run_of(0)}).root,
        "record leaf": leaf.encode(),
        "leaves of a batch of two widths": Leaves.join([leaf.encode(), other.encode()]).encode(),
        "batch root": batch.batch_root,
        "transaction": batch.encode(),
        "transaction id": batch.tx_id,
        "empty tree": tree_root([]),
        "header": header.encode(),
        "block id": header.block_id,
        "history leaf": history_leaf(header.block_id),
        "block": Block(header, b"", (batch.encode(),)).encode(),
        "what signs PREPARE": prepare.signed_bytes(run_of(0)),
        "CommitQC": certificate.encode(),
        "its digest": certificate.digest,
    }


def test_every_example_on_the_page_of_blocks_is_what_the_code_makes() -> None:
    page = (FORMATS / "block.md").read_text(encoding="utf-8").partition("## Examples")[2]
    written = dict(re.findall(r"^\| (.+) \| `([0-9a-f]+)` \|$", page, re.MULTILINE))
    assert written == {name: value.hex() for name, value in examples().items()}


def test_the_proof_on_its_page_is_good_under_the_anchor_there_and_no_other() -> None:
    page = (FORMATS / "proof.md").read_text(encoding="utf-8")
    anchor, proof = re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)
    verdict = verify_proof(proof.encode(), anchor.encode())
    assert (verdict.region, verdict.height, verdict.head_height, verdict.status) == ("杏林示范区", 3, 5, "active")
    assert len(verdict.signers) == 5
