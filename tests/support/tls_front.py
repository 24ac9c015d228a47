"""A server that speaks TLS to clients and plain TCP to the service behind it, as a load balancer does."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.storage.certificates import generate_certificates

HOST = "127.0.0.1"


@dataclass(frozen=True)
class TlsFront:
    """Where clients reach it, and the certificate that they must trust (`SSL_CERT_FILE`)."""

    port: int
    authority: Path

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}"


@contextmanager
def tls_front(directory: Path, port: int, target_port: int) -> Iterator[TlsFront]:
    """Listen at `port` with a certificate of its own, and pass everything on to `target_port`."""
    files = generate_certificates(HOST)
    authority, chain = directory / "authority.pem", directory / "front.pem"
    authority.write_text(files.authority)
    chain.write_text(files.certificate + files.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as client:
                _join(client, target_port)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer((HOST, port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield TlsFront(port, authority)
        finally:
            server.shutdown()
            thread.join()


def _join(client: ssl.SSLSocket, target_port: int) -> None:
    with socket.create_connection((HOST, target_port)) as target:
        back = threading.Thread(target=_copy, args=(target, client), daemon=True)
        back.start()
        _copy(client, target)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
