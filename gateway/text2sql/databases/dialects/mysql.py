"""The rows of MySQL and MariaDB: see dialect.py."""

from dataclasses import replace

from gateway.text2sql.databases.dialect import Dialect, as_written, coarse, lexical
from gateway.text2sql.databases.dialects import vocabulary as common
from gateway.text2sql.databases.dialects.vocabulary import words

MYSQL = Dialect(
    name="mysql",
    title="MySQL",
    module="mysql",
    sqlglot="mysql",
    template="mysql",
    quote="`",
    # Whether table names fold depends on the server's file system: the guard asks for one spelling of each.
    fold_table=as_written,
    fold_column=coarse,
    quoting_exact=False,
    name_bytes=256,
    lexemes=lexical(
        # The session's sql_mode has neither ANSI_QUOTES nor NO_BACKSLASH_ESCAPES.
        text=r"[nN]?'(?:[^'\\]|\\.|'')*' | \"(?:[^\"\\]|\\.|\"\")*\" | [bBxX]'[0-9a-fA-F]*'",
        name=r"`(?:[^`]|``)+`",
        comment=r"--(?=[\x00-\x20]|\Z)[^\n]* | \#[^\n]* | /\*.*?\*/",
        # A name may begin with digits, where it is no number.
        word=r"(?!0[xXbB][0-9a-fA-F]) (?!\d+[eE]\d) (?:\d+(?=[^\W\d]))?+ [^\W\d][\w$]*",
    ),
    words=common.GRAMMAR | common.TYPES | common.UNITS | common.CONSTANTS | words("""
        RIGHT STRAIGHT_JOIN RLIKE REGEXP DIV MOD XOR ANY SOME UNKNOWN LATERAL SEPARATOR INTERVAL ROLLUP DUAL BINARY
        BOTH LEADING TRAILING FOR EXTRACT SOUNDS OF MEMBER DISTINCTROW LOCALTIME LOCALTIMESTAMP
        UTC_DATE UTC_TIME UTC_TIMESTAMP FETCH FIRST NEXT ONLY
        SECOND_MICROSECOND MINUTE_MICROSECOND MINUTE_SECOND HOUR_MICROSECOND HOUR_SECOND HOUR_MINUTE DAY_MICROSECOND
        DAY_SECOND DAY_MINUTE DAY_HOUR YEAR_MONTH
        COLUMNS PATH NESTED ORDINALITY EMPTY ERROR DEFAULT
        SIGNED UNSIGNED DATETIME TIMESTAMP NCHAR JSON YEAR CHARSET SET UTF8 UTF8MB4 LATIN1 GBK BINARY ASCII
    """),
    functions=common.FUNCTIONS | words("""
        group_concat std stddev stddev_pop stddev_samp variance var_pop var_samp bit_and bit_or bit_xor any_value
        json_arrayagg json_objectagg grouping
        if ifnull isnull greatest least elt field interval strcmp
        rand truncate crc32 conv cot bit_count
        ucase lcase char_length character_length octet_length bit_length concat concat_ws left right mid position locate
        instr reverse lpad rpad repeat space substring_index find_in_set make_set export_set ascii ord char hex
        unhex format md5 sha1 sha2 quote soundex regexp_replace regexp_substr regexp_instr regexp_like convert binary
        bin oct weight_string
        now curdate curtime sysdate current_date current_time current_timestamp localtime localtimestamp utc_date
        utc_time utc_timestamp date_add date_sub adddate subdate addtime subtime datediff timediff timestamp
        timestampadd timestampdiff date_format time_format str_to_date from_unixtime unix_timestamp from_days to_days
        to_seconds makedate maketime sec_to_time time_to_sec period_add period_diff convert_tz extract get_format
        year quarter month week weekofyear yearweek day dayofmonth dayofweek dayofyear dayname monthname weekday hour
        minute second microsecond last_day
        json_extract json_unquote json_length json_keys json_type json_valid json_contains json_contains_path json_depth
        json_search json_value json_quote json_array json_object json_set json_insert json_replace json_remove
        json_merge_patch json_merge_preserve json_array_append json_array_insert json_overlaps json_pretty json_table
        insert sha to_base64 from_base64 inet_aton inet_ntoa inet6_aton inet6_ntoa is_ipv4 is_ipv6
        point st_x st_y st_astext st_distance st_distance_sphere st_srid
    """) - words("export_set weight_string"),
    glued=True,
    advice={
        "||": "|| means OR in MySQL: write CONCAT(…) to join text, or OR between conditions",
        "::": "write CAST(… AS …)",
        "^": "^ is a bitwise XOR in MySQL: write POW(a, b)",
        "[": "names stand in backticks in MySQL",
        "==": "write =",
        ":=": "variables are not allowed: write ROW_NUMBER() OVER (ORDER BY …), or another window function",
        "@": "variables are not allowed: write ROW_NUMBER() OVER (ORDER BY …), or another window function",
        "full": "MySQL has no FULL JOIN: write a UNION of a LEFT and a RIGHT JOIN",
        "ilike": "write LIKE, which ignores case in most collations",
        "similar": "write REGEXP", "glob": "write LIKE",
        "nulls": "MySQL has no NULLS FIRST and NULLS LAST: write ORDER BY x IS NULL, x",
        "filter": "MySQL has no FILTER: write SUM(CASE WHEN … THEN … END)",
        "within": "MySQL has no WITHIN GROUP", "top": "write LIMIT at the end", "array": "MySQL has no arrays",
        "notnull": "write IS NOT NULL", "symmetric": "write BETWEEN a AND b with the smaller value first",
        "text": "write CHAR", "boolean": "MySQL casts to no BOOLEAN: write a condition",
        "timestamptz": "write DATETIME", "at": "write CONVERT_TZ(x, '+00:00', '+08:00')",
        "materialized": "leave it out", "groups": "write ROWS or RANGE",
        "date_trunc": "write DATE_FORMAT(x, '%Y-%m-01')", "date_part": "write EXTRACT(YEAR FROM x)",
        "to_char": "write DATE_FORMAT(x, '%Y-%m-%d')", "strftime": "write DATE_FORMAT(x, '%Y-%m-%d')",
        "to_date": "write STR_TO_DATE(x, '%Y-%m-%d')", "to_timestamp": "write FROM_UNIXTIME(x) or STR_TO_DATE(…)",
        "datetime": "write DATE_ADD(x, INTERVAL 1 DAY), NOW() or CAST(x AS DATETIME)",
        "julianday": "write DATEDIFF(a, b)", "age": "write TIMESTAMPDIFF(YEAR, a, b)",
        "string_agg": "write GROUP_CONCAT(x SEPARATOR ',')", "array_agg": "write GROUP_CONCAT(x)",
        "total": "write COALESCE(SUM(x), 0)", "iif": "write IF(a, b, c)", "nvl": "write IFNULL(a, b)",
        "isnull": "write IFNULL(a, b)", "date": "write DATE_ADD(x, INTERVAL 1 DAY), LAST_DAY(x) or CURRENT_DATE",
        "strpos": "write LOCATE(part, text)", "split_part": "write SUBSTRING_INDEX(x, ',', 1)",
        "initcap": "MySQL has no INITCAP", "printf": "write FORMAT(x, n) or LPAD(x, n, '0')",
        "random": "write RAND()", "trunc": "write TRUNCATE(x, n)", "len": "write CHAR_LENGTH(x)",
        "regexp_match": "write REGEXP", "regexp_matches": "write REGEXP", "generate_series": "write WITH RECURSIVE",
        "unnest": "MySQL has no arrays", "percentile_cont": "write it with ROW_NUMBER() OVER (ORDER BY x)",
        "bool_and": "write MIN(x)", "bool_or": "write MAX(x)", "jsonb_extract_path_text": "write JSON_UNQUOTE(…)",
        "json_each": "MySQL has no json_each", "make_date": "write MAKEDATE(…) or STR_TO_DATE(…)",
        "make_interval": "write INTERVAL n DAY", "to_number": "write CAST(x AS DECIMAL(20, 4))",
        "getdate": "write NOW()", "translate": "write REPLACE(…)", "chr": "write CHAR(n)",
        "sleep": "it makes the server wait", "benchmark": "it makes the server wait",
    },
    alias_scopes=frozenset({"order", "group", "having"}),
    alias_alone=False,
    joins_see_all=False,
    names_as_text=False,
    pseudo_columns=frozenset({"_rowid"}),
    pseudo_values=frozenset(),
    row_functions={"json_table": ()},
    constants=words("utc_date utc_time utc_timestamp"),
)  # fmt: skip
MARIADB = replace(
    MYSQL,
    name="mariadb",
    title="MariaDB",
    words=MYSQL.words | words("within"),
    functions=(MYSQL.functions | words("""
        json_query json_exists json_compact json_detailed json_loose nvl nvl2 chr median percentile_cont percentile_disc
    """)) - words("regexp_like any_value grouping"),
    advice={
        **MYSQL.advice,
        "->": "MariaDB has no ->: write JSON_EXTRACT(x, '$.key')",
        "->>": "MariaDB has no ->>: write JSON_UNQUOTE(JSON_EXTRACT(x, '$.key'))",
        "regexp_like": "MariaDB has no REGEXP_LIKE: write x REGEXP 'pattern'",
        "any_value": "MariaDB has no ANY_VALUE: write MIN(x)",
        "grouping": "MariaDB has no GROUPING",
        "json_pretty": "write JSON_DETAILED(x)",
        "lateral": "MariaDB has no LATERAL: write a subquery in SELECT, or a JOIN",
    },
)  # fmt: skip
