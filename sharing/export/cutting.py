"""An export's parts: some patients each, sealed in the scratch folder, cut by as many processes as are worth it."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson

from sharing.errors import NotYet
from sharing.export.cohort import Selection
from sharing.export.part import Builder, Part, decode, encode
from sharing.export.scratch import Scratch

log = logging.getLogger(__name__)

#: Patients of one part.
PATIENTS: Final = 200
#: Parts that make it worth while to start a process.
FEW: Final = 4
_SELECTION: Final = "selection"


class Cutting:
    """The parts of one export, as they stand on the disk.

    Args:
        scratch: Where.
        builder: Makes them.
        owners: Tokens of the patients meant, in order.
        size: Patients of a part.
    """

    def __init__(self, scratch: Scratch, builder: Builder, owners: Sequence[bytes], size: int) -> None:
        self._scratch, self._builder = scratch, builder
        self._chunks = [owners[at : at + size] for at in range(0, len(owners), size)]

    def __len__(self) -> int:
        """Return how many there are to be."""
        return len(self._chunks)

    def cut(self, numbers: Iterable[int]) -> Iterator[int]:
        """Cut these parts under the statements of now, but those that stand; yield each that does, by its number."""
        for number in numbers:
            if not self._stands(number):
                self._scratch.write(_name(number), encode(self._builder.build(self._chunks[number])))
            yield number

    def finish(self, numbers: Iterable[int]) -> None:
        """These parts stand."""
        for _ in self.cut(numbers):
            pass

    def current(self) -> bool:
        """Say whether every part is what would be cut now: nobody changed a statement."""
        return all(map(self._stands, range(len(self))))

    def _stands(self, number: int) -> bool:
        stored, owners = self._scratch.read(_name(number)), self._chunks[number]
        found = None if stored is None else decode(stored)
        return found is not None and (found.owners, found.statements) == (
            tuple(owners), self._builder.statements(owners),
        )  # fmt: skip

    def parts(self) -> Iterator[Part]:
        """Yield them.

        Raises:
            NotYet: One is not there any more.
        """
        for number in range(len(self)):
            if (stored := self._scratch.read(_name(number))) is None:
                raise NotYet("a part of the export was lost or changed on the disk; it is cut anew")
            yield decode(stored)


def _name(number: int) -> str:
    return f"part-{number:06d}"


@dataclass(frozen=True, slots=True)
class Hands:
    """Processes that cut parts beside the export's own. What they leave undone, it does itself, and names the error.

    Attributes:
        command: Starts one. It is told its first part and the step to the next, and ends with its standard input:
            where the export is killed, so are they.
        most: Processes in all, the export's own among them.
    """

    command: tuple[str, ...] = ()
    most: int = 1

    def for_parts(self, parts: int) -> int:
        """Return how many processes are worth their start."""
        return max(1, min(self.most, parts // FEW))

    @contextmanager
    def at_work(self, count: int) -> Iterator[None]:
        """So many processes share the parts; the export's own, the first, waits for the others at the end."""
        others = [self._start(number, count) for number in range(1, count)]
        try:
            yield
            if early := sum(one.wait() != 0 for one in others):
                log.warning("export: %d of %d processes ended early; this one cuts what they left", early, count)
        finally:
            for one in others:
                one.kill()
                one.communicate()

    def _start(self, number: int, count: int) -> subprocess.Popen[bytes]:
        command = [*self.command, str(number), str(count)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def keep_selection(scratch: Scratch, selection: Selection) -> None:
    """Other processes of this export find there who is meant."""
    whose = [(one.hex(), selection.persons[one].hex()) for one in selection.owners]
    scratch.write(_SELECTION, orjson.dumps(whose))


def kept_selection(scratch: Scratch) -> Selection:
    """Return who is meant.

    Raises:
        NotYet: Nobody said so here.
    """
    if (stored := scratch.read(_SELECTION)) is None:
        raise NotYet("the export that this process was to help is over")
    persons = {bytes.fromhex(owner): bytes.fromhex(person) for owner, person in orjson.loads(stored)}
    return Selection(tuple(persons), persons, ())
