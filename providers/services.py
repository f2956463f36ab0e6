"""Twelve services on known wires, each as the row of `providers:` that fits it: data for `sluice providers` and docs.

A row says already what its service refuses, so that a pasted snippet needs a key and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True)
class Service:
    """
    row      keys of the provider; the api_key names the variable that the service's own documents use
    refuses  what it refuses, for a person
    source   where that is said
    """

    name: str
    title: str
    row: dict[str, Any] = field(hash=False)
    refuses: str = ""
    source: str = ""

    def snippet(self) -> str:
        """The lines to paste under `providers:`."""
        text = yaml.safe_dump(
            {self.name: self.row}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
        )
        return "".join(f"  {line}\n" for line in text.splitlines())


_DEVELOPER = {"developer": "system"}

SERVICES = {
    service.name: service
    for service in (
        Service(
            "deepseek",
            "DeepSeek",
            {"type": "openai", "base_url": "https://api.deepseek.com", "model": "deepseek-chat",
             "api_key": "${DEEPSEEK_API_KEY}", "roles": _DEVELOPER,
             "timeouts": {"first_token": 60, "total": 900}},
            "the role developer; says `: keep-alive` while a question waits in its queue; 402 without money",
            "DeepSeek's API documents; BerriAI/litellm's and deepseek's public reports",
        ),
        Service(
            "moonshot",
            "Moonshot (Kimi)",
            {"type": "openai", "base_url": "https://api.moonshot.cn/v1", "model": "kimi-k2.5",
             "api_key": "${MOONSHOT_API_KEY}", "roles": _DEVELOPER, "drop": ["temperature", "top_p", "top_k", "seed"]},
            "kimi-k2.5 and later: every temperature but 1; usage stands inside the choice",
            "MoonshotAI/kimi-code and Moonshot's API documents",
        ),
        Service(
            "zhipu",
            "Zhipu (GLM)",
            {"type": "openai", "base_url": "https://open.bigmodel.cn/api/paas/v4", "model": "glm-4.6",
             "api_key": "${ZHIPUAI_API_KEY}", "roles": _DEVELOPER, "stream_options": False,
             "drop": ["top_k", "repetition_penalty", "seed"]},
            "the role developer; codes are numbers in strings (1113: no money, 1301: moderated)",
            "Zhipu's table of error codes",
        ),
        Service(
            "minimax",
            "MiniMax",
            {"type": "openai", "base_url": "https://api.minimaxi.com/v1", "model": "MiniMax-M2",
             "api_key": "${MINIMAX_API_KEY}", "roles": _DEVELOPER, "drop": ["top_k", "repetition_penalty", "seed"]},
            "the role developer; a failure may be a 200 with base_resp; the last chunk repeats the reply",
            "MiniMax's error codes; songquanpeng/one-api#1394",
        ),
        Service(
            "ark",
            "Doubao (Volcengine Ark)",
            {"type": "openai", "base_url": "https://ark.cn-beijing.volces.com/api/v3", "model": "doubao-seed-1-6",
             "api_key": "${ARK_API_KEY}", "roles": _DEVELOPER, "drop": ["top_k", "repetition_penalty", "seed"]},
            "the role developer; AccountOverdueError without money",
            "Ark's table of error codes",
        ),
        Service(
            "siliconflow",
            "SiliconFlow",
            {"type": "openai", "base_url": "https://api.siliconflow.cn/v1", "model": "deepseek-ai/DeepSeek-V3",
             "api_key": "${SILICONFLOW_API_KEY}", "roles": _DEVELOPER, "drop": ["seed", "repetition_penalty"]},
            "the role developer; 403 with code 30001 without money, 400 with 20012 for an unknown model",
            "SiliconFlow's API documents",
        ),
        Service(
            "openrouter",
            "OpenRouter",
            {"type": "openai", "base_url": "https://openrouter.ai/api/v1", "model": "openai/gpt-4o-mini",
             "api_key": "${OPENROUTER_API_KEY}"},
            "nothing; comments `: OPENROUTER PROCESSING` before the first token, errors inside a 200",
            "OpenRouter's documents on errors and streaming",
        ),
        Service(
            "groq",
            "Groq",
            {"type": "openai", "base_url": "https://api.groq.com/openai/v1", "model": "llama-3.3-70b-versatile",
             "api_key": "${GROQ_API_KEY}", "drop": ["top_k", "repetition_penalty", "min_p"]},
            "top_k, repetition_penalty, logprobs, n above 1; usage stands in x_groq",
            "Groq's documents on OpenAI compatibility",
        ),
        Service(
            "azure",
            "Azure OpenAI",
            {"type": "openai", "base_url": "https://YOUR-RESOURCE.openai.azure.com/openai/deployments/YOUR-DEPLOYMENT",
             "model": "gpt-4o", "api_key": "${AZURE_OPENAI_API_KEY}", "auth": "api-key",
             "query": {"api-version": "2024-10-21"}, "drop": ["top_k", "repetition_penalty", "min_p"]},
            "a Bearer key at the classic address; vLLM's parameters; a first chunk without choices",
            "Azure OpenAI's REST reference; huggingface/chat-ui#822",
        ),
        Service(
            "ollama",
            "Ollama",
            {"type": "openai", "base_url": "http://127.0.0.1:11434/v1", "model": "qwen3:8b", "auth": "none",
             "timeouts": {"first_token": 300}},
            "nothing: it ignores what it does not know; a model is loaded at its first question",
            "Ollama's documents on OpenAI compatibility",
        ),
        Service(
            "llamacpp",
            "llama.cpp's server",
            {"type": "openai", "base_url": "http://127.0.0.1:8080/v1", "model": "default", "auth": "none"},
            "a prompt over its context, said in a line `error:` of the stream",
            "ggml-org/llama.cpp#16109 and its server's README",
        ),
        Service(
            "lmstudio",
            "LM Studio",
            {"type": "openai", "base_url": "http://127.0.0.1:1234/v1", "model": "qwen/qwen3-8b", "auth": "none",
             "timeouts": {"first_token": 300}},
            "nothing; errors come as an event named error",
            "LM Studio's documents on OpenAI compatibility",
        ),
    )
}  # fmt: skip


def table() -> str:
    """All services, a line each, for a person."""
    width = max(len(name) for name in SERVICES)
    return "\n".join(
        f"{name:{width}}  {service.title}: {service.row['base_url']}" for name, service in SERVICES.items()
    )
