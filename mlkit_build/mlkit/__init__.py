"""ML Kit: what its custom-model tasks accept, and labels as they show in an app."""
