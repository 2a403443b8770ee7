"""Methods: what one is, the package's own, and those that users register."""
