"""Where an answer's events are kept: in the worker's memory, and in Redis too where one is configured."""
