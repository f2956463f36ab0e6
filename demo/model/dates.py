# ruff: noqa: E501 (lists of phrasings are read across)
"""Days and spans of time as people type them, with the condition each means.

The riders' data ends on 2024-04-25; "last weekend" and the like are counted back from there.
"""

from datetime import date, timedelta
from random import Random

from demo.model.grammar import Slot

FIRST, LAST = date(2024, 3, 1), date(2024, 4, 25)
MONTHS = [
    "",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
CHINESE_MONTHS = ["", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"]
WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
CHINESE_WEEKDAYS = "日一二三四五六"
SPANS = [  # (Chinese forms, English forms, first day, last day)
    ("3月|三月|三月份|3月份|2024年3月|今年3月|24年3月|三月里|整个3月", "March|in March|in March 2024|during March|throughout March|for March",
     date(2024, 3, 1), date(2024, 3, 31)),
    ("4月|四月|四月份|4月份|2024年4月|今年4月|24年4月|四月里|整个四月", "April|in April|in April 2024|during April|for April",
     date(2024, 4, 1), date(2024, 4, 30)),
    ("三月最后一周|3月最后一周|3月的最后一个星期|三月最后一个礼拜|3月末周|3月底那一周", "in the last week of March|during the final week of March",
     date(2024, 3, 25), date(2024, 3, 31)),
    ("三月第一周|3月第一周|3月头一周|三月的第一个星期|3月开头一周", "in the first week of March|during March's first week",
     date(2024, 3, 1), date(2024, 3, 7)),
    ("四月第一周|4月第一周|4月的第一个星期|4月头一个礼拜", "in the first week of April|during the first week of April",
     date(2024, 4, 1), date(2024, 4, 7)),
    ("三月第二周|3月第二周|3月第二个星期", "in the second week of March", date(2024, 3, 8), date(2024, 3, 14)),
    ("四月第二周|4月第二周|4月第二个星期", "in the second week of April", date(2024, 4, 8), date(2024, 4, 14)),
    ("三月第三周|3月第三周", "in the third week of March", date(2024, 3, 15), date(2024, 3, 21)),
    ("四月第三周|4月第三周", "in the third week of April", date(2024, 4, 15), date(2024, 4, 21)),
    ("3月上旬|三月上旬", "in early March|in the first ten days of March", date(2024, 3, 1), date(2024, 3, 10)),
    ("3月中旬|三月中旬", "in mid March|in mid-March", date(2024, 3, 11), date(2024, 3, 20)),
    ("3月下旬|三月下旬", "in late March", date(2024, 3, 21), date(2024, 3, 31)),
    ("4月上旬|四月上旬", "in early April|in the first ten days of April", date(2024, 4, 1), date(2024, 4, 10)),
    ("4月中旬|四月中旬", "in mid April|in mid-April", date(2024, 4, 11), date(2024, 4, 20)),
    ("4月下旬|四月下旬", "in late April", date(2024, 4, 21), date(2024, 4, 30)),
    ("3月上半月|三月前半个月|3月前半月", "in the first half of March", date(2024, 3, 1), date(2024, 3, 15)),
    ("4月上半月|四月前半个月", "in the first half of April", date(2024, 4, 1), date(2024, 4, 15)),
    ("3月下半月|三月后半个月", "in the second half of March", date(2024, 3, 16), date(2024, 3, 31)),
    ("清明假期|清明节假期|清明三天|清明小长假|清明期间|清明节期间|清明放假那几天|清明那三天|清明节那几天|清明假期三天",
     "during the Qingming holiday|over the Qingming holiday|over Qingming|in the Tomb-Sweeping holiday", date(2024, 4, 4), date(2024, 4, 6)),
]  # fmt: skip
# "The last N days" is one form for every N: a count that the database makes is never a day out.
LAST_DAYS = "day > (SELECT DISTINCT day FROM riders ORDER BY day DESC LIMIT 1 OFFSET {})"
LAST_WITH_A_NAME = [  # (Chinese forms, English forms, days)
    (
        "最近一个月|近一个月|过去一个月|最近1个月|近一月",
        "in the past month|over the past month|over the last month",
        30,
    ),
    ("最近半个月|近半个月|过去半个月|最近半月|近半月", "in the last half month|over the last half month", 15),
    ("最近十四天|最近两个星期|过去两周", "over the past fortnight|in the last fortnight", 14),
]
RECENT = [  # (Chinese forms, English forms, first day, last day), counted back from the data's last day, a Thursday
    ("上周末|上个周末|最近一个周末|最近的周末|最后一个周末|上星期六日|刚过去的周末|上周六周日", "last weekend|over the last weekend|on the most recent weekend|this past weekend",
     date(2024, 4, 20), date(2024, 4, 21)),
    ("上周|上周|上个星期|上星期|上个礼拜|上礼拜|上一周|上周一到周日|上个周", "last week|last week|in the previous week|over the previous week", date(2024, 4, 15), date(2024, 4, 21)),
    ("本周|这周|这个星期|这一周|本星期|这礼拜", "this week|in the current week|so far this week", date(2024, 4, 22), date(2024, 4, 25)),
    ("上个月|上月|上一个月", "last month|in the previous month", date(2024, 3, 1), date(2024, 3, 31)),
    ("本月|这个月|当月", "this month|so far this month|in the current month", date(2024, 4, 1), date(2024, 4, 30)),
    ("昨天|昨日", "yesterday", date(2024, 4, 24), date(2024, 4, 24)),
    ("前天", "the day before yesterday", date(2024, 4, 23), date(2024, 4, 23)),
]  # fmt: skip
NAMED_DAYS = [  # (Chinese forms, English forms, day)
    ("清明节|清明|清明节当天|清明那天", "on Qingming|on Tomb-Sweeping Day|on the Qingming Festival", date(2024, 4, 4)),
    ("愚人节|愚人节那天", "on April Fools' Day", date(2024, 4, 1)),
    ("三八妇女节|妇女节|三八节|妇女节当天", "on Women's Day", date(2024, 3, 8)),
    ("植树节|植树节那天", "on Arbor Day", date(2024, 3, 12)),
    ("最近一天|最新一天|数据最后一天|最后一天|有数据的最后一天", "on the latest day|on the last day of the data|on the most recent day", LAST),
    ("第一天|数据第一天|最早那天", "on the first day of the data|on the first day", FIRST),
    ("3月最后一天|三月最后一天|3月底那天", "on the last day of March", date(2024, 3, 31)),
    ("4月第一天|四月第一天", "on the first day of April", date(2024, 4, 1)),
    ("3月第一天|三月第一天", "on the first day of March", date(2024, 3, 1)),
]  # fmt: skip


def chinese_number(n: int) -> str:
    """n, from 1 to 99, in Chinese numerals."""
    digits = ["", *"一二三四五六七八九"]
    if n < 10:
        return digits[n]
    return (digits[n // 10] if n >= 20 else "") + "十" + digits[n % 10]


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th …"""
    return f"{n}{'th' if 10 <= n % 100 <= 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def chinese_day(day: date, rng: Random) -> str:
    """One of the ways to type a day in Chinese."""
    y, m, d = day.year, day.month, day.day
    forms = [f"{m}月{d}日"] * 4 + [f"{m}月{d}号"] * 4 + [f"{y}年{m}月{d}日"] * 3 + [f"{y}-{m:02}-{d:02}"] * 3
    forms += [
        f"{m}.{d}",
        f"{m}/{d}",
        f"{y}/{m}/{d}",
        f"{y}.{m}.{d}",
        f"{y}年{m}月{d}号",
        f"{m:02}-{d:02}",
        f"{m}月{d}",
        f"{m}-{d}",
    ]
    forms += [
        f"{CHINESE_MONTHS[m]}月{chinese_number(d)}日",
        f"{CHINESE_MONTHS[m]}月{chinese_number(d)}号",
        f"{y % 100}年{m}月{d}日",
    ]
    forms += [
        f"{m}月{d}日那天",
        f"{m}月{d}号这天",
        f"{y}年{m:02}月{d:02}日",
        f"{m} 月 {d} 日",
        f"{y}{m:02}{d:02}",
        f"今年{m}月{d}日",
    ]
    return rng.choice(forms)


def english_day(day: date, rng: Random) -> str:
    """One of the ways to type a day in English, without its preposition."""
    y, m, d = day.year, MONTHS[day.month], day.day
    forms = [f"{m} {d}"] * 4 + [f"{m} {ordinal(d)}"] * 3 + [f"{m} {d}, {y}"] * 3 + [day.isoformat()] * 4
    forms += [
        f"{d} {m}",
        f"{d} {m} {y}",
        f"the {ordinal(d)} of {m}",
        f"{m[:3]} {d}",
        f"{m[:3]} {ordinal(d)}",
        f"{y}/{day.month}/{d}",
    ]
    forms += [f"{m} {ordinal(d)}, {y}", f"{m.lower()} {d}", f"{day.month}/{d}", f"{m} {d} {y}", f"{day.month}/{d}/{y}"]
    return rng.choice(forms)


def random_day(rng: Random) -> date:
    return FIRST + timedelta(rng.randrange((LAST - FIRST).days + 1))


def day_slot(rng: Random, language: str) -> Slot:
    """A single day within the data."""
    if rng.random() < 0.12:
        chinese, english, day = rng.choice(NAMED_DAYS)
        text = rng.choice((chinese if language == "zh" else english).split("|"))
        if rng.random() < 0.35:
            text += f"（{day.month}月{day.day}日）" if language == "zh" else f" ({MONTHS[day.month]} {day.day})"
    else:
        day = random_day(rng)
        text = (
            chinese_day(day, rng)
            if language == "zh"
            else rng.choice(["on ", "on ", "on ", "for "]) + english_day(day, rng)
        )
    name = day.isoformat() if language == "zh" else f"on {day.isoformat()}"
    return Slot(text, name, {"v": f"'{day}'", "is": f"day = '{day}'"})


def range_slot(rng: Random, language: str) -> Slot:
    """Two days and those between."""
    first = random_day(rng)
    last = min(first + timedelta(rng.choice([1, 2, 3, 4, 5, 6, 6, 6, 9, 13, 20])), LAST)
    if first == last:
        first -= timedelta(3)
    if language == "zh":
        a, b = chinese_day(first, rng), chinese_day(last, rng)
        if first.month == last.month and rng.random() < 0.35:
            a, b = f"{first.month}月{first.day}日", rng.choice([f"{last.day}日", f"{last.day}号"])
        text = rng.choice(
            [
                f"{a}到{b}",
                f"{a}至{b}",
                f"从{a}到{b}",
                f"{a}-{b}",
                f"{a}~{b}",
                f"{a}到{b}期间",
                f"{a}至{b}之间",
                f"{a}到{b}这几天",
            ]
        )
        name = f"{first} 至 {last}"
    else:
        a, b = english_day(first, rng), english_day(last, rng)
        if first.month == last.month and rng.random() < 0.3:
            a, b = f"{MONTHS[first.month]} {first.day}", str(last.day)
        text = rng.choice(
            [f"from {a} to {b}", f"between {a} and {b}", f"from {a} through {b}", f"{a} to {b}", f"during {a}-{b}"]
        )
        name = f"from {first} to {last}"
    return Slot(text, name, {"is": f"day BETWEEN '{first}' AND '{last}'"})


def span_slot(rng: Random, language: str) -> Slot:
    """A span with a name: a month, a week, a holiday."""
    chinese, english, first, last = rng.choice(SPANS[:2] * 6 + SPANS)
    text = rng.choice((chinese if language == "zh" else english).split("|"))
    if language == "en" and text in ("March", "April"):
        text = f"in {text}"
    name = f"{first} 至 {last}" if language == "zh" else f"from {first} to {last}"
    return Slot(text, name, {"is": f"day BETWEEN '{first}' AND '{last}'"})


def weekday_slot(rng: Random, language: str) -> Slot:
    """Weekends, working days, or one day of the week."""
    kind = rng.random()
    if kind < 0.35:
        zh, en, days = (
            "周末|双休日|礼拜六礼拜天|周六周日|星期六和星期天|周末两天",
            "on weekends|at weekends|on Saturdays and Sundays|at the weekend",
            "0,6",
        )
        names = "周末", "on weekends"
    elif kind < 0.6:
        zh, en, days = (
            "工作日|周一到周五|平日|平时工作日|上班日",
            "on weekdays|on working days|on workdays|Monday to Friday",
            "1,2,3,4,5",
        )
        names = "工作日", "on weekdays"
    else:
        n = rng.randrange(7)
        c = CHINESE_WEEKDAYS[n]
        zh = f"周{c}|每周{c}|星期{c}|礼拜{c}|每个周{c}|所有周{c}" + ("|星期天|周天" if n == 0 else "")
        en, days = f"on {WEEKDAYS[n]}s|on {WEEKDAYS[n]}s|every {WEEKDAYS[n]}|on a {WEEKDAYS[n]}", str(n)
        names = f"周{c}", f"on {WEEKDAYS[n]}s"
    listed = ", ".join(f"'{day}'" for day in days.split(","))
    condition = f"strftime('%w', day) IN ({listed})" if "," in days else f"strftime('%w', day) = {listed}"
    text = rng.choice((zh if language == "zh" else en).split("|"))
    return Slot(text, names[language == "en"], {"is": condition})


def recent_slot(rng: Random, language: str) -> Slot:
    """A span that is counted back from the data's last day: the last seven days, last week, yesterday."""
    if rng.random() > 0.3:
        if rng.random() < 0.15:
            zh, en, days = rng.choice(LAST_WITH_A_NAME)
            text = rng.choice((zh if language == "zh" else en).split("|"))
        else:
            weeks = rng.choice([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4])
            days = 7 * weeks or rng.choice([*range(2, 31), 3, 3, 5, 5, 7, 7, 7, 7, 7, 7, 10, 10, 10, 14, 15, 30, 30])
            text = (last_weeks if weeks else last_days)(weeks or days, rng, language)
        name = f"最近 {days} 天" if language == "zh" else f"over the last {days} days"
        return Slot(text, name, {"is": LAST_DAYS.format(days)})
    zh, en, first, last = rng.choice(RECENT)
    text = rng.choice((zh if language == "zh" else en).split("|"))
    if first == last:
        name = first.isoformat() if language == "zh" else f"on {first.isoformat()}"
        return Slot(text, name, {"is": f"day = '{first}'"})
    name = f"{first} 至 {last}" if language == "zh" else f"from {first} to {last}"
    return Slot(text, name, {"is": f"day BETWEEN '{first}' AND '{last}'"})


def last_days(n: int, rng: Random, language: str) -> str:
    """最近7天, the last seven days."""
    if language == "zh":
        words = "两" if n == 2 else chinese_number(n)
        number = rng.choice([str(n), str(n), words])
        head = rng.choice(["最近", "最近", "最近", "近", "近", "过去", "过去", "最后", "过去的", "这", "最近的", "前"])
        return head + number + rng.choice(["天", "天", "天", "天", "日", "天里", "天内", "个自然日"])
    number = rng.choice([str(n), str(n), NUMBER_WORDS[n] if n < len(NUMBER_WORDS) else str(n)])
    head = rng.choice(
        [
            "in the last",
            "over the last",
            "in the past",
            "over the past",
            "during the last",
            "for the last",
            "in the most recent",
            "in the final",
        ]
    )
    return f"{head} {number} days"


def last_weeks(n: int, rng: Random, language: str) -> str:
    """最近一周, the past two weeks."""
    if language == "zh":
        number = rng.choice([" 一两三四"[n], " 一两三四"[n], str(n)])
        unit = rng.choice(["周", "周", "个星期", "个礼拜"] + ["星期"] * (n == 1))
        return rng.choice(["最近", "近", "过去", "最后", "过去的", "最近的", "这"]) + number + unit
    head = rng.choice(["in the past", "over the past", "in the last", "over the last", "during the past"])
    return (
        f"{head} week"
        if n == 1 and not head.endswith("last")
        else f"{head} {rng.choice([str(n), NUMBER_WORDS[n]])} week{'s' * (n > 1)}"
    )


def days_of_month_slot(rng: Random, language: str) -> Slot:
    """Certain days of the week within a month."""
    month, days = rng.choice(SPANS[:2]), weekday_slot(rng, language)
    _, _, first, last = month
    if language == "zh":
        text = rng.choice(month[0].split("|")) + rng.choice(["的", "的", "里的", ""]) + days.text
    else:
        text = f"{days.text} in {MONTHS[first.month]}"
    name = f"{first} 至 {last} 的{days.name}" if language == "zh" else f"{days.name} from {first} to {last}"
    return Slot(text, name, {"is": f"day BETWEEN '{first}' AND '{last}' AND {days.sql['is']}"})


def when_slot(rng: Random, language: str, empty: float = 0.4, recent: bool = True) -> Slot:
    """Any restriction in time, or with the given probability none; `recent` allows spans counted back from the end."""
    kind = rng.random()
    if kind < empty:
        return Slot("", "", {"is": ""})
    if kind > 0.95:
        return days_of_month_slot(rng, language)
    makers = [day_slot] * 7 + [span_slot] * 5 + [range_slot] * 3 + [weekday_slot] * 3 + [recent_slot] * (5 * recent)
    return rng.choice(makers)(rng, language)
