"""Every field and every region of a package changed, cut, moved or taken from elsewhere: refused, and nothing written.

``vectors/valid.xld`` is spoilt by somebody without any key, then by somebody who has the holder's own.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_package_vectors import PASSWORD, VECTORS
from package_forged import Forged, compact
from package_made import HOLDER_KEY, RECIPIENT, write_edges, write_tables

from shangmi import PrivateKey, sm3
from sharing.errors import Malformed, NotForThisKey, Tampered
from sharing.package import open_package, verify
from sharing.package.container import FOOTER_BYTES, HEADER_BYTES, Package
from sharing.package.manifest import Manifest
from sharing.package.sealing import CHUNK, SEALED_CHUNK
from sharing.reader import open_dataset

REFUSALS = (Tampered, Malformed, NotForThisKey)
VALID, ANCHOR = VECTORS / "valid.xld", (VECTORS / "anchor.json").read_bytes()


@pytest.fixture(scope="module")
def holder() -> PrivateKey:
    return PrivateKey.from_pem((VECTORS / "holder.pem").read_bytes(), PASSWORD)


@pytest.fixture(scope="module")
def recipient() -> PrivateKey:
    return PrivateKey.from_pem((VECTORS / "recipient.pem").read_bytes(), PASSWORD)


def read_all(path: Path, key: PrivateKey) -> None:
    """Open it and read every byte of every file."""
    with open_package(path, key.decrypt) as opened:
        for name in opened.names:
            opened.read(name)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir()}


def passed(path: Path, key: PrivateKey | None = None) -> list[str]:
    """What it got through: verifying and, where a key is given, reading; and whether that changed any file."""
    before, found = contents(path.parent), []
    with suppress(REFUSALS):
        verify(path, ANCHOR)
        found.append("verified")
    if key is not None:
        with suppress(REFUSALS):
            read_all(path, key)
            found.append("read")
    return found if contents(path.parent) == before else [*found, "changed a file"]


def survivors(path: Path, cases: Mapping[Any, bytes], key: PrivateKey) -> dict[Any, list[str]]:
    """Those of these packages that got through anything, by what was done to them."""
    found = {}
    for what, data in cases.items():
        path.write_bytes(data)
        if got := passed(path, key):
            found[what] = got
    return found


def test_what_was_written_by_the_first_version_is_verified_and_read(recipient: PrivateKey) -> None:
    found = verify(VALID, ANCHOR)
    assert (found.allowed.records, found.manifest.persons, found.manifest.holder) == (6, 6, "hospital-east")
    with open_dataset(VALID, VECTORS / "recipient.pem", ANCHOR, password=PASSWORD) as dataset:
        assert len(dataset.pandas("laboratory_results")) == 12
    assert passed(VALID, recipient) == ["verified", "read"]


# --- without any key -------------------------------------------------------------------------------------------------


def boundaries() -> list[int]:
    """Every place in the file at which something begins or ends."""
    manifest = Forged.of(VALID).manifest
    size = VALID.stat().st_size
    found = {0, 8, HEADER_BYTES, size, *(size - FOOTER_BYTES + one for one in (0, 8, 12, 76, 84))}
    for one in manifest["sections"]:
        found |= {one["offset"], one["offset"] + one["size"]}
        if one["sealed"]:
            found.add(one["offset"] + one["size"] - 16)
    return sorted(found)


def test_every_flipped_bit_is_refused(tmp_path: Path, recipient: PrivateKey) -> None:
    data, chance = VALID.read_bytes(), random.Random(1)
    marks = boundaries()
    places = {*range(HEADER_BYTES), *range(len(data) - FOOTER_BYTES, len(data))}
    for start, end in pairwise(marks):
        places |= {start, end - 1, *(chance.randrange(start, end) for _ in range(3))}
    cases = {}
    for place in sorted(places):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        cases[place] = bytes(changed)
    assert len(cases) > 150
    assert survivors(tmp_path / "d.xld", cases, recipient) == {}


def test_every_cut_and_every_extension_is_refused(tmp_path: Path, recipient: PrivateKey) -> None:
    data = VALID.read_bytes()
    ends = {near for mark in boundaries() for near in (mark - 1, mark, mark + 1) if 0 <= near < len(data)}
    cases = {
        "a byte behind": data + b"\0", "a byte before": b"\0" + data, "twice": data + data,
        "no header": data[HEADER_BYTES:], "another end": data[:-FOOTER_BYTES] + bytes(FOOTER_BYTES),
    } | {f"cut at {end}": data[:end] for end in ends}  # fmt: skip
    assert len(cases) > 50
    assert survivors(tmp_path / "d.xld", cases, recipient) == {}


def test_regions_swapped_doubled_or_left_out_are_refused(tmp_path: Path, recipient: PrivateKey) -> None:
    data, regions, cases = VALID.read_bytes(), list(pairwise(boundaries())), {}
    for (a, b), (c, d) in pairwise(regions):
        cases[f"{a} and {c} swapped"] = data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]
    for a, b in regions:
        cases[f"{a} twice"] = data[:b] + data[a:b] + data[b:]
        cases[f"{a} left out"] = data[:a] + data[b:]
    assert len(cases) == 3 * len(regions) - 1 > 40
    assert survivors(tmp_path / "d.xld", cases, recipient) == {}


def test_a_package_signed_by_anybody_else_is_refused(tmp_path: Path) -> None:
    forger = PrivateKey.generate()
    forged = Forged.of(VALID)
    assert passed(forged.write(tmp_path / "a.xld", forger)) == []
    forged.manifest["holder"]["key"] = forger.public.bytes.hex()
    assert passed(forged.write(tmp_path / "b.xld", forger)) == []


# --- by who has the holder's key -------------------------------------------------------------------------------------


def fields(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every leaf of a JSON value, by its place."""
    if isinstance(value, dict | list) and value:
        some = value[:2] if place[-1:] == ("columns",) else value  # of many columns, two stand for all
        for key, one in some.items() if isinstance(some, dict) else enumerate(some):
            yield from fields(one, (*place, key))
    else:
        yield place


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for one in place:
        value = value[one]
    return value


#: What the holder may say as it likes: its word, which an audit compares.
HOLDERS_WORD = {"consents", "excluded", "persons", "digest", "height", "time_ms", "media_type", "rows", "columns"}


def others(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value, 1]
    if isinstance(value, int):
        return [value + 1, max(value - 1, 0) if value else 2, -1, str(value), 1 << 63, float(value), None]
    if isinstance(value, str):
        changed = ("0" if value[:1] != "0" else "1") + value[1:]
        return [changed, value.upper(), value[:-1], value + "\0", "", None, 0, [value]]
    return [None, 1]


def test_every_field_changed_and_signed_anew_is_refused(
    tmp_path: Path, holder: PrivateKey, recipient: PrivateKey
) -> None:
    plain, path, tried, survived = Forged.of(VALID), tmp_path / "d.xld", 0, []
    for place in fields(plain.manifest):
        before = at(plain.manifest, place)
        for other in others(before):
            if other == before and type(other) is type(before):
                continue
            forged = copy.deepcopy(plain)
            at(forged.manifest, place[:-1])[place[-1]] = other
            forged.write(path, holder)
            tried += 1
            if place[-1] in ("wrapped", "commitment"):  # only who has the key can tell
                with pytest.raises(REFUSALS):
                    read_all(path, recipient)
                    pytest.fail(str(place))
            elif HOLDERS_WORD & set(map(str, place)) or (place[0] == "sections" and place[-1] in ("name", "sealed")):
                spoilt(path, recipient, place)
            elif passed(path):
                survived.append((place, other))
    assert tried > 250
    assert survived == []


def spoilt(path: Path, key: PrivateKey, place: tuple[Any, ...]) -> None:
    """What is the holder's own word is refused, or reads as another word; it never passes for the one before."""
    try:
        found = verify(path, ANCHOR)
    except REFUSALS:
        return
    with Package(VALID) as valid:
        assert found.manifest.digest != valid.manifest_digest
    if {"columns", "rows"} & set(map(str, place)):
        with open_dataset(path, key) as dataset, pytest.raises(Malformed):
            dataset.arrow(dataset.tables[place[1]])


def test_fields_left_out_added_or_doubled_are_refused(tmp_path: Path, holder: PrivateKey) -> None:
    plain, path, found = Forged.of(VALID), tmp_path / "d.xld", {}
    inner = [(), ("holder",), ("key",), ("profile",), ("made",), ("counts",), ("tables", 0), ("sections", 0),
             ("excluded", 0)]  # fmt: skip
    for place in inner:
        for name in list(at(plain.manifest, place)):
            forged = copy.deepcopy(plain)
            del at(forged.manifest, place)[name]
            if name != "sections" or place:
                found[place, name, "left out"] = passed(forged.write(path, holder))
        forged = copy.deepcopy(plain)
        at(forged.manifest, place)["more"] = 1
        found[place, "added"] = passed(forged.write(path, holder))
    for encode in (
        lambda value: compact(value).replace(b'"asked"', b'"asked":"","asked"', 1),
        lambda value: json.dumps(value).encode(),
        lambda value: compact(value) + b"\n",
        lambda value: b"\xef\xbb\xbf" + compact(value),
        lambda value: compact(dict(reversed(value.items()))).replace(b'"asked"', b'"aske\\u0064"'),
        lambda _: b"[]",
        lambda _: b"{}",
        lambda _: b"[" * 100_000,
        lambda value: compact(value | {"keep_until": "2028-W52-7"}),
        lambda value: compact(value | {"keep_until": "20281231"}),
    ):
        found["another text", len(found)] = passed(plain.write(path, holder, encode))
    assert len(found) > 50
    assert {what: got for what, got in found.items() if got} == {}


def test_files_of_another_place_or_dataset_are_refused(
    tmp_path: Path, holder: PrivateKey, recipient: PrivateKey
) -> None:
    plain, path = Forged.of(VALID), tmp_path / "d.xld"
    one, two = (name for name in plain.sections if name.startswith("tables/"))
    swapped = copy.deepcopy(plain)
    swapped.sections[one], swapped.sections[two] = plain.sections[two], plain.sections[one]
    swapped.settle()
    with pytest.raises(Tampered, match="not what was sealed there"):
        read_all(swapped.write(path, holder), recipient)
    for name in ("evidence.bin", "request.json", "policies.bin"):
        for content in (b"", plain.sections[name][:-1], plain.sections["dictionary.json"]):
            other = copy.deepcopy(plain)
            other.sections[name] = content
            other.settle()
            if name == "policies.bin":
                other.manifest["policies"] = sm3(content).hex()
            assert passed(other.write(path, holder)) == [], name


# --- chunks ----------------------------------------------------------------------------------------------------------


def tampered(forged: Forged, path: Path, name: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """The chunks of a file, changed and signed anew by the holder itself, do not open."""
    sealed = forged.sections[name]
    chunks = [sealed[place : place + SEALED_CHUNK] for place in range(0, len(sealed), SEALED_CHUNK)]
    other = copy.deepcopy(forged)
    other.sections[name] = b"".join(change(chunks))
    other.settle()
    with pytest.raises(REFUSALS):
        read_all(other.write(path, HOLDER_KEY), RECIPIENT)
        pytest.fail(name)


def test_chunks_moved_doubled_dropped_or_joined_are_refused(tmp_path: Path) -> None:
    forged, path = Forged.of(write_edges(tmp_path / "valid.xld").path), tmp_path / "d.xld"
    elsewhere = Forged.of(write_edges(tmp_path / "other.xld").path)
    for name in ("edges/over", "edges/two"):
        tampered(forged, path, name, lambda chunks: chunks[:-1])
        tampered(forged, path, name, lambda chunks: chunks[1:])
        tampered(forged, path, name, lambda chunks: chunks[::-1])
        tampered(forged, path, name, lambda chunks: [chunks[0], *chunks])
        tampered(forged, path, name, lambda chunks: [*chunks, chunks[-1]])
        tampered(forged, path, name, lambda chunks: [*chunks, chunks[0]])
        tampered(forged, path, name, lambda _, given=elsewhere.sections[name]: [given])
    for name in forged.sections:
        if name.startswith("edges/"):
            tampered(forged, path, name, lambda chunks: [one[:-1] for one in chunks])
            tampered(forged, path, name, lambda chunks: [*chunks[:-1], chunks[-1][:-16]])
            tampered(forged, path, name, lambda _: [])
            tampered(forged, path, name, lambda _: [bytes(SEALED_CHUNK)])
            tampered(forged, path, name, lambda chunks: [bytes([one[0] ^ 1]) + one[1:] for one in chunks])
    for one, two in (("edges/whole", "edges/short"), ("edges/empty", "edges/one"), ("edges/two", "edges/over")):
        tampered(forged, path, one, lambda _, given=forged.sections[two]: [given])
    assert len(forged.sections["edges/two"]) == 2 * SEALED_CHUNK == 2 * CHUNK + 32


def test_the_key_of_another_dataset_opens_nothing(tmp_path: Path) -> None:
    one, two = (Forged.of(write_tables(tmp_path / name).path) for name in ("a.xld", "b.xld"))
    for taken in (("wrapped",), ("commitment",), ("salt",), ("wrapped", "commitment"), ("wrapped", "salt"),
                  ("wrapped", "commitment", "salt")):  # fmt: skip
        forged = copy.deepcopy(one)
        for name in taken:
            forged.manifest["key"][name] = two.manifest["key"][name]
        if "salt" in taken:
            forged.header = two.header
        with pytest.raises(REFUSALS):
            read_all(forged.write(tmp_path / "d.xld", HOLDER_KEY), RECIPIENT)
            pytest.fail(str(taken))


# --- anything --------------------------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.binary(max_size=600))
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.xld"
    for data in (noise, VALID.read_bytes()[:HEADER_BYTES] + noise + VALID.read_bytes()[-FOOTER_BYTES:]):
        path.write_bytes(data)
        with pytest.raises(REFUSALS):
            open_package(path, RECIPIENT.decrypt)
        with pytest.raises(REFUSALS):
            verify(path, ANCHOR)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.data())
def test_no_manifest_raises_anything_else(data: st.DataObject) -> None:
    manifest = Forged.of(VALID).manifest
    places = [place for place in fields(manifest) if place]
    place = data.draw(st.sampled_from([*places, *{one[:-1] for one in places if one[:-1]}]))
    at(manifest, place[:-1])[place[-1]] = data.draw(JSON)
    try:
        encoded = compact(manifest)
    except UnicodeEncodeError:
        return
    with suppress(Malformed):
        assert Manifest.decode(encoded).encode() == encoded
