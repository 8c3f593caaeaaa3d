"""Direct Preference Heads: objectives, reward heads, pairs, reference log-probabilities, alignment."""
