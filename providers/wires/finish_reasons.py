"""The words that services have for why a reply ended, and ours for them; compared without case.

source   OpenAI's, Gemini's, Mistral's, Anthropic's, vLLM's and TGI's references; public reports of the services' own
         words. docs/providers.md is written from these tables.
"""

from __future__ import annotations

import re

LENGTH = frozenset({"length", "max_tokens", "model_length", "max_output_tokens", "max_length", "token_limit",
                    "model_context_window_exceeded", "context_length", "context_window_exceeded",
                    "max_new_tokens", "max_completion_tokens", "max_tokens_reached", "context_length_exceeded",
                    "length_limit", "incomplete", "truncated", "token_limit_reached"})  # fmt: skip
CONTENT_FILTER = frozenset({"content_filter", "sensitive", "safety", "refusal", "recitation", "prohibited_content",
                            "blocklist", "spii", "content_filtered", "image_safety", "language",
                            "content_blocked", "moderation", "moderated", "blocked", "unsafe", "guardrail_intervened",
                            "image_prohibited_content", "content_policy_violation"})  # fmt: skip
TOOL_CALLS = frozenset({"tool_calls", "function_call", "tool_use", "tool_call", "function_calls"})
STOP = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed", "repetition",
                  "normal", "end", "finish", "finished", "done", "stop_token", "success",
                  "eos_token_id", "stop_str", "stop_sequences", "stop_word", "end_of_turn"})  # fmt: skip
FAILED = frozenset({"abort", "error", "insufficient_system_resource", "network_error", "malformed_function_call",
                    "unexpected_tool_call", "engine_error", "error_finish", "cancelled", "canceled", "timeout",
                    "server_error", "internal_error", "failed", "aborted", "malformed_tool_call"})  # fmt: skip
NOT_YET = frozenset({"", "null", "none", "finish_reason_unspecified"})


# Where a word in another spelling is parted: maxTokens and content-filter are max_tokens and content_filter.
_SEAM = re.compile(r"(?<=[a-z])(?=[A-Z])|[-\s]+")


def finish_reason(word: object) -> tuple[str | None, str | None]:
    """(ours, the upstream's word if we do not know it). Ours is None while the reply goes on, and "failed" for FAILED.

    An unknown word ends the reply as `stop`, for it is an end; the caller is shown the word.
    """
    if isinstance(word, dict):
        word = word.get("type") or word.get("reason")
    elif isinstance(word, list) and word:
        word = word[0]
    if word is True or (isinstance(word, int) and word):
        word = str(word).lower()  # Gemini's numbers, one-api's booleans
    if not isinstance(word, str):
        return None, None
    normal_form = _SEAM.sub("_", word.strip().rpartition(".")[2]).lower()
    for ours, words in (
        (None, NOT_YET),
        ("stop", STOP),
        ("length", LENGTH),
        ("tool_calls", TOOL_CALLS),
        ("content_filter", CONTENT_FILTER),
        ("failed", FAILED),
    ):
        if normal_form in words:
            return ours, None
    return "stop", word[:64]
