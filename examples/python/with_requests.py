"""Ask with requests: the text as it comes. Each piece decodes alone, because a chunk ends between characters."""

import os
import sys

import requests

url = os.environ.get("SLUICE_URL", "http://127.0.0.1:9001")
headers = {"Accept": "text/plain"}
if key := os.environ.get("KEY"):
    headers["Authorization"] = f"Bearer {key}"
body = {"question": sys.argv[1] if len(sys.argv) > 1 else "沈塘桥地铁站的信息"}
if database := os.environ.get("DATABASE"):
    body["database"] = database
with requests.post(f"{url}/getAnwser", json=body, headers=headers, stream=True, timeout=60) as reply:
    reply.raise_for_status()
    for chunk in reply.iter_content(chunk_size=1024):
        print(chunk.decode("utf-8"), end="", flush=True)
