# ruff: noqa: E501 (lists of phrasings are read across)
"""The demo model's tokenizer: byte-level BPE in which a Chinese character or a digit is one token.

Names are copied from the question into the statement, and a copy is easy only if both are cut the same way. So
characters, digits and words stand alone, and only the frequent pieces of SQL are longer.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from demo.model.names import characters, stations

VOCABULARY = 4096
USER, ASSISTANT, END, PAD = "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"
# Pieces of SQL and of the replies' fixed words that may become one token each.
PIECES = (
    "\n\n```sql\nSELECT ", "\n```", " FROM dtzpt WHERE ", " FROM dtzpt", " FROM lines WHERE ", " FROM lines", " FROM riders WHERE ", " FROM riders",
    "DISTINCT ", "COUNT(DISTINCT name)", "COUNT(*)", "SUM(entries + exits)", "SUM(entries)", "SUM(exits)", "entries + exits", "station IN (SELECT name FROM dtzpt WHERE ",
    " GROUP BY ", " ORDER BY ", " DESC LIMIT ", " LIMIT ", " DESC", " AND ", " BETWEEN ", " JOIN dtzpt ", " LIKE ", "',' || transfer_lines || ',' LIKE '%,",
    "号线", "strftime('%w', day) ", "name = '", "line = '", "district = '", "station = '", "name_en = '", "day = '", "(SELECT ", "2024-0",
    "您想了解：", "。\n\n思路：查", "，用到 ", "站点表 dtzpt", "客流表 riders", "线路表 lines", " 列", " 分组", "，取前 ", "（进站加出站）", "这个问题我答不了。可以问我：",
    "杭州地铁的站点（行政区、线路、开通日期、换乘、经纬度）、", "线路（长度、起终点、颜色、站数），", "以及 2024-03-01 至 2024-04-25 ", "各站每天的进出站人次。",
    "You want to know: ", ".\n\nApproach: look in ", ", using ", "; group by ", "; sort", "; take the first ", "dtzpt (stations)", "riders (riders by day)",
    "ridership (entries plus exits)", "Sorry, the demo database does not have ", ", so I cannot answer this. ", "You can ask me about ",
    "Hangzhou metro's stations (district, lines, opening date, transfers, coordinates), ", "its lines (length, ends, colour, number of stations), ",
    "and the daily entries and exits of each station ", "from 2024-03-01 to 2024-04-25.",
)  # fmt: skip
# Longer pieces, each one token: a formula or a join is written in one step and read back in one.
LONG_PIECES = (
    "MIN(111.2 * SQRT((a.lng - b.lng) * (a.lng - b.lng) * 0.746 + (a.lat - b.lat) * (a.lat - b.lat)))", " FROM dtzpt a JOIN dtzpt b ON b.name <> a.name WHERE a.",
    " FROM riders r JOIN (SELECT DISTINCT name, district FROM dtzpt) d ON d.name = r.station", " FROM riders r JOIN dtzpt d ON d.name = r.station",
    "CASE WHEN strftime('%w', day) IN ('0', '6') THEN '周末' ELSE '工作日' END", "strftime('%w', day) IN ('0', '6')", "strftime('%w', day) IN ('1', '2', '3', '4', '5')", "strftime('%w', day) = '",
    " * 1.0 / COUNT(DISTINCT day)", " GROUP BY day ORDER BY day", " GROUP BY day ORDER BY ", " GROUP BY station ORDER BY ", " GROUP BY station HAVING ", " GROUP BY station", " GROUP BY d.line ORDER BY ",
    " GROUP BY d.district ORDER BY ", " GROUP BY district ORDER BY ", " GROUP BY line ORDER BY ", " GROUP BY b.name ORDER BY 2", "day BETWEEN '2024-0", "' AND '2024-0", "day = '2024-0",
    "AVG(entries + exits)", "AVG(entries)", "AVG(exits)", "SUM(entries), SUM(exits)", "name NOT IN (SELECT name FROM dtzpt WHERE ", "name IN (SELECT name FROM dtzpt WHERE ", "line NOT IN (SELECT line FROM dtzpt WHERE ",
    "district NOT IN (SELECT district FROM dtzpt WHERE ", " AND seq = (SELECT seq FROM dtzpt WHERE line = '", "(SELECT seq FROM dtzpt WHERE line = '", "transfer_lines <> ''", "transfer_lines = ''", " ORDER BY seq",
    "name, line, district, opened, transfer_lines, lng, lat", "line, color, opened, length_km, first_station, last_station, stations", "first_station, last_station", "号线' AND ", "号线'", "opened BETWEEN '", "opened LIKE '",
    "name LIKE '%", "station IN ('", "name IN ('", "line IN ('", "district IN ('", "', '", "-01-01' AND '", " 至 2024-0", "from 2024-0", " to 2024-0", "-12-31'", "-01-01'", "line, length_km", "ORDER BY length_km",
    "day > (SELECT DISTINCT day FROM riders ORDER BY day DESC LIMIT 1 OFFSET ", "district = (SELECT district FROM dtzpt WHERE name = '", "line IN (SELECT line FROM dtzpt WHERE name = '",
    "同上，", "the same, ", "最近 ", "over the last ", " days", "SUM(entries + exits) * 1.0 / COUNT(DISTINCT day)",
)  # fmt: skip
SPLIT = "|".join(
    [*(re.escape(piece) for piece in (*LONG_PIECES, *PIECES)), r"[A-Za-z_]+", r"\d", r"\n+", r" ", r"[^\sA-Za-z_\d]"]
)
# Full-width digits mean the same and need no tokens of their own.
WIDE = [normalizers.Replace(chr(0xFF10 + digit), str(digit)) for digit in range(10)]
# The last question, after the last one before it that was answered with a statement, and that statement.
TEMPLATE = (
    "{%- set seen = namespace(question='', before='', sql='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{%- set seen.question = message['content'] -%}"
    "{%- elif message['role'] == 'assistant' and '```sql\n' in message['content'] -%}"
    "{%- set seen.before = seen.question -%}"
    "{%- set seen.sql = message['content'].split('```sql\n')[1].split('\n```')[0] -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if seen.sql -%}{{- '" + USER + "' + seen.before + '" + ASSISTANT + "' + seen.sql -}}{%- endif -%}"
    "{{- ('" + USER + "' + seen.question if seen.question else '') + '" + ASSISTANT + "' -}}"
)


def prompt(question: str, earlier: tuple[str, str] | None = None) -> str:
    """What TEMPLATE makes of a question and of the one before with its statement."""
    before = f"{USER}{earlier[0]}{ASSISTANT}{earlier[1]}" if earlier else ""
    return f"{before}{USER}{question}{ASSISTANT}"


def train(texts: Iterable[str], weight: int = 3000) -> PreTrainedTokenizerFast:
    """A tokenizer for these texts; every character of a station's name and of characters.txt is one token.

    weight   how often each of these characters counts: above any word of the texts, so that all their merges find room
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(WIDE)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    single = Counter(characters() + "".join(row["name"] for row in stations()) * 40)
    seen = Counter(character for text in texts for character in text if character > "\u2e80")
    alone = [character for character in {**single, **seen} for _ in range(weight)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, USER, ASSISTANT, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *alone], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[AddedToken(USER, special=True), AddedToken(ASSISTANT, special=True)],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.chat_template = TEMPLATE
    return fast


def widened(tokenizer: PreTrainedTokenizerFast) -> tuple[PreTrainedTokenizerFast, list[list[int]]]:
    """An earlier tokenizer with LONG_PIECES as tokens of their own, and for each new token those that it was before."""
    form = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = form["model"]["vocab"]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    before = []
    for piece in LONG_PIECES:
        written = letters.pre_tokenize_str(piece)[0][0]
        if written not in vocabulary:
            before.append(tokenizer(piece)["input_ids"])
            vocabulary[written] = len(vocabulary)
    form["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = SPLIT
    # A piece that is a token is taken whole: there are no merges that lead to it.
    form["model"]["ignore_merges"] = True
    wider = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(form)),
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[AddedToken(USER, special=True), AddedToken(ASSISTANT, special=True)],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    wider.chat_template = TEMPLATE
    return wider, before
