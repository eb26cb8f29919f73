"""A server before another one on loopback, as in front of MLflow: it asks for a login, or speaks TLS."""

import base64
import datetime
import http.server
import ipaddress
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@contextmanager
def front(
    behind: str,
    *,
    login: tuple[str, str] | None = None,
    rights: bool = True,
    certificate: Path | None = None,
    slow: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[str]:
    """Yield the address of a server that passes requests to `behind`.

    Args:
        behind: address of the server behind.
        login: user and password that are asked for.
        rights: whether one who is logged in may do anything.
        certificate: a file with a certificate and its key, to speak TLS with.
        slow: method to the seconds after which it is answered, by 504.
    """
    wanted = "Basic " + base64.b64encode(":".join(login).encode()).decode() if login else None

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if wanted and self.headers.get("Authorization") != wanted:
                return self.reply(401, b"You are not authenticated.")
            if not rights:
                return self.reply(403, b"Permission denied")
            if self.command in slow:
                time.sleep(slow[self.command])
                return self.reply(504, b"Gateway Timeout")
            headers = {name: self.headers[name] for name in ("Content-Type",) if self.headers[name]}
            asked = urllib.request.Request(behind + self.path, body or None, headers, method=self.command)
            try:
                with urllib.request.urlopen(asked, timeout=10) as answer:
                    return self.reply(answer.status, answer.read(), answer.headers.get_content_type())
            except urllib.error.HTTPError as error:
                return self.reply(error.code, error.read())

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

        def reply(self, status: int, body: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        with serving(server):
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """Yield the address of a server that gives every request the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def serving(server: http.server.ThreadingHTTPServer) -> Iterator[None]:
    """Answer requests in a thread, until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def make_certificate(folder: Path, name: str) -> Path:
    """Return a file with a new certificate for 127.0.0.1 that signs itself, and its key; it is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file
