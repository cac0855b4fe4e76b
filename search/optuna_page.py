"""Optuna's dashboard on one study, to look at only: `python -m search.optuna_page DIRECTORY HOST PORT`.

The study is written by its driver alone (decision 2), but the dashboard can rename and delete studies and edit trials:
whatever would change something is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from search.storage import open_to_read
from search.study_files import read_study_file, sqlite_url

READING = frozenset({"GET", "HEAD"})

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    """A browser asks for several things at once."""

    daemon_threads = True


def read_only(application: Application) -> Application:
    """The same application, to look at only."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in READING:
            return application(environ, start_response)
        start_response("405 Method Not Allowed", [("Content-Type", "application/json"), ("Allow", "GET, HEAD")])
        return [b'{"reason": "This page is to look at only: a study is written by its search alone."}']

    return guarded


def serve(directory: Path, host: str, port: int) -> None:
    """Serves the study in a folder until the process is ended."""
    import optuna_dashboard

    file = read_study_file(directory)
    storage = open_to_read(file.storage or sqlite_url(directory))
    application = read_only(optuna_dashboard.wsgi(storage))
    with make_server(host, port, application, server_class=_ThreadingServer) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
