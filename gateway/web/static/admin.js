// The operator's overview: what the metrics and this process's last day say, drawn anew every few seconds.

import { json, keep } from "./access.js";
import { WORDS, label, language, node, say, speak, words } from "./words.js";

const EVERY_MS = 5000;

Object.assign(WORDS.zh, {
  overview: "运行概况",
  providers: "模型服务",
  databases: "数据库",
  day: "最近 24 小时的回答（本进程）",
  failed: "最近的失败（本进程）",
  engines: "本地模型",
  name: "名称",
  state: "状态",
  breaker: "熔断",
  inFlight: "进行中",
  first: "首字 p50 · p95 · p99",
  between: "间隔 p50 · p95",
  tokensUsed: "token（提示 + 回答）",
  answers: "回答",
  failures: "失败",
  key: "密钥",
  at: "时间",
  code: "代码",
  message: "说明",
  request: "请求编号",
  ok: "正常",
  none: "没有",
  breakers: { closed: "正常", open: "暂停提问", half_open: "试探中" },
  notAdmin: "这个密钥没有 admin 权限，看不到运行概况。",
  summary: (state) =>
    `${state.ready.ok ? "可以服务" : `不能服务：${state.ready.reason}`} · ${state.streams.in_flight} 个回答进行中 · 启动以来 ${state.streams.started} 个 · ${state.workers} 个进程 · Redis：${state.redis === null ? "未配置" : state.redis ? "正常" : "不通"} · ${state.version}`,
});
Object.assign(WORDS.en, {
  overview: "Overview",
  providers: "Providers",
  databases: "Databases",
  day: "Answers of the last 24 hours (this process)",
  failed: "Recent failures (this process)",
  engines: "Local engines",
  name: "Name",
  state: "State",
  breaker: "Breaker",
  inFlight: "In flight",
  first: "First token p50 · p95 · p99",
  between: "Between tokens p50 · p95",
  tokensUsed: "Tokens (prompt + completion)",
  answers: "Answers",
  failures: "Failures",
  key: "Key",
  at: "Time",
  code: "Code",
  message: "Message",
  request: "Request id",
  ok: "up",
  none: "None",
  breakers: { closed: "closed", open: "open", half_open: "half open" },
  notAdmin: "This key does not have the right admin, so there is no overview for it.",
  summary: (state) =>
    `${state.ready.ok ? "Ready" : `Not ready: ${state.ready.reason}`} · ${state.streams.in_flight} answers in flight · ${state.streams.started} since the start · ${state.workers} ${state.workers === 1 ? "worker" : "workers"} · Redis: ${state.redis === null ? "not configured" : state.redis ? "up" : "down"} · ${state.version}`,
});

const at = (id) => document.getElementById(id);
const seconds = (value) =>
  value == null ? "–" : value < 0.995 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
const count = (value) => new Intl.NumberFormat(language() === "zh" ? "zh-CN" : "en").format(value ?? 0);

/** A section with a table; `columns` are names of words, `rows` lists of texts or nodes. */
function section(title, columns, rows) {
  const heading = node("h2", { text: words(title) });
  const empty = node("p", { class: "aside", text: words("none") });
  const cells = (row) =>
    row.map((value) => node("td", { dir: "auto" }, [value instanceof Node ? value : String(value ?? "–")]));
  const head = node(
    "tr",
    {},
    columns.map((name) => node("th", { scope: "col", text: words(name) })),
  );
  const grid = node("table", {}, [
    node("thead", {}, [head]),
    node(
      "tbody",
      {},
      rows.map((row) => node("tr", {}, cells(row))),
    ),
  ]);
  const box = node("div", { class: "scroller tall result", tabindex: 0, role: "region", "aria-label": words(title) }, [
    grid,
  ]);
  return node("section", { "aria-label": words(title) }, [heading, rows.length ? box : empty]);
}

const mark = (good, text) => node("span", { class: good ? "good" : "bad", text });

function show(state) {
  at("state").textContent = words("summary", state);
  const time = new Intl.DateTimeFormat(language() === "zh" ? "zh-CN" : "en", {
    dateStyle: "short",
    timeStyle: "medium",
  });
  const engines = Object.entries(state.engines).map(([name, { state: is, reason, ...figures }]) => [
    name,
    mark(is === "serving", reason || is),
    Object.entries(figures)
      .filter(([, value]) => typeof value === "number")
      .map(([figure, value]) => `${figure} ${count(value)}`)
      .join(" · "),
  ]);
  at("overview").replaceChildren(
    section(
      "providers",
      ["name", "state", "breaker", "inFlight", "first", "between", "tokensUsed"],
      state.providers.map((provider) => [
        `${provider.name} · ${provider.model}`,
        mark(provider.available, provider.available ? words("ok") : provider.reason),
        mark(provider.breaker === "closed", words(`breakers.${provider.breaker}`)),
        count(provider.in_flight),
        [provider.first_token?.p50, provider.first_token?.p95, provider.first_token?.p99].map(seconds).join(" · "),
        [provider.inter_token?.p50, provider.inter_token?.p95].map(seconds).join(" · "),
        `${count(provider.tokens?.prompt)} + ${count(provider.tokens?.completion)}`,
      ]),
    ),
    ...(engines.length ? [section("engines", ["name", "state", "message"], engines)] : []),
    section(
      "databases",
      ["name", "state"],
      state.databases.map(({ name, trouble }) => [
        name,
        mark(!trouble, trouble ? words("detail", trouble) : words("ok")),
      ]),
    ),
    section(
      "day",
      ["providers", "databases", "key", "answers", "failures", "tokensUsed"],
      state.day.map((row) => [
        row.provider,
        row.database,
        row.key,
        count(row.answers),
        count(row.failures),
        `${count(row.prompt_tokens)} + ${count(row.completion_tokens)}`,
      ]),
    ),
    section(
      "failed",
      ["at", "code", "providers", "databases", "key", "message", "request"],
      state.failures.map((row) => [
        time.format(row.at * 1000),
        row.cause,
        row.provider,
        row.database,
        row.key,
        words("detail", row.message),
        row.request_id,
      ]),
    ),
  );
}

let last = null;

async function refresh() {
  try {
    last = await json("/admin/state");
    at("note").hidden = at("open-gate").hidden = true;
    show(last);
  } catch (error) {
    at("note").hidden = false;
    say(
      at("note"),
      error.status === 403
        ? "notAdmin"
        : error.status === 401
          ? "keyMissing"
          : `failures.${error.failure?.code ?? "unreachable"}`,
    );
    at("open-gate").hidden = error.status !== 401;
    // Without a key the next try is the person's.
    if (error.status === 401 || error.status === 403) return;
  }
  setTimeout(refresh, EVERY_MS);
}

at("open-gate").addEventListener("click", refresh);
at("language").addEventListener("click", () => {
  speak(language() === "zh" ? "en" : "zh");
  keep("sluice-language", language());
  if (last) show(last);
});
speak(language());
label(document);
refresh();
