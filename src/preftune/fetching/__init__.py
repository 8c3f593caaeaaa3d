"""Getting files from outside: the only code of the project that uses a network. See docs/data.md, "Sources"."""
