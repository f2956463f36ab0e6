"""The generator: one process, one loop, many sequences. What is around it (sockets, folders, questions) is `serving`.

    sequence → scheduler → runner (model · attention · kvcache → sampler) → detokeniser → stopping → step

loop · preparation · sequence · scheduler · blocks · drafts · replies · detokeniser · stopping know nothing of torch;
runner and below do.
"""
