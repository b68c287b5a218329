"""What a collector can do to a node that ends: nothing."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from server.telemetry.instruments import Telemetry, instruments

SECONDS = 0.5  # that the exporters may take
SLOW = 120.0  # seconds, above all patience


class Collector(ThreadingHTTPServer):
    """Takes everything after `wait` seconds, or when it is closed."""

    daemon_threads = True

    def __init__(self, wait: float = 0.0) -> None:
        self.paths: list[str] = []
        self.over = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                collector.over.wait(wait)
                collector.paths.append(self.path)
                with suppress(OSError):
                    self.send_response(200)
                    self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@contextmanager
def collecting(wait: float = 0.0) -> Iterator[Collector]:
    collector = Collector(wait)
    threading.Thread(target=collector.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield collector
    finally:
        collector.over.set()
        collector.shutdown()
        collector.server_close()


@contextmanager
def slow() -> Iterator[int]:
    with collecting(SLOW) as collector:
        yield collector.server_port


@contextmanager
def silent() -> Iterator[int]:
    """Connections are made, and nobody ever reads."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


@contextmanager
def refusing() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
    yield port


def measured(port: int) -> Telemetry:
    """A node's instruments that have something to export."""
    telemetry = instruments(f"http://127.0.0.1:{port}")
    telemetry.finished(telemetry.begin("resp_1", "demo", time.time(), {}))
    return telemetry


def test_what_is_left_is_exported_at_the_end() -> None:
    with collecting() as collector:
        measured(collector.server_port).close(SLOW)
        assert sorted(collector.paths) == ["/v1/metrics", "/v1/traces"]


@pytest.mark.parametrize("collector", [silent, slow, refusing])
def test_no_collector_holds_up_an_exit(collector: Callable[[], AbstractContextManager[int]]) -> None:
    with collector() as port:
        telemetry = measured(port)
        began = time.monotonic()
        telemetry.close(SECONDS)
        assert time.monotonic() - began < SECONDS + 5
