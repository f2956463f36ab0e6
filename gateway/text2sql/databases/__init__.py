"""The kinds of database servers: one row for each, and a module that connects to it.

    sqlite.py       the file opened for reading alone, its statements in processes that can be killed
    postgresql.py   psycopg, waiting in gevent's way
    mysql.py        PyMySQL over a gevent socket; MySQL and MariaDB

Each module has a class with the members of server.py's `Server`; a connection serves one statement and is dropped.
"""

from gateway.text2sql.databases.dialect import Dialect
from gateway.text2sql.databases.dialects.mysql import MARIADB, MYSQL
from gateway.text2sql.databases.dialects.postgresql import POSTGRESQL
from gateway.text2sql.databases.dialects.sqlite import SQLITE

DIALECTS: dict[str, Dialect] = {row.name: row for row in (SQLITE, POSTGRESQL, MYSQL, MARIADB)}
