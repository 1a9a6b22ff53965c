"""Another project's converter in an environment of its own, so that it shares nothing with ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

PEERS: Final = Path(__file__).parent / ".venv-peers"


def peer_python(name: str, version: str) -> Path | None:
    """Return the interpreter of a peer's environment, made where it is not there yet; None where it cannot be made.

    Args:
        name: The peer's distribution.
        version: Which of its versions; another one's environment is made anew.
    """
    folder, installed = PEERS / name, f"{name.replace('-', '_')}-{version}.dist-info"
    python = folder / "bin" / "python"
    if not list(folder.glob(f"lib/python*/site-packages/{installed}")):
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", f"{name}=={version}"]
        if subprocess.run(pip, check=False).returncode:
            print(f"{name} {version} cannot be installed (see above); measured without it", file=sys.stderr)
            return None
    return python
