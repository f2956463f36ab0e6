# ruff: noqa: E501 (lists of phrasings are read across)
"""The words of a change in a statement that lists rows: (Chinese, English), by what changes."""

ANY_LINE = (
    "[不限线路|不管哪条线|所有线路的呢|全部线路呢|去掉线路限制|不限线路呢]",
    "[on any line|for all lines|regardless of the line|all lines|drop the line]",
)
ANY_DISTRICT = (
    "[不限区|不限行政区|所有区的呢|全市呢|全杭州呢|不管哪个区|全部区呢]",
    "[in any district|for all districts|in the whole city|all districts|regardless of district]",
)
ANY_TIME = (
    "[不限开通时间|不管什么时候开通|去掉开通时间的条件|不限年份|全部年份呢]",
    "[opened at any time|regardless of the opening date|any year|drop the opening date]",
)
ANY_TRANSFER = (
    "[不能换乘的也算|不管能不能换乘|包括非换乘站呢|去掉换乘的条件]",
    "[transfer or not|including those without a transfer|drop the transfer condition]",
)
NO_TRANSFER = (
    "[不能换乘的呢|非换乘站呢|不是换乘站的呢|那不能换乘的|没有换乘的呢]",
    "[and those without transfers|the ones without a transfer|and non-transfer stations|those that are not interchanges]",
)
TRANSFER = (
    "[能换乘的呢|换乘站呢|那换乘站有哪些|只看换乘站|其中换乘站|只要换乘站|里面的换乘站|可以换乘的呢|只留换乘站]",
    "[only transfer stations|the transfer stations|only interchanges|which are transfer stations|just the ones with a transfer]",
)
OUTSIDE = (
    "[不在{X}的呢|除了{X}呢|{X}以外的呢|{X}之外的|不要{X}的|排除{X}|去掉{X}的]",
    "[not in {X}|except {X}|those outside {X}|without {X}|excluding {X}|leave out {X}]",
)
ORDERS = {  # column: (Chinese, English) for the smallest first and the largest first
    "opened": (("[按开通时间排|按开通日期排序|按开通先后排|从早到晚排|最早开通的排前面]", "[sort by opening date|by opening date|in order of opening|oldest first|earliest first]"), ("[最新开通的排前面|从晚到早排|按开通时间倒序|新的排前面]", "[newest first|latest first|most recent first]")),
    "name_en": (("[按英文名排|按英文名字母排序|按字母顺序排]", "[sort by English name|alphabetically|in alphabetical order]"), ("[按英文名倒序]", "[reverse alphabetical order]")),
    "lat": (("[从南到北排|由南到北]", "[from south to north|south first]"), ("[从北到南排|由北到南|按纬度从高到低]", "[from north to south|north first]")),
    "lng": (("[从西到东排|由西向东]", "[from west to east|west first]"), ("[从东到西排|由东向西]", "[from east to west|east first]")),
    "length_km": (("[按长度从短到长排|从短到长|短的排前面]", "[sort by length, shortest first|shortest first|from shortest to longest]"), ("[按长度排|按长度排序|从长到短排|长的排前面|按里程排]", "[sort by length|longest first|by length|order by length|from longest to shortest]")),
    "stations": (("[按站数从少到多排|站少的排前面]", "[fewest stations first|sort by stations, fewest first]"), ("[按站数排|按站数从多到少|站多的排前面|按车站数排序]", "[sort by number of stations|most stations first|by number of stations]")),
}  # fmt: skip
EXTREMES = {  # column: (Chinese, English) for the smallest and the largest
    "opened": (("[哪个最早开通|最早开通的是哪个|最早的是哪个|其中最早开通的|哪个最老]", "[which one opened first|the oldest one|which is the oldest|the first to open]"), ("[哪个最晚开通|最新的是哪个|最晚开通的是哪个|哪个最新]", "[which one opened last|the newest one|which is the newest|the latest to open]")),
    "lat": (("[哪个最靠南|最南边的是哪个|最南的呢]", "[which is furthest south|the southernmost|which one is the southernmost]"), ("[哪个最靠北|最北边的是哪个|最北的呢]", "[which is furthest north|the northernmost|which one is the northernmost]")),
    "lng": (("[哪个最靠西|最西边的是哪个]", "[which is furthest west|the westernmost]"), ("[哪个最靠东|最东边的是哪个]", "[which is furthest east|the easternmost]")),
}  # fmt: skip
LINE_EXTREMES = {
    "length_km": (("[哪条最短|最短的呢|最短的是哪条]", "[which is the shortest|the shortest one]"), ("[哪条最长|最长的呢|最长的是哪条]", "[which is the longest|the longest one]")),
    "stations": (("[哪条站最少|站最少的呢]", "[which has the fewest stations|the one with the fewest stations]"), ("[哪条站最多|站最多的呢]", "[which has the most stations|the one with the most stations]")),
    "opened": (("[哪条最早开通|最早的是哪条|最早开通的呢]", "[which opened first|the oldest line]"), ("[哪条最晚开通|最新的是哪条|最晚开通的呢]", "[which opened last|the newest line]")),
}  # fmt: skip
NEAR = (
    "[它附近最近的站是哪个|离它最近的站|离它最近的是哪个站|最近的站呢|附近最近的地铁站]",
    "[which station is closest to it|the nearest station to it|what is the nearest station|and the closest station]",
)
SAME_DISTRICT = (
    "[同一个区还有哪些站|这个区还有哪些站|它所在的区还有哪些站|同区的其他站有哪些|同一个区的站有哪些]",
    "[which other stations are in that district|other stations in the same district|what else is in that district]",
)
SAME_LINE = (
    "[这条线上还有哪些站|同一条线还有哪些站|它那条线有哪些站|这条线都有哪些站]",
    "[which other stations are on that line|list the stations of that line|other stations on the same line]",
)
THEIR_RIDERS = (
    "[它们的客流呢|这些站的客流|各站客流多少|它们的客流分别多少|这些站客流排一下|这些站的客流排名]",
    "[and their ridership|how busy are they|their riders|ridership of these stations|rank them by ridership]",
)
BUSIEST_OF = (
    "[其中哪个客流最大|哪个最忙|这些站里哪个人最多|里面客流最高的是哪个|哪个站客流最大|其中最忙的是哪个]",
    "[which of them is the busiest|which one is the busiest|the busiest of them|which has the most riders]",
)
QUIETEST_OF = (
    "[其中哪个客流最小|哪个最冷清|这些站里哪个人最少]",
    "[which of them is the quietest|which one has the fewest riders|the quietest of them]",
)
EVERY_ROW = (
    "[全部列出来|全部排一下|都列出来|不限数量|完整的排名|全部呢|列出全部]",
    "[show all of them|the full list|all of them|the whole ranking|list them all|the complete ranking]",
)
MOST = (
    "[哪个最多|最多的是哪个|哪个最高|最大的是哪个|排第一的是哪个]",
    "[which has the most|which is the highest|which one is the largest|which comes first]",
)
LEAST = (
    "[哪个最少|最少的是哪个|哪个最低|最小的是哪个|垫底的是哪个]",
    "[which has the fewest|which is the lowest|which one is the smallest|which comes last]",
)
GROUPS = {
    "district": ("[按区呢|按区看|各区呢|分区统计|按行政区分|按区分一下|每个区多少|按行政区统计|各区分别多少]", "[by district|per district|broken down by district|for each district|split by district]", "按行政区", "by district"),
    "line": ("[按线路呢|按线路看|各条线呢|每条线多少|按线路分|各线路分别多少|按线路统计]", "[by line|per line|broken down by line|for each line|split by line]", "按线路", "by line"),
    "SUBSTR(opened, 1, 4)": ("[按年份呢|按开通年份分|每年多少|各年分别多少|按年统计]", "[by year|per year|by opening year|for each year]", "按开通年份", "by year of opening"),
}  # fmt: skip
ASKED_OF_EACH = {  # the same facts, asked as a question about the rows that were listed
    "district": ("[都在哪个区|分别在哪个区|各在哪个区|在哪些区]", "[which district is each in|which districts are they in|where is each of them]"),
    "line": ("[都是几号线的|分别是几号线|各在哪条线上|是哪条线的]", "[which line is each on|which lines are they on|what line are they on]"),
    "opened": ("[都是什么时候开通的|分别哪天开通的|各是哪年开的|什么时候开的]", "[when did each open|when did they open|when were they opened]"),
    "name_en": ("[英文名都叫什么|英文分别是什么|英文站名呢]", "[what are their English names|their names in English]"),
    "length_km": ("[各多长|分别多长|都多长|长度分别是多少]", "[how long is each|how long are they|what are their lengths]"),
    "stations": ("[各有几个站|分别多少站|都有多少站]", "[how many stations does each have|how many stations do they have]"),
    "first_station, last_station": ("[分别从哪到哪|起终点分别是哪|各从哪里到哪里]", "[where does each start and end|what are their terminals]"),
}  # fmt: skip
