// Every word that the page says, in both languages, and the little that puts words and nodes on the page.

// The sentences for failures come after what the question needs; what was said before they came is said again.
let sentences = { codes: {}, details: {} };
fetch("/page/sentences.json")
  .then((reply) => reply.json())
  .then(
    (catalogue) => {
      sentences = catalogue;
      patterns = null;
      speak(language());
    },
    () => {},
  );

export const WORDS = {
  zh: {
    skip: "跳到提问框",
    fresh: "新对话",
    otherLanguage: "English",
    switchLanguage: "Switch to English",
    switchTheme: "切换深色或浅色",
    headline: "用平常的话，问你的数据",
    welcome: "答案边写边到：思路、经过校验的 SQL，还有查出来的结果。",
    conversation: "对话",
    question: "你的问题",
    placeholder: "用平常的话提问",
    followUp: "接着问……",
    model: "模型",
    database: "数据库",
    noDatabase: "不查数据库",
    keys: "Enter 发送 · Shift+Enter 换行 · ↑ 改上一问",
    send: "发送",
    stop: "停止（Esc）",
    examples: "示例问题",
    isDefault: (name) => `${name}（默认）`,
    unavailable: (name, reason) => `${name}：不可用${reason ? `（${reason}）` : ""}`,
    demoNote: "演示模型只回答演示数据库（杭州地铁）的问题；要查自己的数据，请配置一个模型服务。",
    noProviders: "还没有可用的模型，请检查配置。",
    you: "你问",
    answering: "正在回答",
    thinking: "正在思考……",
    waiting: "连接断了，正在接回……",
    reasoning: "推理过程",
    copy: "复制",
    copied: "已复制",
    copyFailed: "复制失败",
    checked: "已校验",
    refused: "已拒绝",
    refusedWhy: "这条语句没有执行：",
    corrected: "更正后：",
    ran: "实际执行的语句：",
    result: "查询结果",
    rows: (n, ms) => (n ? `${n} 行 · ${ms} 毫秒` : `没有符合条件的行 · ${ms} 毫秒`),
    rowsTruncated: (n, ms) => `只显示前 ${n} 行，还有更多 · ${ms} 毫秒`,
    csv: "CSV",
    answeredInstead: (name, asked) => `${name}（代替 ${asked}）`,
    tokens: (prompt, completion) => `${prompt} + ${completion} 个 token`,
    cached: (n) => `${n} 个命中缓存`,
    firstToken: (s) => `首字 ${s}`,
    whole: (s) => `共 ${s}`,
    timings: { queue: "排队", prompt: "提示词", first_token: "首字", generate: "生成", sql: "查询", gateway: "网关" },
    stopped: "已停止",
    length: "已达到长度上限，答案可能不完整。",
    content_filter: "模型服务的内容审核截断了这段答案。",
    retry: "重试",
    retryIn: (s) => `重试（建议等 ${s} 秒）`,
    requestId: (id) => `请求编号 ${id}`,
    done: (n) => (n === null ? "回答完毕" : `回答完毕，${n} 行结果`),
    keyTitle: "这台服务器需要密钥",
    keyWhy: "不勾选「记住」时，密钥只留在当前标签页，关闭即忘。",
    keyWrong: "密钥不对，请再试一次。",
    key: "密钥",
    cancel: "取消",
    useKey: "使用这个密钥",
    edit: "编辑",
    run: "运行",
    running: "正在运行语句",
    editStatement: "编辑 SQL 语句",
    editRefused: "改写这条语句",
    edited: "改过的语句：",
    keepCorrection: "记为这个问题的正确语句",
    kept: "已记住",
    history: "历史",
    historyWhere: "对话只保存在这台设备的浏览器里。",
    historyEmpty: "还没有对话。",
    rename: "重命名",
    delete: "删除",
    exportMarkdown: "导出 Markdown",
    exportJson: "导出 JSON",
    close: "关闭",
    tables: "数据表",
    noTables: "没有开放的数据表。",
    ask: "提问",
    askAgain: "再问一次",
    explain: "解释",
    right: "✓ 答对了",
    wrong: "✕ 不对",
    thanksRight: "已记住这条语句。",
    thanksWrong: "谢谢，已记下。",
    copyAnswer: "复制回答",
    copyLink: "复制链接",
    linkedAnswer: "链接里的回答",
    linkLasts: (minutes) => `有密钥的人在回答结束后 ${minutes} 分钟内可以打开这个链接。`,
    followUps: "接着问",
    followTop: "只看前五名",
    followTrend: "按月的变化趋势",
    followCompare: "和上一个时期相比",
    followCount: "一共有多少行？",
    correcting: "语句没通过，正在请模型改写……",
    noSqlFound: "回答里没有找到可以执行的语句。",
    adjusted: "有参数按模型服务的范围调整过",
    emptyText: "空文本",
    excel: "Excel",
    copyTable: "复制表格",
    allRows: "全部行（CSV）",
    saving: "正在保存……",
    savedAll: (n) => `已保存全部 ${n} 行。`,
    savedFirst: (n) => `已保存前 ${n} 行：服务器一次最多给这么多，后面可能还有。`,
    saveBroke: "没有存完：服务器中途断开了。请再试一次，或缩小查询范围。",
    png: "保存图片",
    chart: "图表",
    tableInText: "表格",
    keyKeep: "在这台设备上记住",
    keyMissing: "没有密钥，什么也问不了。密钥由这台服务器的管理员发放。",
    thisShows: (explanation) => `查的是：${explanation.zh}`,
    detail: (text) => detail(text),
    explainQuestion: (sql) => `用平常的话解释这条 SQL 语句：\n\n${sql}`,
    charts: { number: "数字", line: "折线", bar: "柱形", stacked: "堆积", pie: "饼图", none: "只看表格" },
  },
  en: {
    skip: "Skip to the question",
    fresh: "New chat",
    otherLanguage: "中文",
    switchLanguage: "切换到中文",
    switchTheme: "Switch between dark and light",
    headline: "Ask your data in plain words",
    welcome: "The answer streams in as it is written: the reasoning, SQL that was checked, and the rows.",
    conversation: "Conversation",
    question: "Your question",
    placeholder: "Ask a question in plain words",
    followUp: "Ask a follow-up…",
    model: "Model",
    database: "Database",
    noDatabase: "No database",
    keys: "Enter to send · Shift+Enter for a new line · ↑ edits the last question",
    send: "Send",
    stop: "Stop (Esc)",
    examples: "Example questions",
    isDefault: (name) => `${name} (default)`,
    unavailable: (name, reason) => `${name}: unavailable${reason ? ` (${reason})` : ""}`,
    demoNote:
      "The demo model answers questions about the demo database (Hangzhou’s metro); configure a provider for yours.",
    noProviders: "No model is available; please check the configuration.",
    you: "You asked",
    answering: "Answering",
    thinking: "Thinking…",
    waiting: "The connection was lost; reconnecting…",
    reasoning: "Reasoning",
    copy: "Copy",
    copied: "Copied",
    copyFailed: "Not copied",
    checked: "Checked",
    refused: "Refused",
    refusedWhy: "This statement was not run: ",
    corrected: "Corrected:",
    ran: "What was run:",
    result: "Result",
    rows: (n, ms) => `${n ? `${n} ${n === 1 ? "row" : "rows"}` : "No rows match"} · ${ms} ms`,
    rowsTruncated: (n, ms) => `Only the first ${n} rows, there are more · ${ms} ms`,
    csv: "CSV",
    answeredInstead: (name, asked) => `${name} (instead of ${asked})`,
    tokens: (prompt, completion) => `${prompt} + ${completion} tokens`,
    cached: (n) => `${n} cached`,
    firstToken: (s) => `first token ${s}`,
    whole: (s) => `${s} in all`,
    timings: {
      queue: "queue",
      prompt: "prompt",
      first_token: "first token",
      generate: "generate",
      sql: "SQL",
      gateway: "gateway",
    },
    stopped: "Stopped",
    length: "The length limit was reached; the answer may be incomplete.",
    content_filter: "The model service’s content filter ended this answer.",
    retry: "Try again",
    retryIn: (s) => `Try again (better in ${s} s)`,
    requestId: (id) => `request ${id}`,
    done: (n) => (n === null ? "Answer complete" : `Answer complete, ${n} ${n === 1 ? "row" : "rows"}`),
    keyTitle: "This server asks for a key",
    keyWhy: "Unless you choose to remember it, the key stays in this tab and is forgotten when the tab closes.",
    keyWrong: "That key was not accepted; please try again.",
    key: "Key",
    cancel: "Cancel",
    useKey: "Use this key",
    edit: "Edit",
    run: "Run",
    running: "Running the statement",
    editStatement: "Edit the SQL statement",
    editRefused: "Edit this statement",
    edited: "Edited:",
    keepCorrection: "Keep as the right statement for this question",
    kept: "Kept",
    history: "History",
    historyWhere: "Conversations stay in this browser, on this device.",
    historyEmpty: "No conversations yet.",
    rename: "Rename",
    delete: "Delete",
    exportMarkdown: "Export Markdown",
    exportJson: "Export JSON",
    close: "Close",
    tables: "Tables",
    noTables: "No tables are open.",
    ask: "Ask",
    askAgain: "Ask again",
    explain: "Explain",
    right: "✓ Right",
    wrong: "✕ Wrong",
    thanksRight: "The statement is remembered.",
    thanksWrong: "Thank you, noted.",
    copyAnswer: "Copy answer",
    copyLink: "Copy link",
    linkedAnswer: "The answer of a link",
    linkLasts: (minutes) => `Who holds the key can open this link for ${minutes} minutes after the answer’s end.`,
    followUps: "Follow-up questions",
    followTop: "Only the top five",
    followTrend: "The trend by month",
    followCompare: "Compare with the period before",
    followCount: "How many rows are there in all?",
    correcting: "The statement was refused; asking the model for another…",
    noSqlFound: "No statement that can run was found in the answer.",
    adjusted: "Some parameters were moved into the range of the model service",
    emptyText: "empty",
    excel: "Excel",
    copyTable: "Copy table",
    allRows: "All rows (CSV)",
    saving: "Saving…",
    savedAll: (n) => `All ${n} rows are saved.`,
    savedFirst: (n) => `The first ${n} rows are saved: the server gives no more at once, and there may be others.`,
    saveBroke: "Not saved: the server broke off. Try again, or ask for less.",
    png: "Save picture",
    chart: "Chart",
    tableInText: "Table",
    keyKeep: "Remember it on this device",
    keyMissing: "Without a key nothing can be asked. The administrator of this server gives out keys.",
    thisShows: (explanation) => `This shows: ${explanation.en}`,
    detail: (text) => detail(text),
    explainQuestion: (sql) => `Explain this SQL statement in plain words:\n\n${sql}`,
    charts: { number: "Number", line: "Line", bar: "Bars", stacked: "Stacked", pie: "Pie", none: "Table only" },
  },
};

let patterns = null;

/** A message of the server in the reader's language; as it came where the catalogue has no translation for it. */
function detail(text) {
  if (language() === "en" || !text) return text;
  patterns ??= Object.entries(sentences.details).map(([en, zh]) => [
    new RegExp(
      `^${en
        .split("{}")
        .map(RegExp.escape ?? quoted)
        .join("(.+?)")}$`,
      "s",
    ),
    zh,
  ]);
  for (const [pattern, zh] of patterns) {
    const found = pattern.exec(text);
    // A part may be a message itself, such as what the provider said.
    if (found) return zh.replace(/\{(\d?)\}/g, (_, n) => detail(found[n || 1]));
  }
  return text;
}
const quoted = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

export const language = () => (document.documentElement.lang === "zh" ? "zh" : "en");

/** The words for `name`, a path such as "failures.quota"; functions get `values`. */
export function words(name, ...values) {
  if (name.startsWith("failures."))
    return (sentences.codes[name.slice(9)] ?? sentences.codes.internal)?.[language()] ?? name.slice(9);
  const found = name.split(".").reduce((from, part) => from?.[part], WORDS[language()]);
  return typeof found === "function" ? found(...values) : (found ?? "");
}

/** Puts words on `element`, in a way that a later switch of the language finds them again. */
export function say(element, name, ...values) {
  element.dataset.say = name;
  if (values.length) element.dataset.values = JSON.stringify(values);
  else delete element.dataset.values;
  element.textContent = words(name, ...values);
}

/** Speaks `tag` everywhere, on what is there already too. */
export function speak(tag) {
  document.documentElement.lang = tag;
  for (const element of document.querySelectorAll("[data-say]")) {
    element.textContent = words(element.dataset.say, ...JSON.parse(element.dataset.values ?? "[]"));
  }
  label(document);
}

/** Gives accessible names and placeholders below `root` their words. */
export function label(root) {
  for (const element of root.querySelectorAll("[data-label]")) {
    const text = words(element.dataset.label);
    element.setAttribute("aria-label", text);
    if (element.matches("button")) element.title = text;
  }
  for (const element of root.querySelectorAll("[data-hint]")) element.placeholder = words(element.dataset.hint);
}

/** A new element; `text` becomes a text node, everything else an attribute. */
export function node(name, { text, ...attributes } = {}, children = []) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== "") element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}
