"""The kinds of expressions that may stand in a tree. A kind that is not listed here is refused.

Functions are not listed by kind: each is judged by the name that was written, in words.py, from its server's list.
"""

from __future__ import annotations

from sqlglot import exp

EXPRESSIONS = frozenset(
    {
        # the query
        exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery, exp.With, exp.CTE, exp.Values,
        exp.From, exp.Join, exp.Lateral, exp.Table, exp.TableAlias, exp.Where, exp.Group, exp.Having, exp.Unnest,
        exp.Rollup, exp.Cube, exp.GroupingSets, exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.Fetch,
        exp.LimitOptions, exp.Distinct,
        # names and values
        exp.Column, exp.Identifier, exp.Star, exp.Alias, exp.Literal, exp.Boolean, exp.Null, exp.Var, exp.Tuple,
        exp.Paren, exp.Interval, exp.DataType, exp.DataTypeParam, exp.RawString, exp.Array, exp.ByteString,
        exp.HexString, exp.BitString, exp.National, exp.Introducer, exp.Kwarg, exp.Bracket, exp.Slice,
        exp.CharacterSet, exp.Struct, exp.JSONSchema, exp.JSONColumnDef, exp.ColumnDef,
        exp.JSONValue, exp.IntervalSpan, exp.JSONKeyValue,
        # conditions
        exp.And, exp.Or, exp.Xor, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ,
        exp.NullSafeNEQ, exp.Is, exp.Between, exp.In, exp.Like, exp.ILike, exp.SimilarTo, exp.Glob, exp.Escape,
        exp.Exists, exp.Any, exp.All, exp.RegexpLike, exp.RegexpILike, exp.Overlaps,
        # arithmetic and the like
        exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe, exp.BitwiseAnd, exp.BitwiseOr,
        exp.BitwiseNot, exp.BitwiseXor, exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.Case, exp.If, exp.Cast,
        exp.Collate, exp.AtTimeZone, exp.Pow,
        exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar, exp.JSONBContains,
        exp.JSONBContainsTopKey, exp.JSONBContainsAnyTopKeys, exp.JSONBContainsAllTopKeys, exp.JSONPath,
        exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript, exp.JSONPathWildcard, exp.JSONPathRecursive,
        exp.JSONPathUnion, exp.JSONPathSlice, exp.JSONPathSelector, exp.JSONPathFilter, exp.JSONPathScript,
        exp.ArrayContainsAll, exp.ArrayContainedBy, exp.ArrayOverlaps,
        # windows
        exp.Window, exp.WindowSpec, exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls,
    }
)  # fmt: skip
# What a reader calls some kinds of expressions.
WORDS = {
    "lock": "locking rows", "into": "INTO", "placeholder": "a placeholder (write the value itself)",
    "pivot": "PIVOT", "indextablehint": "an index hint",
    "qualify": "QUALIFY", "parameter": "a variable",
    "sessionparameter": "a server variable", "tablesample": "TABLESAMPLE", "dot": "a member of a row or of a value",
    "command": "this statement", "propertyeq": "setting a variable", "unicodestring": "U&'…'", "hint": "a hint",
}  # fmt: skip
