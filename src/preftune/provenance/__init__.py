"""Records, hashes and code digests."""
