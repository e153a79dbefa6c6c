"""The built-in recipes, one folder each."""
