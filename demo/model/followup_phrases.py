# ruff: noqa: E501 (lists of phrasings are read across)
"""The words of a question that needs the one before, by language; {X} is what is new in it."""

AND_NOW = {
    "zh": "[那{X}呢|那{X}呢|那{X}呢|那么{X}呢|{X}呢|{X}呢|{X}呢|换成{X}呢|换成{X}|改成{X}|如果是{X}呢|要是{X}呢|{X}的呢|{X}的话呢|再看看{X}|再看{X}|看看{X}|那{X}|{X}怎么样|同样的问题，{X}|{X}又如何|还有{X}呢|也看一下{X}|那换成{X}呢|{X}]",
    "en": "[and {X}|what about {X}|how about {X}|and for {X}|{X}|same for {X}|now {X}|what about {X} then|and what about {X}|switch to {X}|the same for {X}|what if it is {X}|then {X}|ok, {X}|and {X} please|do it for {X}]",
}
ONLY = {
    "zh": "[只看{X}|只要{X}|只看{X}的|就看{X}|{X}的|限定{X}]",
    "en": "[only {X}|just {X}|{X} only|only for {X}|limit it to {X}]",
}
NUMBER = {
    "zh": "[只要前{X}[个|名|]|只看前{X}[个|名|]|前{X}[个|名]呢|那前{X}呢|给我前{X}[个|名]|改成前{X}[个|名]|取前{X}[个|名]|{X}个呢|只显示前{X}|前{X}名|前{X}就行|只要{X}个|看前{X}[个|名]|列前{X}个]",
    "en": "[only the top {X}|just the top {X}|top {X} only|the top {X}|and the top {X}|only the first {X}|just the first {X}|make it {X}|show me the top {X}|give me the top {X}|what about the top {X}|limit it to {X}]",
}
FEWER = {
    "length_km": ("最短的|短的", "最长的|长的", "the shortest", "the longest"),
    "opened": ("最早的|早的", "最晚的|最新的|新的", "the earliest", "the latest"),
}
MEASURED = (
    "最少的|最小的|最低的|少的|最冷清的|垫底的",
    "最多的|最大的|最高的|多的|最忙的",
    "the fewest|the lowest|the least|the quietest",
    "the most|the highest|the largest|the busiest",
)
REVERSED = {
    "zh": "[反过来呢|反过来|倒过来排|倒过来呢|倒序呢|反着排|倒着排一下|换个方向排]",
    "en": "[the other way round|in reverse|reverse the order|and the other way around|in reverse order|reversed]",
}
HOW_MANY = {
    "zh": "[有多少个|一共几个|一共有多少个|总共几个|多少个|几个|那有几个|数一下|一共多少|共有几个|数量呢|有几个呢]",
    "en": "[how many|how many are there|how many are they|count them|how many is that|and how many|what is the count]",
}
WHICH_ONES = {
    "zh": "[是哪些|分别是哪些|有哪些|列出来|具体是哪些|都是哪些|哪几个|叫什么|列一下|具体有哪些|名单呢|是哪几个]",
    "en": "[which ones|list them|which are they|name them|which|show them|what are they|which ones are they]",
}
OF_THEM = {
    "zh": "[其中{X}的[呢|有哪些|是哪些]|只要{X}的|里面{X}的有哪些|其中哪些{X}|有哪些是{X}的|这里面{X}的|只看{X}的|{X}的有哪些|其中{X}的]",
    "en": "[which of them {X}|which ones {X}|only those that {X}|which of these {X}|those that {X}|of those, which {X}]",
}
AGAINST = {
    "zh": "[和{X}比呢|跟{X}比呢|与{X}对比|和{X}比一下|对比一下{X}|跟{X}比怎么样|和{X}相比呢|加上{X}对比]",
    "en": "[compared to {X}|compare it with {X}|and compared with {X}|versus {X}|how does it compare to {X}|compare with {X}]",
}
NEXT_FACT = {
    "zh": "[{X}呢|那{X}呢|它的{X}呢|它的{X}|{X}是什么|还有{X}呢|再查一下{X}|{X}]",
    "en": "[and the {X}|what about the {X}|its {X}|and its {X}|how about its {X}|the {X}|what is its {X}]",
}
PRONOUNS = {
    "S": {
        "zh": ["它", "它", "它", "这个站", "该站", "这站", "那个站", "这一站", ""],
        "en": ["it", "it", "that station", "this station"],
    },
    "L": {"zh": ["它", "它", "这条线", "该线", "这条线路", "那条线", ""], "en": ["it", "it", "that line", "this line"]},
    "D": {"zh": ["这个区", "该区", "那个区", "这个区", "那里"], "en": ["that district", "this district"]},
}
THAT = {"S": ("该站", "that station"), "L": ("该线路", "that line"), "D": ("该区", "that district")}
NTH = {
    "zh": "[第{X}名呢|第{X}呢|排第{X}的呢|那第{X}名呢|第{X}的是哪个|第{X}名是谁|第{X}位呢]",
    "en": "[and the {X}|what about the {X} one|the {X} one|and number {X}|who is {X}|and the {X} place]",
}
WITH = {
    "zh": "[加上{X}|带上{X}|再加上{X}|也显示{X}|把{X}也列出来|连{X}一起|附上{X}|它们的{X}呢|分别的{X}呢|{X}也要]",
    "en": "[with their {X}|add the {X}|also show the {X}|and their {X}|include the {X}|with the {X} as well|show the {X} too]",
}
BY = {
    "district": ("[按区呢|按区看|各区呢|分区统计|按行政区分呢|每个区多少|按行政区呢|各区分别多少|细分到区]", "[by district|per district|broken down by district|for each district|split by district]"),
    "line": ("[按线路呢|按线路看|各条线呢|每条线多少|按线路分呢|各线路分别多少|细分到线路]", "[by line|per line|broken down by line|for each line|split by line]"),
    "station": ("[按站呢|按站看|各站呢|每个站多少|按站点分呢|各站分别多少|细分到站]", "[by station|per station|broken down by station|for each station|split by station]"),
}  # fmt: skip
