"""Whether a statement gives here the rows that a plain driver gives for it: public statements, three servers."""
