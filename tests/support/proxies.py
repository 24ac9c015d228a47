"""nginx and Caddy with the files of `scripts/deploy/`, in front of processes of an installation."""

from __future__ import annotations

import getpass
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from comfy_instances.process.child import find_free_port
from tests.support.deploy_files import DEPLOY
from tests.support.polling import wait_until_sync

HOST = "127.0.0.1"
STOP_SECONDS = 20
#: What `pixelfactory.conf` says of the machine, which tests replace. Each is there.
NGINX_SITE = "/etc/letsencrypt/live/images.example.com/"
NGINX_INCLUDE = "/etc/nginx/pixelfactory-proxy.conf"
NGINX_UPSTREAMS = ("server 127.0.0.1:8080 ", "server 127.0.0.1:8081 ")
#: What nginx itself has around the files of `conf.d`.
NGINX_MAIN = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy."""

    url: str
    tls: ssl.SSLContext | None


def find_program(name: str) -> str | None:
    """Return a program of the machine, also one that only root has in its path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def write_nginx_files(directory: Path, upstreams: Sequence[int], ports: tuple[int, int]) -> Path:
    """Write a configuration with the shipped files, and return its main file.

    `ports` are those for HTTP and HTTPS.
    """
    site = (DEPLOY / "nginx" / "pixelfactory.conf").read_text()
    proxy = directory / "proxy.conf"
    shutil.copy(DEPLOY / "nginx" / "pixelfactory-proxy.conf", proxy)
    write_certificate(directory)
    replacements = {
        NGINX_INCLUDE: str(proxy),
        NGINX_SITE: f"{directory}/",
        "listen 80;": f"listen {HOST}:{ports[0]};",
        "listen 443 ssl http2;": f"listen {HOST}:{ports[1]} ssl http2;",
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl http2;\n": "",
        **{old: f"server {HOST}:{port} " for old, port in zip(NGINX_UPSTREAMS, upstreams, strict=True)},
    }
    for old, new in replacements.items():
        assert old in site, old
        site = site.replace(old, new)
    (directory / "site.conf").write_text(site)
    main = directory / "nginx.conf"
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    main.write_text(NGINX_MAIN.format(user=user, directory=directory))
    return main


def write_certificate(directory: Path) -> None:
    """Write `fullchain.pem` and `privkey.pem` for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@contextmanager
def nginx(program: str, directory: Path, upstreams: Sequence[int]) -> Iterator[Proxy]:
    """Run nginx with HTTPS."""
    port = find_free_port(HOST)
    main = write_nginx_files(directory, upstreams, (find_free_port(HOST), port))
    proxy = Proxy(f"https://{HOST}:{port}", ssl.create_default_context(cafile=directory / "fullchain.pem"))
    with _running([program, "-p", str(directory), "-c", str(main), "-e", "stderr"], proxy, directory):
        yield proxy


@contextmanager
def caddy(program: str, directory: Path, upstreams: Sequence[int]) -> Iterator[Proxy]:
    """Run Caddy without TLS: it gets certificates for public names."""
    proxy = Proxy(f"http://{HOST}:{find_free_port(HOST)}", None)
    environment = caddy_environment(directory) | {
        "CADDY_SITE": proxy.url,
        "CADDY_UPSTREAMS": " ".join(f"{HOST}:{port}" for port in upstreams),
    }
    command = [program, "run", "--config", str(DEPLOY / "caddy" / "Caddyfile"), "--adapter", "caddyfile"]
    with _running(command, proxy, directory, environment):
        yield proxy


def caddy_environment(directory: Path) -> dict[str, str]:
    """Return an environment in which Caddy writes to `directory` only."""
    homes = {name: str(directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    return {**os.environ, **homes, "CADDY_ADMIN_ADDRESS": "off"}


@contextmanager
def _running(
    command: Sequence[str], proxy: Proxy, directory: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    log = directory / "proxy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            wait_until_sync(lambda: process.poll() is not None or _passes_on(proxy))
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _passes_on(proxy: Proxy) -> bool:
    try:
        with urlopen(f"{proxy.url}/healthz", timeout=5, context=proxy.tls) as response:
            return bool(response.status == 200)
    except (HTTPError, OSError):
        return False
