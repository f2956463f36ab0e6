// Every word that the page says, in both languages, and the little that puts words and nodes on the page.

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
    placeholder: "问点什么，例如：哪个区的地铁站最多",
    followUp: "接着问……",
    model: "模型",
    database: "数据库",
    noDatabase: "不查数据库",
    keys: "Enter 发送 · Shift+Enter 换行",
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
    csv: "下载 CSV",
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
    keyWhy: "密钥只留在当前标签页，关闭即忘。",
    keyWrong: "密钥不对，请再试一次。",
    key: "密钥",
    cancel: "取消",
    useKey: "使用这个密钥",
    failures: {
      bad_request: "请求有误",
      unauthorized: "需要有效的密钥",
      forbidden: "没有权限",
      not_found: "这个答案已经不在了",
      too_large: "内容太长",
      rate_limited: "问得太快了，稍等一下",
      overloaded: "服务器正忙",
      quota: "额度已用完",
      moderation: "问题没有通过内容审核",
      model_not_found: "没有这个模型",
      context_length: "超出了模型的上下文长度",
      upstream_connect: "连不上模型服务",
      upstream_timeout: "模型服务超时",
      upstream_rate_limited: "模型服务限流",
      upstream_auth: "模型服务拒绝了密钥",
      upstream_quota: "模型服务的额度已用完",
      upstream_error: "模型服务出错",
      upstream_protocol: "模型服务的回复无法识别",
      upstream_too_large: "模型服务的回复太长",
      truncated: "答案中断了",
      engine_died: "本地模型意外退出，正在重启",
      engine_timeout: "本地模型没有响应，正在重启",
      worker_died: "回答它的进程意外退出",
      sql_refused: "语句没有通过校验",
      sql_failed: "查询出错",
      sql_limit: "查询超出限制",
      shutting_down: "服务器正在重启",
      internal: "服务器内部错误",
      unreachable: "连不上服务器",
    },
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
    placeholder: "Ask something, such as: which district has the most stations",
    followUp: "Ask a follow-up…",
    model: "Model",
    database: "Database",
    noDatabase: "No database",
    keys: "Enter to send · Shift+Enter for a new line",
    send: "Send",
    stop: "Stop (Esc)",
    examples: "Example questions",
    isDefault: (name) => `${name} (default)`,
    unavailable: (name, reason) => `${name}: unavailable${reason ? ` (${reason})` : ""}`,
    demoNote: "The demo model answers questions about the demo database (Hangzhou’s metro); configure a provider for yours.",
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
    csv: "Download CSV",
    answeredInstead: (name, asked) => `${name} (instead of ${asked})`,
    tokens: (prompt, completion) => `${prompt} + ${completion} tokens`,
    cached: (n) => `${n} cached`,
    firstToken: (s) => `first token ${s}`,
    whole: (s) => `${s} in all`,
    timings: { queue: "queue", prompt: "prompt", first_token: "first token", generate: "generate", sql: "SQL", gateway: "gateway" },
    stopped: "Stopped",
    length: "The length limit was reached; the answer may be incomplete.",
    content_filter: "The model service’s content filter ended this answer.",
    retry: "Try again",
    retryIn: (s) => `Try again (better in ${s} s)`,
    requestId: (id) => `request ${id}`,
    done: (n) => (n === null ? "Answer complete" : `Answer complete, ${n} ${n === 1 ? "row" : "rows"}`),
    keyTitle: "This server asks for a key",
    keyWhy: "It stays in this tab and is forgotten when you close it.",
    keyWrong: "That key was not accepted; please try again.",
    key: "Key",
    cancel: "Cancel",
    useKey: "Use this key",
    failures: {
      bad_request: "The request was not accepted",
      unauthorized: "A valid key is needed",
      forbidden: "Not permitted",
      not_found: "This answer is no longer there",
      too_large: "Too long",
      rate_limited: "Too many questions; wait a moment",
      overloaded: "The server is busy",
      quota: "The quota is used up",
      moderation: "The question did not pass moderation",
      model_not_found: "No such model",
      context_length: "Too long for the model",
      upstream_connect: "The model service cannot be reached",
      upstream_timeout: "The model service took too long",
      upstream_rate_limited: "The model service limits the rate",
      upstream_auth: "The model service refused its key",
      upstream_quota: "The model service’s quota is used up",
      upstream_error: "The model service failed",
      upstream_protocol: "The model service sent something unreadable",
      upstream_too_large: "The model service’s reply was too large",
      truncated: "The answer broke off",
      engine_died: "The local model stopped and is being restarted",
      engine_timeout: "The local model did not respond and is being restarted",
      worker_died: "The process that answered has stopped",
      sql_refused: "The statement did not pass the check",
      sql_failed: "The query failed",
      sql_limit: "The query went over a limit",
      shutting_down: "The server is restarting",
      internal: "Internal server error",
      unreachable: "The server cannot be reached",
    },
  },
};

export const language = () => (document.documentElement.lang === "zh" ? "zh" : "en");

/** The words for `name`, a path such as "failures.quota"; functions get `values`. */
export function words(name, ...values) {
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
