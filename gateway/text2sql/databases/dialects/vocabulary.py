"""Words that every kind of server shares: the grammar of a query, types, units of time, functions.

A word of a statement is a name that was judged, or it is in its server's lists; anything else is refused. Left out on
purpose: what writes, locks, waits, reads files or the server's own state, and what runs text as a statement.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of `text`, in lower case."""
    return frozenset(text.lower().split())


GRAMMAR = words("""
    SELECT DISTINCT ALL AS FROM WHERE GROUP BY HAVING ORDER ASC DESC LIMIT OFFSET UNION EXCEPT INTERSECT WITH
    JOIN INNER LEFT OUTER CROSS NATURAL ON USING AND OR NOT IN IS NULL LIKE ESCAPE BETWEEN EXISTS CASE WHEN THEN ELSE
    END TRUE FALSE CAST COLLATE OVER PARTITION WINDOW ROWS RANGE UNBOUNDED PRECEDING FOLLOWING CURRENT ROW RECURSIVE
    VALUES
""")
UNITS = words("MICROSECOND SECOND MINUTE HOUR DAY WEEK MONTH QUARTER YEAR")
TYPES = words("""
    INT INTEGER SMALLINT BIGINT DECIMAL NUMERIC FLOAT DOUBLE PRECISION REAL CHAR CHARACTER VARCHAR DATE TIME
""")
# Without parentheses.
CONSTANTS = words("CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP")
FUNCTIONS = words("""
    count sum avg min max
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    coalesce nullif cast
    abs round ceil ceiling floor sqrt pow power exp ln log log10 log2 sign mod pi radians degrees sin cos tan asin acos
    atan atan2
    lower upper length trim ltrim rtrim substr substring replace
    date time
""")
