"""One client, one model: `python ask.py <client> <url> <model>`; prints {"text", "calls", "error"} as JSON."""

import asyncio
import json
import sys
from collections.abc import Iterable


def body(model: str) -> dict[str, str]:
    return {"question": f"python {model}", "provider": model, "database": "none"}


def of_events(events: Iterable[tuple[str, str]]) -> dict[str, str]:
    text, error = "", ""
    for name, data in events:
        told = json.loads(data)
        if name in ("", "message"):
            text += told["text"]
        elif name == "failed":
            error = told["code"]
    return {"text": text, "calls": "", "error": error}


def httpx_sse(url: str, model: str) -> dict[str, str]:
    import httpx
    from httpx_sse import connect_sse

    with (
        httpx.Client(timeout=20) as client,
        connect_sse(client, "POST", f"{url}/getAnwser", json=body(model)) as source,
    ):
        return of_events((event.event, event.data) for event in source.iter_sse())


def sseclient(url: str, model: str) -> dict[str, str]:
    import requests
    import sseclient

    reply = requests.post(f"{url}/getAnwser", json=body(model), stream=True, timeout=20)
    return of_events((event.event, event.data) for event in sseclient.SSEClient(reply).events())


def aiohttp_lines(url: str, model: str) -> dict[str, str]:
    import aiohttp

    async def ask() -> dict[str, str]:
        found, name = [], ""
        async with aiohttp.ClientSession() as session, session.post(f"{url}/getAnwser", json=body(model)) as reply:
            async for raw in reply.content:
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    found.append((name, line[6:]))
                elif not line:
                    name = ""
        return of_events(found)

    return asyncio.run(ask())


def langchain(url: str, model: str) -> dict[str, str]:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=f"{url}/v1", api_key="any", model=model, max_retries=0, use_responses_api=False)
    text, calls, error = "", "", ""
    try:
        for chunk in chat.stream(f"python {model}"):
            text += chunk.content
            calls += "".join(call["args"] or "" for call in chunk.tool_call_chunks)
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        error = getattr(raised, "code", None) or type(raised).__name__
    return {"text": text, "calls": calls, "error": error}


def structured(url: str, model: str, method: str) -> dict[str, str]:
    """with_structured_output by one of LangChain's methods; `text` is the object as JSON.

    model   a name, and behind a # the token that a random model is to prefer, so that its object ends
    """
    from typing import Literal

    from langchain_openai import ChatOpenAI
    from pydantic import BaseModel

    class Line(BaseModel):
        name: Literal["一号线", "2"]

    class Found(BaseModel):
        first: Line
        second: Line

    model, _, token = model.partition("#")
    chat = ChatOpenAI(
        base_url=f"{url}/v1", api_key="any", model=model, max_retries=0, temperature=0, use_responses_api=False,
        logit_bias={int(token): 10} if token else None,
    )  # fmt: skip
    schema = None if method == "json_mode" else Found
    try:
        found = chat.with_structured_output(schema, method=method).invoke("x")
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        return {"text": "", "error": f"{type(raised).__name__}: {raised}"}
    return {"text": json.dumps(found) if isinstance(found, dict) else found.model_dump_json(), "error": ""}


def structured_function_calling(url: str, model: str) -> dict[str, str]:
    return structured(url, model, "function_calling")


def structured_json_mode(url: str, model: str) -> dict[str, str]:
    return structured(url, model, "json_mode")


def structured_json_schema(url: str, model: str) -> dict[str, str]:
    return structured(url, model, "json_schema")


def pydantic_ai(url: str, model: str) -> dict[str, str]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="any")))

    async def ask() -> dict[str, str]:
        text, error = "", ""
        try:
            async with agent.run_stream(f"python {model}") as result:
                async for delta in result.stream_text(delta=True, debounce_by=None):
                    text += delta
        except Exception as raised:  # noqa: BLE001 - each client has classes of its own
            error = getattr(raised, "code", None) or type(raised).__name__
        return {"text": text, "calls": "", "error": error}

    return asyncio.run(ask())


client, url, model = sys.argv[1:]
print(json.dumps(globals()[client](url, model)))
