"""Serves an example's `answer` in Gradio and asks it twice: `python gradio_client_of.py <file>`; prints the replies."""

import json
import runpy
import sys

import gradio
from gradio_client import Client

chat = gradio.ChatInterface(runpy.run_path(sys.argv[1])["answer"], api_name="chat")
chat.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
client = Client(chat.local_url, verbose=False)
print(json.dumps([client.predict(text, api_name="/chat") for text in ("first", "second")]))
