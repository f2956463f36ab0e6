"""Ask with httpx-sse, and come back with Last-Event-ID after a cut: nothing is missed, and nothing asked twice."""

import json
import os
import sys
import time

import httpx
from httpx_sse import connect_sse

url = os.environ.get("SLUICE_URL", "http://127.0.0.1:9001")
headers = {"Authorization": f"Bearer {os.environ['KEY']}"} if "KEY" in os.environ else {}
body = {"question": sys.argv[1] if len(sys.argv) > 1 else "沈塘桥地铁站的信息"}
if database := os.environ.get("DATABASE"):
    body["database"] = database


def events(client: httpx.Client):
    last = None
    for _ in range(10):
        more = {"Last-Event-ID": last} if last else {}
        try:
            with connect_sse(client, "POST", f"{url}/getAnwser", json=body, headers=headers | more) as source:
                source.response.raise_for_status()
                for event in source.iter_sse():
                    last = event.id
                    yield event.event, json.loads(event.data)
                    if event.event in ("done", "failed"):
                        return
        except httpx.TransportError:
            time.sleep(1)


with httpx.Client(timeout=60) as client:
    for name, data in events(client):
        if name == "message":
            print(data["text"], end="", flush=True)
        elif name in ("sql", "rows", "failed"):
            print(f"\n[{name}] {json.dumps(data, ensure_ascii=False)}")
