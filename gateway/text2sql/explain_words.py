# ruff: noqa: E501 (lists of words are read across)
"""The words of explain.py's sentences, by language; {} is what each speaks of."""

WORDS = {
    "zh": {
        "all": "全部列", "and": "且", "or": "或", "not": "不符合（{}）", "more": "等 {} 个", "rows": "行数",
        "count": "{}的个数", "distinct_count": "不同{}的个数", "sum": "{}的合计", "avg": "{}的平均值", "min": "最小的{}", "max": "最大的{}",
        "abs": "{}的绝对值", "length": "{}的字数", "distinct": "不重复的{}", "where": "{}", "group": "每个{}一行", "have": "只要{}",
        "asc": "{}从小到大", "desc": "{}从大到小", "random": "随机排列", "limit": "取前 {} 行", "one": "只取第一行", "offset": "跳过前 {} 行", "from": "取自{}",
        "is": "{}是{}", "is_not": "{}不是{}", "gt": "{}大于 {}", "gte": "{}不小于 {}", "lt": "{}小于 {}", "lte": "{}不大于 {}",
        "between": "{}从 {} 到 {}", "in": "{}是{}", "not_in": "{}不是{}", "null": "{}为空", "not_null": "{}不为空", "empty": "空文本",
        "starts": "{}以{}开头", "ends": "{}以{}结尾", "contains": "{}含有{}", "like": "{}形如 {}", "exists": "存在（{}）",
        "sub": "（{}）", "union": "合并", "except": "去掉", "intersect": "同时属于", "cte": "其中 {} 是（{}）",
        "case": "按条件取值（{}）", "when": "{}时取{}", "else": "否则取{}", "over": "{}（在每个{}之内）", "overall": "{}（逐行）",
        "today": "今天", "now": "现在", "weekday": "{}的星期", "month": "{}的月份", "year": "{}的年份", "rank": "名次", "true": "真", "false": "假",
        "latest": "{}是最近的 {} 个之一", "comma": "，", "list": "、",
    },
    "en": {
        "all": "all columns", "and": " and ", "or": " or ", "not": "not ({})", "more": "{} values", "rows": "number of rows",
        "count": "number of values of {}", "distinct_count": "number of different values of {}", "sum": "total {}", "avg": "average {}", "min": "smallest {}", "max": "largest {}",
        "abs": "absolute {}", "length": "length of {}", "distinct": "different {}", "where": "where {}", "group": "one row for each {}", "have": "only where {}",
        "asc": "by {} from the smallest", "desc": "by {} from the largest", "random": "in random order", "limit": "the first {} rows", "one": "the first row alone", "offset": "after the first {} rows", "from": "from {}",
        "is": "{} is {}", "is_not": "{} is not {}", "gt": "{} is more than {}", "gte": "{} is at least {}", "lt": "{} is less than {}", "lte": "{} is at most {}",
        "between": "{} is from {} to {}", "in": "{} is {}", "not_in": "{} is not {}", "null": "{} is missing", "not_null": "{} is not missing", "empty": "empty",
        "starts": "{} begins with {}", "ends": "{} ends with {}", "contains": "{} contains {}", "like": "{} is like {}", "exists": "there is ({})",
        "sub": "({})", "union": "together with", "except": "without", "intersect": "that are also in", "cte": "{} being ({})",
        "case": "a value by condition ({})", "when": "{1} where {0}", "else": "otherwise {}", "over": "{} (within each {})", "overall": "{} (row by row)",
        "today": "today", "now": "now", "weekday": "weekday of {}", "month": "month of {}", "year": "year of {}", "rank": "rank", "true": "true", "false": "false",
        "latest": "{} is among the latest {}", "comma": ", ", "list": ", ",
    },
}  # fmt: skip
WEEKDAYS = {
    "zh": "日一二三四五六",
    "en": ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
}
