"""Views of the records in formats of others: RO-Crate, model cards, data cards."""
