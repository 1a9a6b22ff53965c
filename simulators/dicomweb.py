"""The archive's DICOMweb side: QIDO-RS and WADO-RS as multipart/related (PS3.18 sections 10.4 and 10.6)."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

if TYPE_CHECKING:
    from simulators.pacs import Pacs

_BOUNDARY: Final = "xinglin-simulated-boundary"
#: Most bytes of an object in one chunk of the answer.
_CHUNK: Final = 1 << 20
_LEVELS: Final = ("STUDY", "SERIES", "IMAGE")
_NAMES: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class Web:
    """The HTTP server of one archive, from the moment it is made.

    Attributes:
        port: Where it listens on the loopback.
    """

    def __init__(self, pacs: Pacs, port: int) -> None:
        class Handler(_Handler):
            archive = pacs

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="dicomweb", daemon=True).start()

    def stop(self) -> None:
        """It listens no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    archive: Pacs
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        """Answer a query or a retrieval."""
        if not self._allowed():
            return self._answer(401, b"", ("WWW-Authenticate", 'Basic realm="pacs"'))
        if self.archive.busy:
            return self._answer(self.archive.busy.pop(0), b"", ("Retry-After", "0"))
        url = urlsplit(self.path)
        parts = url.path.removeprefix("/dicom-web/").split("/")
        keys = dict(zip(("studies", "series", "instances"), _NAMES, strict=True))
        wanted = Dataset()
        if not url.path.startswith("/dicom-web/") or not set(parts[::2]) <= keys.keys() or len(parts) > 6:
            return self._answer(404, b"")
        for name, value in zip(parts[::2], parts[1::2], strict=False):
            setattr(wanted, keys[name], value)
        if len(parts) % 2:
            return self._query(_LEVELS[len(parts) // 2], wanted, parse_qs(url.query))
        return self._retrieve(wanted)

    def _allowed(self) -> bool:
        given, pacs = self.headers.get("Authorization", ""), self.archive
        wanted = []
        if pacs.password:
            wanted.append("Basic " + base64.b64encode(f"pacs:{pacs.password}".encode()).decode())
        if pacs.token:
            wanted.append(f"Bearer {pacs.token}")
        return not wanted or given in wanted

    def _query(self, level: str, wanted: Dataset, parameters: dict[str, list[str]]) -> None:
        limit, offset = (
            int(parameters.pop(name, [default])[0]) for name, default in (("limit", "1000"), ("offset", "0"))
        )
        for keyword in parameters.pop("includefield", []):
            for one in keyword.split(","):
                tag = int(one, 16) if one.isalnum() and len(one) == 8 and one[0].isdigit() else tag_for_keyword(one)
                if tag is not None and tag not in wanted:
                    wanted.add_new(tag, "UI" if one.endswith("UID") else "LO", None)
        for name, values in parameters.items():
            setattr(wanted, name, values[0])
        found = list(self.archive.holdings.answers(level, wanted))[offset : offset + limit]
        if not found:
            return self._answer(204, b"")
        body = json.dumps([one.to_json_dict() for one in found]).encode()
        return self._answer(200, body, ("Content-Type", "application/dicom+json"))

    def _retrieve(self, wanted: Dataset) -> None:
        found = [
            one for one in self.archive.holdings.matching(wanted) if str(one.SOPInstanceUID) not in self.archive.damaged
        ]
        if not found:
            return self._answer(404, b"")
        if self.archive.dropping():
            self.connection.close()
            return None
        self.send_response(200)
        self.send_header("Content-Type", f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}')
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for one in found:
            stream = BytesIO()
            one.save_as(stream, enforce_file_format=True)
            self._chunk(f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode())
            stream.seek(0)
            while piece := stream.read(_CHUNK):
                self._chunk(piece)
            self._chunk(b"\r\n")
            self.archive.sent(str(one.SOPInstanceUID))
        self._chunk(f"--{_BOUNDARY}--".encode())
        self._chunk(b"")
        return None

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
