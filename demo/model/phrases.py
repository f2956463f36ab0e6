# ruff: noqa: E501 (lists of phrasings are read across)
"""Noun phrases for stations: a few conditions in any order and any words, with the SQL they mean."""

from datetime import date
from random import Random

from demo.model.dates import MONTHS, english_day
from demo.model.grammar import Slot, expand
from demo.model.names import district_slot, line_slot, quoted, stations

Part = tuple[str, str, str, bool]  # as typed, plain, SQL, whether Chinese may put it last without 的
FRAGMENTS = "桥路街广场文湖江山大西东南北新村中心公园沙门堡塘龙黄古"
NOUNS_ZH = "[站|站|站|车站|车站|站点|站点|地铁站|地铁站|地铁站点|站子]"
NOUNS_EN = "[stations|stations|stations|metro stations|stops|subway stations]"


def year_part(rng: Random, language: str) -> Part:
    """Stations by the year, month or day of opening."""
    year = rng.choice([2012, 2014, 2015, 2016, 2017, 2018, 2019, 2020, 2021, 2022, 2023, 2013, 2010])
    kind = rng.choice(
        [
            "in",
            "in",
            "in",
            "before",
            "before",
            "after",
            "after",
            "since",
            "until",
            "between",
            "month",
            "day",
            "day",
            "day",
            "late",
            "early",
        ]
    )
    other = year + rng.randint(1, 4)
    y = rng.choice(
        [f"{year}年"] * 5
        + [
            f"{year % 100}年",
            f"{year}",
            f"{year} 年",
            f"二〇{'〇一二三四五六七八九'[year // 10 % 10]}{'〇一二三四五六七八九'[year % 10]}年"
            if rng.random() < 0.2
            else f"{year}年",
        ]
    )
    if kind in ("month", "day"):
        opened = rng.choice(stations())["opened"]
        if rng.random() < 0.35:
            opened = f"{rng.randint(2012, 2023)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        return month_or_day_part(rng, language, opened, kind)
    sql = {
        "in": f"opened LIKE '{year}%'",
        "before": f"opened < '{year}-01-01'",
        "until": f"opened <= '{year}-12-31'",
        "after": f"opened > '{year}-12-31'",
        "since": f"opened >= '{year}-01-01'",
        "between": f"opened BETWEEN '{year}-01-01' AND '{other}-12-31'",
        "late": f"opened BETWEEN '{year}-07-01' AND '{year}-12-31'",
        "early": f"opened BETWEEN '{year}-01-01' AND '{year}-06-30'",
    }[kind]
    zh = {
        "in": f"[{y}|{y}|{y}|{y}里|{y}内|在{y}|于{y}|{y}当年]",
        "before": f"[{y}之前|{y}以前|{y}前|早于{y}|{year}年1月1日之前|在{y}之前]",
        "until": f"[{y}及以前|截至{y}底|到{y}底为止|{y}底之前|{y}及之前]",
        "after": f"[{y}之后|{y}后|晚于{y}|{y}以后|在{y}之后]",
        "since": f"[{y}以来|{y}及以后|从{y}起|{y}起|{y}开始|自{y}以来|{y}至今|{y}及之后]",
        "between": f"[{y}到{other}年|{y}至{other}年|{y}到{other}年之间|{year}-{other}年|从{y}到{other}年|{y}和{other}年之间|{y}至{other}年期间]",
        "late": f"[{y}下半年|{y}后半年]",
        "early": f"[{y}上半年|{y}前半年]",
    }[kind]
    plain = {
        "in": f"{year}年", "before": f"{year}年以前", "until": f"{year}年底及以前", "after": f"{year}年之后", "since": f"{year}年起",
        "between": f"{year}年到{other}年", "late": f"{year}年下半年", "early": f"{year}年上半年",
    }[kind]  # fmt: skip
    en = {
        "in": f"[in {year}|in {year}|during {year}|in the year {year}]",
        "before": f"[before {year}|before {year}|prior to {year}|earlier than {year}|before the year {year}]",
        "until": f"[by the end of {year}|up to {year}|in or before {year}|no later than {year}]",
        "after": f"[after {year}|after {year}|later than {year}|after the year {year}]",
        "since": f"[since {year}|from {year} on|from {year} onwards|in or after {year}|in {year} or later|starting from {year}]",
        "between": f"[between {year} and {other}|from {year} to {other}|in {year}-{other}]",
        "late": f"[in the second half of {year}|in late {year}]",
        "early": f"[in the first half of {year}|in early {year}]",
    }[kind]
    if language == "zh":
        verb = expand("[开通|开通|开通|开通|启用|通车|投入运营|运营|投用|建成开通|开通运营|开站|开]的", rng)
        return expand(zh, rng) + verb, f"{plain}开通的", sql, False
    verb = expand(
        "[opened|opened|that opened|which opened|that were opened|opening|that went into service|put into service|launched]",
        rng,
    )
    return f"{verb} {expand(en, rng)}", f"opened {plain_english(kind, year, other)}", sql, False


def plain_english(kind: str, year: int, other: int) -> str:
    return {
        "in": f"in {year}", "before": f"before {year}", "until": f"by the end of {year}", "after": f"after {year}", "since": f"since {year}",
        "between": f"from {year} to {other}", "late": f"in the second half of {year}", "early": f"in the first half of {year}",
    }[kind]  # fmt: skip


def month_or_day_part(rng: Random, language: str, opened: str, kind: str) -> Part:
    """Stations that opened in one month or on one day, before or after it."""
    year, month, day = map(int, opened.split("-"))
    side, sign = rng.choice([("", "="), ("", "="), ("before", "<"), ("after", ">")])
    if kind == "month":
        sql = {
            "": f"opened LIKE '{opened[:7]}%'",
            "before": f"opened < '{opened[:7]}-01'",
            "after": f"opened > '{opened[:7]}-31'",
        }[side]
        zh, en, plain = f"{year}年{month}月", f"{MONTHS[month]} {year}", opened[:7]
    else:
        sql = f"opened {sign} '{opened}'"
        when = date(year, month, day)
        zh, en, plain = f"{year}年{month}月{day}日", english_day(when, rng), opened
        if rng.random() < 0.4:
            zh = opened
        if str(year) not in en:
            en = f"{MONTHS[month]} {day}, {year}"
    if language == "zh":
        after = {
            "": ["", "", "当天" if kind == "day" else ""],
            "before": ["之前", "以前", "前"],
            "after": ["之后", "以后", "后"],
        }[side]
        verb = rng.choice(["开通", "开通", "开通", "启用", "通车", "投入运营"])
        return f"{zh}{rng.choice(after)}{verb}的", f"{plain}{after[0]}开通的", sql, False
    preposition = side or ("in" if kind == "month" else "on")
    return (
        f"{rng.choice(['opened', 'that opened', 'which opened'])} {preposition} {en}",
        f"opened {preposition} {plain}",
        sql,
        False,
    )


def district_part(rng: Random, language: str) -> Part:
    slot = district_slot(rng, language)
    if language == "zh":
        text = expand(
            f"[{slot.text}|{slot.text}|{slot.text}|{slot.text}的|在{slot.text}的|位于{slot.text}的|{slot.text}里的|{slot.text}内的|{slot.text}境内的|{slot.text}里|{slot.text}范围内的|坐落在{slot.text}的|{slot.text}辖区的]",
            rng,
        )
        return text, slot.name, slot.sql["is"], True
    text = expand(
        f"[in {slot.text}|in {slot.text}|in {slot.text}|located in {slot.text}|within {slot.text}|that are in {slot.text}|of {slot.text}]",
        rng,
    )
    return text, f"in {slot.name}", slot.sql["is"], True


def line_part(rng: Random, language: str) -> Part:
    slot = line_slot(rng, language)
    if language == "zh":
        text = expand(
            f"[{slot.text}|{slot.text}|{slot.text}|{slot.text}的|{slot.text}上的|{slot.text}上|{slot.text}沿线的|{slot.text}沿线|在{slot.text}上的|属于{slot.text}的|{slot.text}经过的|{slot.text}停靠的|{slot.text}途经的]",
            rng,
        )
        return text, slot.name, slot.sql["is"], True
    text = expand(
        f"[on {slot.text}|on {slot.text}|on {slot.text}|along {slot.text}|of {slot.text}|served by {slot.text}|that are on {slot.text}|that {slot.text} serves]",
        rng,
    )
    return text, f"on {slot.name}", slot.sql["is"], True


def interchange_part(rng: Random, language: str) -> Part:
    """Stations where one can change at all, to a given line, or not."""
    kind = rng.random()
    if kind < 0.4:
        slot = line_slot(rng, language)
        sql = f"',' || transfer_lines || ',' LIKE '%,{slot.sql['n']},%'"
        if language == "zh":
            text = expand(
                f"[[能|可以|可|能够|可以直接|支持]换乘[到|||]{slot.text}的|[能|可以]转[乘|到|]{slot.text}的|与{slot.text}换乘的|和{slot.text}[交汇|换乘]的|能换{slot.text}的]",
                rng,
            )
            return text, f"可换乘{slot.name}的", sql, False
        text = expand(
            f"[where you can [transfer|change|switch|interchange] to {slot.text}|with a transfer to {slot.text}|that connect to {slot.text}|allowing transfer to {slot.text}|with interchange to {slot.text}|connecting with {slot.text}]",
            rng,
        )
        return text, f"with a transfer to {slot.name}", sql, False
    if kind < 0.62:
        if language == "zh":
            text = expand(
                "[不能换乘的|不可换乘的|非换乘的|没有换乘的|没法换乘的|不是换乘站的|只有一条线的|不能换线的]", rng
            )
            return text, "不能换乘的", "transfer_lines = ''", False
        text = expand(
            "[without transfers|where you cannot transfer|without any interchange|that are not transfer stations|with no transfer|served by only one line]",
            rng,
        )
        return text, "without transfers", "transfer_lines = ''", False
    if language == "zh":
        return (
            expand(
                "[能换乘的|可以换乘的|可换乘的|能换线的|支持换乘的|有换乘功能的|拥有换乘功能的|具备换乘功能的|能换乘其他线的|有换乘的]",
                rng,
            ),
            "可换乘的",
            "transfer_lines <> ''",
            False,
        )
    return (
        expand(
            "[where you can transfer|with transfers|with an interchange|that allow transfers|where you can change lines]",
            rng,
        ),
        "with transfers",
        "transfer_lines <> ''",
        False,
    )


def english_spelled_part(rng: Random, language: str) -> Part:
    """Stations by a piece of their English name."""
    piece = rng.choice(
        [
            "Road",
            "Road",
            "Square",
            "Square",
            "Street",
            "Park",
            "Bridge",
            "Center",
            "North",
            "South",
            "West",
            "East",
            "Railway",
            "University",
            "Station",
            "Lake",
            "Avenue",
            "Campus",
            "Middle",
            "Xi",
            "Wen",
            "Jiang",
            "hu",
            "Qing",
        ]
    )
    kind = rng.choice(["has", "has", "has", "ends", "starts"])
    pattern = {"has": f"%{piece}%", "ends": f"%{piece}", "starts": f"{piece}%"}[kind]
    shown = rng.choice(["“{}”", '"{}"', '"{}"', "{}", "'{}'"]).format(piece)
    sql = f"name_en LIKE {quoted(pattern)}"
    if language == "zh":
        verb = {"has": "[里带|里有|含|包含|带|含有|中有]@的", "ends": "以@结尾的", "starts": "以@开头的"}[kind]
        text = expand(f"[英文名|英文站名|英文名字|英语名]{verb}", rng).replace("@", shown)
        return (
            text,
            {"has": f"英文名含 {piece} 的", "ends": f"英文名以 {piece} 结尾的", "starts": f"英文名以 {piece} 开头的"}[
                kind
            ],
            sql,
            False,
        )
    verb = {"has": "[contains|includes|has]", "ends": "[ends with|ends in]", "starts": "[starts with|begins with]"}[
        kind
    ]
    text = expand(f"[whose English name {verb} @|with an English name that {verb} @]", rng).replace("@", shown)
    if kind == "has" and rng.random() < 0.5:
        text = expand(
            "[with @ in their English name|with @ in the English name|that have @ in their English name|whose English name has @ in it]",
            rng,
        ).replace("@", shown)
    return (
        text,
        {
            "has": f"whose English name contains {piece}",
            "ends": f"whose English name ends with {piece}",
            "starts": f"whose English name starts with {piece}",
        }[kind],
        sql,
        False,
    )


def spelled_part(rng: Random, language: str) -> Part:
    """Stations by a piece of their name."""
    if rng.random() < (0.12 if language == "zh" else 0.35):
        return english_spelled_part(rng, language)
    piece = rng.choice(
        [
            "桥",
            "路",
            "街",
            "广场",
            "湖",
            "江",
            "山",
            "西",
            "东",
            "南",
            "北",
            "新",
            "村",
            "中心",
            "公园",
            "大学",
            "火车",
            *FRAGMENTS,
            *FRAGMENTS,
        ]
    )
    kind = rng.choice(["has", "has", "ends", "starts"])
    pattern = {"has": f"%{piece}%", "ends": f"%{piece}", "starts": f"{piece}%"}[kind]
    shown = rng.choice(["“{}”", '"{}"', "{}", "{}", "'{}'", "「{}」"]).format(piece)
    sql = f"name LIKE {quoted(pattern)}"
    if language == "zh":
        text = expand({
            "has": f"[名字|站名|名称][里|中|里面|][带|有|含|包含|含有|带有]{shown}[字|这个字|]的",
            "ends": f"[[名字|站名|]以{shown}[字|][结尾|收尾|结束]的|[名字|站名]最后是{shown}的]",
            "starts": f"[[名字|站名|]以{shown}[字|][开头|打头|开始]的|{shown}字[开头|打头]的]",
        }[kind], rng)  # fmt: skip
        plain = {"has": f"名字含“{piece}”的", "ends": f"名字以“{piece}”结尾的", "starts": f"名字以“{piece}”开头的"}[
            kind
        ]
        return text, plain, sql, False
    text = {
        "has": "[whose name contains|with {} in the name|containing|whose names include]",
        "ends": "[whose name ends with|ending in|that end with]",
        "starts": "[whose name starts with|starting with|beginning with|that start with]",
    }[kind]
    text = expand(text.replace("{}", "@"), rng)
    text = text.replace("@", shown) if "@" in text else f"{text} {shown}"
    plain = {
        "has": f"whose name contains {piece}",
        "ends": f"whose name ends with {piece}",
        "starts": f"whose name starts with {piece}",
    }[kind]
    return text, plain, sql, False


def parts(rng: Random, language: str) -> list[Part]:
    """One to three conditions of different kinds."""
    makers = {district_part: 7, line_part: 6, year_part: 6, interchange_part: 3, spelled_part: 2}
    count = rng.choice([1, 1, 1, 1, 2, 2, 2, 3])
    chosen: list = []
    while len(chosen) < count:
        maker = rng.choices(list(makers), list(makers.values()))[0]
        if maker not in chosen:
            chosen.append(maker)
    return [maker(rng, language) for maker in chosen]


def filter_slot(rng: Random, language: str) -> Slot:
    """A noun phrase for some stations: "西湖区2019年以前开通的换乘站", "transfer stations in Xihu District"."""
    if rng.random() < 0.07:
        text = expand(
            "[换乘站|换乘车站|可换乘的站]"
            if language == "zh"
            else "[transfer stations|interchange stations|interchanges]",
            rng,
        )
        return Slot(text, "换乘站" if language == "zh" else "transfer stations", {"is": "transfer_lines <> ''"})
    found = parts(rng, language)
    conditions = [part[2] for part in found]
    transfer = not any("transfer_lines" in condition for condition in conditions) and rng.random() < (
        0.2 if len(found) < 3 else 0
    )
    if transfer:
        conditions.append("transfer_lines <> ''")
    if language == "zh":
        noun = expand("[换乘站|换乘站|换乘站|换乘车站|换乘站点|可换乘的站|中转站]" if transfer else NOUNS_ZH, rng)
        typed = "".join(part[0] for part in found)
        link = "" if found[-1][3] or typed.endswith("的") else "的"
        if found[-1][3] and not typed.endswith("的") and rng.random() < 0.3:
            link = "的"
        name = "".join(part[1] for part in found) + ("换乘站" if transfer else "站点")
        return Slot(typed + link + noun, name, {"is": " AND ".join(conditions)})
    noun = expand(
        "[transfer stations|transfer stations|interchange stations|interchanges|transfer stops]"
        if transfer
        else NOUNS_EN,
        rng,
    )
    joined = [part[0] for part in found]
    first = next((index for index, part in enumerate(found) if part[3]), None)
    if first is not None and rng.random() < 0.4:  # "Line 4 stations" for "stations on Line 4"
        noun = f"{found[first][1].removeprefix('on ').removeprefix('in ')} {noun}"
        if rng.random() < 0.4:
            noun = noun.replace(" District", "")
        joined.pop(first)
    text = " ".join([noun, *joined[:1], *(rng.choice(["", "and "]) + piece for piece in joined[1:])])
    name = " ".join(["transfer stations" if transfer else "stations", *(part[1] for part in found)])
    return Slot(text, name, {"is": " AND ".join(conditions)})
