"""Language models and image encoders."""
