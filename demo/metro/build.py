"""Build the demo database: Hangzhou's metro in SQLite, from the CSV files beside this module.

    python -m demo.metro.build demo/metro/metro.db
    python -m demo.metro.build --url postgresql://me@localhost/metro     a copy on another server: copy.py

stations.csv and lines.csv hold public facts. The daily riders are generated here from a fixed seed,
and the table's comment says so. Building twice gives the same bytes.

SQLite keeps comments only inside the text of CREATE TABLE, so each table and column has its comment there.
"""

import argparse
import csv
import itertools
import math
import os
import random
import sqlite3
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

HERE = Path(__file__).parent
SEED = 20240301
FIRST_DAY = date(2024, 3, 1)
DAYS = 56  # 2024-03-01 … 2024-04-25

SCHEMA = """\
CREATE TABLE dtzpt ( -- 地铁站点表，每站每线一行，换乘站有多行
  id INTEGER PRIMARY KEY, -- 编号
  name TEXT NOT NULL, -- 站名，不带末尾的“站”字，如 沈塘桥（城站、火车东站等本名带“站”的除外）
  name_en TEXT NOT NULL COLLATE NOCASE, -- 英文站名，如 Shentangqiao、Wulin Square
  line TEXT NOT NULL, -- 线路，如 2号线
  seq INTEGER NOT NULL, -- 线内顺序，从 1 起；支线车站排在主线之后
  district TEXT NOT NULL, -- 行政区，如 拱墅区
  opened TEXT NOT NULL, -- 开通日期 YYYY-MM-DD，所在区段的开通日期
  transfer_lines TEXT NOT NULL, -- 可换乘的其他线路，逗号分隔，如 1号线,5号线；不能换乘为空串
  lng REAL NOT NULL, -- 经度，近似值
  lat REAL NOT NULL -- 纬度，近似值
);
CREATE TABLE lines ( -- 线路表，每条线路一行
  line TEXT PRIMARY KEY, -- 线路，如 2号线
  color TEXT NOT NULL, -- 标识色，如 #EE782E
  opened TEXT NOT NULL, -- 首段开通日期 YYYY-MM-DD
  length_km REAL NOT NULL, -- 长度（公里），按站点坐标的折线估算，含支线
  first_station TEXT NOT NULL, -- 起点站（主线）
  last_station TEXT NOT NULL, -- 终点站（主线）
  stations INTEGER NOT NULL -- 车站数，含支线
);
CREATE TABLE riders ( -- 日客流表，每站每天一行；由程序生成的演示数据，不是真实客流
  day TEXT NOT NULL, -- 日期 YYYY-MM-DD，2024-03-01 至 2024-04-25
  station TEXT NOT NULL, -- 站名，同 dtzpt.name
  entries INTEGER NOT NULL, -- 进站人次
  exits INTEGER NOT NULL -- 出站人次
);
CREATE UNIQUE INDEX dtzpt_line_seq ON dtzpt (line, seq);
CREATE INDEX dtzpt_name ON dtzpt (name);
CREATE INDEX dtzpt_name_en ON dtzpt (name_en);
CREATE INDEX dtzpt_district ON dtzpt (district);
CREATE UNIQUE INDEX riders_station_day ON riders (station, day);
CREATE INDEX riders_day ON riders (day);
"""

# Stations that everybody uses: their generated riders are this many times an ordinary station's.
BUSY = {
    "火车东站": 9.0, "龙翔桥": 6.5, "凤起路": 5.5, "武林广场": 5.2, "城站": 5.0, "西湖文化广场": 3.6, "客运中心": 3.4,
    "钱江路": 3.2, "打铁关": 3.0, "火车西站": 2.8, "萧山国际机场": 2.6, "近江": 2.5, "江陵路": 2.5, "文泽路": 2.4,
    "金沙湖": 2.4, "钱江世纪城": 2.4, "人民广场": 2.2, "定安路": 2.2, "武林门": 2.1, "吴山广场": 2.0,
}  # fmt: skip
LEISURE = {"龙翔桥", "凤起路", "武林广场", "吴山广场", "定安路", "西溪湿地南", "野生动物园东", "湘湖", "良渚", "金沙湖"}
HOLIDAYS = {date(2024, 4, 4), date(2024, 4, 5), date(2024, 4, 6)}  # Qingming
WORKING_SUNDAY = date(2024, 4, 7)


def read(name: str) -> list[dict[str, str]]:
    """The rows of a CSV file in this folder."""
    with open(HERE / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def station_rows(stations: list[dict[str, str]]) -> Iterator[tuple[object, ...]]:
    """dtzpt's rows; the lines to change to are those of the other rows with the same name."""
    lines_at = defaultdict(list)
    for row in stations:
        lines_at[row["name"]].append(row["line"])
    for number, row in enumerate(stations, 1):
        others = ",".join(line for line in lines_at[row["name"]] if line != row["line"])
        yield (
            number, row["name"], row["name_en"], row["line"], int(row["seq"]), row["district"], row["opened"],
            others, float(row["lng"]), float(row["lat"]),
        )  # fmt: skip


def distance_km(a: dict[str, str], b: dict[str, str]) -> float:
    """Great-circle distance of two stations (haversine formula, mean radius of the Earth 6371 km)."""
    lng_a, lat_a, lng_b, lat_b = (math.radians(float(value)) for value in (a["lng"], a["lat"], b["lng"], b["lat"]))
    h = math.sin((lat_b - lat_a) / 2) ** 2
    h += math.cos(lat_a) * math.cos(lat_b) * math.sin((lng_b - lng_a) / 2) ** 2
    return 2 * 6371 * math.asin(math.sqrt(h))


def line_rows(lines: list[dict[str, str]], stations: list[dict[str, str]]) -> Iterator[tuple[object, ...]]:
    """The rows of `lines`; a branch's length is measured among its own stations and to where it joins."""
    for line in lines:
        own = [row for row in stations if row["line"] == line["line"]]
        main, branch = own[: int(line["main_stations"])], own[int(line["main_stations"]) :]
        if branch:
            joins = next(row for row in main if row["name"] == line["branch_joins"])
            branch = [*branch, joins]
        length = sum(distance_km(a, b) for track in (main, branch) for a, b in itertools.pairwise(track))
        opened = min(row["opened"] for row in own)
        yield line["line"], line["color"], opened, round(length, 1), main[0]["name"], main[-1]["name"], len(own)


def rider_rows(stations: list[dict[str, str]]) -> Iterator[tuple[object, ...]]:
    """Generated riders: a size per station, a weekly rhythm, the Qingming holiday and some noise."""
    rng = random.Random(SEED)
    lines_at = defaultdict(list)
    for row in stations:
        lines_at[row["name"]].append(row["line"])
    usual = {}
    for name, lines in lines_at.items():
        suburban = {"16号线", "8号线"} & {*lines}
        usual[name] = rng.uniform(5200, 11800) * BUSY.get(name, 1 + 0.35 * (len(lines) - 1)) * (0.45 if suburban else 1)
    for offset in range(DAYS):
        day = FIRST_DAY + timedelta(offset)
        free = (day.weekday() >= 5 and day != WORKING_SUNDAY) or day in HOLIDAYS
        for name, size in usual.items():
            rhythm = (1.28 if name in LEISURE else 0.78) if free else (1.07 if day.weekday() == 4 else 1.0)
            entries = round(size * rhythm * rng.uniform(0.93, 1.07))
            yield day.isoformat(), name, entries, round(entries * rng.uniform(0.96, 1.04))


def build(path: str | Path) -> None:
    """Write the demo database to `path`, replacing what is there only once the new one is complete."""
    path = Path(path)
    stations, lines = read("stations.csv"), read("lines.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".db")
    os.close(handle)
    try:
        database = sqlite3.connect(draft)
        with database:
            database.executescript(SCHEMA)
            database.executemany(f"INSERT INTO dtzpt VALUES ({','.join('?' * 10)})", station_rows(stations))
            database.executemany(f"INSERT INTO lines VALUES ({','.join('?' * 7)})", line_rows(lines, stations))
            database.executemany("INSERT INTO riders VALUES (?,?,?,?)", rider_rows(stations))
        database.close()
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="demo.metro.build", description="Build the demo database.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("path", nargs="?", help="the SQLite file to write")
    where.add_argument("--url", help="a PostgreSQL, MySQL or MariaDB database whose tables are replaced")
    options = parser.parse_args()
    if options.url is None:
        build(options.path)
        return
    # SQLAlchemy is not needed for the file.
    from sqlalchemy.exc import SQLAlchemyError

    from demo.metro.copy import copy

    try:
        rows = copy(options.url)
    except (SQLAlchemyError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        sys.exit(f"demo.metro.build: the copy failed: {reason}")
    print(", ".join(f"{name}: {count:,} rows" for name, count in rows.items()))


if __name__ == "__main__":
    main()
