"""PyMySQL's private parts that pymysql_connection.py uses (gateway/text2sql/databases) exist in this version."""

from __future__ import annotations

import inspect

import pymysql
import pytest
from pymysql.connections import Connection, MySQLResult
from pymysql.cursors import SSCursor


@pytest.mark.parametrize("name", ["_result", "ssl", "host_info", "unix_socket", "host", "port"])
def test_a_connection_that_was_not_opened_has_the_attribute(name):
    connection = pymysql.connect(host="127.0.0.1", user="x", defer_connect=True)
    assert hasattr(connection, name), f"see where pymysql.connections.Connection keeps its {name} now"


def test_a_connections_context_is_used_where_tls_is_asked_for():
    source = inspect.getsource(Connection._request_authentication)
    assert "self.ssl" in source and "self.ctx.wrap_socket" in source, "see how PyMySQL begins TLS now"


def test_a_connection_takes_a_socket_that_was_opened_for_it():
    assert list(inspect.signature(Connection.connect).parameters) == ["self", "sock"]


def test_the_bytes_of_a_packet_are_read_by_a_method_that_knows_their_number():
    assert list(inspect.signature(Connection._read_bytes).parameters) == ["self", "num_bytes"]
    assert "self._read_bytes(bytes_to_read)" in inspect.getsource(Connection._read_packet), "see how packets are read"


def test_a_connection_can_be_closed_without_a_word_to_the_server():
    source = inspect.getsource(Connection._force_close)
    assert "_sock.close" in source, "see how PyMySQL closes its socket now"


def test_a_results_fields_and_its_state_have_their_names():
    source = inspect.getsource(MySQLResult)
    for name in ("self.fields", "self.unbuffered_active"):
        assert name in source, f"see how pymysql.connections.MySQLResult names {name} now"
    assert "unbuffered_active" in inspect.getsource(MySQLResult.__del__), "see what a dropped result reads now"


def test_an_unbuffered_cursor_keeps_its_result():
    assert "self._result" in inspect.getsource(SSCursor._do_get_result), "see SSCursor"
