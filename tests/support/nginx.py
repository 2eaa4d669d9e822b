"""nginx in front of a hub, with the configuration that docs/operations.md gives."""

import datetime
import ipaddress
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.hub import Hub, free_port
from tests.support.waiting import until

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


def binary() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Nginx:
    """One process on loopback: `url` by HTTP/1.1, `tls_url` by TLS, where HTTP/2 is offered."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.folder = Path(tempfile.mkdtemp(prefix="hub-nginx-"))
        self.port, self.tls_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = binary()
        assert command is not None
        make_certificate(self.folder)
        (self.folder / "nginx.conf").write_text(self._configuration())
        self._process = subprocess.Popen(
            [command, "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", "nginx.conf"]
        )
        until(self._answers, "nginx answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exc is not None:
            print((self.folder / "error.log").read_text()[-3000:])
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    @property
    def certificate(self) -> Path:
        return self.folder / "hub.pem"

    def _configuration(self) -> str:
        """The documented blocks, with this machine's ports and files in place of the example's."""
        found = re.search(r"^```nginx\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        assert found is not None
        blocks = found[1]
        upstream = "".join(f"server 127.0.0.1:{port};" for port in self._hub.ports)
        for given, ours in (
            ("server 127.0.0.1:8080;", upstream),
            ("listen 80;", f"listen 127.0.0.1:{self.port};"),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.tls_port} ssl"),
            ("/etc/ssl/", f"{self.folder}/"),
        ):
            assert given in blocks
            blocks = blocks.replace(given, ours)
        paths = "".join(f"{name}_temp_path {self.folder}/{name};\n" for name in TEMPORARY)
        return f"daemon off; master_process off; pid {self.folder}/pid;\nevents {{}}\nhttp {{\n{paths}{blocks}}}\n"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "error.log").read_text()
        try:
            return httpx.get(f"{self.url}/health/live").status_code == 200
        except httpx.HTTPError:
            return False


def make_certificate(folder: Path) -> None:
    """A key and a certificate of its own for 127.0.0.1: `hub.key`, `hub.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "hub.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "hub.key").write_bytes(private)
