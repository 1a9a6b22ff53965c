"""What a person sees: whole words, columns that cut nothing off, a bar where somebody watches."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """What compiled libraries print by themselves reaches nobody: GmSSL names lines of its source for a bad signature.

    What we say on stderr does: it goes there by another descriptor meanwhile.
    """
    try:
        ours = sys.stderr.fileno() == 2
    except (OSError, ValueError):  # captured by whoever runs us
        ours = False
    said, kept, null = sys.stderr, os.dup(2), os.open(os.devnull, os.O_WRONLY)
    said.flush()
    if ours:
        sys.stderr = os.fdopen(os.dup(kept), "w", buffering=1, encoding=said.encoding, errors=said.errors)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        if ours:
            sys.stderr.close()
            sys.stderr = said
        os.close(kept)
        os.close(null)


def say(text: str) -> None:
    """Write text to stdout: wrapped between words on a terminal, line by line as it is anywhere else."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(_wrapped(line, width) for line in text.split("\n"))
    print(text, flush=True)  # noqa: T201  (the console speaks here)


def _wrapped(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def columns(headings: Sequence[str], rows: Iterable[Sequence[object]], numbers: int = 0) -> str:
    """Return a table as text, its last ``numbers`` columns to the right; an id in it can always be copied whole."""
    lines = [tuple(headings), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = len(headings) - numbers

    def aligned(cells: Sequence[str]) -> str:
        pairs = enumerate(zip(cells, widths, strict=True))
        return " ".join(cell.ljust(width) if at < words else cell.rjust(width) for at, (cell, width) in pairs).rstrip()

    return "\n".join(map(aligned, lines))


def watched(names: Sequence[str]) -> Iterator[str]:
    """Yield the names; a bar on stderr goes along where a person watches and stdout goes elsewhere."""
    if len(names) == 1 or sys.stdout.isatty() or not sys.stderr.isatty():
        yield from names
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        yield from bars.track(names, description="converting")
