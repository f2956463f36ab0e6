"""Ask with OpenAI's client: a provider, or text to SQL by choosing the model sql/<database>."""

import os
import sys

from openai import OpenAI

url = os.environ.get("SLUICE_URL", "http://127.0.0.1:9001")
client = OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("KEY", "none"))
model = os.environ.get("MODEL") or client.models.list().data[0].id
question = sys.argv[1] if len(sys.argv) > 1 else "沈塘桥地铁站的信息"
for chunk in client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}], stream=True):
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
