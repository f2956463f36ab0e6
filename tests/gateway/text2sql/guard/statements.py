"""A small schema, and statements on it that the guard lets through."""

from __future__ import annotations

from typing import Any

from prompts.tables import Column, Schema, Table


def table(name: str, *columns: str, **more: Any) -> Table:
    return Table(name, tuple(Column(column, "TEXT") for column in columns), **more)


def schema(dialect: str = "sqlite", *more: Table) -> Schema:
    default = {"sqlite": "main", "postgresql": "public", "mysql": "shop"}[dialect]
    return Schema(
        dialect,
        (
            table("users", "id", "name", "city", is_partial=True, hidden=("password",)),
            table("orders", "id", "user_id", "total", "made"),
            table("sales.regions", "id", "name"),
            *more,
        ),
        default,
    )


ALLOWED = [
    "SELECT name FROM users",
    "SELECT u.name, COUNT(*) FROM users AS u JOIN orders AS o ON o.user_id = u.id GROUP BY u.name",
    "SELECT * FROM orders",
    "SELECT o.* FROM orders AS o",
    "SELECT COUNT(*) FROM users",
    "SELECT city AS c, COUNT(*) AS n FROM users GROUP BY c HAVING COUNT(*) > 1 ORDER BY n DESC",
    "SELECT u.name FROM users AS u JOIN orders AS o USING (id) JOIN sales.regions AS r USING (id) ORDER BY u.name",
    "SELECT o.total FROM orders AS o NATURAL JOIN sales.regions AS r",
    "SELECT name FROM users AS u WHERE EXISTS(SELECT 1 FROM orders AS a JOIN orders AS b ON a.id = b.id AND u.id = 1)",
    "SELECT name FROM users WHERE id IN (SELECT user_id FROM orders WHERE total > 5)",
    "SELECT name FROM users AS u WHERE EXISTS(SELECT 1 FROM orders AS o WHERE o.user_id = u.id)",
    "SELECT (SELECT MAX(total) FROM orders WHERE user_id = users.id) AS top, name FROM users",
    "WITH big AS (SELECT user_id, SUM(total) AS s FROM orders GROUP BY user_id) "
    "SELECT name, s FROM users JOIN big ON big.user_id = users.id",
    "WITH a AS (SELECT id FROM users), b AS (SELECT id FROM a) SELECT * FROM b",
    "WITH a(x, y) AS (SELECT id, name FROM users) SELECT x FROM a WHERE y = 'n'",
    "SELECT x.n FROM (SELECT name AS n FROM users) AS x",
    "SELECT name FROM users UNION SELECT city FROM users ORDER BY name LIMIT 3",
    "SELECT id FROM users EXCEPT SELECT user_id FROM orders",
    "SELECT name, ROW_NUMBER() OVER (PARTITION BY city ORDER BY id) AS r FROM users",
    "SELECT r.name FROM sales.regions AS r",
    "SELECT u.id FROM users AS u JOIN orders AS o USING (id)",
    "SELECT CASE WHEN total > 5 THEN 'big' ELSE 'small' END AS size FROM orders",
    "SELECT CAST(total AS INTEGER) FROM orders",
    "SELECT name FROM users WHERE NOT name IS NULL AND city LIKE '%a%' AND id BETWEEN 1 AND 3",
    "SELECT a.name FROM users AS a LEFT JOIN users AS b ON a.id = b.id AND b.city <> a.city",
    "SELECT COALESCE(name, city, '') AS x FROM users ORDER BY 1",
    "SELECT AVG(total) AS a FROM (SELECT total FROM orders ORDER BY total DESC LIMIT 10) AS t",
    "SELECT 1 AS x",
]  # fmt: skip
