"""Which provider and which replica answers a request: retries, fallbacks, the breaker."""
