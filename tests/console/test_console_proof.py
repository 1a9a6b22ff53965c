"""`xinglin ledger verify-proof`: anyone, anywhere, offline; whatever was changed in a file is refused in a sentence."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from console_run import ROOT, Xinglin

ANCHOR, PROOF = (
    json.loads(block)
    for block in re.findall(
        r"```json\n(.*?)```", (ROOT / "docs" / "formats" / "proof.md").read_text(encoding="utf-8"), re.DOTALL
    )
)
Write = Callable[[str, bytes], Path]


@pytest.fixture
def anchor(file: Write) -> Path:
    """The anchor of docs/formats/proof.md."""
    return file("anchor.json", json.dumps(ANCHOR).encode())


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to every member of a JSON value, at any depth."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def other(value: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, str):
        middle = len(value) // 2
        return value[:middle] + ("0" if value[middle] != "0" else "1") + value[middle + 1 :]
    if isinstance(value, int):
        return value + 1
    return {dict: [], list: [1], type(None): 1}[type(value)]


def changed(document: dict[str, Any], path: tuple[str | int, ...], *, drop: bool = False) -> bytes:
    """Return the document with one member changed, or left out."""
    copied = copy.deepcopy(document)
    inner: Any = copied
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = other(inner[path[-1]])
    return json.dumps(copied).encode()


def test_proof_that_holds_is_told_in_a_sentence_and_as_json(xinglin: Xinglin, file: Write, anchor: Path) -> None:
    proof = file("proof.json", json.dumps(PROOF).encode())
    done = xinglin("ledger", "verify-proof", proof, "--anchor", anchor)
    assert (done.code, done.told) == (0, "")
    assert re.match(rb"holds: version \d+ of record [0-9a-f]{32} of [\w-]+ stands in block 3 of ", done.output)
    done = xinglin("ledger", "verify-proof", proof, "--anchor", anchor, "--json")
    verdict = json.loads(done.output)
    assert (verdict["height"], verdict["head_height"], verdict["status"]) == (3, 5, "active")
    assert len(verdict["signers"]) >= 3


@pytest.mark.parametrize("path", list(places(PROOF)), ids=lambda path: ".".join(map(str, path)))
def test_any_part_changed_or_left_out_is_refused_in_a_sentence(
    xinglin: Xinglin, file: Write, anchor: Path, path: tuple[str | int, ...]
) -> None:
    for content in (changed(PROOF, path), changed(PROOF, path, drop=True)):
        done = xinglin("ledger", "verify-proof", file("proof.json", content), "--anchor", anchor)
        assert (done.code, done.output) == (1, b"")
        assert re.fullmatch(r"xinglin: .+\n", done.told)


@pytest.mark.parametrize("path", list(places(ANCHOR)), ids=lambda path: ".".join(map(str, path)))
def test_changed_anchor_is_refused(xinglin: Xinglin, file: Write, path: tuple[str | int, ...]) -> None:
    proof = file("proof.json", json.dumps(PROOF).encode())
    content = changed(ANCHOR, path, drop=path == ("max_age_seconds",))
    done = xinglin("ledger", "verify-proof", proof, "--anchor", file("anchor.json", content))
    assert (done.code, done.output) == (1, b"")
    assert re.fullmatch(r"xinglin: .+\n", done.told)


def test_old_head_is_refused_where_the_anchor_limits_its_age(xinglin: Xinglin, file: Write) -> None:
    proof = file("proof.json", json.dumps(PROOF).encode())
    young = file("young.json", json.dumps(ANCHOR | {"max_age_seconds": 60}).encode())
    done = xinglin("ledger", "verify-proof", proof, "--anchor", young)
    assert done.code == 1
    assert "ask for a newer proof" in done.told


def test_another_envelope_is_refused(xinglin: Xinglin, file: Write, anchor: Path) -> None:
    proof, envelope = file("proof.json", json.dumps(PROOF).encode()), file("envelope", b"not the one")
    done = xinglin("ledger", "verify-proof", proof, "--anchor", anchor, "--envelope", envelope)
    assert (done.code, done.output) == (1, b"")
    assert done.told.startswith("xinglin: envelope: ")


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}', b"0" * 3_000_000]
)
def test_file_that_is_no_proof_is_refused(xinglin: Xinglin, file: Write, anchor: Path, content: bytes) -> None:
    done = xinglin("ledger", "verify-proof", file("proof.json", content), "--anchor", anchor)
    assert (done.code, done.output) == (1, b"")
    assert re.fullmatch(r"xinglin: .+\n", done.told)


@pytest.mark.parametrize("missing", ["proof", "anchor", "envelope"])
def test_missing_file_ends_with_three_and_is_named(
    xinglin: Xinglin, file: Write, anchor: Path, empty: Path, missing: str
) -> None:
    files = {
        "proof": file("proof.json", json.dumps(PROOF).encode()),
        "anchor": anchor,
        "envelope": file("envelope", b""),
    }
    for absent in (Path("nowhere"), empty):
        files[missing] = absent
        done = xinglin(
            "ledger", "verify-proof", files["proof"], "--anchor", files["anchor"], "--envelope", files["envelope"]
        )
        assert (done.code, done.output) == (3, b"")
        assert re.fullmatch(rf"xinglin: {absent}: cannot be read: .+\n", done.told)


def test_anchor_must_be_named(xinglin: Xinglin, file: Write) -> None:
    done = xinglin("ledger", "verify-proof", file("proof.json", json.dumps(PROOF).encode()))
    assert (done.code, done.output) == (2, b"")


def test_it_needs_no_database_no_region_and_no_driver(file: Write, anchor: Path, empty: Path) -> None:
    program = (
        "import sys; sys.argv[0] = 'xinglin'\n"
        "from console.main import main\n"
        "try: main()\n"
        "finally: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    proof = file("proof.json", json.dumps(PROOF).encode())
    done = subprocess.run(
        [sys.executable, "-c", program, "ledger", "verify-proof", str(proof), "--anchor", str(anchor)],
        capture_output=True, check=False, timeout=60, cwd=empty,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", "HOME": str(empty)},
    )  # fmt: skip
    assert (done.returncode, done.stdout[:6]) == (0, b"holds:"), done.stderr.decode()
    loaded = set(done.stderr.decode().split())
    assert "ledger" in loaded
    assert not loaded & {"pymongo", "airflow", "pandas", "great_expectations", "dags", "vault", "normalise"}
    assert list(empty.iterdir()) == []


def test_a_bad_signature_is_told_in_a_sentence_and_no_library_speaks_of_itself(
    process: Xinglin, file: Write, anchor: Path
) -> None:
    qc = PROOF["head"]["commit_qc"]
    proof = copy.deepcopy(PROOF)
    proof["head"]["commit_qc"] = qc[:-2] + ("00" if qc[-2:] != "00" else "01")
    done = process("ledger", "verify-proof", file("proof.json", json.dumps(proof).encode()), "--anchor", anchor)
    assert done.code == 1
    assert re.fullmatch(r"xinglin: .*signature.*\n", done.told)
