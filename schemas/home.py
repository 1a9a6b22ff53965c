"""Where one machine's part of a region keeps its things, and how its secrets are found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Home:
    """Folders and files under ``XINGLIN_HOME`` (default ``.xinglin`` where the command is given).

    ``keys/<institution>/`` holds the keystore and the vote store of each institution that lives here; on a
    machine of a region that is exactly one.
    """

    path: Path

    @classmethod
    def from_environment(cls) -> Home:
        """Return the home that ``XINGLIN_HOME`` names."""
        return cls(Path(os.environ.get("XINGLIN_HOME", ".xinglin")).resolve())

    @property
    def genesis(self) -> Path:
        """The chain's first bytes, the same on every machine of the region."""
        return self.path / "genesis.bin"

    @property
    def region_grant(self) -> Path:
        """The region's key for pseudonyms, wrapped to every member's key: no secret, the same on every machine."""
        return self.path / "region.keys"

    @property
    def anchor(self) -> Path:
        """What an offline verifier trusts; made from genesis and given to whoever checks proofs."""
        return self.path / "anchor.json"

    @property
    def region(self) -> Path:
        """``region.yaml``: ``XINGLIN_REGION``, or the repository's."""
        return Path(os.environ.get("XINGLIN_REGION", REPOSITORY / "region.yaml"))

    @property
    def sources(self) -> Path:
        """Folder of source files: ``XINGLIN_SOURCES``, or the repository's."""
        return Path(os.environ.get("XINGLIN_SOURCES", REPOSITORY / "sources"))

    def keys(self, institution: str) -> Path:
        """Folder of one institution's keystore and vote store."""
        return self.path / "keys" / institution

    @property
    def node_socket(self) -> Path | None:
        """Where the institution's node listens: ``XINGLIN_NODE_SOCKET``, or ``node/node.sock`` where ``node/`` is.

        None: there is no such process, and the node is opened in this one, which then needs the key.
        """
        if given := os.environ.get("XINGLIN_NODE_SOCKET"):
            return Path(given)
        folder = self.path / "node"
        return folder / "node.sock" if folder.is_dir() else None

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files outside ``keys`` that open an institution's key or its node's database."""
        named = (os.environ.get("XINGLIN_KEY_PASSWORD_FILE"), os.environ.get("XINGLIN_NODE_MONGODB_URI_FILE"))
        return tuple(Path(one) for one in named if one)

    def password(self, institution: str) -> bytes:
        """Return the password of an institution's keystore.

        It is ``XINGLIN_KEY_PASSWORD``, or the content of ``XINGLIN_KEY_PASSWORD_FILE``, or of the file
        ``password`` beside the keystore, without the line end.

        Raises:
            ConfigurationError: None of the three is there.
        """
        if given := os.environ.get("XINGLIN_KEY_PASSWORD"):
            return given.encode()
        path = Path(os.environ.get("XINGLIN_KEY_PASSWORD_FILE", self.keys(institution) / "password"))
        try:
            return path.read_bytes().rstrip(b"\r\n")
        except OSError:
            raise ConfigurationError(
                f"no password for the keystore of {institution}: set XINGLIN_KEY_PASSWORD_FILE to a file that "
                "only this user can read"
            ) from None

    def node_mongodb_uri(self) -> str | None:
        """Return the address under which a node alone reaches its replica: an account that no task has.

        It is ``XINGLIN_NODE_MONGODB_URI``, or the content of ``XINGLIN_NODE_MONGODB_URI_FILE``. None: the replica is
        in the database of ``mongodb_uri``.

        Raises:
            ConfigurationError: The file cannot be read.
        """
        if uri := os.environ.get("XINGLIN_NODE_MONGODB_URI"):
            return uri
        path = os.environ.get("XINGLIN_NODE_MONGODB_URI_FILE")
        if not path:
            return None
        try:
            return Path(path).read_text(encoding="ascii").strip()
        except OSError:
            raise ConfigurationError(f"no database for the node: {path} cannot be read") from None

    def mongodb_uri(self) -> str:
        """Return the address of the database, with its password where it has one.

        It is ``MONGODB_URI``, or the content of ``MONGODB_URI_FILE``, or the address of the embedded mongod that
        ``xinglin up`` left here.

        Raises:
            ConfigurationError: None of the three is there.
        """
        if uri := os.environ.get("MONGODB_URI"):
            return uri
        path = Path(os.environ.get("MONGODB_URI_FILE", self.path / "mongo" / "uri"))
        try:
            return path.read_text(encoding="ascii").strip()
        except OSError:
            raise ConfigurationError("no database: set MONGODB_URI, or start the region with `xinglin up`") from None
