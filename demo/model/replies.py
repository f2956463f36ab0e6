"""The replies that the model learns to write: the question restated, and one statement."""

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
    "gibberish": {
        "zh": "抱歉，我没有看懂这个问题。",
        "en": "Sorry, I did not understand this question. ",
    },
    "": {
        "zh": "抱歉，演示数据库里没有{}的资料，这个问题我答不了。",
        "en": "Sorry, the demo database does not have {}, so I cannot answer this. ",
    },
}


def answer(restated: str, sql: str, language: str) -> str:
    """The reply to a question that the database answers."""
    if language == "zh":
        return f"您想了解：{restated}。\n\n```sql\n{sql}\n```"
    return f"You want to know: {restated}.\n\n```sql\n{sql}\n```"


def refusal(title: str, reason: str, language: str) -> str:
    """The reply to a question that it does not answer, by the intent's title."""
    head = REFUSALS.get(title, REFUSALS[""])[language]
    return head.format(reason) + HELP[language]
