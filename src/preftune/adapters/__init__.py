"""Context adapters (Context-PEFT paper): groups of PEFT parameters chosen per token by its context."""
