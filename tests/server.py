"""A web server on loopback whose every answer a test decides: throttled, cut, too short, wrong, or right."""

import contextlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass
class Request:
    """What came; `path` is without its query."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What goes back.

    Attributes:
        cut: the connection ends after so many bytes of the body.
        length: the length that is declared, where it is not the body's.
        slow: seconds between two blocks of `block` bytes.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    length: int | None = None
    slow: float = 0.0
    block: int = 1 << 16


class Server:
    """Answers with `answer(request)`; `requests` is all that came, in order. A context manager."""

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


def serve_range(request: Request, body: bytes, etag: str, **headers: str) -> Reply:
    """The answer of a good server: the whole body, or the part that Range asks for while If-Range holds."""
    headers = {"ETag": etag, "Accept-Ranges": "bytes", **headers}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not wanted or request.headers.get("if-range", etag) != etag:
        return Reply(200, body, headers)
    start = int(wanted[1])
    if start >= len(body):
        return Reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
    stop = int(wanted[2]) + 1 if wanted[2] else len(body)
    part = body[start:stop]
    return Reply(206, part, headers | {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(body)}"})


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def take(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, path, query, headers, body)
            server.requests.append(request)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.give(server.answer(request))

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = take

        def give(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            length = len(reply.body) if reply.length is None else reply.length
            self.send_header("Content-Length", str(length))
            self.end_headers()
            sent = b"" if self.command == "HEAD" else reply.body[: reply.cut]
            for start in range(0, len(sent), reply.block):
                self.wfile.write(sent[start : start + reply.block])
                self.wfile.flush()
                if reply.slow and server.stopped.wait(reply.slow):
                    break
            if self.command != "HEAD" and len(sent) != length:
                self.close_connection = True

        def log_message(self, *words: object) -> None:
            pass

    return Handler
