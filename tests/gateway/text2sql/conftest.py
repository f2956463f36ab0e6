from __future__ import annotations

import psycopg
import pymysql
import pytest

from gateway.text2sql.database import Database
from tests.gateway.text2sql import servers


@pytest.fixture(scope="session")
def demo_rows(tmp_path_factory):
    return servers.demo_rows(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def sqlite_server(tmp_path_factory):
    return servers.SQLite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgresql_server(demo_rows):
    try:
        server = servers.PostgreSQL(demo_rows)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL to test with: {error}")
    yield server
    server.drop()


@pytest.fixture(scope="session")
def mysql_server(demo_rows):
    try:
        server = servers.MySQL(demo_rows)
    except pymysql.err.OperationalError as error:
        pytest.skip(f"no MariaDB to test with: {error}")
    yield server
    server.drop()


@pytest.fixture
def opened():
    """Opens databases as the gateway does: `opened(server, role, **settings)`; closes them afterwards."""
    databases = []

    def open_one(server, role="reader", **more):
        url = server.reader_url if role == "reader" else server.owner_url
        databases.append(Database("test", servers.settings(url, **({"unsafe_role": servers.ACCEPTED} | more))))
        return databases[-1]

    yield open_one
    for database in databases:
        database.server.close()


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def server(request):
    """Each of the three servers, with the demo's tables and what nobody may touch."""
    return request.getfixturevalue(f"{request.param}_server")
