"""What the demo database promises."""

import sqlite3
from collections import defaultdict
from datetime import date

import pytest

from demo.metro.build import build


@pytest.fixture(scope="module")
def metro(tmp_path_factory):
    path = tmp_path_factory.mktemp("metro") / "metro.db"
    build(path)
    with sqlite3.connect(path) as database:
        yield database


def test_building_twice_gives_the_same_bytes(tmp_path):
    build(tmp_path / "one.db")
    build(tmp_path / "two.db")
    assert (tmp_path / "one.db").read_bytes() == (tmp_path / "two.db").read_bytes()


def test_building_again_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    (tmp_path / "metro.db").write_text("not a database")
    build(tmp_path / "metro.db")
    assert [path.name for path in tmp_path.iterdir()] == ["metro.db"]
    assert (tmp_path / "metro.db").read_bytes().startswith(b"SQLite format 3")


def test_shentangqiao_is_there_with_its_two_lines(metro):
    rows = metro.execute(
        "SELECT line, district, opened, transfer_lines FROM dtzpt WHERE name = '沈塘桥' ORDER BY opened"
    )
    assert rows.fetchall() == [("2号线", "拱墅区", "2017-07-03", "19号线"), ("19号线", "拱墅区", "2022-09-22", "2号线")]


def test_there_are_more_than_two_hundred_stations_on_twelve_lines(metro):
    assert metro.execute("SELECT count(DISTINCT name) FROM dtzpt").fetchone()[0] > 200
    assert metro.execute("SELECT count(*) FROM lines").fetchone() == (12,)


def test_every_line_counts_from_one_without_gaps_and_agrees_with_the_line_table(metro):
    order = defaultdict(list)
    for line, seq, name in metro.execute("SELECT line, seq, name FROM dtzpt ORDER BY line, seq"):
        order[line].append((seq, name))
    for line, first, last, stations in metro.execute("SELECT line, first_station, last_station, stations FROM lines"):
        assert [seq for seq, _ in order[line]] == list(range(1, stations + 1))
        assert order[line][0][1] == first
        assert last in [name for _, name in order[line]]


def test_transfer_lines_are_mutual_and_never_the_own_line(metro):
    rows = metro.execute("SELECT name, line, transfer_lines FROM dtzpt").fetchall()
    pairs = {(name, line) for name, line, _ in rows}
    for name, line, others in rows:
        assert {(name, other) for other in others.split(",") if other} == {
            (one, own) for one, own in pairs if one == name and own != line
        }


def test_dates_are_dates_and_places_lie_around_hangzhou(metro):
    for opened, lng, lat in metro.execute("SELECT opened, lng, lat FROM dtzpt"):
        assert date(2012, 11, 24) <= date.fromisoformat(opened) <= date(2022, 12, 31)
        assert 119.6 < lng < 120.7
        assert 29.9 < lat < 30.6


def test_every_station_has_riders_on_every_day(metro):
    days, stations, rows = metro.execute(
        "SELECT count(DISTINCT day), count(DISTINCT station), count(*) FROM riders WHERE entries > 0 AND exits > 0"
    ).fetchone()
    assert rows == days * stations == 56 * metro.execute("SELECT count(DISTINCT name) FROM dtzpt").fetchone()[0]
    assert metro.execute("SELECT count(*) FROM riders WHERE station NOT IN (SELECT name FROM dtzpt)").fetchone() == (0,)


def test_every_table_and_column_has_its_comment_in_the_stored_statement(metro):
    for table, statement in metro.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
        head, *lines = statement.splitlines()
        assert f"CREATE TABLE {table} ( -- " in head
        assert all(" -- " in line for line in lines[:-1])
    assert "不是真实客流" in metro.execute("SELECT sql FROM sqlite_master WHERE name = 'riders'").fetchone()[0]


def test_english_names_are_found_whatever_their_case(metro):
    names = {name for (name,) in metro.execute("SELECT name FROM dtzpt WHERE name_en = 'wulin square'")}
    assert names == {"武林广场"}
