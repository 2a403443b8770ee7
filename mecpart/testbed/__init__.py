"""A network really cut and really run: a process for each node, and links by the clock."""
