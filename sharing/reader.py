"""For who received a dataset: its tables as pyarrow datasets and pandas frames, nothing of them on a disk.

    from sharing.reader import open_dataset

    with open_dataset("glucose.xld", "researcher.pem", password="…", anchor="anchor.json") as dataset:
        print(dataset.tables, dataset.pandas("glucose").describe())

Needs the base installation alone: no Airflow, no MongoDB, no network.
"""

from __future__ import annotations

import atexit
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self
from weakref import WeakSet

from schemas import json_text
from shangmi import MalformedInput, PrivateKey, WrongKeyOrTampered
from sharing.errors import Malformed, NotForThisKey
from sharing.package.manifest import Manifest, Table
from sharing.package.names import DICTIONARY
from sharing.package.opening import Opened, open_package
from sharing.package.verifying import Verified, verify

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset
    from pyarrow import parquet as pq

Key = PrivateKey | Path | str | Callable[[bytes], bytes]
_PATIENCE_SECONDS: Final = 1.0
_BREATH_SECONDS: Final = 0.05
#: Files that Arrow's threads may still hold.
_LENT: WeakSet[BinaryIO] = WeakSet()


def open_dataset(
    path: Path | str, key: Key, anchor: Path | str | bytes | None = None, *, password: str | bytes | None = None
) -> Dataset:
    """Return a dataset opened with the recipient's key; close it, or use it in a ``with``.

    Args:
        path: The package, suffix ``.xld``.
        key: The recipient's SM2 key; a PEM file with it; or what decrypts by it (a node's ``decrypt``).
        anchor: Trust anchor of the region, its path or its content. With it the dataset is verified first, all of it;
            without it nobody knows who made it.
        password: Of the PEM file.

    Raises:
        NotForThisKey: The dataset is sealed to another key, or the password does not open the PEM file.
        Tampered: Something was changed, or does not follow from the anchor.
        Malformed: A file is not what its format says.
        OSError: A file cannot be read.
    """
    unwrap = _unwrapping(key, password)
    opened = open_package(Path(path), unwrap)
    try:
        verified = None
        if anchor is not None:
            trusted = Path(anchor) if isinstance(anchor, str) else anchor
            verified = verify(Path(path), trusted, now_ms=time.time_ns() // 1_000_000)
            if verified.manifest != opened.manifest:
                raise Malformed("package: the file was exchanged while it was opened")
        return Dataset(opened, verified)
    except BaseException:
        opened.close()
        raise


class Dataset:
    """An open dataset.

    Args:
        opened: The package, opened.
        verified: What it proves, where it was verified.

    Attributes:
        verified: What it proves; None where no anchor was given.
    """

    def __init__(self, opened: Opened, verified: Verified | None) -> None:
        self._opened, self.verified = opened, verified

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The file is closed; tables that were not read yet cannot be read any more."""
        self._opened.close()

    @property
    def manifest(self) -> Manifest:
        """What the holder signed: counts, what was left out, until when it may be kept."""
        return self._opened.manifest

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(one.name for one in self.manifest.tables)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files in the dataset."""
        return self._opened.names

    @property
    def dictionary(self) -> dict[str, Any]:
        """What each column of each table means, by table; empty where the holder sent none."""
        return self.report(DICTIONARY) if DICTIONARY in self.files else {}

    def report(self, name: str) -> dict[str, Any]:
        """Return a report as a dictionary: ``risk.json``, ``deidentification.json``.

        Raises:
            Malformed: There is none of this name, or it is no JSON object.
        """
        try:
            found = json_text.parse(self._opened.read(name), fractions=True)
        except json_text.NotStrict as error:
            raise Malformed(f"{name}: {error}") from None
        if not isinstance(found, dict):
            raise Malformed(f"{name}: expected a JSON object")
        return found

    def file(self, name: str) -> BinaryIO:
        """Return one file to read from anywhere; its bytes are verified as they are read."""
        return self._opened.file(name)

    def schema(self, table: str) -> pa.Schema:
        """Return a table's columns and their types.

        Raises:
            Malformed: There is no such table, or its files have other columns or rows than the holder says.
            Tampered: A file was changed.
        """
        import pyarrow as pa

        found, rows = self._table(table), 0
        schema = pa.schema([(name, _arrow_type(type_)) for name, type_ in found.columns])
        for section in found.sections:
            with self._parquet(table, section) as file:
                schema, rows = file.schema_arrow, rows + file.metadata.num_rows
            if tuple((one.name, str(one.type)) for one in schema) != found.columns:
                raise Malformed(f"{table}: its file has other columns than the holder says")
        if rows != found.rows:
            raise Malformed(f"{table}: {rows} rows, the holder says {found.rows}")
        return schema

    def batches(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a table's rows, some at a time, however large it is; no other thread reads.

        Raises:
            Malformed: There is no such column; else as ``schema``.
            Tampered: It was changed; batches before that place were yielded.
        """
        names = self.schema(table).names
        if missing := set(columns or ()) - set(names):
            raise Malformed(f"{table}: no column {', '.join(sorted(missing))}; it has {', '.join(names)}")
        for section in self._table(table).sections:
            with self._parquet(table, section) as file:
                yield from file.iter_batches(columns=None if columns is None else list(columns), use_threads=False)

    def arrow(self, table: str) -> pa.dataset.Dataset:
        """Return a table as an Arrow dataset: filter and select before you read; Arrow's threads do.

        Raises:
            Malformed: As ``schema``.
            Tampered: By its reads, too: a chunk was changed.
        """
        import pyarrow as pa
        from pyarrow import dataset as ds

        sections, schema = list(self._table(table).sections), self.schema(table)
        if not sections:
            return ds.dataset(schema.empty_table())
        _exit_after_arrow()
        files = pa.fs.PyFileSystem(_handler(self._opened))
        return ds.dataset(sections, schema=schema, filesystem=files, format="parquet")

    def pandas(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a table, or some columns of it, as a pandas frame.

        Raises:
            Malformed: As ``batches``.
            Tampered: It was changed.
        """
        import pyarrow as pa

        read = list(self.batches(table, columns))
        found = pa.Table.from_batches(read) if read else self.schema(table).empty_table()
        frame: pd.DataFrame = (found if columns is None else found.select(list(columns))).to_pandas()
        return frame

    @contextmanager
    def _parquet(self, table: str, section: str) -> Iterator[pq.ParquetFile]:
        import pyarrow as pa
        from pyarrow import parquet as pq

        with self._opened.file(section) as source:
            try:
                file = pq.ParquetFile(source, pre_buffer=False)
            except pa.ArrowInvalid:
                raise Malformed(f"{table}: its file is no Parquet") from None
            with file:
                yield file

    def _table(self, name: str) -> Table:
        try:
            return self.manifest.table(name)
        except KeyError:
            raise Malformed(f"no table of that name; there are {', '.join(self.tables) or 'none'}") from None


def _unwrapping(key: Key, password: str | bytes | None) -> Callable[[bytes], bytes]:
    if isinstance(key, PrivateKey):
        return key.decrypt
    if not isinstance(key, (str, Path)):
        return key
    secret = password.encode() if isinstance(password, str) else password or b""
    try:
        return PrivateKey.from_pem(Path(key).read_bytes(), secret).decrypt
    except WrongKeyOrTampered:
        raise NotForThisKey("the password does not open the key file, or the key file was changed") from None
    except MalformedInput as error:
        raise Malformed(f"key file: {error}") from None


def _arrow_type(name: str) -> pa.DataType:
    import pyarrow as pa

    try:
        return pa.type_for_alias(name)
    except ValueError:
        return pa.string()


@cache
def _exit_after_arrow() -> None:
    """At the interpreter's end Arrow's threads have let go of what was lent to them.

    One that gives a Python object back after that takes the whole process down with an abort, though all was read
    (apache/arrow#36389, #39862). Arrow has no call that waits for them; when they gave back files they are nearly done.
    """

    def wait() -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while _LENT and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(_BREATH_SECONDS)

    atexit.register(wait)


def _handler(opened: Opened) -> Any:
    """Return the dataset's files as a file system that pyarrow reads; there is nothing else in it."""
    from pyarrow import PythonFile
    from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, FileType

    class Files(FileSystemHandler):  # type: ignore[misc]  # pyarrow is not annotated
        def get_type_name(self) -> str:
            return "xinglin-dataset"

        def normalize_path(self, path: str) -> str:
            return path

        def get_file_info(self, paths: list[str]) -> list[FileInfo]:
            return [FileInfo(one, FileType.File if one in opened.names else FileType.NotFound) for one in paths]

        def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
            return [FileInfo(one, FileType.File) for one in opened.names if one.startswith(selector.base_dir)]

        def open_input_file(self, path: str) -> PythonFile:
            file = opened.file(path)
            _LENT.add(file)
            return PythonFile(file, mode="r")

        def open_input_stream(self, path: str) -> PythonFile:
            return self.open_input_file(path)

        def _refuse(self, *_: object, **__: object) -> None:
            raise io.UnsupportedOperation("a dataset is only read")

        create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
        move = copy_file = open_output_stream = open_append_stream = _refuse

    return Files()
