"""What each step can be told: strict, typed settings. An unknown key or a wrong type is an error before any job starts.

Steps, batches, limits and learning rates have no default on purpose: each scale's file states them. Constants of the
papers' methods have their defaults here, once. One module a stage, so that a new option reruns that stage alone.
"""
