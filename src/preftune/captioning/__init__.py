"""Image captioning with a frozen encoder, a linear connector and a language model with context adapters."""
