"""What the stream path costs: instructions counted, and the gateway beside others under load."""
