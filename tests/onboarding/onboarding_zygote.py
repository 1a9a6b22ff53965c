"""`xinglin` as processes that begin with everything imported: a server forks one for each command that a client sends.

Each command is a process of its own, with its own variables, folder and descriptors, as from a shell; only the seconds
that importing takes are spent once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]

LOADED = ("great_expectations", "console.main", "dags.steps.onboarding.certifying", "dags.steps.watch", "hl7apy.parser")
#: What stands on PATH as `xinglin`: passes arguments, variables, folder and descriptors on, signals after them.
CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
told = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
descriptors = array.array("i", [0, 1, 2])
server.sendmsg([len(told).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
server.sendall(told)
answers = server.makefile("r")
child = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda got, _: os.kill(child, got))
os._exit(int(answers.readline()))
"""


@contextmanager
def commands(folder: Path) -> Iterator[Path]:
    """Yield a folder for PATH in which `xinglin` stands, for as long as the server runs."""
    address = folder / "server"
    client = folder / "bin" / "xinglin"
    client.parent.mkdir()
    client.write_text(CLIENT.format(python=sys.executable, path=str(address)), encoding="utf-8")
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XINGLIN", "MONGODB"))}
    server = subprocess.Popen(
        [sys.executable, __file__, str(address)],
        env={**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"}, stdout=subprocess.PIPE, cwd=folder,
    )  # fmt: skip
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    try:
        yield client.parent
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def serve(address: str) -> None:
    """Fork a process for every command until SIGTERM."""
    for module in LOADED:
        import_module(module)
    import_module("quality.gate").Gate("hl7v2").check([])
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _handle(connection)
        connection.close()


def _handle(connection: socket.socket) -> None:
    """Run one command in a child, tell the client its number and its end, and go."""
    head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
    told = b""
    while len(told) < int.from_bytes(head, "big"):
        told += connection.recv(65_536)
    arguments, variables, folder = json.loads(told)
    child = os.fork()
    if child == 0:
        connection.close()
        _run(arguments, variables, folder, descriptors)
    connection.sendall(b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall(b"%d\n" % (code if code >= 0 else 128 - code))
    os._exit(0)


def _run(arguments: list[str], variables: dict[str, str], folder: str, descriptors: list[int]) -> None:
    from console.main import main

    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["xinglin", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as Python itself would end
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    serve(sys.argv[1])
