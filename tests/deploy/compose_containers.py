"""Services of docker-compose.yaml run on this machine as the file says: user, groups, mounts, secrets, environment.

A service gets a root of its own, read-only, in a mount namespace: the system's programs, this environment, this
repository as ``/opt/xinglin``, and what its volumes and secrets name; nothing else of this machine. Networks are
not parted. Only root can do it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from console.region.processes import Process, start

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))["services"]
STATE = re.compile(r"^\$\{XINGLIN_STATE:[^}]*\}/(?P<source>[^:]+):(?P<target>[^:]+)(?P<mode>:ro)?$")
#: Of the image, beside what the file sets.
IMAGE = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
SYSTEM = ("bin", "lib", "lib32", "lib64", "sbin", "usr", "proc", "dev")
NAMES = ("group", "hosts", "ld.so.cache", "localtime", "nsswitch.conf", "passwd")


@dataclass(frozen=True)
class Containers:
    """What can run of a region whose folder is filled.

    Attributes:
        state: What ``XINGLIN_STATE`` names.
        scratch: For roots, logs and process ids; root's alone.
        replaced: Words of a command that cannot be here as they are, and what they are instead.
    """

    state: Path
    scratch: Path
    replaced: Mapping[str, str] = field(default_factory=dict)

    def start(self, name: str) -> Process:
        """A service runs."""
        command = self.command(name, self._here(SERVICES[name]["command"]))
        return start(name, command, self.scratch, self.environment(name))

    def open(self, name: str, command: Sequence[str]) -> subprocess.Popen[str]:
        """Another command than its own begins as a service, with pipes."""
        pipe, log = subprocess.PIPE, self.scratch / f"{name}-besides.log"
        with log.open("ab") as errors:
            return subprocess.Popen(
                self.command(name, command),
                env=self.environment(name),
                stdin=pipe,
                stdout=pipe,
                stderr=errors,
                text=True,
            )

    def run(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Another command than its own ran as a service."""
        prefixed, environment = self.command(name, command), self.environment(name)
        return subprocess.run(prefixed, env=environment, capture_output=True, text=True, check=False, timeout=120)

    def healthy(self, name: str) -> bool:
        """Whether a service's own health check passes."""
        return self.run(name, self._here(SERVICES[name]["healthcheck"]["test"][1:])).returncode == 0

    def _here(self, command: Sequence[str]) -> list[str]:
        return [self.replaced.get(one, one) for one in command]

    def environment(self, name: str) -> dict[str, str]:
        """Return the whole environment of a service."""
        return IMAGE | {key: str(value) for key, value in SERVICES[name]["environment"].items()}

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        """Return what runs a command as a service."""
        root = self.scratch / "root"
        root.mkdir(exist_ok=True)
        user, _, group = SERVICES[name]["user"].partition(":")
        others = SERVICES[name].get("group_add")
        begin = [
            "/usr/sbin/chroot", str(root), "setpriv", f"--reuid={user}", f"--regid={group}",
            f"--groups={','.join(others)}" if others else "--clear-groups", "--no-new-privs", "--bounding-set=-all",
            "--inh-caps=-all", "--", "sh", "/opt/xinglin/deploy/entrypoint.sh", *command,
        ]  # fmt: skip
        steps = "; ".join(["set -e", *self._root(SERVICES[name], root)])
        return ["unshare", "--mount", "--", "sh", "-c", f"{steps}; exec {shlex.join(begin)}"]

    def _root(self, service: Mapping[str, Any], root: Path) -> Iterator[str]:
        yield f"mount -t tmpfs -o mode=755,size=16m none {root}; mkdir {root}/etc {root}/opt"
        for one in (Path("/") / name for name in SYSTEM):
            if one.is_symlink():
                yield f"ln -s {one.readlink()} {root}{one}"
            elif one.is_dir():
                yield _bound(one, f"{root}{one}", "--rbind")
        yield f"cp -L {' '.join(f'/etc/{one}' for one in NAMES if Path('/etc', one).exists())} {root}/etc"
        # Before the repository, which may itself lie below one of them.
        for target in (*(one.partition(":")[0] for one in service["tmpfs"]), "/var/log/airflow"):
            yield f"mkdir -p {root}{target}; mount -t tmpfs -o mode=1777,size=16m none {root}{target}"
        needed = {Path(one).resolve() for one in (sys.base_prefix, sys.prefix, ROOT)}
        for one in sorted(one for one in needed if one.parts[1] not in SYSTEM):
            yield f"[ -d {root}{one} ] || {{ {_bound(one, f'{root}{one}')}; }}"
        yield f"ln -s {ROOT} {root}/opt/xinglin"
        for volume in service.get("volumes", ()):
            if found := STATE.match(volume):
                yield _bound(self.state / found["source"], f"{root}{found['target']}", read_only=bool(found["mode"]))
        for secret in service.get("secrets", ()):
            source = self.state / "secrets" / secret["source"]
            yield _bound(source, f"{root}/run/secrets/{secret['target']}", read_only=True)
        yield f"mount -o remount,ro {root}; cd /"


def _bound(source: Path, target: str, how: str = "--bind", *, read_only: bool = False) -> str:
    """Return the steps after which a folder is seen at another place."""
    steps = f"mkdir -p {target}; mount {how} {shlex.quote(str(source))} {target}"
    return f"{steps}; mount -o remount,bind,ro {target}" if read_only else steps
