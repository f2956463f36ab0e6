"""The replies that the model learns to write: the question restated, the way to the answer, one statement."""

import re

TABLES = {
    "dtzpt": ("站点表 dtzpt", "dtzpt (stations)"),
    "lines": ("线路表 lines", "lines"),
    "riders": ("客流表 riders", "riders (riders by day)"),
}
COLUMNS = {
    *["name", "name_en", "line", "seq", "district", "opened", "transfer_lines", "lng", "lat"],
    *["color", "length_km", "first_station", "last_station", "stations", "day", "station", "entries", "exits"],
}
HELP = {
    "zh": "可以问我：杭州地铁的站点（行政区、线路、开通日期、换乘、经纬度）、线路（长度、起终点、颜色、站数），"
    "以及 2024-03-01 至 2024-04-25 各站每天的进出站人次。",
    "en": "You can ask me about Hangzhou metro's stations (district, lines, opening date, transfers, coordinates), "
    "its lines (length, ends, colour, number of stations), "
    "and the daily entries and exits of each station from 2024-03-01 to 2024-04-25.",
}
# How a refusal begins, by the title of the intent; {} is what was asked for.
REFUSALS = {
    "writes": {
        "zh": "抱歉，我只查询数据，不能修改数据。",
        "en": "Sorry, I only read the data and cannot change it. ",
    },
    "chit-chat": {
        "zh": "您好，我只回答关于杭州地铁演示数据库的问题。",
        "en": "Hello, I only answer questions about the Hangzhou metro demo database. ",
    },
    "": {
        "zh": "抱歉，演示数据库里没有{}的资料，这个问题我答不了。",
        "en": "Sorry, the demo database does not have {}, so I cannot answer this. ",
    },
}


def approach(sql: str, language: str) -> str:
    """Where the answer lies, told from the statement: tables, columns, conditions, order."""
    unquoted = re.sub(r"'(?:[^']|'')*'", "", sql)
    words = re.findall("[a-z_]+", unquoted)
    tables = [TABLES[name][language == "en"] for name in TABLES if re.search(rf"(?:FROM|JOIN) {name}\b", unquoted)]
    columns = [name for name in dict.fromkeys(words) if name in COLUMNS]
    grouped = re.search(r"GROUP BY ([a-z.]+)", unquoted)
    limit = re.search(r"LIMIT (\d+)$", unquoted)
    if language == "zh":
        text = f"查{'和'.join(tables)}，用到 {'、'.join(columns)} 列"
        if grouped:
            text += f"，按 {grouped[1].split('.')[-1]} 分组"
        if "ORDER BY" in unquoted:
            text += "，排序"
        return text + (f"，取前 {limit[1]} 行" if limit else "")
    text = f"look in {' and '.join(tables)}, using {', '.join(columns)}"
    if grouped:
        text += f"; group by {grouped[1].split('.')[-1]}"
    if "ORDER BY" in unquoted:
        text += "; sort"
    return text + (f"; take the first {limit[1]}" if limit else "")


def answer(restated: str, sql: str, language: str) -> str:
    """The reply to a question that the database answers."""
    if language == "zh":
        return f"您想了解：{restated}。\n\n思路：{approach(sql, language)}。\n\n```sql\n{sql}\n```"
    return f"You want to know: {restated}.\n\nApproach: {approach(sql, language)}.\n\n```sql\n{sql}\n```"


def refusal(title: str, reason: str, language: str) -> str:
    """The reply to a question that it does not answer, by the intent's title."""
    head = REFUSALS.get(title, REFUSALS[""])[language]
    return head.format(reason) + HELP[language]
