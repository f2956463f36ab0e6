"""One client: `python ask.py <client> <url> <model>…`; prints {model: {"text", "calls", "error"}} as JSON."""

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


def langchain_responses(url: str, model: str) -> dict[str, str]:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=f"{url}/v1", api_key="any", model=model, max_retries=0, use_responses_api=True)
    text, error = "", ""
    try:
        for chunk in chat.stream(f"python {model}"):
            text += "".join(part.get("text", "") for part in chunk.content)
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        error = getattr(raised, "code", None) or type(raised).__name__
    return {"text": text, "calls": "", "error": error}


def openai_agents(url: str, model: str) -> dict[str, str]:
    """The agent's default: the Responses API. A tool is called, and its result sent back."""
    from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    def weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    set_tracing_disabled(True)

    async def ask() -> dict[str, str]:
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
        chosen = OpenAIResponsesModel(model=model, openai_client=client)
        agent = Agent(name="a", model=chosen, tools=[function_tool(weather)])
        text, calls, error = "", "", ""
        try:
            result = Runner.run_streamed(agent, f"python {model}")
            async for event in result.stream_events():
                kind = getattr(event.data, "type", "") if event.type == "raw_response_event" else ""
                if kind == "response.output_text.delta":
                    text += event.data.delta
                elif kind == "response.function_call_arguments.delta":
                    calls += event.data.delta
        except Exception as raised:  # noqa: BLE001 - each client has classes of its own
            error = getattr(raised, "code", None) or type(raised).__name__
        return {"text": text, "calls": calls, "error": error}

    return asyncio.run(ask())


def litellm(url: str, model: str) -> dict[str, str]:
    import litellm

    litellm.suppress_debug_info = True
    messages = [{"role": "user", "content": f"python {model}"}]
    text, calls, error = "", "", ""
    try:
        for chunk in litellm.completion(
            f"openai/{model}", messages, api_base=f"{url}/v1", api_key="any", stream=True, max_retries=0
        ):
            delta = chunk.choices[0].delta
            text += delta.content or ""
            calls += "".join(call.function.arguments or "" for call in delta.tool_calls or ())
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        error = getattr(raised, "code", None) or type(raised).__name__
    return {"text": text, "calls": calls, "error": str(error)}


def qwen_agent(url: str, model: str) -> dict[str, str]:
    from qwen_agent.llm import get_chat_model

    tools = model == "tools"
    row = {"model": model, "model_type": "oai", "model_server": f"{url}/v1", "api_key": "any"}
    llm = get_chat_model(row | {"generate_cfg": {"max_retries": 0, "use_raw_api": tools}})
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    functions = [{"name": "weather", "description": "the weather", "parameters": schema}] if tools else None
    text, calls, error = "", "", ""
    try:
        # Each step has the whole reply so far.
        for found in llm.chat([{"role": "user", "content": f"python {model}"}], functions=functions, stream=True):
            text = "".join(message["content"] for message in found)
            calls = "".join((message.get("function_call") or {}).get("arguments", "") for message in found)
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        error = getattr(raised, "code", None) or type(raised).__name__
    return {"text": text, "calls": calls, "error": error}


def llama_index(url: str, model: str) -> dict[str, str]:
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai_like import OpenAILike

    def weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    chat = {"is_chat_model": True, "is_function_calling_model": True}
    llm = OpenAILike(model=model, api_base=f"{url}/v1", api_key="any", max_retries=0, **chat)
    text, calls, error = "", "", ""
    try:
        if model == "tools":
            tools = [FunctionTool.from_defaults(weather)]
            for part in llm.stream_chat_with_tools(tools, user_msg=f"python {model}"):
                found = llm.get_tool_calls_from_response(part, error_on_no_tool_call=False)
            calls = "".join(json.dumps(call.tool_kwargs, ensure_ascii=False) for call in found)
        else:
            for part in llm.stream_chat([ChatMessage(role="user", content=f"python {model}")]):
                text += part.delta or ""
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        error = getattr(raised, "code", None) or type(raised).__name__
    return {"text": text, "calls": calls, "error": error}


def llama_index_completion(url: str, model: str) -> dict[str, str]:
    """Its other way: POST /v1/completions."""
    from llama_index.llms.openai_like import OpenAILike

    llm = OpenAILike(model=model, api_base=f"{url}/v1", api_key="any", max_retries=0, is_chat_model=False)
    text, error = "", ""
    try:
        for part in llm.stream_complete(f"python {model}"):
            text += part.delta or ""
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        error = getattr(raised, "code", None) or type(raised).__name__
    return {"text": text, "calls": "", "error": error}


def instructor(url: str, model: str) -> dict[str, str]:
    """It asks for a tool call, and reads the object in its arguments."""
    import instructor
    import openai
    from pydantic import BaseModel

    class weather(BaseModel):  # noqa: N801 - the tool's name
        city: str

    client = instructor.from_openai(openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0))
    messages = [{"role": "user", "content": f"python {model}"}]
    calls, error = "", ""
    try:
        for part in client.chat.completions.create_partial(
            model=model, messages=messages, response_model=weather, max_retries=0
        ):
            calls = part.model_dump_json()
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        error = getattr(raised, "code", None) or type(raised).__name__
    return {"text": "", "calls": calls, "error": error}


def dify(url: str, model: str) -> dict[str, str]:
    """The reader of Dify's plugins for services like OpenAI's: it splits on blank lines itself."""
    from dify_plugin.entities.model.llm import LLMResultChunk
    from dify_plugin.entities.model.message import PromptMessageTool, UserPromptMessage
    from dify_plugin.interfaces.model.openai_compatible.llm import OAICompatLargeLanguageModel

    credentials = {"endpoint_url": f"{url}/v1", "api_key": "any", "mode": "chat", "function_calling_type": "tool_call"}
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [PromptMessageTool(name="weather", description="the weather", parameters=parameters)]
    # Without a usage it would ask Dify's own server to count tokens.
    usage = {"stream_options": {"include_usage": True}}
    text, calls, error = "", "", ""
    try:
        found = OAICompatLargeLanguageModel([])._generate(  # what each plugin calls
            model, credentials, [UserPromptMessage(content=f"python {model}")], usage, tools, stream=True
        )
        for chunk in found:
            assert isinstance(chunk, LLMResultChunk)
            text += chunk.delta.message.content
            calls += "".join(call.function.arguments for call in chunk.delta.message.tool_calls)
    except Exception as raised:  # noqa: BLE001 - each client has classes of its own
        error = getattr(raised, "code", None) or type(raised).__name__
    return {"text": text, "calls": calls, "error": error}


client, url, *models = sys.argv[1:]
print(json.dumps({model: globals()[client](url, model) for model in models}))
