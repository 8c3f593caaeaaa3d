"""One module per benchmark: how a row becomes a question with candidate answers."""
