"""Servers on loopback that answer as they are told, also as badly as a network does."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """What was asked: ``path`` is without the query, the names of ``headers`` are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Answer:
    """What a server answers.

    ``delay`` are seconds before it does, ``sent`` how many bytes of the body go out before the connection is reset;
    with ``status`` 0 it is reset instead of an answer.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    sent: int | None = None


@contextmanager
def serving(answer: Callable[[Request], Answer]) -> Iterator[str]:
    """Serve while the block runs; gives the address, ``http://127.0.0.1:PORT``."""
    ends = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two packets, and the second would wait 40 ms

        def answer(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): text for name, text in self.headers.items()}
            asked = Request(self.command, url.path, url.query, headers, self.rfile.read(length))
            given = answer(asked)
            if ends.wait(given.delay):
                self.close_connection = True
                return
            if given.status == 0:
                self.reset()
                return
            self.send_response(given.status)
            for name, text in given.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body[: given.sent])
            if given.sent is not None:
                self.wfile.flush()
                self.reset()

        def reset(self) -> None:
            # Closed without lingering, so that the other side sees a reset rather than an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RD)
            self.connection.close()
            self.close_connection = True

        do_GET = do_HEAD = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            return None

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # the default of 5 makes the sixth of those who ask at once wait a second

        def handle_error(self, request: object, client_address: object) -> None:
            return None  # a client that gave up

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        ends.set()
        server.shutdown()
        server.server_close()
        thread.join()
