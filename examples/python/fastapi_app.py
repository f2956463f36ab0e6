"""A FastAPI service that asks Sluice for its pages: the key stays on the server, the events pass through.

pip install fastapi uvicorn httpx
uvicorn fastapi_app:app
"""

import os

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

url = os.environ.get("SLUICE_URL", "http://127.0.0.1:9001")
app = FastAPI()
client = httpx.AsyncClient(timeout=httpx.Timeout(60))


@app.get("/ask")
async def ask(question: str, request: Request) -> StreamingResponse:
    headers = {"Authorization": f"Bearer {os.environ['KEY']}"} if "KEY" in os.environ else {}
    if last := request.headers.get("Last-Event-ID"):
        headers["Last-Event-ID"] = last
    sent = client.build_request("GET", f"{url}/getAnwser", params={"question": question}, headers=headers)
    reply = await client.send(sent, stream=True)
    return StreamingResponse(reply.aiter_bytes(), reply.status_code, media_type=reply.headers.get("content-type"))
