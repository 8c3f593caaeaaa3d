"""Commands for people: python -m preftune <command>."""
