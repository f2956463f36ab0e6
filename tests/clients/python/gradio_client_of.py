"""Serves an example's `answer` in Gradio and asks it twice: `python gradio_client_of.py <file>`; prints the replies."""

import importlib.util
import json
import sys

import gradio
from gradio_client import Client

specification = importlib.util.spec_from_file_location("example", sys.argv[1])
example = importlib.util.module_from_spec(specification)
specification.loader.exec_module(example)
chat = gradio.ChatInterface(example.answer, api_name="chat")
chat.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
client = Client(chat.local_url, verbose=False)
print(json.dumps([client.predict(text, api_name="/chat") for text in ("first", "second")]))
