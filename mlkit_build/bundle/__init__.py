"""The published folder of one variant: its manifest, its provenance, and how it replaces the one before as a whole."""
