"""Every decoder: what it accepts it would have written itself, and everything else is one family of errors.

A decoder without an entry in ``decoder_examples`` fails here, unless ``ELSEWHERE`` names the test that fuzzes it.
"""

from __future__ import annotations

import ast
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from decoder_examples import BALLOT, EXAMPLES, LOCK, SEALED_SUMMARY, WRITTEN, blob, entry
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.agreement.certificate import Ballot
from ledger.chain.header import HEADER_BYTES
from ledger.chain.leaves import LEAF_BYTES, RecordLeaf, leaves_of
from ledger.chain.transactions import TRANSACTIONS
from ledger.errors import Malformed, ProofError, Refused
from schemas.records import Entry

LEDGER = Path(__file__).parents[2] / "plugins" / "ledger"
TESTS = Path(__file__).parent
#: What is untrusted and read by other means, and the test that fuzzes it.
ELSEWHERE = {
    "dataset_evidence.Evidence.decode": "test_no_bytes_raise_anything_but_a_proof_error",
    "checkpoint.Checkpoint.read": "test_no_bytes_raise_anything_but_malformed",
    "checkpoint.Cosignature.read": "test_no_bytes_raise_anything_but_malformed",
    "anchor.load_anchor": "test_an_anchor_is_as_strict",
    "strict_json.parse": "test_no_file_raises_anything_but_proof_error",
}
#: The same bytes may be another state value or answer of the same shape: where they stand says what they are.
NAMELESS = frozenset(name for name, (data, _) in EXAMPLES.items() if not data.startswith(b"XL/"))


def written(name: str, found: Any) -> bytes:
    return WRITTEN[name](found) if name in WRITTEN else found.encode()


def decoders() -> set[str]:
    """Every function of the ledger that reads bytes or text which others may have written, by qualified name."""
    found = set()
    for path in LEDGER.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = [one for one in tree.body if isinstance(one, ast.ClassDef)]
        for owner, body in ((None, tree.body), *((one.name, one.body) for one in classes)):
            for one in body:
                if isinstance(one, ast.FunctionDef) and _reads(one):
                    found.add(".".join(part for part in (path.stem, owner, one.name) if part))
    return found


def _reads(function: ast.FunctionDef) -> bool:
    arguments = [one for one in function.args.args if one.arg not in ("cls", "self")]
    is_class_method = any(isinstance(one, ast.Name) and one.id == "classmethod" for one in function.decorator_list)
    is_method = len(arguments) < len(function.args.args)
    if is_method and not is_class_method:
        return False
    named = re.fullmatch(r"decode|read|parse|load|decode_\w+|load_anchor|open_transaction", function.name)
    kinds = {ast.unparse(one.annotation) for one in arguments if one.annotation}
    return bool(named) and bool(kinds & {"bytes", "str"}) and "Reader" not in kinds


def test_every_decoder_has_an_entry_here_or_a_test_elsewhere() -> None:
    known = {name.split(":")[0] for name in EXAMPLES} | set(ELSEWHERE) | {"tiles.parse"}
    assert decoders() == known
    defined = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.parent.rglob("test_*.py"))
    assert all(f"def {test}(" in defined for test in ELSEWHERE.values())


def test_every_type_of_transaction_has_an_entry_here() -> None:
    for one in TRANSACTIONS.values():
        assert f"transaction.Transaction.decode: {one.NAME}" in EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_decoded_encodes_to_the_same_bytes(name: str) -> None:
    data, decode = EXAMPLES[name]
    assert written(name, decode(data)) == data


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_prefix_and_every_extension_is_malformed(name: str) -> None:
    data, decode = EXAMPLES[name]
    ends = range(len(data)) if len(data) < 2_000 else (*range(400), *range(400, len(data), 7))
    for end in ends:
        with pytest.raises(Malformed):
            decode(data[:end])
    for more in (b"\0", b"\xff", data):
        with pytest.raises(Malformed):
            decode(data + more)


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_change_is_malformed_or_another_canonical_value(name: str, data: st.DataObject) -> None:
    good, decode = EXAMPLES[name]
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(good) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    spliced = bytes(changed[:cut]) + data.draw(st.binary(max_size=8)) + bytes(changed[cut:])
    domain = good[: good.index(b"\0") + 1] if good.startswith(b"XL/") else b""
    noise = data.draw(st.binary(max_size=200))
    for candidate in (bytes(changed), spliced, noise, domain + noise):
        try:
            found = decode(candidate)
        except (Refused, ProofError):
            continue
        assert written(name, found) == candidate


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - NAMELESS - {"transactions.open_transaction"}))
def test_no_structure_is_read_as_another(name: str) -> None:
    data, own = EXAMPLES[name]
    for other, (_, decode) in EXAMPLES.items():
        is_transaction = other == "transactions.open_transaction" and data.startswith(b"XL/TX/1\0")
        if other in NAMELESS or decode == own or is_transaction:
            continue
        with pytest.raises(Malformed):
            decode(data)


def test_no_domain_begins_with_another() -> None:
    """What is signed or hashed under one domain can never be read under another (invariant 26)."""
    domains = set()
    for path in LEDGER.rglob("*.py"):
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(one, ast.Constant) and isinstance(one.value, bytes) and one.value.startswith(b"XL/"):
                domain, end, _ = one.value.partition(b"\0")
                assert end and re.fullmatch(rb"XL/[A-Z-]+(/[A-Z]+)?/1", domain), one.value
                domains.add(domain + end)
    assert len(domains) > 40
    assert not [(one, two) for one in domains for two in domains if one != two and two.startswith(one)]


@pytest.mark.parametrize("wrong", [None, "text", 7, bytearray(b"bytes"), [b"bytes"]])
def test_what_is_no_bytes_is_malformed(wrong: Any) -> None:
    for name, (_, decode) in EXAMPLES.items():
        if name in ("checkpoint.Note.decode", "sealed_summary.SealedSummary.read"):
            continue  # text and slices of what was read as bytes
        with pytest.raises(Malformed):
            decode(wrong)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_length_that_promises_gigabytes_reserves_nothing(name: str) -> None:
    """Every place where four bytes could be a length or count says 4 GiB; the answer comes at once all the same."""
    good, decode = EXAMPLES[name]
    tracemalloc.start()
    try:
        for place in range(0, min(len(good) - 4, 600), 3):
            promising = good[:place] + b"\xff\xff\xff\xff" + good[place + 4 :]
            try:
                found = decode(promising)
            except (Refused, ProofError):
                continue
            assert written(name, found) == promising
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_leaves_keep_every_field_of_the_entries() -> None:
    entries = [entry(), entry("a longer locator"), entry("locator-3")]
    leaves = leaves_of(entries)
    for index, one in enumerate(entries):
        leaf = RecordLeaf.decode(leaves.record(index))
        assert (leaf.rid, leaf.version, leaf.ct_digest, leaf.key_commit) == (
            one.rid, one.version, one.ct_digest, one.key_commit,
        )  # fmt: skip
        assert (leaf.summary_digest, leaf.ct_len, leaf.resource_type) == (bytes(32), 900, 14)
        assert leaf.locator.decode() == one.locator and leaf.encode() == leaves.record(index)


def test_entries_of_the_wrong_shape_are_our_own_mistake() -> None:
    good = entry()
    for wrong in ({"rid": b"short"}, {"ct_digest": bytes(31)}, {"locator": ""}, {"locator": "x" * 129}):
        with pytest.raises(ValueError, match="another length"):
            leaves_of([Entry(**{**{k: getattr(good, k) for k in Entry.__slots__}, **wrong})])
    for twice in ([good, good], [Entry(good.rid, 0, blob(), blob(), blob(), 1, 1, "x")]):
        with pytest.raises(Malformed):
            leaves_of(twice)


def test_sizes_are_what_the_formats_say() -> None:
    assert (398, 139, len(BALLOT.encode())) == (HEADER_BYTES, LEAF_BYTES, Ballot.BYTES)
    assert len(LOCK) == 85 + 2 + 1 + 3 * 64
    assert len(SEALED_SUMMARY) < 1_000
