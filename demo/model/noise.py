# ruff: noqa: E501 (lists of phrasings are read across)
"""What people add to a question and lose from it: requests, politeness, remarks, particles, stops, slips of the fingers.

Places between U+0001 and U+0002 are names, dates and numbers: they keep their letters.
"""

import re
from random import Random

from demo.model.grammar import expand

ASK = {
    "zh": "[||||||||||请问|请问|请问一下|你好，|您好，|您好，请问|我想知道|想知道|想问下|想问一下|问一下|问下|我想问问|麻烦问下|麻烦查一下|帮我查一下|帮我查查|查一下|查下|帮忙看看|看看|告诉我|能告诉我|能不能告诉我|可以告诉我|你知道|有人知道|谁知道|那|那么|嗨，|hi，|求问|求助，|咨询一下，|请教一下，|请帮我查一下|我想了解一下|我要查|帮看下|hello，|请告诉我|不好意思，请问|劳驾，|打扰一下，|现在|杭州地铁|杭州地铁里|在杭州，|关于杭州地铁，|按数据，|根据数据库，|从数据来看，|按表里的数据，|据统计，|按线内顺序，|数据里|按记录]",
    "en": "[|||||||||||please tell me, |hi, |hello, |hey, |hi there, |excuse me, |quick question: |please: |I wonder, |so |and |ok, |just curious, |in Hangzhou, |tell me, |question: |hey there, |good morning, |sorry, |according to the data, |based on the data, |in the data, |from the database, ]",
}
GIVE = {
    "zh": "[||||||||查一下|查询|查|查下|查查|列出|列出来|列一下|帮我列一下|给我|给我看看|我要|我想要|我想看|我想知道|想知道|请列出|请给出|显示|看一下|看看|帮我查|帮我查一下|帮我找|找出|找一下|请问|告诉我|麻烦给一下|能给我|请查询|统计|求|输出|返回|给出|检索|想看看|麻烦列一下|帮忙查下|能不能查一下|需要|我需要|可以给我看一下]",
    "en": "[|||||what is |what's |show me |show |give me |list |tell me |find |I need |I want |I'd like to know |can you tell me |could you tell me |can you show me |please show |please list |please give me |get |get me |display |let me know |I would like |could you list |can you find |find out |could you give me |look up |I'm looking for |fetch |return |do you know |please find ]",
}
AFTER = {
    "zh": "[||||||||||||||||||呢|啊|呀|吗？谢谢|，谢谢|，谢谢！|谢谢|，多谢|，急|，在线等|，求解|，麻烦了|来着|，告诉我一下|，帮我查查|，列一下|，我想知道|～|哈|嘛|，可以吗|的|，请回答|，thanks|，谢了|，要准确的|，用数据回答|（杭州地铁）|，查一下]",
    "en": "[|||||||||||||, please| please|, thanks| thanks|, thank you|, pls|? Thanks!|? Thank you.| in Hangzhou| again|, if you know|? I need it for a report]",
}
COUNTED = {
    "zh": "[，换乘站只算一次|（换乘站算一个）|，同名站算一个|，重复的只算一次|（去重）|，不要重复计算|，一样的算一次|，换乘站不重复算|，都只算一次|（换乘站只算一个）|(同名站只算一次)|（重名的算一个）|，每个站只数一遍]",
    "en": "[, counting transfer stations once|, counting each interchange once|, counting interchanges only once|, each transfer station counted once| (count interchanges once)|, interchange stations counted only once|, each station counted once|, without double counting|, distinct]",
}
STOPS = {
    "zh": ["", "", "", "", "", "？", "？", "？", "?", "。", "！", "？？", "...", " ", "?"],
    "en": ["", "", "", "", "?", "?", "?", "?", "?", ".", "!", "??", " ?"],
}
SLIPS = str.maketrans(
    {"哪": "那", "的": "得", "在": "再", "几": "己", "站": "占", "座": "坐", "做": "作", "吗": "嘛", "线": "线"}
)
ARTICLES = re.compile(r"\b(the|a|an|is|are|of|did|does|do) ")


# A slip in a question of so few characters leaves nothing of it.
SHORT = 8


def noisy(question: str, noun: bool, language: str, rng: Random) -> str:
    """The question as one person may type it; `noun` if it is a noun phrase, which can follow "show me"."""
    if rng.random() < 0.55:
        head = expand((GIVE if noun else ASK)[language], rng)
        question = head + question
    if re.search("多少|几[个座]|数量|总数|how many|number of", question) and rng.random() < 0.08:
        question += expand(COUNTED[language], rng)
    question += expand(AFTER[language], rng) if rng.random() < 0.5 else ""
    if not question.endswith(("？", "?", "。", "！", "!", "~", "～")):
        question += rng.choice(STOPS[language])
    question = slipped(question, language, rng) if rng.random() < 0.3 and len(question) > SHORT else question
    if language == "en":
        question = cased(question, rng)
    return question.replace("\x01", "").replace("\x02", "").strip(" ") or "?"


def slipped(question: str, language: str, rng: Random) -> str:
    """One or two slips, outside the marked places."""
    pieces = re.split("(\x01[^\x02]*\x02)", question)
    for _ in range(rng.choice([1, 1, 2])):
        open_pieces = [index for index, piece in enumerate(pieces) if piece and not piece.startswith("\x01")]
        if not open_pieces:
            break
        index = rng.choice(open_pieces)
        pieces[index] = chinese_slip(pieces[index], rng) if language == "zh" else english_slip(pieces[index], rng)
    return "".join(pieces)


def chinese_slip(text: str, rng: Random) -> str:
    """A character lost, doubled, swapped or mistaken, or a space or comma too many."""
    at, kind = rng.randrange(len(text)), rng.random()
    if kind < 0.3:
        return text[:at] + text[at + 1 :] if len(text) > 2 else text
    if kind < 0.4:
        return text[: at + 1] + text[at:]
    if kind < 0.5:
        return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
    if kind < 0.65:
        return text[:at] + text[at].translate(SLIPS) + text[at + 1 :]
    if kind < 0.85:
        return f"{text[:at]} {text[at:]}"
    return text.replace("的", "", 1) if kind < 0.94 else f"{text[:at]}，{text[at:]}"


def english_slip(text: str, rng: Random) -> str:
    """A letter lost, doubled or swapped, or a small word lost."""
    if rng.random() < 0.35:
        return ARTICLES.sub("", text, count=1)
    letters = [index for index, letter in enumerate(text) if letter.isalpha()]
    if len(letters) < 3:
        return text
    at, kind = rng.choice(letters[1:]), rng.random()
    if kind < 0.4:
        return text[:at] + text[at + 1 :]
    if kind < 0.65:
        return text[: at + 1] + text[at:]
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def cased(question: str, rng: Random) -> str:
    """Upper case at the start, or all lower case outside the marked places, as people type."""
    kind = rng.random()
    if kind < 0.5 and not question.startswith("\x01"):
        return question[:1].upper() + question[1:]
    if kind < 0.72:
        return "".join(
            piece if piece.startswith("\x01") else piece.lower() for piece in re.split("(\x01[^\x02]*\x02)", question)
        )
    if kind < 0.74:
        return "".join(
            piece if piece.startswith("\x01") else piece.upper() for piece in re.split("(\x01[^\x02]*\x02)", question)
        )
    return question
