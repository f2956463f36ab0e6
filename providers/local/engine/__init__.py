"""The generator: one process, one loop, many sequences. Sockets, folders and requests are in `serving`.

    sequence → scheduler → runner (model · attention · kvcache → sampler) → detokeniser → stopping → step

loop · preprocessing · sequence · scheduler · blocks · drafts · constraint · output · detokeniser · stopping do not
import torch; `compute` does, and in `serving` assembly and memory (tests/providers/local/engine/test_rooms.py).
"""
