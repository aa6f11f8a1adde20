"""Real servers of Debian's packages on loopback, each with a data folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from edge_perception.core.ports import free_port


def wait_for_port(port: int, process: subprocess.Popen) -> None:
    end_s = time.monotonic() + 30.0
    while time.monotonic() < end_s:
        if process.poll() is not None:
            pytest.fail(f"{process.args[0]} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"{process.args[0]} does not listen")


class Authority:
    """Makes certificates: of the broker, and of robots named by their common name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fleet authority")])
        self.ca = folder / "ca.pem"
        made = self._made(self.name, self.key, authority=True)
        self.ca.write_bytes(made.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._made(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        cert, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(made.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(cert), str(private)

    def _made(self, name, key, *, authority=False):
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


class Mosquitto:
    """A broker with TLS that lets a robot write under its own name only."""

    def __init__(self, folder: Path) -> None:
        self.program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if self.program is None:
            pytest.skip("no broker: Debian package mosquitto")
        folder.mkdir()
        self.authority = Authority(folder / "certificates")
        cert, key = self.authority.issue("localhost")
        self.port = free_port()
        (folder / "access").write_text(
            "user ingest\ntopic readwrite edge_perception/fleet/#\n"
            "pattern write edge_perception/fleet/%u/telemetry\n"
            "pattern read edge_perception/fleet/%u/taken\n"
        )
        self.conf = folder / "mosquitto.conf"
        self.conf.write_text(
            f"user {pwd.getpwuid(os.getuid()).pw_name}\nlistener {self.port} 127.0.0.1\n"
            f"cafile {self.authority.ca}\ncertfile {cert}\nkeyfile {key}\n"
            "require_certificate true\nuse_identity_as_username true\n"
            f"acl_file {folder / 'access'}\n"
        )
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "-c", str(self.conf)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_port(self.port, self.process)

    def restart_with(self, authority: Authority) -> None:
        """Come back with a new certificate, of this or another authority; robots keep theirs."""
        self.kill()
        cert, key = authority.issue("localhost")
        text = self.conf.read_text().splitlines()
        kept = [line for line in text if not line.startswith(("certfile", "keyfile"))]
        self.conf.write_text("\n".join([*kept, f"certfile {cert}", f"keyfile {key}"]) + "\n")
        self.start()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def options(self, name: str):
        from edge_perception.fleet.mqtt import BrokerOptions

        cert, key = self.authority.issue(name)
        return BrokerOptions(
            url=f"mqtts://localhost:{self.port}",
            ca_file=str(self.authority.ca),
            cert_file=cert,
            key_file=key,
        )


class Postgres:
    """A server that nobody but this test uses."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            pytest.skip("no PostgreSQL: Debian package postgresql")
        pytest.importorskip("psycopg", reason="no psycopg: extra `postgresql`")
        self.bin = programs[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="fleet_pg_", dir="/tmp"))
        self.user = None
        if os.getuid() == 0:  # it refuses to be root
            self.user = "postgres"
            shutil.chown(self.folder, self.user)
        self.port, self.data = free_port(), self.folder / "data"
        # As it is made where no locale is set.
        how = ("--encoding=SQL_ASCII", "--no-locale")
        self._run("initdb", "-D", str(self.data), "-U", "fleet", "-A", "trust", "-N", *how)
        self.start()
        self.url = f"postgresql://fleet@127.0.0.1:{self.port}/postgres?connect_timeout=10"

    def start(self) -> None:
        where = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-w", "-D", str(self.data), "-l", log, "-o", where, "start")

    def kill(self) -> None:
        """End it as a power loss does."""
        self._run("pg_ctl", "-w", "-D", str(self.data), "-m", "immediate", "stop")

    def url_of(self, user: str) -> str:
        return self.url.replace("fleet@", f"{user}@")

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.bin / name), *arguments],
            user=self.user,
            stdout=subprocess.DEVNULL,  # pg_ctl's server would keep a pipe open
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        assert done.returncode == 0, f"{name}: {done.returncode}"

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def reach_s3(url, monkeypatch):
    """Set the environment by which a store of objects is reached at an address."""
    for name, value in {
        "AWS_ENDPOINT": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
