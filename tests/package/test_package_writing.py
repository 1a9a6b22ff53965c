"""Datasets are written and read: every edge of a chunk, any order of reads, nothing in the clear, nothing half."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from package_made import (
    EDGES,
    HOLDER,
    HOLDER_KEY,
    POLICIES,
    RECIPIENT,
    REQUEST,
    REQUEST_FILE,
    STRANGER,
    facts,
    parquet,
    sign,
    write_edges,
    write_tables,
)

from schemas.sharing import Excluded
from shangmi import sm3
from sharing.errors import Malformed, NotForThisKey, Tampered
from sharing.package import Table, Writer, open_package
from sharing.package.container import Package
from sharing.package.names import EVIDENCE, PARQUET
from sharing.package.names import POLICIES as POLICIES_FILE
from sharing.package.names import REQUEST as REQUEST_NAME
from sharing.package.sealing import CHUNK, SealedReader, SealedWriter
from sharing.reader import open_dataset

ROOT = Path(__file__).parents[2]
PATHS = [str(ROOT), str(ROOT / "plugins"), str(Path(__file__).parent)]


def test_what_was_written_is_read_whole_and_in_order(tmp_path: Path) -> None:
    made = write_edges(tmp_path / "d.xld")
    with open_package(made.path, RECIPIENT.decrypt) as opened:
        assert {name: opened.read(f"edges/{name}") for name in EDGES} == EDGES
        assert opened.names == (*(f"edges/{one}" for one in EDGES), REQUEST_NAME, POLICIES_FILE, EVIDENCE)
        assert opened.read(REQUEST_NAME) == REQUEST_FILE and opened.read(POLICIES_FILE) == POLICIES
        assert opened.manifest.excluded == (Excluded("consent", "denied", 3), Excluded("risk", "suppressed", 1))
        assert opened.manifest.digest == made.manifest and opened.manifest.records == made.records == 30


def test_the_digests_for_the_chain_are_those_of_the_file(tmp_path: Path) -> None:
    made = write_tables(tmp_path / "d.xld")
    content = made.path.read_bytes()
    assert (sm3(content), len(content)) == (made.package, made.size)
    with Package(made.path) as package:
        assert package.check_digests() == made.package
        assert package.manifest_digest == made.manifest


def test_a_sealed_file_is_read_from_anywhere(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 * CHUNK + 17)
    with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer:
        with writer.sealed("noise", "application/octet-stream") as file:
            file.write(content)
        writer.finish(facts(), b"", sign)
    chance = random.Random(2)
    with open_package(tmp_path / "d.xld", RECIPIENT.decrypt) as opened, opened.file("noise") as file:
        for _ in range(200):
            at, length = chance.randrange(len(content) + 50), chance.choice((1, 100, 70_000, CHUNK + 5))
            file.seek(at)
            assert file.read(length) == content[at : at + length]
        assert file.seek(-17, io.SEEK_END) == 3 * CHUNK and file.read() == content[-17:]


def test_several_files_are_written_at_once(tmp_path: Path) -> None:
    with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer:
        with writer.sealed("a", "text/plain") as one, writer.sealed("b", "text/plain") as two:
            for _ in range(3):
                one.write(b"a" * CHUNK)
                two.write(b"b" * CHUNK)
        writer.finish(facts(), b"", sign)
    with open_package(tmp_path / "d.xld", RECIPIENT.decrypt) as opened:
        assert opened.read("a") == b"a" * 3 * CHUNK and opened.read("b") == b"b" * 3 * CHUNK


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    made = write_tables(tmp_path / "d.xld")
    with pytest.raises(NotForThisKey, match="another key"):
        open_package(made.path, STRANGER.decrypt)


def test_a_secret_that_the_manifest_does_not_commit_to_opens_nothing(tmp_path: Path) -> None:
    made = write_tables(tmp_path / "d.xld")
    for secret in (bytes(32), b"", bytes(31)):
        with pytest.raises(Tampered, match="another secret"):
            open_package(made.path, lambda _, given=secret: given)


def test_nothing_in_the_clear_reaches_the_disk(tmp_path: Path) -> None:
    needle = b"somebody's diagnosis"
    with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer:
        with writer.sealed("t", "text/plain") as file:
            file.write(needle * 200_000)
            seen = [one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()]
            assert sum(map(len, seen)) > CHUNK and not any(needle in one for one in seen)
        writer.finish(facts(), b"", sign)
    assert [one.name for one in tmp_path.rglob("*")] == ["d.xld"]
    assert needle not in (tmp_path / "d.xld").read_bytes()


def test_a_file_that_fails_is_left_out_and_its_name_is_used_up(tmp_path: Path) -> None:
    with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer:
        with pytest.raises(ZeroDivisionError), writer.sealed("t", "text/plain") as file:
            file.write(b"x" * 2 * CHUNK)
            raise ZeroDivisionError
        with pytest.raises(Malformed, match="written before"), writer.sealed("t", "text/plain"):
            pass  # its key has sealed other content
        writer.finish(facts(), b"", sign)
    with open_package(tmp_path / "d.xld", RECIPIENT.decrypt) as opened:
        assert "t" not in opened.names


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../up", "a/../b", "a//b", ".hidden", "a/b/c/d/e", "a\nb", "名", "-x"]
)
def test_a_name_that_is_no_safe_path_is_refused(tmp_path: Path, name: str) -> None:
    with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer, pytest.raises(Malformed):
        writer.plain(name, "text/plain", b"")
    assert list(tmp_path.iterdir()) == []


def never(_: bytes) -> bytes:
    raise AssertionError("it was shown to the signer")


def test_facts_that_no_reader_accepts_are_not_signed(tmp_path: Path) -> None:
    wrong = [
        {"tables": (Table("t", 1, (("a", "string"),), ("missing.parquet",)),)},
        {"tables": (Table("t", 1, (), ()), Table("t", 1, (), ()))},
        {"tables": (Table("t", 1, (("a", "string"), ("a", "int64")), ()),)},
        {"excluded": (Excluded("consent", "Zhang San", 1),)},
        {"persons": -1},
        {"consents": b"short"},
        {"holder_key": bytes(64)},
    ]
    for changes in wrong:
        with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer, pytest.raises(Malformed):
            writer.finish(facts(**changes), b"", never)
        assert list(tmp_path.iterdir()) == []


def test_a_signature_of_another_makes_no_package(tmp_path: Path) -> None:
    for wrong in (lambda digest: STRANGER.sign(digest), lambda _: bytes(64), lambda digest: sign(sm3(digest))):
        writer = Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public)
        with pytest.raises(Malformed, match="signature"):
            writer.finish(facts(), b"", wrong)
        assert list(tmp_path.iterdir()) == []


def test_a_finished_or_closed_writer_takes_nothing_more(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public)
    writer.finish(facts(), b"", sign)
    with pytest.raises(RuntimeError, match="finished"):
        writer.plain("late", "text/plain", b"")


def test_a_dataset_is_not_finished_while_a_file_of_it_is_written(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public)
    with writer, writer.sealed("t", "text/plain"), pytest.raises(RuntimeError, match="still written"):
        writer.finish(facts(), b"", sign)
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_a_row_or_a_file_reads_as_such(tmp_path: Path) -> None:
    empty, columns = parquet(0)
    nothing = Table("nothing", 0, (("a", "string"), ("b", "list<item: string>")), ())
    with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer:
        with writer.sealed("tables/t.parquet", PARQUET) as file:
            file.write(empty)
        tables = (Table("t", 0, columns, ("tables/t.parquet",)), nothing)
        writer.finish(facts(tables=tables), b"", sign)
    with open_dataset(tmp_path / "d.xld", RECIPIENT) as dataset:
        assert dataset.pandas("t").shape == (0, 3) and dataset.pandas("nothing").shape == (0, 2)


def test_an_older_package_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    before = write_tables(tmp_path / "d.xld").path.read_bytes()
    with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer:
        with writer.sealed("t", "text/plain") as file:
            file.write(b"x" * 2 * CHUNK)
        assert (tmp_path / "d.xld").read_bytes() == before
    assert (tmp_path / "d.xld").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_two_datasets_of_the_same_content_share_no_sealed_byte_run(tmp_path: Path) -> None:
    one, two = (write_edges(tmp_path / name).path.read_bytes() for name in ("a.xld", "b.xld"))
    assert one[40:72] != two[40:72] and len(one) == len(two)


def test_memory_stays_flat_however_large_a_file_is(tmp_path: Path) -> None:
    piece = bytes(CHUNK)
    tracemalloc.start()
    try:
        with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer:
            with writer.sealed("large", "text/plain") as file:
                for _ in range(24):
                    file.write(piece)
            writer.finish(facts(), b"", sign)
        with open_package(tmp_path / "d.xld", RECIPIENT.decrypt) as opened, opened.file("large") as file:
            assert sum(len(one) for one in iter(lambda: file.read(100_000), b"")) == 24 * CHUNK
        assert tracemalloc.get_traced_memory()[1] < 12 * CHUNK
    finally:
        tracemalloc.stop()


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from package_made import *
with Writer(Path(sys.argv[1]), REQUEST, HOLDER, RECIPIENT.public) as writer:
    with writer.sealed("t", "text/plain") as file:
        file.write(bytes(3 * CHUNK))
        print("writing", flush=True)
        sys.stdin.read()
"""


def test_a_killed_writer_leaves_nothing_under_the_name_and_the_next_clears_it_away(tmp_path: Path) -> None:
    path = tmp_path / "d.xld"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), *PATHS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin and child.stdout
    assert child.stdout.readline() == b"writing\n"
    with Writer(path, REQUEST, HOLDER, RECIPIENT.public):  # a living writer's files are left alone
        assert len(list(tmp_path.glob(".*.part"))) == 2
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert not path.exists() and len(list(tmp_path.glob(".*.part"))) == 1
    write_tables(path)
    assert [one.name for one in tmp_path.iterdir()] == ["d.xld"]


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from package_made import *
limit = int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_edges(Path(sys.argv[1]))
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("limit", [10, CHUNK, 2 * CHUNK + 100, 5 * CHUNK])
def test_a_full_disk_leaves_nothing(tmp_path: Path, limit: int) -> None:
    arguments = [str(tmp_path / "d.xld"), str(limit), *PATHS]
    done = subprocess.run([sys.executable, "-c", FULL, *arguments], capture_output=True, check=True, text=True)
    assert done.stdout == "File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_writing_and_reading_are_fast_enough(tmp_path: Path) -> None:
    piece, begun = bytes(8 * CHUNK), time.process_time()
    with Writer(tmp_path / "d.xld", REQUEST, HOLDER, RECIPIENT.public) as writer:
        with writer.sealed("t", "text/plain") as file:
            for _ in range(2):
                file.write(piece)
        writer.finish(facts(), b"", sign)
    assert time.process_time() - begun < 4  # 4 MB/s; measured 60: the machine may be busy


def test_bytes_taken_from_one_chunk_never_open_in_another_place() -> None:
    sealed = bytearray()
    writer = SealedWriter(sealed.extend, bytes(16))
    writer.write(bytes(2 * CHUNK + 5))
    writer.finish()
    swapped = bytes(sealed[CHUNK + 16 : 2 * (CHUNK + 16)] + sealed[: CHUNK + 16] + sealed[2 * (CHUNK + 16) :])
    reader = SealedReader(lambda at, n: swapped[at : at + n], len(swapped), bytes(16), "t")
    with pytest.raises(Tampered, match="chunk 0"):
        reader.read(1)
    assert HOLDER_KEY.public != RECIPIENT.public
