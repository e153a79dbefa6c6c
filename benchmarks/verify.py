"""Verifying a bundle of 1 GB: `mlkit-build verify` against `sha256sum --check` over the same files.

The bundle is a real one whose model has 1 GB of bytes behind it, with documents that say so. Both sides are timed as a user sees
them, from starting the command to its end, with the files in the page cache.

The promise: at most 1.2 of the time of `sha256sum`, in memory that does not grow with the model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pairing import judge, machine, mlkit_build, paired, report, timed

from mlkit_build.plain import pretty

PROMISE = 1.2
BILL = "sbom.cdx.json"
MEMORY_BYTES = 100 << 20


def main() -> int:
    """Run the benchmark; return 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlkit-build-verify-") as name:
        folder = Path(name)
        env = {"MLKIT_BUILD_CACHE": str(folder / "cache")}
        timed([mlkit_build(), "recipe=add_one"], folder, "built", env)
        bundle = folder / "dist" / "add_one" / "float32"
        grow(bundle, options.megabytes)
        print(machine("mlkit-build"))
        result = paired(
            lambda: timed([mlkit_build(), "verify", str(bundle)], folder, "verified"),
            lambda: timed([shutil.which("sha256sum") or "sha256sum", "--check", "SHA256SUMS"], bundle, "OK"),
            options.pairs,
        )
        report(f"verify, {options.megabytes} MB", ("mlkit-build verify", "sha256sum --check"), result)
        peak = peak_bytes([str(mlkit_build()), "verify", str(bundle)])
    print(f"  peak memory {peak >> 20} MB, promise: at most {MEMORY_BYTES >> 20}: {'kept' if peak <= MEMORY_BYTES else 'BROKEN'}")
    return judge(result.ratio, PROMISE) or int(peak > MEMORY_BYTES)


def grow(bundle: Path, megabytes: int) -> None:
    """Put bytes behind the model, and make the documents say so; the bill of materials, which says it too, goes."""
    (bundle / BILL).unlink()
    model = bundle / "add_one.tflite"
    with model.open("ab") as file:
        for number in range(megabytes):
            file.write(hashlib.sha256(str(number).encode()).digest() * (1 << 15))
    digest = hashlib.file_digest(model.open("rb"), "sha256").hexdigest()
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["outputs"] = [entry for entry in manifest["outputs"] if entry["path"] != BILL]
    for entry in manifest["outputs"]:
        if entry["path"] == model.name:
            entry.update(sha256=digest, size_bytes=model.stat().st_size)
    manifest["metrics"]["size_bytes"]["value"] = model.stat().st_size
    (bundle / "manifest.json").write_bytes(pretty(manifest))
    provenance = json.loads((bundle / "provenance.json").read_bytes())
    provenance["subject"] = [subject for subject in provenance["subject"] if subject["name"] != BILL]
    for subject in provenance["subject"]:
        subject["digest"]["sha256"] = hashlib.file_digest((bundle / subject["name"]).open("rb"), "sha256").hexdigest()
    (bundle / "provenance.json").write_bytes(pretty(provenance))
    names = sorted(path.name for path in bundle.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.file_digest((bundle / name).open('rb'), 'sha256').hexdigest()}  {name}\n" for name in names]
    (bundle / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def peak_bytes(command: list[str]) -> int:
    """Return the most memory that the command held at once."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    return usage.ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
