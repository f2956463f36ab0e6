"""Statements that no database finishes within a test."""

from __future__ import annotations

JOINED = "FROM riders a, riders b, riders c, riders d WHERE a.entries + b.exits + c.entries + d.exits = 7"
SLOW = [
    f"SELECT COUNT(*) {JOINED}",
    f"SELECT MAX(a.day) {JOINED}",
    f"SELECT DISTINCT a.station {JOINED}",
    f"SELECT a.station, COUNT(*) {JOINED} GROUP BY a.station",
    f"SELECT a.station {JOINED} ORDER BY b.station",
    f"SELECT * FROM (SELECT a.station {JOINED}) x",
    f"WITH x AS (SELECT a.station {JOINED}) SELECT COUNT(*) FROM x",
    f"SELECT name FROM dtzpt WHERE EXISTS (SELECT 1 {JOINED})",
    f"SELECT name FROM dtzpt WHERE name IN (SELECT a.station {JOINED})",
    f"SELECT name, (SELECT COUNT(*) {JOINED}) AS n FROM dtzpt",
    f"SELECT COUNT(*) {JOINED} UNION SELECT COUNT(*) FROM dtzpt",
    f"SELECT COUNT(*) FROM dtzpt UNION ALL SELECT COUNT(*) {JOINED}",
    f"SELECT AVG(a.entries * b.entries) {JOINED}",
    f"SELECT RANK() OVER (ORDER BY a.entries) {JOINED}",
    f"SELECT CASE WHEN (SELECT COUNT(*) {JOINED}) > 1 THEN 1 END AS x",
    f"SELECT COUNT(*) FROM dtzpt HAVING COUNT(*) > (SELECT COUNT(*) {JOINED})",
    f"SELECT name FROM dtzpt ORDER BY (SELECT COUNT(*) {JOINED})",
    "SELECT COUNT(*) FROM riders a CROSS JOIN riders b CROSS JOIN riders c WHERE a.day < b.day OR b.day > c.day",
    "SELECT COUNT(*) FROM riders a JOIN riders b ON a.station LIKE concat('%', b.station) "
    "JOIN riders c ON replace(a.station, b.station, 'x') = c.day",
    "SELECT COUNT(*) FROM riders a LEFT JOIN riders b ON a.entries < b.entries LEFT JOIN riders c ON b.exits < c.exits",
]
