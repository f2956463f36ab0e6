"""A chat in Gradio: its history is taken as messages (Gradio 6) or as pairs (Gradio 5).

pip install gradio requests
python gradio_app.py
"""

import os

import gradio
import requests

url = os.environ.get("SLUICE_URL", "http://127.0.0.1:9001")


def answer(question: str, history: list):
    turns = [{"role": turn["role"], "content": turn["content"]} if isinstance(turn, dict) else turn for turn in history]
    headers = {"Accept": "text/plain"}
    if key := os.environ.get("KEY"):
        headers["Authorization"] = f"Bearer {key}"
    body = {"question": question, "history": turns}
    with requests.post(f"{url}/getAnwser", json=body, headers=headers, stream=True, timeout=60) as reply:
        text = ""
        for chunk in reply.iter_content(chunk_size=1024):
            text += chunk.decode("utf-8")
            yield text


if __name__ == "__main__":
    gradio.ChatInterface(answer).launch()
