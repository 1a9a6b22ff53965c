"""HL7 v2 from a folder into which a hospital drops files: messages one after the other, or in batches.

When a file is taken, and what the cursor remembers: ``connectors.folders``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import ClassVar

from connectors.contract import Found
from connectors.folders import FolderConnector
from connectors.his.framing import Framed, split_messages
from connectors.his.header import native_id


class FilesConnector(FolderConnector):
    """Pulls the messages of every new or changed file of a folder, oldest file first."""

    media: ClassVar[str] = "hl7v2"

    def contents(self, stream: io.FileIO, name: str) -> Iterator[Found]:
        """Yield the file's messages, and what between them is none."""
        for framed in split_messages(stream, self.source.record_bytes, self.digest):
            yield self._found(framed, name)

    def _found(self, framed: Framed, name: str) -> Found:
        refusal = framed.refusal
        if refusal is None:
            identity = native_id(framed.content, self.source.charset)
            return Found(framed.content, f"message {framed.number} of file {name}", identity)
        position = f"byte {framed.offset} of file {name}, at message {framed.number}"
        return Found(framed.content, position, "", refusal, framed.size, framed.digest)
