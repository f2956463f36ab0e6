"""From bytes to deltas: the SSE decoder, the channels of a reply, and the normaliser."""
