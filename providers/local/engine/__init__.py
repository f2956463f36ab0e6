"""The generator: one process, one loop, many sequences.

    question → chat → sequence → scheduler → runner (model · attention · kvcache → sampler) → detokeniser → stopping →
    step

loop · scheduler · sequence · blocks · stopping · detokeniser know nothing of torch; runner and below do.
"""
