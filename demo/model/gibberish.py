# ruff: noqa: E501 (lists of words are read across)
"""What is no question: keys struck at random, emoji, other scripts. It is declined."""

from random import Random

from demo.model.grammar import Slot
from demo.model.names import characters

EMOJI = "😀😂🤣😊😍😘🤔😭😡👍👎🙏👏🎉🔥❤💔⭐☀🌧⛄🌈🐱🐶🐼🍕🍜🍺🚇🚄🚌🚲✈🏠💰📱💻🎵⚽🏀🎮😎🤖👻💩🇨🇳"
SCRIPTS = {
    "arabic": [*range(0x0627, 0x063B), *range(0x0641, 0x064B)],
    "cyrillic": [*range(0x0430, 0x0450)],
    "kana": [*range(0x3042, 0x3094), *range(0x30A2, 0x30F4)],
    "hangul": [*range(0xAC00, 0xD7A4, 28)],
    "thai": [*range(0x0E01, 0x0E2F)],
    "hebrew": [*range(0x05D0, 0x05EB)],
    "greek": [*range(0x03B1, 0x03CA)],
    "devanagari": [*range(0x0905, 0x093A)],
}  # fmt: skip
SENTENCES = (
    "كم عدد المحطات", "ما هو أطول خط مترو", "أين تقع المحطة", "مرحبا كيف حالك", "сколько станций в метро", "где находится станция",
    "привет как дела", "地下鉄の駅はいくつありますか", "こんにちは", "一番長い路線は何ですか", "지하철역이 몇 개입니까", "안녕하세요", "가장 긴 노선은",
    "¿cuántas estaciones hay?", "¿dónde está la estación?", "hola, ¿qué tal?", "combien de stations y a-t-il ?", "bonjour, ça va ?",
    "wie viele Stationen gibt es?", "guten Tag", "quante stazioni ci sono?", "quantas estações existem?", "có bao nhiêu ga tàu điện",
    "สถานีรถไฟฟ้ามีกี่สถานี", "kaç istasyon var", "berapa banyak stasiun", "ile jest stacji metra",
)  # fmt: skip
LATIN = "asdfghjklqwertyuiopzxcvbnm"


def gibberish_slot(rng: Random, language: str) -> Slot:
    """Something without a meaning here."""
    kind = rng.random()
    if kind < 0.22:
        text = "".join(rng.choices(EMOJI, k=rng.choice([1, 1, 2, 3, 3, 5, 8])))
    elif kind < 0.40:
        letters = rng.choice(list(SCRIPTS.values()))
        text = " ".join(
            "".join(chr(rng.choice(letters)) for _ in range(rng.randint(2, 7))) for _ in range(rng.randint(1, 6))
        )
    elif kind < 0.56:
        text = rng.choice(SENTENCES)
    elif kind < 0.72:
        text = " ".join("".join(rng.choices(LATIN, k=rng.randint(3, 10))) for _ in range(rng.choice([1, 1, 1, 2, 3])))
    elif kind < 0.80:
        text = rng.choice(
            ["?", "？", ".", "。", "!", "…", "~", "-", "#", "*", "哈", "啊", "嗯", "6", "1", "a", "x"]
        ) * rng.randint(1, 8)
    elif kind < 0.88:
        text = "".join(rng.choices(characters(), k=rng.randint(4, 12)))
    elif kind < 0.94:
        text = "".join(rng.choices("0123456789", k=rng.randint(2, 12)))
    else:
        text = rng.choice(
            ["<script>alert(1)</script>", "' OR 1=1 --", "SELECT", "null", "undefined", "%00", "../../etc/passwd", "$(ls)", "😀 😀 你好", "lorem ipsum dolor sit amet", "blah blah blah", "foo bar baz", "乱七八糟", "啦啦啦啦", "的的的的的", "阿巴阿巴", "咕噜咕噜", "abcdefg", "qwerty", "hjkl;'", "(╯°□°)╯︵ ┻━┻"]
        )  # fmt: skip
    if rng.random() < 0.12:
        text += " " + rng.choice(["地铁", "站", "客流", "metro", "station", "2号线", "Line 2", "杭州"]) * (kind > 0.22)
    return Slot(text.strip(), "", {"v": ""})
