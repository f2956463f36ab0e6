"""What a service's error means, in one table: by its codes, then by its words, and at last by the HTTP status.

The order of the rows is the order in which they are asked: money before speed (both are 429 somewhere), moderation
before permission (both are 403), and a wrong key before a wrong parameter (both are 400 at Gemini).

docs/providers.md is written from this table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from providers.errors import (
    BadKey,
    ContextTooLong,
    Moderated,
    NoSuchModel,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Rejected,
    UpstreamFailed,
)


@dataclass(frozen=True)
class Meaning:
    """
    codes    `code`, `type`, `status` or `reason` of an error, in lower case
    words    of its message, where no code says more; judged without case
    sources  whose codes and words these are
    """

    kind: type[ProviderError]
    codes: frozenset[str]
    words: re.Pattern[str] | None
    sources: str


def _row(kind: type[ProviderError], codes: str, words: str, sources: str) -> Meaning:
    pattern = re.compile(words, re.IGNORECASE | re.DOTALL) if words else None
    return Meaning(kind, frozenset(codes.split()), pattern, sources)


MEANINGS = (
    _row(
        QuotaExceeded,
        "insufficient_quota insufficient_balance insufficient_balance_error insufficient_user_quota arrearage "
        "exceeded_current_quota_error billing_hard_limit_reached billing_not_active accountoverdueerror "
        "accountoverdue payment_required insufficient_credits quotaexceeded quota_exceeded credits_exhausted "
        "out_of_credits pre_consume_token_quota_failed insufficientbalance account_overdue daily_limit_exceeded "
        "1113 30001 11201 access_terminated_error allocationquota.freetieronly freetieronly",
        r"insufficient[ _](account )?(balance|credit|fund|quota|user quota)|余额不[足够]|欠费|续费"
        r"|余额已用|预扣费|剩余额度"
        r"|资源包.{0,12}(用尽|用完|耗尽|不足)"
        r"|额度(已)?(不足|用完|用尽|耗尽)|账户(已)?欠|充值|arrears|overdue|out of (money|credits?)"
        r"|(more|enough|no|remaining) credits\b|credit balance"
        r"|(exceeded|reached) (your|the) (current|monthly|daily|total|specified)( api)? (quota|usage|spend|billing)"
        r"|payment required"
        r"|top[ -]?up|add (more )?(credits|funds)|(please )?recharge|billing (details|limit)|spending limit"
        r"|free (tier|quota).{0,40}(exhausted|used up)|quota (is |has been )?(exhausted|used up)|in good standing",
        "OpenAI, DeepSeek and OpenRouter (402), Moonshot, Zhipu 1113, MiniMax 1008, one-api and new-api, SiliconFlow "
        "30001, Ark, Spark 11201, DashScope",
    ),
    _row(
        Moderated,
        "content_filter content_policy_violation responsibleaipolicyviolation data_inspection_failed "
        "datainspectionfailed image_url_unsafe unsafe_request moderation_blocked content_blocked sensitive "
        "inputtextsensitivecontentdetected outputtextsensitivecontentdetected sensitivecontentdetected "
        "inputimagesensitivecontentdetected prohibited_content 1301 10013 10014 safety",
        r"content exists risk|usage guidelines|safety_check|content (management )?policy|(was|is|were) flagged"
        r"|requires moderation|inappropriate content|sensitive (content|words|information)|敏感(内容|信息|词)?|违规"
        r"|considered high risk"
        r"|不安全|content[ _]filter|responsible ai|moderation|violat\w+ .{0,40}polic|\bunsafe\b",
        "OpenAI, Azure, DeepSeek, OpenRouter, xAI, Zhipu 1301, MiniMax 1026 and 1027, Ark, Spark 10013, DashScope, "
        "Qianfan",
    ),
    _row(
        BadKey,
        "access_denied access_terminated authentication_error authenticationerror invalid_api_key invalid_appid "
        "invalid_iam_token no_parameter_permission permission_denied permission_error api_key_invalid unauthorized "
        "invalid_authentication_error unauthenticated invalidapikey authentication_failed incorrect_api_key_error "
        "invalid_key 1000 1001 1002 1003 1004 account_deactivated",
        r"(invalid|incorrect|wrong|missing|no|expired|valid) (api|access|secret)[ _-]?(key|token)"
        r"|api[ _-]?key .{0,30}(not valid|invalid|incorrect|expired|not (found|provided))|令牌(无效|已过期|不存在)"
        r"|无效的(令牌|api)|密钥(错误|无效)|身份验证失败|authentication (failed|fails)|^unauthorized",
        "OpenAI, Gemini, Azure, Moonshot, Zhipu 1000 to 1004, new-api, Qianfan, vLLM",
    ),
    _row(
        ContextTooLong,
        "context_length_exceeded exceed_context_size_error characters_too_long tokens_too_long context_window_exceeded "
        "string_above_max_length context_too_long prompt_too_long 1261 10907 request_too_large_for_model",
        r"context[ _](length|window|size|limit)|model token limit|tokens?`? .{0,40}must be <="
        r"|max\w* (model|context|input)|longer than the (max\w* )?model|too many tokens"
        r"|(prompt|input|question|messages?)\b.{0,40}\btoo long|(prompt|input|question)\b.{0,40}\blength"
        r"|length of (the )?(current )?(input|prompt|question)|reduce the length"
        r"|exceeds? (the )?(model'?s )?max\w* .{0,20}tokens|输入(长度|过长)|上下文(长度|过长)"
        r"|超(过|出|长).{0,16}上下文|超(过|出)[^。]{0,12}长度"
        r"|prompt (超长|过长)|tokens?.{0,12}超(长|过|出)",
        "OpenAI, vLLM, SGLang, llama.cpp, Zhipu 1261, Spark 10907, DashScope, Qianfan, ERNIE",
    ),
    _row(
        NoSuchModel,
        "model_not_found model_not_supported invalid_model notfounderror deploymentnotfound modelnotfound "
        "invalidendpointormodel.notfound modelnotopen model_decommissioned model_not_available 1211 20012 "
        "resource_not_found_error invalidendpointormodel",
        r"\bmodel\b.{0,80}\b(does not exist|not found|not exist|not support\w*|is not available|decommissioned)"
        r"|not a valid model\b"
        r"|(no such|unknown|invalid) model\b|deployment .{0,60}(does not exist|not found)|模型(不存在|未找到|不支持)",
        "OpenAI, vLLM, Azure, Groq, Ark, Zhipu 1211, SiliconFlow 20012, Moonshot, Ollama",
    ),
    _row(
        RateLimited,
        "rate_limit_error rate_limit_exceeded rpm_rate_limit_exceeded tpm_rate_limit_exceeded limit_burst_rate "
        "limit_requests rate_limit_reached_error too_many_requests ratelimitexceeded resource_exhausted "
        "modelaccountrpmratelimitexceeded modelaccounttpmratelimitexceeded 1302 1303 1305 11202 11203",
        r"rate[ _-]?limit|too many requests|requests? per (minute|second|day)|请求(过于频繁|过快|次数)|频率(过高|超限)"
        r"|并发(数)?(过高|超)",
        "OpenAI, Moonshot, Zhipu 1302, Ark, Spark 11202, Qianfan, LiteLLM",
    ),
    _row(
        UpstreamFailed,
        # The first three are said of a request that was turned away by a queue, not of one that failed.
        "overloaded_error engine_overloaded_error serveroverloaded unavailable server_error internal_error "
        "internalservererror insufficient_system_resource service_unavailable",
        r"(overloaded|overload)\b|系统繁忙|服务繁忙|负载(过高|已满)",
        "vLLM, Moonshot, Ark, DeepSeek, Gemini",
    ),
    _row(
        Rejected,
        "badrequesterror invalid_argument invalid_messages invalid_parameter_error invalid_request_error "
        "malformed_json notimplementederror bad_request 1210 1213 1214",
        "",
        "OpenAI, vLLM, Gemini, Qianfan, Zhipu",
    ),
)
BUSY = frozenset(
    "overloaded_error engine_overloaded_error serveroverloaded service_unavailable unavailable".split()  # noqa: SIM905
)
MINIMAX: dict[int, type[ProviderError]] = {
    1001: UpstreamFailed, 1002: RateLimited, 1004: BadKey, 1008: QuotaExceeded, 1013: UpstreamFailed,
    1024: UpstreamFailed, 1026: Moderated, 1027: Moderated, 1033: UpstreamFailed, 1039: RateLimited,
    1041: RateLimited, 1042: Rejected, 2013: Rejected, 2049: BadKey, 2056: QuotaExceeded,
}  # fmt: skip
"""`base_resp.status_code`; source: MiniMax's error codes."""
SUCCESS = frozenset({0, 200, "0", "200", "ok", "success", None, "", "20000", 20000})


def by_code(codes: list[str]) -> type[ProviderError] | None:
    """The meaning that the first known code has."""
    for code in codes:
        for meaning in MEANINGS:
            if code in meaning.codes:
                return meaning.kind
    return None


def by_words(message: str, kinds: tuple[type[ProviderError], ...] = ()) -> type[ProviderError] | None:
    """The first meaning whose words stand in the message. kinds: only these are asked, where given."""
    for meaning in MEANINGS:
        if meaning.words and (not kinds or meaning.kind in kinds) and meaning.words.search(message):
            return meaning.kind
    return None
