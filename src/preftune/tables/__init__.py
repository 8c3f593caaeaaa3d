"""Tables of both papers: registry of published cells, scores, cell records, claims and their rendering."""
