# ruff: noqa: E501 (lists of phrasings are read across)
"""The words of a change in a statement about riders: (Chinese, English), or by language where {X} is what is new."""

EVERYWHERE = (
    "[全网呢|所有站呢|全部站点呢|整个地铁呢|不限站点|不限车站|整个线网呢|所有车站加起来呢|全网的呢|杭州地铁全部呢]",
    "[and the whole network|what about all stations|for all stations|the entire network|and overall for the metro|across all stations]",
)
WHENEVER = (
    "[整个期间呢|全部日期呢|不限时间|不限日期|所有日子呢|全部时间的呢|去掉时间限制|两个月一共呢|不管哪天|所有日期的]",
    "[over the whole period|and for all days|without the date filter|all dates|for the entire period|across all days|drop the date]",
)
DAY_BEFORE = (
    "[前一天呢|头一天呢|那前一天|前一天的]",
    "[the day before|and the day before|the previous day|what about the day before that]",
)
NEXT_DAY = (
    "[第二天呢|后一天呢|次日呢|那第二天|隔天呢]",
    "[the next day|and the day after|the following day|what about the day after]",
)
THEIR_FACTS = {  # of the stations that were listed
    "district": ("[它们在哪个区|分别在哪个区|都在哪个区|这几个站在哪些区|各在哪个区]", "[which districts are they in|where are they|in which districts|what districts are those in]", "它们的行政区", "their districts"),
    "line": ("[它们在几号线|分别是几号线|都在哪条线上|各属于哪条线|这几个站是几号线的]", "[which lines are they on|on which lines|what lines are those on]", "它们的线路", "their lines"),
    "opened": ("[它们什么时候开通的|分别是哪天开通的|各是什么时候开的]", "[when did they open|when were they opened|their opening dates]", "它们的开通日期", "their opening dates"),
}  # fmt: skip
DETAIL = {  # what the rows are: (Chinese, English, plain Chinese, plain English)
    "day": ("[按天看|按天|改成按天|每天呢|每天多少|按天列出来|逐日的呢|分天看|按日期列|细分到每天|每天的走势|每天的情况|按日看|每日明细|逐天列一下|给我每天的|拆成每天|改成每天的]", "[day by day|by day|per day please|for each day|show each day|break it down by day|split by day|daily|give me the daily numbers|daily breakdown|make it daily]", "按天", "day by day"),
    "sum": ("[总共呢|一共多少|加起来呢|合计多少|总数呢|总共多少人|一共有多少|合计呢|加在一起多少|合计一下|总量呢|加总]", "[in total|and in total|the total|what is the total|altogether|sum it up|just the total|add them up]", "合计", "in total"),
    "average": ("[日均呢|平均每天多少|日均多少|平均呢|每天平均多少|平均下来一天多少|改成日均|换成日均|日均的呢|平均每天呢|看日均|取平均]", "[the daily average|and the daily average|on average per day|what is the daily average|average per day|as a daily average|make it the daily average|and on average]", "日均", "daily average"),
    "most": ("[哪天最多|最多的一天呢|哪一天最多|最高的是哪天|哪天最忙|峰值在哪天|其中哪天最高|哪天人最多|最忙的是哪一天]", "[which day was the highest|the busiest day|on which day the most|which day had the most|and the peak day|what was the peak day|which day was busiest]", "最多的一天", "the day with the most"),
    "fewest": ("[哪天最少|最少的一天呢|哪一天最少|最低的是哪天|哪天人最少|最冷清的是哪天]", "[which day was the lowest|the quietest day|which day had the fewest|and the lowest day|which day was quietest]", "最少的一天", "the day with the fewest"),
    "both": ("[进站和出站分开呢|进出站各多少|分开看进站和出站|进站出站分别多少|分进站和出站|进出站分开看|拆成进站和出站|进站多少出站多少]", "[entries and exits separately|split into entries and exits|how many entries and how many exits|separate entries and exits|break it into entries and exits]", "进站和出站分开", "entries and exits apart"),
    "kinds": ("[周末和工作日对比|工作日和周末分开看|周末跟工作日比呢|分工作日和周末|周末和平时比一下|按周末和工作日分]", "[weekends versus weekdays|compare weekends and weekdays|split by weekday and weekend|weekdays against weekends]", "周末与工作日的日均", "weekends against weekdays, per day"),
    "weekday": ("[按星期几看|按周几分|按星期分|周一到周日分别呢]", "[by day of the week|for each weekday|per day of the week]", "按星期几", "by day of the week"),
    "top": ("[哪个站最多|哪个站最高|其中哪个站最多|哪个站最忙|最多的站是哪个|哪一站最高|哪个站人最多]", "[which station had the most|which station was the busiest|which station was highest|the busiest station|at which station the most]", "最多的站", "the station with the most"),
    "topline": ("[哪条线最多|哪条线最高|最多的线是哪条|哪条线路人最多]", "[which line had the most|which line was the busiest|the busiest line]", "最多的线路", "the line with the most"),
    "topdistrict": ("[哪个区最多|哪个区最高|最多的区是哪个|哪个区人最多]", "[which district had the most|which district was the busiest|the busiest district]", "最多的行政区", "the district with the most"),
    "station": ("[按站看|按站呢|各站呢|每个站多少|按站点分呢|各站分别多少|细分到站|按车站列|具体到每个站|各个站分别是多少]", "[by station|per station|broken down by station|for each station|split by station|each station separately]", "按站", "by station"),
    "line": ("[按线路呢|按线路看|各条线呢|每条线多少|按线路分呢|各线路分别多少|细分到线路|改成按线路|换成线路|按线路排|按线路统计]", "[by line|per line|broken down by line|for each line|split by line|what about lines|group it by line|the same by line]", "按线路", "by line"),
    "district": ("[按区呢|按区看|各区呢|分区统计|按行政区分呢|每个区多少|按行政区呢|各区分别多少|细分到区|改成按区|换成行政区|按行政区排|按区统计]", "[by district|per district|broken down by district|for each district|split by district|what about districts|group it by district|the same by district]", "按行政区", "by district"),
}  # fmt: skip
BOTH_MORE = {
    "zh": "[再加上{X}|{X}也要|也显示{X}|带上{X}|{X}也列出来|加一列{X}|顺便看看{X}|连{X}一起]",
    "en": "[also show {X}|add {X}|with {X} as well|include {X} too|and add {X}|show {X} too|together with {X}]",
}
ABOVE = {
    "zh": "[只看超过{X}的|超过{X}的有哪些|其中超过{X}的|{X}以上的|大于{X}的呢|只要{X}以上的|哪些超过{X}]",
    "en": "[only those above {X}|only above {X}|which ones exceed {X}|those over {X}|keep only those over {X}|more than {X} only]",
}
BELOW = {
    "zh": "[低于{X}的有哪些|不到{X}的呢|其中少于{X}的|{X}以下的|只看不到{X}的]",
    "en": "[only those below {X}|which ones are below {X}|those under {X}|less than {X} only]",
}
