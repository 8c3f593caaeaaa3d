"""What the Snakefile imports: settings, registry and plan (nothing heavy)."""
