"""HTTP/1.1 to upstreams: connections, response framing, and a client with four deadlines."""
