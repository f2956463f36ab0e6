"""The process around the generator: from a model's folder and workers' requests.

    folder → assembly (memory, chat, grammars) → server      at start-up
    ask → requests (chat, grammars) → sequence               for each request, in threads beside the loop

It imports the generator; the generator imports nothing of it.
"""
