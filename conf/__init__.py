"""The configuration groups that ship with mlkit-build."""
