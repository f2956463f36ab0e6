"""TLS to the databases: the URL's options reach the driver, and a certificate that is not trusted ends it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from glob import glob

import psycopg
import pytest

from gateway.settings import DatabaseSettings
from gateway.text2sql.database import Database
from gateway.text2sql.errors import SqlFailed
from gateway.text2sql.rows import Collected
from tests.ports import free_port

UNREACHED = "cannot be (reached|read)"
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *glob("/usr/lib/postgresql/*/bin")])


def program(name):
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"no {name} to start a server with")
    return found


def certificate(folder, name):
    """A certificate for localhost that signs itself, and its key."""
    made = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-out", made[0], "-keyout", made[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


def until(works, running):
    end = time.monotonic() + 60
    while not works():
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory):
    """The port of a MariaDB with a certificate of its own, the certificate, and another one."""
    folder, port = tmp_path_factory.mktemp("mariadb"), free_port()
    (cert, key), (other, _) = certificate(folder, "server"), certificate(folder, "other")
    data = folder / "data"
    own = ["--user=root"] if os.getuid() == 0 else []
    subprocess.run(
        [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db",
         "--auth-root-authentication-method=normal", *own],
        check=True, capture_output=True,
    )  # fmt: skip
    running = subprocess.Popen(
        [program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1",
         f"--socket={folder}/s", f"--pid-file={folder}/pid", f"--ssl-cert={cert}", f"--ssl-key={key}",
         "--innodb-buffer-pool-size=8M", *own],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: listens(port), running)
        yield port, cert, other
    finally:
        running.kill()
        running.wait()


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory):
    """The port of a PostgreSQL with a certificate of its own, the certificate, and another one."""
    folder, port = tmp_path_factory.mktemp("postgresql"), free_port()
    (cert, key), (other, _) = certificate(folder, "server"), certificate(folder, "other")
    # It does not run as root.
    user = {"user": "nobody"} if os.getuid() == 0 else {}
    if user:
        for path in (folder, key):
            shutil.chown(path, "nobody")
        for above in list(folder.parents)[:3]:
            if above.stat().st_uid == os.getuid() and above.name.startswith(("pytest-", "popen-")):
                above.chmod(0o711)
    key.chmod(0o600)
    data = folder / "data"
    subprocess.run(
        [program("initdb"), "-D", data, "-U", "reader", "-A", "trust", "--no-sync"],
        check=True, capture_output=True, cwd=folder, **user,
    )  # fmt: skip
    running = subprocess.Popen(
        [program("postgres"), "-D", data, "-p", str(port), "-h", "localhost", "-k", folder, "-c", "ssl=on",
         "-c", f"ssl_cert_file={cert}", "-c", f"ssl_key_file={key}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **user,
    )  # fmt: skip

    def answers():
        try:
            psycopg.connect(f"host=localhost port={port} user=reader dbname=postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        until(answers, running)
        yield port, cert, other
    finally:
        running.kill()
        running.wait()


def asked(url, sql):
    """The rows of a statement that no guard saw."""
    database = Database("tls", DatabaseSettings(url=url, unsafe_role="a server of the test's own, without any data"))
    collected = Collected(10, 10_000)
    try:
        database.schema()
        database.server.query(sql, collected, 5)
    finally:
        database.server.close()
    return collected.rows


def test_mariadb_is_asked_over_tls_where_it_offers_it_and_its_certificate_is_checked_where_a_ca_is_given(mariadb):
    port, cert, other = mariadb
    cipher = "SHOW SESSION STATUS LIKE 'Ssl_cipher'"
    for options in ("", f"?ssl_ca={cert}", f"?ssl_ca={cert}&ssl_check_hostname=true"):
        (row,) = asked(f"mysql://root@localhost:{port}/mysql{options}", cipher)
        assert "TLS" in row[1] or "AES" in row[1]
    (row,) = asked(f"mysql://root@127.0.0.1:{port}/mysql?ssl_ca={cert}&ssl_check_hostname=false", cipher)
    assert row[1]
    for url in (f"localhost:{port}/mysql?ssl_ca={other}", f"127.0.0.1:{port}/mysql?ssl_ca={cert}"):
        with pytest.raises(SqlFailed, match=UNREACHED):
            asked(f"mysql://root@{url}", cipher)


def test_postgresql_is_asked_over_tls_as_the_url_says(postgresql):
    port, cert, other = postgresql
    encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    for options, is_encrypted in (
        ("", True),
        ("?sslmode=disable", False),
        (f"?sslmode=verify-full&sslrootcert={cert}", True),
    ):
        assert asked(f"postgresql://reader@localhost:{port}/postgres{options}", encrypted) == [[is_encrypted]]
    for url in (
        f"localhost:{port}/postgres?sslmode=verify-full&sslrootcert={other}",
        f"127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={cert}",
    ):
        with pytest.raises(SqlFailed, match=UNREACHED):
            asked(f"postgresql://reader@{url}", encrypted)
