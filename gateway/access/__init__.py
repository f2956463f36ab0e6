"""Who may ask, and how often: keys and request rates."""
