"""Configurations whose providers are a scripted upstream."""

from __future__ import annotations

from typing import Any

from providers.scripted import Upstream

SAYS = "你好，this reply comes token by token\n\n👩‍👧 – çà et là."


def provider(upstream: Upstream, plan: str = "", **more: Any) -> dict[str, Any]:
    """A provider's configuration; `plan` is what its requests meet."""
    model = f"m@{plan}" if plan else "m"
    return {"type": "openai", "base_url": upstream.base_url("openai"), "model": model, "retries": 0, **more}


def configuration(upstream: Upstream, plans: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A configuration whose default provider is `vllm`, with one more provider for each of `plans`."""
    providers = {"vllm": provider(upstream)}
    providers |= {name: provider(upstream, plan) for name, plan in (plans or {}).items()}
    return {"default": "vllm", "providers": providers | more.pop("providers", {}), **more}
