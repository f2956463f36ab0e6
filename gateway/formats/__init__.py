"""Events written as the bytes of a reply: our own forms, and those of other APIs."""
