"""`summary.html` as a browser lays it out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlkit_build.errors import ConfigError, ExitCode
from mlkit_build.job import JobReport
from mlkit_build.metrics import Measurement
from mlkit_build.report.sweep_page import render
from mlkit_build.sweep.outcome import Outcome, compared
from mlkit_build.timing import Timing

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<script>
const table = document.querySelector(".wide");
document.body.textContent = `table ${table.scrollWidth} of ${table.clientWidth}`;
</script></body>"""
METRICS = {
    "size_bytes": Measurement(113_400.0, lower_is_better=True),
    "arena_bytes": Measurement(21_648.0, lower_is_better=True),
    "top1": Measurement(0.9912, 0.9913),
    "max_abs_error": Measurement(8.941e-07, lower_is_better=True),
    "rms_error": Measurement(3.065e-08, lower_is_better=True),
    "sqnr_db": Measurement(140.2),
    "cosine": Measurement(0.999977),
    "top1_agreement": Measurement(0.9996),
}
TIMING = Timing(0.0122, 0.0133, 0.0121, 1.0, 50, 5, 1, "xnnpack", 0, "here")


def outcome() -> Outcome:
    overrides = ("recipe=mnist", "quantization=dynamic_range", "calibration.samples=200")
    built = JobReport(
        "mnist", "dynamic_range-samples_200", "built", ExitCode.OK, Path("dist/a"), 113_400, METRICS, latency=TIMING
    )
    error = ConfigError("override 'calibration.samples=abc': calibration.samples: expected an integer, found 'abc'")
    failed = JobReport("mnist", "calibration.samples=abc", "config_error", ExitCode.CONFIG, error=error)
    return Outcome("id", compared([(overrides, built), (("recipe=mnist", "calibration.samples=abc"), failed)]))


def test_a_row_that_is_named_by_its_overrides_does_not_repeat_them() -> None:
    page = render(outcome(), Path("dist/sweeps/id"))
    assert page.count(">calibration.samples=abc<") == 1
    assert "<div>quantization=dynamic_range calibration.samples=200</div>" in page


@pytest.mark.skipif(BROWSER is None, reason="no browser to lay the page out")
def test_the_table_fits_a_window_of_1000_pixels(tmp_path: Path) -> None:
    page = tmp_path / "summary.html"
    page.write_text(render(outcome(), tmp_path).replace("</body>", PROBE))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,800"]
    done = subprocess.run([str(BROWSER), *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=60)
    found = re.search(r"table (\d+) of (\d+)", done.stdout)
    assert found, done.stderr[-1000:]
    assert 900 < int(found[2]) <= 1000
    assert int(found[1]) <= int(found[2])
