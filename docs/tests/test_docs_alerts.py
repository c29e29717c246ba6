"""The alert file: known metrics only, a section of the runbook for each alert, and promtool's own checks."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sax_runtime import metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
RUNBOOK = ROOT / "docs" / "operations.md"
PROMTOOL = shutil.which("promtool")
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())


def test_every_metric_of_an_alert_is_in_the_catalogue():
    """A renamed metric would silence its alert for ever."""
    rules = re.sub(r"(?m)^ *#.*$", "", RULES.read_text())
    used = set(re.findall(r"\bsax_[a-z_]+", rules))
    known = set(metrics.CATALOGUE)
    known |= {f"{name}_bucket" for name, spec in metrics.CATALOGUE.items() if spec.kind == "histogram"}
    assert used
    assert used <= known


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_its_section_in_the_runbook(alert):
    """Who is woken finds what it means and what to do under the alert's name, and the alert links there."""
    assert f"### {alert}\n" in RUNBOOK.read_text()
    assert f"docs/operations.md#{alert.lower()}" in RULES.read_text()


def test_the_screenshot_of_the_runbook_is_there_and_small():
    """The page's picture is shown, and no larger than a page should be."""
    (picture,) = re.findall(r"!\[[^]]*\]\((images/[^)]+)\)", RUNBOOK.read_text())
    assert 1_000 < (RUNBOOK.parent / picture).stat().st_size < 150_000


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")]
)
def test_promtool_accepts_the_alerts(arguments, record_property):
    """Prometheus would load the file, and the stories beside it end as they say."""
    version = subprocess.run([PROMTOOL, "--version"], capture_output=True, text=True, check=True, timeout=30)
    record_property("promtool", (version.stdout + version.stderr).splitlines()[0])
    ran = subprocess.run(
        [PROMTOOL, *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
