"""The keystore's two files: what opens them, what refuses, what is written when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vault.errors import KeystoreRefused
from vault.keystore import PUBLIC_FILE, SIGNING_FILE, VAULT_FILE, FileKeystore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "hospital-east"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}


def test_keystore_opens_with_its_password_and_gives_the_same_keys(folder: Path) -> None:
    made = FileKeystore.create(folder, "杏林".encode())
    opened = FileKeystore.open(folder, "杏林".encode())
    assert opened.master == made.master and len(made.master) == 32
    assert opened.index_secret("a") == made.index_secret("a") != made.index_secret("b")
    assert opened.sealing_secret("a") == made.sealing_secret("a") != made.sealing_secret("a", b"salt")
    assert opened.public_key == made.public_key
    assert opened.public_key.verify(made.signing_key.sign(b"m"), b"m")


def apart(folder: Path) -> FileKeystore:
    """A keystore whose signing key went to the institution's node."""
    made = FileKeystore.create(folder, b"pw")
    (folder / PUBLIC_FILE).write_text(made.public_key.bytes.hex() + "\n")
    (folder / SIGNING_FILE).unlink()
    return made


def test_records_are_sealed_and_opened_without_the_signing_key_that_the_node_has(folder: Path) -> None:
    made = apart(folder)
    opened = FileKeystore.open(folder, b"pw")
    assert (opened.public_key, opened.master) == (made.public_key, made.master)
    with pytest.raises(KeystoreRefused, match="with the institution's node"):
        _ = opened.signing_key


@pytest.mark.parametrize("content", ["", "00" * 64, "no hex", "汉", "ab" * 63])
def test_a_damaged_or_foreign_public_half_opens_nothing(folder: Path, content: str) -> None:
    apart(folder)
    (folder / PUBLIC_FILE).write_text(content)
    before = files(folder)
    with pytest.raises(KeystoreRefused, match=PUBLIC_FILE):
        FileKeystore.open(folder, b"pw")
    other = FileKeystore.create(folder.parent / "other", b"pw").public_key
    (folder / PUBLIC_FILE).write_text(other.bytes.hex())
    with pytest.raises(KeystoreRefused, match=r"does not open|changed or replaced"):
        FileKeystore.open(folder, b"pw")
    assert {**before, PUBLIC_FILE: b""} == {**files(folder), PUBLIC_FILE: b""}


def test_only_the_owner_reads_the_files(folder: Path) -> None:
    FileKeystore.create(folder, b"pw")
    assert sorted(files(folder)) == [SIGNING_FILE, VAULT_FILE]
    assert [(folder / name).stat().st_mode & 0o777 for name in files(folder)] == [0o600, 0o600]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_secrets_stand_neither_in_the_files_nor_in_what_is_printed(folder: Path) -> None:
    store = FileKeystore.create(folder, b"pw")
    written = b"".join(files(folder).values())
    for secret in (store.master, store.signing_key._scalar):
        assert secret not in written and secret.hex().encode() not in written
        assert secret.hex() not in repr(store) and repr(secret) not in repr(store)


def test_wrong_password_is_refused_and_nothing_is_written(folder: Path) -> None:
    FileKeystore.create(folder, b"right")
    before = files(folder)
    for wrong in (b"wrong", b"", b"right "):
        with pytest.raises(KeystoreRefused, match="password"):
            FileKeystore.open(folder, wrong)
    assert files(folder) == before


def test_empty_password_makes_no_keystore(folder: Path) -> None:
    with pytest.raises(KeystoreRefused):
        FileKeystore.create(folder, b"")
    assert files(folder) == {}


@pytest.mark.parametrize("present", [SIGNING_FILE, VAULT_FILE])
def test_existing_or_half_made_keystore_is_never_overwritten(folder: Path, present: str) -> None:
    folder.mkdir(parents=True)
    (folder / present).write_bytes(b"precious")
    with pytest.raises(KeystoreRefused, match=present):
        FileKeystore.create(folder, b"pw")
    assert files(folder) == {present: b"precious"}


@pytest.mark.parametrize("missing", [SIGNING_FILE, VAULT_FILE])
def test_missing_file_is_named(folder: Path, missing: str) -> None:
    FileKeystore.create(folder, b"pw")
    (folder / missing).unlink()
    with pytest.raises(KeystoreRefused, match=missing):
        FileKeystore.open(folder, b"pw")


def test_files_of_two_keystores_with_one_password_do_not_mix(folder: Path, tmp_path: Path) -> None:
    FileKeystore.create(folder, b"pw")
    FileKeystore.create(tmp_path / "other", b"pw")
    (folder / VAULT_FILE).write_bytes((tmp_path / "other" / VAULT_FILE).read_bytes())
    with pytest.raises(KeystoreRefused):
        FileKeystore.open(folder, b"pw")


def test_every_damage_of_the_vault_file_is_refused(folder: Path) -> None:
    FileKeystore.create(folder, b"pw")
    path = folder / VAULT_FILE
    good = path.read_bytes()
    document = json.loads(good)
    damages = [b"", b"[]", b"{}", good[:-40], good.replace(b"/1", b"/9")]
    damages += [
        json.dumps(document | change).encode()
        for change in (
            {"iterations": 0},
            {"iterations": 10**12},
            {"iterations": 65_535},
            {"salt": "zz"},
            {"nonce": "00"},
            {"sealed": "00" * 80},
            {"sealed": document["sealed"][:-2]},
            {"kdf": "none"},
            {"salt": None},
        )
    ]
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(KeystoreRefused):
            FileKeystore.open(folder, b"pw")
    path.write_bytes(good)
    FileKeystore.open(folder, b"pw")


def test_example_of_the_format_document_opens(folder: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats" / "keys.md").read_text(encoding="utf-8")
    pem, sealed = (block.split("\n```")[0] for block in text.split("\n```\n")[1::2])
    folder.mkdir(parents=True)
    (folder / SIGNING_FILE).write_text(pem + "\n", encoding="ascii")
    (folder / VAULT_FILE).write_text(sealed + "\n", encoding="ascii")
    opened = FileKeystore.open(folder, b"xinglin example")
    assert f"    {opened.public_key.bytes.hex()}\n" in text
