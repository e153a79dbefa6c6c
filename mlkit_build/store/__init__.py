"""The build cache: content-addressed blobs and one record per key. It knows bytes and digests, not recipes."""

from mlkit_build.store.digest import Digest
from mlkit_build.store.disk import BlobUnusableError, DiskStore, Record
from mlkit_build.store.files import FileDigests
from mlkit_build.store.layered import LayeredStore, open_store
from mlkit_build.store.tree import Tree

__all__ = ["BlobUnusableError", "Digest", "DiskStore", "FileDigests", "LayeredStore", "Record", "Tree", "open_store"]
