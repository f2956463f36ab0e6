"""sqlglot's reader for each server, with what it does not read of MySQL's and MariaDB's queries.

    VALUES (1, 'a'), (2, 'b')                            MariaDB's rows; sqlglot has VALUES(column) of an INSERT alone
    JSON_TABLE(doc, '$[*]' COLUMNS (n FOR ORDINALITY,     sqlglot reads names, types and paths, not these
        a INT EXISTS PATH '$.a', b INT PATH '$.b' DEFAULT '0' ON EMPTY NULL ON ERROR))

source: MariaDB's and MySQL's manuals, JSON_TABLE and Table Value Constructors
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Reader
from sqlglot.dialects.mysql import MySQL
from sqlglot.parsers.mysql import MySQLParser

from gateway.text2sql.databases.dialect import Dialect


class _Parser(MySQLParser):
    # VALUES(column) belongs to INSERT, which may not run here.
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        name: parser for name, parser in MySQLParser.FUNCTION_PARSERS.items() if name != "VALUES"
    }
    FUNC_TOKENS: ClassVar[set[Any]] = MySQLParser.FUNC_TOKENS - {MySQL.Tokenizer.KEYWORDS["VALUES"]}
    VALUES_FOLLOWED_BY_PAREN = True

    def _parse_json_column_def(self) -> exp.JSONColumnDef:
        if self._match_text_seq("NESTED"):
            self._match_text_seq("PATH")
            path = self._parse_string()
            return exp.JSONColumnDef(path=path, nested_schema=self._parse_json_schema())
        name = self._parse_id_var()
        if self._match_text_seq("FOR"):
            if not self._match_text_seq("ORDINALITY"):
                self.raise_error("Expected ORDINALITY")
            return exp.JSONColumnDef(this=name, ordinality=True)
        kind = self._parse_types(allow_identifiers=False)
        self._match_text_seq("EXISTS")
        if not self._match_text_seq("PATH"):
            self.raise_error("Expected PATH")
        column = exp.JSONColumnDef(this=name, kind=kind, path=self._parse_string())
        # What stands where a value is missing changes no name and no size.
        while self._match_texts(("NULL", "ERROR", "DEFAULT")):
            if self._prev.text.upper() == "DEFAULT":
                self._parse_string()
            if not (self._match_text_seq("ON") and self._match_texts(("EMPTY", "ERROR"))):
                self.raise_error("Expected ON EMPTY or ON ERROR")
        return column


class SluiceMySQL(MySQL):
    Parser = _Parser


_OWN = {"mysql": SluiceMySQL}


def of(dialect: Dialect) -> Reader:
    """The reader of a server's SQL."""
    return Reader.get_or_raise(_OWN.get(dialect.sqlglot, dialect.sqlglot))
