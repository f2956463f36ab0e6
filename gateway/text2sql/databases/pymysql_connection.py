"""What PyMySQL has no public way for: every private part of it that the gateway touches is in this module.

`tests/contracts/test_pymysql.py` names each of these attributes and fails where a release of PyMySQL drops one.

    Connection._read_bytes      reads so many bytes of a packet, whose length has been read
    Connection._result          the result that is still being read
    Connection._force_close     closes the socket without a word to the server
    Connection.ssl, .ctx        whether TLS is asked for, and its context
    Connection.host_info        PyMySQL's words about a Unix socket; it takes TLS for needless there
    MySQLResult.fields          the columns of a result
    MySQLResult.unbuffered_active   True while rows are still to come
"""

from __future__ import annotations

from typing import Any

import pymysql
from gevent import socket, ssl
from pymysql.cursors import SSCursor


class RowTooLarge(Exception):
    """A row is larger than `row_bytes`; it was not read."""


class Connection(pymysql.connections.Connection):  # type: ignore[misc, type-arg, unused-ignore]
    """A connection that reads no row that is larger than `row_bytes`, where that is set."""

    row_bytes = 0

    def _read_bytes(self, num_bytes: int) -> bytes:
        if 0 < self.row_bytes < num_bytes:
            raise RowTooLarge
        data: bytes = super()._read_bytes(num_bytes)
        return data


def offer_tls(connection: pymysql.Connection[Any], context: ssl.SSLContext) -> None:
    """Encrypt where the server offers it, as PyMySQL does without options, but with our context."""
    connection.ssl, connection.ctx = True, context


def connect(connection: pymysql.Connection[Any], seconds: float) -> None:
    """Connect through gevent's sockets: PyMySQL's own would block in a process that is not patched."""
    if connection.unix_socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.connect(connection.unix_socket)
        connection.host_info = "Localhost via UNIX socket"
    else:
        try:
            link = socket.create_connection((connection.host, connection.port), seconds)
        except OSError as error:
            raise pymysql.err.OperationalError(2003, f"cannot connect: {error.strerror or error}") from None
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect(link)


def fields(cursor: SSCursor) -> list[Any] | None:
    """The columns of the cursor's result, with their types; None where the statement gives no rows."""
    return getattr(cursor._result, "fields", None)


def drop(connection: pymysql.Connection[Any]) -> None:
    """Close the socket at once, whatever is still to be read."""
    result, connection._result = connection._result, None
    if result is not None:
        # Its destructor would read all remaining rows first, in whichever greenlet collects the garbage.
        result.unbuffered_active = False
    connection._force_close()
