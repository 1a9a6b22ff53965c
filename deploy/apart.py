"""A command as another user of this machine, who sees the interpreter and the code, and nothing of root's.

Only root can become somebody else; for everybody else a command is run as it is.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

#: What every user must be able to read: the interpreter, the environment, the repository.
NEEDED = tuple(dict.fromkeys(Path(one).resolve() for one in (sys.base_prefix, sys.prefix, Path(__file__).parents[1])))


def can_part() -> bool:
    """Say whether processes can have users of their own here."""
    return os.geteuid() == 0


def apart(user: int, command: Sequence[str], scratch: Path, groups: Sequence[int] = ()) -> list[str]:
    """Return the command that runs ``command`` as a user and group of this number, with no rights beside theirs.

    Where a folder on the way to the interpreter is closed to others, as ``/root`` is, the process gets a view of its
    own in which that folder holds what it needs and nothing else.

    Args:
        user: Its number; it needs no name on this machine.
        command: What to run.
        scratch: A folder of root's for the moment in between.
        groups: Other groups it belongs to.
    """
    if not can_part():
        return list(command)
    others = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    begin = ["setpriv", f"--reuid={user}", f"--regid={user}", others, "--no-new-privs", "--", *command]
    closed = {folder: [one for one in NEEDED if folder in one.parents] for folder in filter(None, map(_closed, NEEDED))}
    if not closed:
        return begin
    script = "; ".join(["set -e", *(step for folder, kept in closed.items() for step in _veil(folder, kept, scratch))])
    return ["unshare", "--mount", "--", "sh", "-c", f"{script}; exec {shlex.join(begin)}"]


def _closed(path: Path) -> Path | None:
    """Return the first folder on the way that others may not pass."""
    return next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)


def _veil(folder: Path, kept: Sequence[Path], scratch: Path) -> list[str]:
    """Return the steps after which a folder holds these paths only."""
    steps, places = [], [scratch / f"kept-{number}" for number in range(len(kept))]
    for one, place in zip(kept, places, strict=True):
        steps += [
            f"mkdir -p {shlex.quote(str(place))}",
            f"mount --bind {shlex.quote(str(one))} {shlex.quote(str(place))}",
        ]
    steps.append(f"mount -t tmpfs -o mode=755,size=1m none {shlex.quote(str(folder))}")
    for one, place in zip(kept, places, strict=True):
        steps += [
            f"mkdir -p {shlex.quote(str(one))}",
            f"mount --move {shlex.quote(str(place))} {shlex.quote(str(one))}",
        ]
    return steps
