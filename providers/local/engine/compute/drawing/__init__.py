"""Drawing tokens: from a step's logits to ids, with masks, edits, penalties and log probabilities."""
