"""What a recipe names by URL or inside an archive, brought to this machine: checked, kept in the cache, fetched once."""

from mlkit_build.fetch.fetcher import Fetcher, open_fetcher
from mlkit_build.fetch.urls import as_stated, is_url, shown

__all__ = ["Fetcher", "as_stated", "is_url", "open_fetcher", "shown"]
