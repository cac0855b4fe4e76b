"""A real MLflow server behind a gate that asks for a password, can be shut, and can lose answers."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from search.commands.dashboard import free_port, mlflow_server

USER, PASSWORD = "driver", "canary-7f3a"
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "authorization", "accept-encoding"}


class Gate:
    """What stands before the server. `num_to_lose` answers are lost after the server has done what was asked."""

    def __init__(self, server_port: int) -> None:
        self.num_to_lose, self.num_refused = 0, 0
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def pass_on(self) -> None:
                gate.pass_on(self, server_port)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 - the names of the base class

        self._handler = Handler
        self.port = free_port()
        self._http: ThreadingHTTPServer | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Anew on the same port."""
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def shut(self) -> None:
        """Connections are refused from now on."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def pass_on(self, request: BaseHTTPRequestHandler, server_port: int) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            self.num_refused += 1
            self._answer(request, 401, b"who are you?", [])
            return
        server = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        server.request(request.command, request.path, body, headers)
        answer = server.getresponse()
        content = answer.read()
        server.close()
        if request.command == "POST" and request.path.endswith("runs/create") and self.num_to_lose:
            self.num_to_lose -= 1
            request.close_connection = True  # the run is there, and nobody is told
            return
        self._answer(request, answer.status, content, answer.getheaders())

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, content: bytes, headers: list[tuple[str, str]]) -> None:
        request.send_response(status)
        for key, value in headers:
            if key.lower() not in HOP_BY_HOP:
                request.send_header(key, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@contextmanager
def gated_server(folder: Path) -> Iterator[Gate]:
    """A server whose database `mlflow.db` is in a folder, and its gate, open."""
    with chdir(folder), mlflow_server(f"sqlite:///{folder / 'mlflow.db'}", free_port()) as (_, base):
        gate = Gate(int(base.rpartition(":")[2]))
        gate.open()
        try:
            yield gate
        finally:
            gate.shut()
