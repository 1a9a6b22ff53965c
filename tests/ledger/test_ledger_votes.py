"""The vote store: nothing signed twice, nothing forgotten, no signature before its bytes are on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import run_apart
from needed import needs

from ledger.agreement.votes import Slot, VoteStore
from ledger.errors import Halted, Refused
from shangmi import PrivateKey

CHAIN = bytes(32)
KEY = PrivateKey.generate()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> VoteStore:
    return VoteStore.create(tmp_path / "key.votes", KEY.public)


def draft(message: bytes, payload: bytes = b"") -> Callable[[bytes], tuple[bytes, bytes]]:
    return lambda _: (message, payload)


def sign(store: VoteStore, slot: Slot, message: bytes, lock: bytes = b"") -> bytes:
    return store.sign(CHAIN, slot, KEY, draft(message), expected=message, lock=lock).signature


def test_a_place_is_signed_once_and_its_repeat_gets_the_stored_bytes(store: VoteStore) -> None:
    signature = sign(store, Slot(1, 0, 1), b"block A")
    assert KEY.public.verify(signature, b"block A")
    assert sign(store, Slot(1, 0, 1), b"block A") == signature
    before = store.dump()
    with pytest.raises(Refused, match="double vote"):
        sign(store, Slot(1, 0, 1), b"block B")
    assert store.dump() == before


@pytest.mark.parametrize("behind", [Slot(1, 9, 3), Slot(2, 0, 3), Slot(2, 1, 1)])
def test_nothing_behind_the_last_place_is_signed(store: VoteStore, behind: Slot) -> None:
    sign(store, Slot(2, 1, 2), b"commit")
    before = store.dump()
    with pytest.raises(Refused, match="order of votes"):
        sign(store, behind, b"late")
    assert store.dump() == before


def test_a_draft_that_refuses_leaves_no_trace(store: VoteStore) -> None:
    sign(store, Slot(1, 0, 2), b"commit", lock=b"a lock")
    before = store.dump()

    def refuse(lock: bytes) -> tuple[bytes, bytes]:
        raise Refused("lock", "6", "locked", lock)

    with pytest.raises(Refused) as refused:
        store.sign(CHAIN, Slot(1, 1, 1), KEY, refuse)
    assert refused.value.lock_qc == b"a lock"
    assert store.dump() == before and store.last(CHAIN) == Slot(1, 0, 2)


def test_a_lock_holds_for_its_height_only_and_for_its_chain_only(store: VoteStore) -> None:
    sign(store, Slot(1, 0, 2), b"commit", lock=b"a lock")
    assert store.lock(CHAIN, 1) == b"a lock"
    assert store.lock(CHAIN, 2) == b"" == store.lock(b"\1" * 32, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 3), st.sampled_from([b"A", b"B"])), max_size=12
    )
)
def test_whatever_is_asked_in_whatever_order_no_place_ever_has_two_messages(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, int, int, bytes]]
) -> None:
    store = VoteStore.create(tmp_path_factory.mktemp("votes") / "key.votes", KEY.public)
    given_out: dict[Slot, bytes] = {}
    highest = Slot(0, 0, 0)
    for height, round_, step, message in asked:
        slot = Slot(height, round_, step)
        try:
            sign(store, slot, message)
        except Refused:
            continue
        assert given_out.setdefault(slot, message) == message
        assert slot >= highest or slot in given_out
        highest = max(highest, slot)
    store.close()


def test_many_threads_with_different_blocks_get_one_signed(store: VoteStore) -> None:
    def attempt(number: int) -> bytes | None:
        try:
            return sign(store, Slot(5, 0, 1), b"block %d" % number)
        except Refused:
            return None

    with ThreadPoolExecutor(8) as pool:
        results = [one for one in pool.map(attempt, range(8)) if one]
    assert len(results) == 1 and len(store.dump()) == 1


RACER = """
import sys
from pathlib import Path
from ledger.errors import Refused
from ledger.agreement.votes import Slot, VoteStore
from shangmi import PrivateKey
key = PrivateKey.from_scalar(bytes.fromhex(sys.argv[2]))
message = sys.argv[3].encode()
try:
    store = VoteStore(Path(sys.argv[1]))
    signed = store.sign(bytes(32), Slot(7, 0, 1), key, lambda _: (message, b''), expected=message)
    print(signed.signature.hex())
except Refused as error:
    print(error.rule)
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from ledger.agreement.votes import Slot, VoteStore
from shangmi import PrivateKey
class Key:
    public = PrivateKey.from_scalar(bytes.fromhex(sys.argv[2])).public
    def sign(self, message):
        os.kill(os.getpid(), signal.SIGKILL)
VoteStore(Path(sys.argv[1])).sign(bytes(32), Slot(7, 0, 1), Key(), lambda _: (b'block A', b''))
"""
SCALAR = bytes(31) + b"\7"


def run(script: str, path: Path, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    command = [sys.executable, "-c", script, str(path), SCALAR.hex(), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_processes_with_one_key_and_different_blocks_get_one_signed(tmp_path: Path) -> None:
    path = tmp_path / "key.votes"
    VoteStore.create(path, PrivateKey.from_scalar(SCALAR).public).close()
    racers = [run(RACER, path, f"block {number}") for number in range(4)]
    outcomes = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert outcomes.count("double vote") == 3
    [signature] = [one for one in outcomes if one != "double vote"]
    assert [signed.signature.hex() for _, signed in VoteStore(path).dump()] == [signature]


def test_a_process_killed_between_writing_and_signing_cannot_sign_another_block(tmp_path: Path) -> None:
    path = tmp_path / "key.votes"
    key = PrivateKey.from_scalar(SCALAR)
    VoteStore.create(path, key.public).close()
    killed = run(KILLED, path)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    store = VoteStore(path)
    [(slot, left)] = store.dump()
    assert (slot, left.message, left.signature) == (Slot(7, 0, 1), b"block A", b"")
    with pytest.raises(Refused, match="double vote"):
        store.sign(CHAIN, slot, key, draft(b"block B"), expected=b"block B")
    signed = store.sign(CHAIN, slot, key, draft(b"block A"), expected=b"block A")
    assert key.public.verify(signed.signature, b"block A")


def test_a_key_without_its_vote_state_refuses_and_says_how_to_recover(tmp_path: Path) -> None:
    path = tmp_path / "key.votes"
    with pytest.raises(Halted, match="take a new key by governance"):
        VoteStore(path)
    assert not path.exists()
    VoteStore.create(path, KEY.public).close()
    before = path.read_bytes()
    with pytest.raises(Halted, match="must not begin anew"):
        VoteStore.create(path, KEY.public)
    assert path.read_bytes() == before
    with pytest.raises(Halted, match="another key"):
        VoteStore(path).check_owner(PrivateKey.generate().public)


def test_a_damaged_file_refuses_and_says_how_to_recover(tmp_path: Path) -> None:
    path = tmp_path / "key.votes"
    path.write_bytes(b"this is no database, and it is long enough to be seen as none" * 20)
    with pytest.raises(Halted, match="cannot be opened"):
        VoteStore(path)
    path.unlink()
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(Halted, match="cannot be used"):
        VoteStore(path).last(CHAIN)


def test_only_its_owner_may_read_the_file(store: VoteStore, tmp_path: Path) -> None:
    assert (tmp_path / "key.votes").stat().st_mode & 0o077 == 0


def test_killed_between_any_two_steps_and_started_again_a_place_is_signed_one_way(tmp_path: Path) -> None:
    """Invariant 3, and the variant "vote state lost on restart": persist, sign, store and release, killed anywhere."""
    done = run_apart(Path(__file__).with_name("killed_signing.py"), tmp_path)
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    assert lives and lives[-1]["ended"] == 0, done.stderr
    assert len(lives) > 30 and all(one["ended"] == -signal.SIGKILL for one in lives[:-1])
    for one in lives:
        events = [json.loads(line) for line in one["log"]]
        signed = [event for event in events if event["event"] == "signed"]
        assert all(event["on_disk"] == "yes" for event in signed)
        messages: dict[tuple[int, ...], set[str]] = {}
        for event in signed:
            messages.setdefault(tuple(event["slot"]), set()).add(event["message"])
        assert all(len(found) == 1 for found in messages.values()), one["killed_at"]
        released = [(tuple(event["slot"]), event["signature"]) for event in events if event["event"] == "released"]
        assert len({slot for slot, _ in released}) == len(set(released))  # a repeat gets the signature of before
        for life in ("first", "other bytes", "same bytes"):
            places = [event["slot"] for event in events if event["life"] == life and event["event"] == "signed"]
            assert places == sorted(places)
        store = VoteStore(tmp_path / str(one["killed_at"]) / "key.votes")
        assert store.last(CHAIN) == Slot(8, 0, 1)  # whoever asked last got there, whatever was killed
        store.close()


def torn(folder: Path, number: int, source: Path, length: int) -> Path:
    """A copy of a vote store whose write-ahead log a power cut ended after so many bytes."""
    copy = folder / f"torn-{number}"
    copy.mkdir()
    shutil.copyfile(source, copy / source.name)
    log = source.with_name(source.name + "-wal").read_bytes()
    (copy / (source.name + "-wal")).write_bytes(log[:length])
    return copy / source.name


def test_a_log_torn_anywhere_by_a_power_cut_is_whole_or_nothing(store: VoteStore, tmp_path: Path) -> None:
    """What SQLite syncs before COMMIT returns is all there; what it had not synced is as if never asked."""
    path, log = tmp_path / "key.votes", tmp_path / "key.votes-wal"
    sign(store, Slot(6, 0, 2), b"COMMIT 6", lock=b"lock of 6")
    before = log.stat().st_size
    store.sign(CHAIN, Slot(7, 0, 2), KEY, draft(b"COMMIT 7"), lock=b"lock of 7")
    after = log.stat().st_size
    assert after > before
    found = set()
    for number, length in enumerate(range(before, after + 1, max(1, (after - before) // 60))):
        copy = VoteStore(torn(tmp_path, number, path, length))
        last = copy.last(CHAIN)
        whole = copy.find(CHAIN, Slot(7, 0, 2))
        assert last in (Slot(6, 0, 2), Slot(7, 0, 2)) and (whole is None) == (last == Slot(6, 0, 2))
        assert copy.lock(CHAIN, 7) == (b"" if whole is None else b"lock of 7")
        found.add(None if whole is None else bool(whole.signature))
        copy.close()
    assert {None, False, True} <= found | {True}


@needs(shutil.which("strace"), "the order of system calls is seen with strace only")
def test_the_bytes_are_synced_to_the_disk_before_the_key_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "key.votes"
    VoteStore.create(path, PrivateKey.from_scalar(SCALAR).public).close()
    marks = SYNCED.replace("TRACE", str(tmp_path / "trace"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    command = ["strace", "-f", "-qq", "-y", "-e", "trace=fsync,fdatasync,mkdir", "-o", str(tmp_path / "trace")]
    done = subprocess.run(
        [*command, sys.executable, "-c", marks, str(path), SCALAR.hex()],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "ptrace" in done.stderr:
        pytest.skip("this kernel lets nobody trace system calls; the torn-log tests above stand without it")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "trace").read_text().splitlines()
    signed = next(place for place, call in enumerate(calls) if "key-is-asked" in call)
    begun = next(place for place, call in enumerate(calls) if "begin" in call)
    assert any(
        "key.votes-wal" in call and "sync" in call and call.rstrip().endswith("= 0") for call in calls[begun:signed]
    )


SYNCED = """
import os, sys
from pathlib import Path
from ledger.agreement.votes import Slot, VoteStore
from shangmi import PrivateKey
key = PrivateKey.from_scalar(bytes.fromhex(sys.argv[2]))
folder = Path(sys.argv[1]).parent
class Key:
    public = key.public
    def sign(self, message):
        os.mkdir(folder / "key-is-asked")
        return key.sign(message)
store = VoteStore(Path(sys.argv[1]))
os.mkdir(folder / "begin")
store.sign(bytes(32), Slot(7, 0, 1), Key(), lambda _: (b'block A', b''))
"""


def test_a_store_that_was_replaced_under_a_running_process_signs_nothing_there(
    store: VoteStore, tmp_path: Path
) -> None:
    path = tmp_path / "key.votes"
    sign(store, Slot(3, 0, 1), b"block A")
    path.rename(tmp_path / "moved")
    with pytest.raises(Halted, match="taken away"):
        sign(store, Slot(3, 0, 2), b"commit A")
    with pytest.raises(Halted, match="left by another vote state"):
        VoteStore.create(path, KEY.public)
    assert not path.exists()
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"key.votes{suffix}").rename(tmp_path / f"moved{suffix}")
    VoteStore.create(path, KEY.public).close()
    with pytest.raises(Halted, match="replaced under this process"):
        sign(store, Slot(3, 0, 2), b"commit A")
    assert VoteStore(path).dump() == []


def test_a_halted_key_signs_nothing_in_any_process_and_keeps_the_first_reason(store: VoteStore, tmp_path: Path) -> None:
    sign(store, Slot(3, 0, 1), b"block A")
    before = store.dump()
    store.halt("an old copy")
    store.halt("another reason")
    for one in (store, VoteStore(tmp_path / "key.votes")):
        assert one.halted() == "an old copy"
        for slot in (Slot(3, 0, 1), Slot(3, 0, 2)):
            with pytest.raises(Halted, match=r"an old copy.*xinglin node recover"):
                sign(one, slot, b"block A")
    assert store.dump() == before


def test_a_recovered_store_signs_nothing_up_to_its_floor_and_anything_above(tmp_path: Path) -> None:
    store = VoteStore.create(tmp_path / "key.votes", KEY.public, floor=(CHAIN, 9))
    for behind in (Slot(1, 0, 1), Slot(9, 0, 0), Slot(9, 4_000, 3)):
        with pytest.raises(Refused, match="order of votes"):
            sign(store, behind, b"behind")
        assert store.knows(CHAIN, behind, b"whatever was signed there before")
    assert not store.knows(CHAIN, Slot(10, 0, 1), b"above")
    sign(store, Slot(10, 0, 1), b"above")
    assert store.knows(CHAIN, Slot(10, 0, 1), b"above") and not store.knows(CHAIN, Slot(10, 0, 1), b"another")
    assert store.last(b"\1" * 32) is None  # another chain has its own heights


def test_a_store_knows_what_it_signed_and_nothing_else(store: VoteStore) -> None:
    assert not store.knows(CHAIN, Slot(1, 0, 1), b"A")
    sign(store, Slot(5, 1, 1), b"A")
    assert store.knows(CHAIN, Slot(5, 1, 1), b"A") and store.knows(CHAIN, Slot(4, 9, 3), b"forgotten, and harmless")
    for slot, message in ((Slot(5, 1, 1), b"B"), (Slot(5, 0, 1), b"A"), (Slot(5, 1, 2), b"A"), (Slot(6, 0, 0), b"A")):
        assert not store.knows(CHAIN, slot, message)
