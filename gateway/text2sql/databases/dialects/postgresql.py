"""PostgreSQL's row: see dialect.py."""

from gateway.text2sql.databases.dialect import Dialect, ascii_lower, lexical
from gateway.text2sql.databases.dialects import vocabulary as common
from gateway.text2sql.databases.dialects.vocabulary import words

# No letter may stand before a dollar quote; block comments nest twice at most, deeper ones are refused.
_BLOCK = r"/\*(?:(?!/\*|\*/).)*\*/"
POSTGRESQL = Dialect(
    name="postgresql",
    title="PostgreSQL",
    module="postgresql",
    sqlglot="postgres",
    template="postgresql",
    quote='"',
    fold_table=ascii_lower,
    fold_column=ascii_lower,
    quoting_exact=True,
    name_bytes=63,
    lexemes=lexical(
        text=r"[eE]'(?:[^'\\]|\\.|'')*' | [bBxX]'[0-9a-fA-F]*' | [nN]?'(?:[^']|'')*'"
        r"| \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$",
        name=r'"(?:[^"]|"")*"',
        comment=rf"--[^\n]* | /\*(?:{_BLOCK} | (?!/\*|\*/).)*\*/",
    ),
    words=common.GRAMMAR | common.TYPES | common.UNITS | common.CONSTANTS | words("""
        RIGHT FULL ILIKE SIMILAR TO ANY SOME ISNULL NOTNULL UNKNOWN DISTINCT NULLS FIRST LAST FILTER WITHIN GROUPS
        EXCLUDE TIES NO OTHERS FETCH NEXT ONLY LATERAL ORDINALITY MATERIALIZED ROLLUP CUBE GROUPING SETS ARRAY INTERVAL
        AT ZONE SYMMETRIC ASYMMETRIC BOTH LEADING TRAILING FOR PLACING OVERLAPS EXTRACT WITHOUT VARYING DEFAULT
        LOCALTIME LOCALTIMESTAMP OF
        EPOCH CENTURY DECADE MILLENNIUM DOW ISODOW DOY ISOYEAR MILLISECONDS MICROSECONDS TIMEZONE
        MICROSECOND MILLISECOND YEARS MONTHS WEEKS DAYS HOURS MINUTES SECONDS MINS SECS
        TEXT BOOLEAN BOOL INT2 INT4 INT8 FLOAT4 FLOAT8 DEC BPCHAR BYTEA TIMESTAMP TIMESTAMPTZ TIMETZ JSON JSONB UUID BIT
        NCHAR NVARCHAR MONEY INET JULIAN DATERANGE INT4RANGE INT8RANGE NUMRANGE TSRANGE TSTZRANGE TSVECTOR TSQUERY
    """) - words("NVARCHAR"),
    functions=common.FUNCTIONS | words("""
        string_agg array_agg bool_and bool_or every bit_and bit_or stddev stddev_pop stddev_samp variance var_pop
        var_samp corr covar_pop covar_samp regr_slope regr_intercept regr_r2 regr_count regr_avgx regr_avgy regr_sxx
        regr_syy regr_sxy mode percentile_cont percentile_disc grouping json_agg jsonb_agg json_object_agg
        jsonb_object_agg
        greatest least
        trunc cbrt random width_bucket div gcd lcm factorial scale cot sinh cosh tanh numeric float8
        initcap char_length character_length octet_length bit_length concat concat_ws left right position strpos reverse
        split_part starts_with regexp_replace regexp_match regexp_matches regexp_like regexp_count regexp_instr
        regexp_substr regexp_split_to_array regexp_split_to_table ascii chr translate lpad rpad repeat overlay btrim md5
        quote_literal to_hex string_to_array string_to_table array_to_string unnest array_length array_position
        array_positions array_append array_prepend array_cat array_remove array_replace cardinality array_upper
        array_lower array_ndims generate_series generate_subscripts row
        now age extract date_part date_trunc date_bin make_date make_time make_timestamp make_timestamptz make_interval
        to_char to_date to_timestamp to_number clock_timestamp statement_timestamp transaction_timestamp timeofday
        isfinite justify_days justify_hours justify_interval timezone text varchar
        json_extract_path json_extract_path_text jsonb_extract_path jsonb_extract_path_text json_array_length
        jsonb_array_length json_typeof jsonb_typeof json_array_elements jsonb_array_elements json_array_elements_text
        jsonb_array_elements_text json_each jsonb_each json_each_text jsonb_each_text json_object_keys jsonb_object_keys
        json_build_object jsonb_build_object json_build_array jsonb_build_array to_json to_jsonb jsonb_exists
         jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_path_exists jsonb_strip_nulls
        num_nulls num_nonnulls format encode sha256 row_to_json jsonb_set jsonb_insert jsonb_pretty json_strip_nulls
        jsonb_path_match jsonb_object jsonb_to_recordset json_to_recordset jsonb_to_record json_to_record bit_xor
        range_agg daterange int4range int8range numrange tsrange tstzrange isempty lower_inc upper_inc lower_inf
        upper_inf range_merge sha224 sha384 sha512 decode convert_from convert_to quote_ident quote_nullable unistr
        normalize array_dims trim_array sind cosd tand cotd asind acosd atand atan2d asinh acosh atanh gen_random_uuid
        inet host masklen network family netmask broadcast hostmask get_byte get_bit bit_count pg_size_pretty
        to_tsvector to_tsquery plainto_tsquery websearch_to_tsquery phraseto_tsquery ts_rank ts_rank_cd ts_headline
    """) - words("row_to_json timeofday log2 inet"),
    glued=False,
    advice={
        "`": "names stand in double quotes in PostgreSQL",
        "==": "write =",
        "rlike": "write ~ for a pattern", "regexp": "write ~ for a pattern", "glob": "write LIKE",
        "div": "write div(a, b)", "mod": "write mod(a, b) or a % b", "xor": "write a <> b",
        "top": "write LIMIT at the end", "separator": "write string_agg(x, ',')",
        "signed": "write integer", "unsigned": "write integer", "datetime": "write timestamp", "binary": "leave it out",
        "ifnull": "write COALESCE(a, b)", "isnull": "write COALESCE(a, b)", "nvl": "write COALESCE(a, b)",
        "if": "write CASE WHEN … THEN … ELSE … END", "iif": "write CASE WHEN … THEN … ELSE … END",
        "group_concat": "write string_agg(x, ',')", "concat_group": "write string_agg(x, ',')",
        "datediff": "write a::date - b::date", "timestampdiff": "write extract(epoch FROM a - b)",
        "date_add": "write x + interval '1 day'", "date_sub": "write x - interval '1 day'",
        "date_format": "write to_char(x, 'YYYY-MM-DD')", "strftime": "write to_char(x, 'YYYY-MM-DD')",
        "str_to_date": "write to_date(x, 'YYYY-MM-DD')", "julianday": "subtract dates: a::date - b::date",
        "curdate": "write CURRENT_DATE", "curtime": "write CURRENT_TIME", "getdate": "write now()",
        "unix_timestamp": "write extract(epoch FROM x)", "from_unixtime": "write to_timestamp(x)",
        "year": "write extract(year FROM x)", "month": "write extract(month FROM x)",
        "day": "write extract(day FROM x)",
        "hour": "write extract(hour FROM x)", "minute": "write extract(minute FROM x)",
        "second": "write extract(second FROM x)", "quarter": "write extract(quarter FROM x)",
        "week": "write extract(week FROM x)", "dayofweek": "write extract(dow FROM x) + 1",
        "weekday": "write extract(isodow FROM x) - 1", "dayname": "write to_char(x, 'FMDay')",
        "monthname": "write to_char(x, 'FMMonth')",
        "last_day": "write date_trunc('month', x) + interval '1 month - 1 day'",
        "instr": "write strpos(text, part)", "locate": "write strpos(text, part)",
        "charindex": "write strpos(text, part)",
        "len": "write length(x)", "rand": "write random()", "find_in_set": "write x = ANY(string_to_array(y, ','))",
        "substring_index": "write split_part(x, ',', 1)", "ucase": "write upper(x)", "lcase": "write lower(x)",
        "json_extract": "write x -> 'key'", "json_unquote": "write x ->> 'key'", "truncate": "write trunc(x, n)",
        "total": "write coalesce(sum(x), 0)", "convert": "write CAST(x AS …)",
        "log2": "write log(2, x)", "char": "write chr(n)", "typeof": "leave it out", "printf": "write to_char(x, …)",
    },
    alias_scopes=frozenset({"order", "group", "distinct"}),
    # Elsewhere the name may be something else, for example the row of a table.
    alias_alone=True,
    joins_see_all=False,
    names_as_text=False,
    pseudo_columns=frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"}),
    pseudo_values=words("user current_user session_user system_user current_role current_catalog current_schema"),
    row_functions={
        "unnest": ("",), "generate_series": ("",), "generate_subscripts": ("",), "regexp_split_to_table": ("",),
        "string_to_table": ("",), "regexp_matches": ("",), "json_array_elements": ("value",),
        "jsonb_array_elements": ("value",), "json_array_elements_text": ("value",),
        "jsonb_array_elements_text": ("value",), "json_object_keys": ("",), "jsonb_object_keys": ("",),
        "json_each": ("key", "value"), "jsonb_each": ("key", "value"), "json_each_text": ("key", "value"),
        "jsonb_each_text": ("key", "value"), "jsonb_path_query": ("",), "jsonb_to_recordset": (),
        "json_to_recordset": (), "jsonb_to_record": (), "json_to_record": (),
    },
)  # fmt: skip
