"""Context adapters (Context-PEFT paper): groups of PEFT parameters chosen per token by its context.

A group is an adapter of the PEFT library (its layers, configuration and files); what is added here is the routing: which
of the groups are on at which token.
"""
