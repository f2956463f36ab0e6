"""One module per wire format: what is sent to an upstream, and how its chunks become deltas."""
