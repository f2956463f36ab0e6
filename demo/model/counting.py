"""Numbers as people type them: in digits, in words, in 万 or thousands."""

from random import Random

from demo.model.dates import chinese_number, ordinal
from demo.model.grammar import Slot

CHINESE_DIGITS = "零一二三四五六七八九十"
ORDINALS = ["zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
# Slots that are filled in pairs, the smaller first.
BOUNDS = {"NA", "NZ", "KA", "KZ", "KLO", "KHI"}


def number_slot(rng: Random, language: str, low: int, high: int) -> Slot:
    """A whole number, in digits or in words."""
    n = rng.randint(low, high)
    words = str(n)
    if n <= 10 and rng.random() < 0.4:
        words = ("两" if n == 2 else CHINESE_DIGITS[n]) if language == "zh" else WORDS[n]
    elif 10 < n < 40 and language == "zh" and rng.random() < 0.25:
        words = chinese_number(n)
    return Slot(words, str(n), {"v": str(n)}, {"c": CHINESE_DIGITS[n] if n <= 10 else words})


def nth_slot(rng: Random, language: str) -> Slot:
    """A position on a line."""
    n = rng.choice([*range(1, 11), *range(1, 38)])
    if language == "en":
        text = rng.choice([ordinal(n), ORDINALS[n] if n <= 10 else ordinal(n)])
        return Slot(text, str(n), {"v": str(n)}, {"n": str(n)})
    text = rng.choice([str(n), str(n), chinese_number(n), chinese_number(n)])
    return Slot(text, str(n), {"v": str(n)})


def place_in_order_slot(rng: Random, language: str) -> Slot:
    """Second, third … of a ranking; {NB.less} is how many come before."""
    n = rng.choice([2, 2, 2, 3, 3, 4, 5])
    text = rng.choice([CHINESE_DIGITS[n], CHINESE_DIGITS[n], str(n)]) if language == "zh" else str(n)
    return Slot(text, str(n), {"v": str(n), "less": str(n - 1)}, {"th": f"[{ORDINALS[n]}|{ORDINALS[n]}|{ordinal(n)}]"})


def bounds(rng: Random, kind: str) -> tuple[Slot, Slot]:
    """Two whole numbers, the smaller first: positions (N), lengths or stations (K), riders (KL)."""
    if kind == "KL":
        low = rng.choice([1000, 2000, 3000, 5000, 8000, 10000, 15000, 20000, 30000, 40000])
        high = low + rng.choice([1000, 2000, 5000, 10000, 20000])
    elif kind == "N":
        low = rng.randint(1, 20)
        high = low + rng.randint(1, 8)
    else:
        low = rng.choice([10, 12, 15, 20, 25, 30, 40])
        high = low + rng.choice([5, 8, 10, 15, 20])
    return tuple(Slot(str(n), str(n), {"v": str(n)}) for n in (low, high))  # type: ignore[return-value]


def count_slot(rng: Random, language: str, low: float, high: float) -> Slot:
    """A number of riders, such as 3万, 三万, 30000, 45,000 or 30k."""
    n = int(round(10 ** rng.uniform(low, high), -2 if low < 4 else -4)) or 100
    n = (
        rng.choice([n, round(n, -3) or 1000, round(n, -3) or 1000, 5000, 8000, 10000, 20000, 30000, 50000])
        if low < 4
        else rng.choice([n, n, 500000, 1000000, 1000000, 2000000, 3000000])
    )
    forms = [f"{n}"] * 3
    if language == "zh":
        forms += [f"{n:,}"]
        if n % 1000 == 0 and n >= 10000:
            forms += [f"{n / 10000:g}万"] * 5
        if n % 10000 == 0 and n < 110000:
            forms += [f"{'两' if n == 20000 else CHINESE_DIGITS[n // 10000]}万"] * 4
        if n % 1000 == 0 and n < 10000:
            forms += [f"{'两' if n == 2000 else CHINESE_DIGITS[n // 1000]}千"] * 2 + [f"{n // 1000}千"]
        if n == 1000000:
            forms += ["一百万", "100万", "百万"]
        elif n % 1000000 == 0:
            forms += [f"{'两' if n == 2000000 else CHINESE_DIGITS[n // 1000000]}百万"] * 4 + [f"{n // 10000}万"] * 2
    else:
        forms += [f"{n:,}"] * 3
        if n % 1000 == 0 and n < 1000000:
            forms += [f"{n // 1000}k", f"{n // 1000} thousand", f"{n // 1000},000"]
        if n % 1000000 == 0:
            forms += [f"{n // 1000000} million"] * 2
    return Slot(rng.choice(forms), str(n), {"v": str(n)})


def whole_slot(n: int) -> Slot:
    return Slot(str(n), str(n), {"v": str(n)})
