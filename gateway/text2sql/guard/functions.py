"""What a statement may consist of: kinds of expressions, functions and types. What is not listed here is refused.

Functions are listed as sqlglot reads them (one class for every spelling) and, where it has no class, by their name in
a dialect. Left out with a reason: what writes, waits, locks, reads files or the server's own state; what makes a
long value out of a short one (repeat, lpad, space, zeroblob, printf, generate_series); what runs text as a statement.
"""

from __future__ import annotations

from sqlglot import exp

EXPRESSIONS = frozenset(
    {
        # the query
        exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery, exp.With, exp.CTE, exp.Values,
        exp.From, exp.Join, exp.Lateral, exp.Table, exp.TableAlias, exp.Where, exp.Group, exp.Having,
        exp.Rollup, exp.Cube, exp.GroupingSets, exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.Fetch,
        exp.LimitOptions, exp.Distinct,
        # names and values
        exp.Column, exp.Identifier, exp.Star, exp.Alias, exp.Literal, exp.Boolean, exp.Null, exp.Var, exp.Tuple,
        exp.Paren, exp.Interval, exp.DataType, exp.DataTypeParam, exp.RawString, exp.Array,
        # conditions
        exp.And, exp.Or, exp.Xor, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ,
        exp.NullSafeNEQ, exp.Is, exp.Between, exp.In, exp.Like, exp.ILike, exp.SimilarTo, exp.Glob, exp.Escape,
        exp.Exists, exp.Any, exp.All, exp.RegexpLike, exp.RegexpILike,
        # arithmetic and the like
        exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe, exp.BitwiseAnd, exp.BitwiseOr,
        exp.BitwiseNot, exp.BitwiseXor, exp.Case, exp.If, exp.Cast, exp.Collate, exp.AtTimeZone,
        exp.JSONExtract, exp.JSONExtractScalar, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey,
        exp.JSONPathSubscript,
        # windows
        exp.Window, exp.WindowSpec, exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls,
    }
)  # fmt: skip

FUNCTIONS = frozenset(
    {
        # aggregates
        exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.GroupConcat, exp.ArrayAgg, exp.AnyValue, exp.LogicalAnd,
        exp.LogicalOr, exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop, exp.Corr, exp.Mode,
        exp.PercentileCont, exp.PercentileDisc, exp.Grouping,
        # windows
        exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile, exp.Lag, exp.Lead,
        exp.FirstValue, exp.LastValue, exp.NthValue,
        # values
        exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.Typeof, exp.Elt,
        # numbers
        exp.Abs, exp.Round, exp.Ceil, exp.Floor, exp.Trunc, exp.Sqrt, exp.Cbrt, exp.Pow, exp.Exp, exp.Ln, exp.Log,
        exp.Sign, exp.Pi, exp.Radians, exp.Degrees, exp.Sin, exp.Cos, exp.Tan, exp.Asin, exp.Acos, exp.Atan,
        exp.Atan2, exp.Rand, exp.WidthBucket, exp.NumberToStr, exp.BitwiseCount,
        # text
        exp.Lower, exp.Upper, exp.Initcap, exp.Length, exp.Trim, exp.Substring, exp.Replace, exp.Concat, exp.ConcatWs,
        exp.Left, exp.Right, exp.StrPosition, exp.Reverse, exp.SplitPart, exp.SubstringIndex, exp.StartsWith,
        exp.RegexpReplace, exp.RegexpSubstr, exp.Ascii,
        # dates and times
        exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.Localtime, exp.Localtimestamp, exp.UtcDate,
        exp.UtcTime, exp.UtcTimestamp, exp.Date, exp.DateAdd, exp.DateSub, exp.DateDiff, exp.TimestampAdd,
        exp.TimestampSub, exp.TimestampDiff, exp.TimestampTrunc, exp.DateTrunc, exp.Extract, exp.Year, exp.Quarter,
        exp.Month, exp.Week, exp.WeekOfYear, exp.Day, exp.DayOfWeek, exp.DayOfMonth, exp.DayOfYear, exp.Dayname,
        exp.Hour, exp.Minute, exp.Second, exp.LastDay, exp.TimeToStr, exp.StrToDate, exp.StrToTime, exp.UnixToTime,
        exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.JustifyDays,
    }
)  # fmt: skip

# PostgreSQL's regclass and its kin read the catalogue; xml and the rest are not needed for an answer.
TYPES = frozenset(
    {
        exp.DType.BOOLEAN, exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.UTINYINT,
        exp.DType.USMALLINT, exp.DType.UINT, exp.DType.UBIGINT, exp.DType.MEDIUMINT, exp.DType.DECIMAL,
        exp.DType.UDECIMAL, exp.DType.FLOAT, exp.DType.DOUBLE, exp.DType.CHAR, exp.DType.VARCHAR, exp.DType.NCHAR,
        exp.DType.NVARCHAR, exp.DType.TEXT, exp.DType.DATE, exp.DType.TIME, exp.DType.TIMETZ, exp.DType.TIMESTAMP,
        exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPNTZ, exp.DType.DATETIME, exp.DType.INTERVAL, exp.DType.YEAR,
        exp.DType.JSON, exp.DType.JSONB,
    }
)  # fmt: skip
