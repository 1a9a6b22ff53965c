"""Packages lie on the shelf and are fetched whole, or nothing is there; whoever writes there is not believed."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from package_made import HOLDER, REQUEST, write_edges, write_tables
from pymongo.database import Database

from shangmi import sm3
from sharing.errors import Malformed, NotYet, Tampered
from sharing.package.shelf import KEPT, Shelf

pytestmark = pytest.mark.mongo
ROOT = Path(__file__).parents[2]
PATHS = [str(ROOT), str(ROOT / "plugins"), str(Path(__file__).parent)]


def counts(database: Database[Any]) -> tuple[int, int]:
    return database["shelf.files"].count_documents({}), database["shelf.chunks"].count_documents({})


def test_a_package_is_fetched_as_it_was_put_there(database: Database[Any], tmp_path: Path) -> None:
    made, shelf, seen = write_edges(tmp_path / "d.xld"), Shelf(database), list[int]()
    assert not shelf.has(made.package)
    assert shelf.put(made.path) == shelf.put(made.path) == made.package  # again changes nothing
    assert counts(database)[0] == 1 and shelf.has(made.package)
    shelf.get(made.package, tmp_path / "got.xld", made.size, seen.append)
    assert (tmp_path / "got.xld").read_bytes() == made.path.read_bytes() and sum(seen) == made.size
    assert sorted(one.name for one in tmp_path.iterdir()) == ["d.xld", "got.xld"]


def test_any_reader_of_gridfs_can_take_it(database: Database[Any], tmp_path: Path) -> None:
    from gridfs import GridFSBucket

    made = write_edges(tmp_path / "d.xld")
    Shelf(database).put(made.path)
    with GridFSBucket(database, "shelf").open_download_stream_by_name(made.package.hex()) as stream:
        assert sm3(stream.read()) == made.package


def test_what_is_not_there_is_not_yet(database: Database[Any], tmp_path: Path) -> None:
    with pytest.raises(NotYet, match="not on the shelf"):
        Shelf(database).get(bytes(32), tmp_path / "got.xld", 10)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_package_is_not_put_there(database: Database[Any], tmp_path: Path) -> None:
    made = write_tables(tmp_path / "d.xld")
    (tmp_path / "x").write_bytes(b"x" * 500)
    content = bytearray(made.path.read_bytes())
    content[100] ^= 1
    (tmp_path / "changed.xld").write_bytes(content)
    for name, error in (("x", Malformed), ("changed.xld", Tampered)):
        with pytest.raises(error):
            Shelf(database).put(tmp_path / name)
    assert counts(database) == (0, 0)


def forge(database: Database[Any], digest: bytes, chunks: list[Any]) -> None:
    file = ObjectId()
    database["shelf.files"].insert_one({"_id": file, "filename": digest.hex()})
    database["shelf.chunks"].insert_many([{"files_id": file, "n": n, **one} for n, one in enumerate(chunks)])


def test_forgeries_under_its_digest_stop_nobody(database: Database[Any], tmp_path: Path) -> None:
    made = write_tables(tmp_path / "d.xld")
    content = made.path.read_bytes()
    forge(database, made.package, [{"data": content[:-1] + b"x"}])
    forge(database, made.package, [{"data": content[:100]}])
    forge(database, made.package, [{"data": content + b"more"}])
    forge(database, made.package, [{"data": "text"}])
    forge(database, made.package, [{"data": b""}, {"nothing": 1}])
    shelf, got = Shelf(database), tmp_path / "got.xld"
    with pytest.raises(Tampered, match="something else"):
        shelf.get(made.package, got, made.size)
    assert not got.exists() and [one.name for one in tmp_path.iterdir()] == ["d.xld"]
    forge(database, made.package, [{"data": content[:200]}, {"data": content[200:]}])
    shelf.get(made.package, got, made.size)
    assert got.read_bytes() == content


def test_more_than_the_chain_announced_is_not_read(database: Database[Any], tmp_path: Path) -> None:
    seen = list[int]()
    forge(database, bytes(32), [{"data": b"x" * 1_000}] * 50)
    with pytest.raises(Tampered):
        Shelf(database).get(bytes(32), tmp_path / "got.xld", 2_500, seen.append)
    assert sum(seen) == 2_000 and list(tmp_path.iterdir()) == []


def test_a_broken_transfer_leaves_what_was_there_before(database: Database[Any], tmp_path: Path) -> None:
    made, shelf, got = write_edges(tmp_path / "d.xld"), Shelf(database), tmp_path / "got.xld"
    got.write_bytes(b"what was there before")
    shelf.put(made.path)

    def cut(_: int) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        shelf.get(made.package, got, made.size, cut)
    assert got.read_bytes() == b"what was there before" and len(list(tmp_path.iterdir())) == 2


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[5:]
from pymongo import MongoClient
from sharing.package.shelf import Shelf
uri, name, path, size = sys.argv[1:5]
digest = bytes.fromhex(sys.stdin.read())
with MongoClient(uri) as client:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    try:
        Shelf(client[name]).get(digest, Path(path), int(size))
    except OSError as error:
        print(error.strerror)
"""


def test_a_full_disk_leaves_nothing(database: Database[Any], mongo_uri: str, tmp_path: Path) -> None:
    made = write_edges(tmp_path / "d.xld")
    Shelf(database).put(made.path)
    arguments = [mongo_uri, database.name, str(tmp_path / "got.xld"), str(made.size), *PATHS]
    done = subprocess.run(
        [sys.executable, "-c", FULL, *arguments], input=made.package.hex(), capture_output=True, check=True, text=True
    )
    assert done.stdout == "File too large\n" and [one.name for one in tmp_path.iterdir()] == ["d.xld"]


def test_what_arrived_and_what_is_old_is_swept_and_others_packages_stay(
    database: Database[Any], tmp_path: Path
) -> None:
    one = write_tables(tmp_path / "a.xld")
    two = write_tables(tmp_path / "b.xld", request=sm3(b"another"))
    shelf, asked = Shelf(database), list[bytes]()
    shelf.put(one.path)
    shelf.put(two.path)
    forge(database, one.package, [{"data": b"x"}])
    database["shelf.files"].insert_one({"_id": 1, "filename": 5, "metadata": [{"holder": HOLDER, "request": {}}]})
    database["shelf.chunks"].insert_one({"files_id": ObjectId.from_datetime(datetime(2020, 1, 1, tzinfo=UTC)), "n": 0})
    database["shelf.chunks"].insert_one({"files_id": ObjectId(), "n": 0})

    def received(request: bytes) -> bool:
        asked.append(request)
        return request == REQUEST

    assert shelf.sweep("lab-centre", received) == 0 and asked == []
    assert shelf.sweep(HOLDER, received) == 2  # the one that arrived, and what somebody wrote without a date
    assert not database["shelf.files"].find_one({"metadata.request": REQUEST.hex()}) and shelf.has(two.package)
    assert database["shelf.chunks"].count_documents({"n": 0}) == 3  # the young one, the forged one and the other
    assert shelf.sweep(HOLDER, lambda _: False, datetime.now(UTC) + KEPT + timedelta(days=1)) == 1
    assert not shelf.has(two.package)
    shelf.put(one.path)
    assert shelf.discard(one.package) == 2 and not shelf.has(one.package)
