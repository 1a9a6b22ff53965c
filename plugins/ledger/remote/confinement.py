"""A process that nobody else's code runs in, and a key that nobody else reads (section 8)."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import stat
from pathlib import Path
from typing import Final

from schemas.errors import ConfigurationError

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


def drop_to(user: str | None, groups: tuple[int, ...] = ()) -> None:
    """This process has no rights but those of a user; for good.

    Args:
        user: Name or number; None stays who it is.
        groups: Groups to be a member of besides the user's own.

    Raises:
        ConfigurationError: It is root and would stay root, or it cannot become that user.
    """
    if user is None:
        if os.geteuid() == 0:
            raise ConfigurationError("a node does not run as root: name a user of its own with --user")
        return
    entry = _entry(user)
    if os.geteuid() != 0:
        if entry.pw_uid != os.geteuid():
            raise ConfigurationError(f"only root can run the node as {user}; start it as that user")
        return
    if entry.pw_uid == 0:
        raise ConfigurationError("a node does not run as root: name another user with --user")
    os.setgroups(sorted({*os.getgrouplist(entry.pw_name, entry.pw_gid), *groups}))
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isascii() and user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise ConfigurationError(f"no user {user!r} on this machine; make one for the node") from None


def confine() -> None:
    """No core file, no debugger of the same user, no set-uid program, no file that others read."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise ConfigurationError(f"the kernel refuses to confine this process (prctl {option})")


def check_private(folder: Path, *files: Path) -> None:
    """Nobody but this process's user can read or replace a folder's files, or the files named besides.

    Raises:
        ConfigurationError: Somebody can; the message says how to mend it.
    """
    for path in (folder, *sorted(folder.iterdir()), *files):
        _check_own(path)
    for path in {one for start in (folder, *files) for one in start.resolve().parents}:
        found = path.stat()
        if found.st_uid not in (0, os.geteuid()):
            raise ConfigurationError(f"{path}: belongs to another user, who could replace what is in it")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
            raise ConfigurationError(f"{path}: others can write to it and replace what is in it; chmod go-w {path}")


def _check_own(path: Path) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise ConfigurationError(f"{path}: a link; the node reads keys from plain files only")
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(f"{path}: belongs to another user; chown it to the node's")
    # A credential of systemd is root's, with an access list for the service's user that shows as the group's bits.
    group = 0 if (found.st_uid, found.st_gid) == (0, 0) and not path.is_dir() else stat.S_IRWXG
    if found.st_mode & (group | stat.S_IRWXO):
        raise ConfigurationError(f"{path}: others than its owner may use it; chmod go-rwx {path}")
