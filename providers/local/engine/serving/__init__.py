"""The process around the generator: a model's folder on one side, workers' questions on the other.

    folder → assembly (memory, chat, grammars) → server      at start-up
    ask → requests (chat, grammars) → sequence               for each question, in threads beside the loop

It knows the generator; the generator knows nothing of it.
"""
