"""The static HTML report: reads tables, figures and timings, writes one self-contained page."""
