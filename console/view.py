"""`xinglin view`: a ViewDefinition over FHIR resources, a line each: rows as NDJSON or Parquet, in bounded memory."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import orjson
import typer

from console.exits import DONE, REFUSED, UNREADABLE, USAGE, fail, print_json
from console.screen import columns, say

if TYPE_CHECKING:
    import pyarrow as pa

    from sharing.views import View

#: What is read before rows are made of it: memory does not grow with the file.
BATCH_RESOURCES: Final = 2_000
BATCH_BYTES: Final = 16 << 20
#: Longest line, bytes; a longer one is passed over and named.
LINE_BYTES: Final = 64 << 20

Sink = Callable[["pa.RecordBatch"], None]
Body = dict[str, Any]


@dataclass(slots=True)
class Tally:
    """What became of the lines of a file.

    Attributes:
        name: The file's, as messages say it.
        lines: Read so far, from 1.
        resources: Lines that held a resource of the view's type.
        rows: Made of them.
        refused: Resources that do not go into the view.
        unreadable: Lines that hold no resource at all.
    """

    name: str
    lines: int = 0
    resources: int = 0
    rows: int = 0
    refused: int = 0
    unreadable: int = 0

    def tell(self, line: int, why: str) -> None:
        """Name a line on stderr."""
        print(f"xinglin: {self.name}: line {line:,}: {why}", file=sys.stderr)  # noqa: T201  (the console speaks here)

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return UNREADABLE if self.unreadable else REFUSED if self.refused else DONE


@dataclass(slots=True)
class Batch:
    """Resources that wait for the view, and the lines they stood on."""

    resources: list[Body] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    size: int = 0


def view(
    definition: Annotated[
        str, typer.Argument(metavar="VIEW", help="A ViewDefinition's file, or a shipped one's name.")
    ],
    file: Annotated[
        str, typer.Argument(metavar="RESOURCES", help="FHIR resources, a line each; - reads standard input.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Write a .parquet or .ndjson file instead of NDJSON to standard output.")
    ] = None,
    dictionary: Annotated[
        bool, typer.Option("--dictionary", help="Say what the columns mean, and read nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The dictionary, or what was written, as JSON.")] = False,
) -> None:
    """Apply a SQL on FHIR view to resources and print its rows.

    Lines that hold no resource, and resources that do not go into the view, are named on stderr; the others go on.
    """
    if not dictionary and not file:
        fail("name a file of resources, a line each, or - for standard input; or ask for --dictionary", USAGE)
    if out is not None and out.suffix not in (".parquet", ".ndjson"):
        fail(f"{out}: expected a name that ends in .parquet or .ndjson", USAGE)
    compiled = load(definition)
    for note in compiled.notes:
        print(f"xinglin: note: {note}", file=sys.stderr)  # noqa: T201  (the console speaks here)
    if dictionary:
        _define(compiled, json)
        return
    tally = Tally("standard input" if file == "-" else os.fsencode(file).decode("utf-8", "backslashreplace"))
    try:
        with _source(file) as stream, _sink(compiled, out) as sink:
            project(compiled, stream, sink, tally)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(REFUSED) from None
    except OSError as error:
        fail(f"{error.filename or out or tally.name}: {error.strerror or type(error).__name__}", UNREADABLE)
    if out is not None:
        _written(tally, out, json)
    raise typer.Exit(tally.exit_code)


def load(name: str) -> View:
    """Return a compiled view by its file's or a shipped one's name; end the command where it is none."""
    from sharing.errors import Malformed
    from sharing.views import compile_view, library

    try:
        path = Path(name)
        known = library()
        body = known[name] if name in known and not path.exists() else orjson.loads(path.read_bytes())
        return compile_view(body)
    except OSError as error:
        shipped = f"; shipped views are {', '.join(known)}" if isinstance(error, FileNotFoundError) else ""
        fail(f"{name}: {error.strerror or type(error).__name__}{shipped}", UNREADABLE)
    except orjson.JSONDecodeError as error:
        fail(f"{name}: is not JSON: {error}", UNREADABLE)
    except Malformed as error:
        fail(f"{name}: {error}", UNREADABLE)


def project(view: View, stream: BinaryIO, sink: Sink, tally: Tally) -> None:
    """Every resource of a stream went through the view, in batches and in order."""
    for batch in batches(stream, view.resource, tally):
        _one_batch(view, batch, sink, tally)


def _one_batch(view: View, batch: Batch, sink: Sink, tally: Tally) -> None:
    """The rows of a batch went out; where a resource does not fit, each is tried alone, so that the others do."""
    from sharing.errors import Malformed

    try:
        made, _ = view.rows(batch.resources)
    except Malformed as error:
        if len(batch.resources) == 1:
            tally.refused += 1
            tally.tell(batch.lines[0], str(error))
            return
        for resource, line in zip(batch.resources, batch.lines, strict=True):
            _one_batch(view, Batch([resource], [line]), sink, tally)
        return
    tally.rows += made.num_rows
    sink(made)


def batches(stream: BinaryIO, type_: str, tally: Tally) -> Iterator[Batch]:
    """Yield the resources of one type, in order and in batches of bounded size."""
    batch = Batch()
    for content in _lines(stream, tally):
        body = _resource(content, tally)
        if body is not None and body["resourceType"] == type_:
            tally.resources += 1
            batch.resources.append(body)
            batch.lines.append(tally.lines)
            batch.size += len(content)
        if len(batch.resources) >= BATCH_RESOURCES or batch.size >= BATCH_BYTES:
            yield batch
            batch = Batch()
    if batch.resources:
        yield batch


def _lines(stream: BinaryIO, tally: Tally) -> Iterator[bytes]:
    """Yield the lines that are not empty, and count all; what is too long is passed over without being held."""
    while content := stream.readline(LINE_BYTES + 1):
        tally.lines += 1
        if len(content) > LINE_BYTES:
            while not content.endswith(b"\n") and (content := stream.readline(LINE_BYTES)):
                pass
            tally.unreadable += 1
            tally.tell(tally.lines, f"longer than {LINE_BYTES:,} bytes; passed over")
            continue
        if tally.lines == 1:
            content = content.removeprefix(b"\xef\xbb\xbf")
        if content.strip():
            yield content


def _resource(content: bytes, tally: Tally) -> Body | None:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        why = f"is not JSON: {error.msg} at character {error.pos + 1}"
    else:
        if isinstance(body, dict) and isinstance(body.get("resourceType"), str):
            return body
        why = "expected a FHIR resource: an object with a resourceType"
    tally.unreadable += 1
    tally.tell(tally.lines, why)
    return None


def _source(file: str) -> Any:
    if file != "-":
        return Path(file).open("rb")
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return nullcontext(sys.stdin.buffer)


@contextmanager
def _sink(view: View, out: Path | None) -> Iterator[Sink]:
    """Yield what takes rows; a file stands under its name only once it is whole."""
    if out is None:
        yield lambda made: _print(made, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as stream:
            if out.suffix == ".ndjson":
                yield lambda made: _print(made, stream)
            else:
                import pyarrow.parquet as pq

                with pq.ParquetWriter(stream, view.schema, compression="zstd") as writer:
                    yield writer.write_batch
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _print(made: pa.RecordBatch, stream: BinaryIO) -> None:
    stream.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in made.to_pylist()))


def _written(tally: Tally, out: Path, json: bool) -> None:
    if json:
        counts = {name: getattr(tally, name) for name in ("lines", "resources", "rows", "refused", "unreadable")}
        print_json({"file": str(out), **counts})
        return
    say(f"{out}: {tally.rows:,} rows of {tally.resources:,} resources")


def _define(view: View, json: bool) -> None:
    from sharing.views import dictionary

    found = dictionary(view)
    if json:
        print_json(found)
        return
    say("\n".join(filter(None, (found["title"] or found["name"], found["description"]))) + "\n")
    rows = [
        (one["name"], one["arrow"], " ".join(filter(None, (one["role"], one["hierarchy"]))) or "-", one["description"])
        for one in found["columns"]
    ]
    print(columns(("column", "type", "risk", "meaning"), rows), flush=True)  # noqa: T201  (the console speaks here)
