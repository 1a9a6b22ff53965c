"""Mosquitto of Debian as a private instance: a free port, its own folder, sessions kept over restarts."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")


class Mosquitto:
    """One broker.

    Args:
        folder: Its own; everything it keeps stands there.
        users: Names and passwords, or None for everybody.
    """

    def __init__(self, folder: Path, users: Mapping[str, str] | None = None) -> None:
        assert PROGRAM is not None, "the program mosquitto is missing: apt-get install mosquitto"
        self.port = _free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if users else 'true'}",
            "persistence true", f"persistence_location {folder}/", "autosave_interval 1",
            "max_queued_messages 0", "log_dest none", "user root",
        ]  # fmt: skip
        if users:
            passwords = folder / "passwords"
            passwords.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
            passwords.chmod(0o600)
            subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
            lines.append(f"password_file {passwords}")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """It listens."""
        assert PROGRAM is not None
        self._process = subprocess.Popen([PROGRAM, "-c", str(self._folder / "mosquitto.conf")])
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        """It has written its sessions and is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
