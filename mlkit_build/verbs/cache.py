"""`mlkit-build cache info|clear`: the build cache, looked at or emptied."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError, ExitCode, StoreError
from mlkit_build.report.summary import size
from mlkit_build.store.disk import DiskStore
from mlkit_build.store.layered import default_folder


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Do what the first argument says."""
    parser = argparse.ArgumentParser(prog="mlkit-build cache", description="Show or empty the build cache.")
    parser.add_argument("action", choices=("info", "clear"))
    parser.add_argument("overrides", nargs="*", metavar="cache.dir=DIR", help="another cache than the default one")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parsed = parser.parse_intermixed_args(arguments)
    folder = default_folder()
    for override in parsed.overrides:
        key, _, value = override.partition("=")
        if key != "cache.dir" or not value:
            raise ConfigError(f"cache: expected cache.dir=DIR, found {override!r}")
        folder = Path(value).expanduser()
    store = DiskStore(folder)
    try:
        records, blobs, size_bytes = store.size()
        if parsed.action == "clear":
            store.clear()
    except OSError as error:
        raise StoreError(f"cache {folder}: {error.strerror or error}") from error
    if parsed.json:
        print(json.dumps({"folder": str(folder), "records": records, "blobs": blobs, "size_bytes": size_bytes}))
    elif parsed.action == "clear":
        print(f"removed {records} records and {blobs} files ({size(size_bytes)}) from {folder}")
    else:
        print(f"{folder}: {records} actions, {blobs} files, {size(size_bytes)}")
    return ExitCode.OK
