"""From a question to rows: prompt → reply → statement → judgement → rows. `flow.answer` is the way through."""
