"""What the role of a database may do besides reading: asked of PostgreSQL's catalogue, read from MySQL's SHOW GRANTS.

Every role counts that the connection could become (SET ROLE), whether it is on or not, inherited or not, and what is
granted to everybody (PUBLIC). A privilege that is not known to be harmless is an excess privilege.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# How many objects are named for each excess privilege.
NAMED = 4


class ExcessPrivilege(NamedTuple):
    """
    what    the privilege, a phrase that the caller may see: "it may INSERT"
    where   its objects, for the log alone: they may be closed to the caller
    """

    what: str
    where: str = ""

    @property
    def whole(self) -> str:
        return f"{self.what} {self.where}".strip()


def gathered(rows: Iterable[tuple[str, str]]) -> list[ExcessPrivilege]:
    """One ExcessPrivilege for each different `what`, with the first few of its objects."""
    wheres: dict[str, list[str]] = {}
    for what, where in rows:
        wheres.setdefault(what, []).append(where)
    excess = []
    for what, places in wheres.items():
        listed = ", ".join(filter(None, places[:NAMED]))
        more = len(places) - NAMED
        excess.append(ExcessPrivilege(what, f"{listed} and {more} more" if more > 0 else listed))
    return excess


# Both are asked with search_path = pg_catalog, so that the names of all else come with their schema.
SUPERUSER = """
SELECT CASE WHEN rolname IN (session_user, current_user) THEN 'it is a superuser' ELSE 'it may become a superuser' END,
    CASE WHEN rolname IN (session_user, current_user) THEN '' ELSE '(' || rolname || ')' END
FROM pg_roles WHERE rolsuper AND (pg_has_role(session_user, oid, 'MEMBER') OR pg_has_role(current_user, oid, 'MEMBER'))
ORDER BY rolname NOT IN (session_user, current_user), rolname LIMIT 1
"""
_PARAMETERS = "UNION ALL SELECT 'pg_parameter_acl'::regclass, oid, 0, paracl FROM pg_parameter_acl"  # from 15 on
_RIGHTS = """
WITH mine AS (
    SELECT *, CASE WHEN rolname IN (session_user, current_user) THEN '' ELSE rolname::text END AS other FROM pg_roles
    WHERE pg_has_role(session_user, oid, 'MEMBER') OR pg_has_role(current_user, oid, 'MEMBER')
), grantees AS (
    SELECT oid, CASE other WHEN '' THEN '' ELSE ' as ' || other END AS through FROM mine
    UNION ALL SELECT 0, ' as everybody (PUBLIC)'
), acls AS (
    SELECT 'pg_class'::regclass AS class, oid AS object, 0 AS part, relacl AS acl FROM pg_class
        WHERE relpersistence <> 't'
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, attacl FROM pg_attribute
    UNION ALL SELECT 'pg_namespace'::regclass, oid, 0, nspacl FROM pg_namespace
    UNION ALL SELECT 'pg_database'::regclass, oid, 0, datacl FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'pg_proc'::regclass, oid, 0, proacl FROM pg_proc
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwacl FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 0, srvacl FROM pg_foreign_server
    UNION ALL SELECT 'pg_tablespace'::regclass, oid, 0, spcacl FROM pg_tablespace
    UNION ALL SELECT 'pg_largeobject'::regclass, oid, 0, lomacl FROM pg_largeobject_metadata
    {parameters}
), granted AS (
    SELECT a.class, a.object, a.part, e.privilege_type AS privilege, e.is_grantable, e.grantee, g.through
    FROM acls a, aclexplode(a.acl) e JOIN grantees g ON g.oid = e.grantee
    -- What the server itself came with is in every role: reading the catalogue, UPDATE on pg_settings.
    WHERE NOT EXISTS (SELECT FROM pg_init_privs i, aclexplode(i.initprivs) was
        WHERE i.classoid = a.class AND i.objoid = a.object AND i.objsubid = a.part AND i.privtype = 'i'
        AND was.grantee = e.grantee AND was.privilege_type = e.privilege_type
        AND a.class <> 'pg_namespace'::regclass)
), too_much AS (
    SELECT * FROM granted g WHERE CASE class
        WHEN 'pg_class'::regclass THEN privilege <> 'SELECT' OR object IN (
            SELECT oid FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace)
        WHEN 'pg_namespace'::regclass THEN privilege <> 'USAGE'
        WHEN 'pg_database'::regclass THEN privilege NOT IN ('CONNECT', 'TEMPORARY')
        WHEN 'pg_largeobject'::regclass THEN privilege <> 'SELECT'
        -- The server's own functions that not everybody may call, and what works with the rights of another role or
        -- outside of the database. What everybody may call is in every role; the guard's list closes it.
        WHEN 'pg_proc'::regclass THEN EXISTS (SELECT FROM pg_init_privs i WHERE i.classoid = class
                AND i.objoid = object AND i.privtype = 'i')
            OR (grantee <> 0 AND EXISTS (SELECT FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
                WHERE p.oid = object AND p.provolatile = 'v' AND (p.prosecdef OR NOT l.lanpltrusted)
                AND p.pronamespace <> 'pg_catalog'::regnamespace))
        ELSE true END
)
SELECT what, place FROM (
    SELECT 1 AS n, CASE other WHEN '' THEN 'it has ' || attribute ELSE 'it may become a role with ' || attribute END
        AS what, CASE other WHEN '' THEN '' ELSE '(' || other || ')' END AS place
    FROM mine, LATERAL (VALUES (rolcreaterole, 'CREATEROLE'), (rolcreatedb, 'CREATEDB'),
        (rolreplication, 'REPLICATION'), (rolbypassrls, 'BYPASSRLS')) AS a(is_set, attribute) WHERE is_set
    UNION ALL SELECT 2, 'it is a member of ' || rolname, '' FROM mine WHERE rolname LIKE 'pg\\_%' AND other <> ''
    UNION ALL SELECT 3, 'it owns', CASE WHEN dbid IN (0, d.oid) THEN pg_describe_object(classid, objid, objsubid)
            ELSE 'something in the database ' || coalesce((SELECT datname FROM pg_database WHERE oid = dbid), '?') END
        || CASE other WHEN '' THEN '' ELSE ' as ' || other END
    FROM pg_shdepend JOIN mine ON mine.oid = refobjid JOIN pg_database d ON d.datname = current_database()
    WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND NOT (classid = 'pg_class'::regclass
        AND objid IN (SELECT oid FROM pg_class WHERE relpersistence = 't'))
    UNION ALL SELECT 4, 'it may ' || privilege || CASE privilege WHEN 'SELECT' THEN ' from the server''s own tables'
        ELSE '' END, 'on ' || pg_describe_object(class, object, part) || through FROM too_much
    UNION ALL SELECT 5, 'it may grant ' || privilege || ' to others',
        'on ' || pg_describe_object(class, object, part) || through FROM granted WHERE is_grantable
) AS found ORDER BY n, what, place LIMIT 1000
"""


def postgresql_query(server_version: int) -> str:
    """The query that gives (what, where) for each thing that is too much; SUPERUSER is asked before it."""
    return _RIGHTS.replace("{parameters}", _PARAMETERS if server_version >= 150_000 else "")


HARMLESS = {"USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES"}
# Passwords' hashes, other sessions' statements.
SYSTEM = ("mysql", "performance_schema", "sys")
_GRANT = re.compile(r"^GRANT (?P<rights>.+?) ON (?P<where>.+?) TO ", re.IGNORECASE)
_ROLE = re.compile(r"^GRANT (?P<role>(?:(?! ON ).)+?) TO ", re.IGNORECASE)
# Says which of the granted roles is on from the start.
_DEFAULT_ROLE = re.compile(r"^SET DEFAULT ROLE ", re.IGNORECASE)


def mysql_excess(grants: Iterable[str], is_mariadb: bool = True) -> list[ExcessPrivilege]:
    """What lines of SHOW GRANTS allow besides reading.

    MariaDB lists the rights of the role that is on, too, so each one is switched on in turn; MySQL does not, so there a
    role is too much by itself.
    """
    excess: dict[tuple[str, str], None] = {}
    for grant in grants:
        match = _GRANT.match(grant)
        if match is None:
            role = _ROLE.match(grant)
            if role is not None and is_mariadb and "WITH ADMIN OPTION" in grant.upper():
                excess["it may grant a role to others", role["role"].replace("`", "")] = None
            elif not is_mariadb or (role is None and not _DEFAULT_ROLE.match(grant)):
                excess["it has rights that cannot be judged", f"({role['role'] if role else grant})"] = None
            continue
        where = match["where"].replace("`", "")
        rights = {re.sub(r"\s*\(.*", "", right).strip().upper() for right in re.split(r",(?![^(]*\))", match["rights"])}
        if "WITH GRANT OPTION" in grant.upper():
            rights.add("GRANT OPTION")
        if rights - HARMLESS:
            excess[f"it may {', '.join(sorted(rights - HARMLESS))}", f"on {where}"] = None
        elif "SELECT" in rights and _covers_system_tables(match["where"]):
            excess["it may SELECT from the server's own tables", f"(on {where})"] = None
    return gathered(excess)


def _covers_system_tables(where: str) -> bool:
    """Whether a grant ON `where` reaches the server's own tables."""
    named = re.fullmatch(r"(\*|`(?:[^`]|``)*`|[^.]*)\.(.*)", where, re.DOTALL)
    if named is None or named[1] == "*":
        return True
    database, of_all = named[1].strip("`"), named[2] == "*"
    # With all of its tables a database's name is a pattern, as in LIKE.
    letters = re.findall(r"\\.|.", database, re.DOTALL) if of_all else list(database)
    wild = {"%": ".*", "_": "."} if of_all else {}
    pattern = "".join(wild.get(letter) or re.escape(letter[-1]) for letter in letters)
    return any(re.fullmatch(pattern, name, re.IGNORECASE | re.DOTALL) for name in SYSTEM)
