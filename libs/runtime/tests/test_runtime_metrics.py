"""The catalogue, read as a scraper reads it."""

import re

import pytest
from prometheus_client import Counter, Gauge, Histogram
from sax_runtime import metrics

_LABEL = "catalogue-test"


def _made(spec):
    """The Prometheus object that a line of the catalogue made."""
    kinds = (Counter, Gauge, Histogram)
    found = [each for each in vars(metrics).values() if isinstance(each, kinds)]
    family = spec.name.removesuffix("_total") if spec.kind == "counter" else spec.name
    (one,) = [each for each in found if each.describe()[0].name == family]
    return one.labels(**dict.fromkeys(spec.labels, _LABEL)) if spec.labels else one


def _read(spec):
    """What a scrape shows for the spec with our label values."""
    suffix = "_count" if spec.kind == "histogram" else ""
    return metrics.registry.get_sample_value(spec.name + suffix, dict.fromkeys(spec.labels, _LABEL))


def _feed(spec):
    made = _made(spec)
    if spec.kind == "histogram":
        made.observe(1)
    else:
        made.inc()


@pytest.mark.parametrize("spec", metrics.CATALOGUE.values(), ids=lambda spec: spec.name)
def test_every_metric_is_alive(spec):
    """Each metric of the catalogue shows one value, and another one after it was fed again."""
    _feed(spec)
    first = _read(spec)
    _feed(spec)
    assert _read(spec) == first + 1


@pytest.mark.parametrize("spec", metrics.CATALOGUE.values(), ids=lambda spec: spec.name)
def test_every_metric_is_named_and_documented(spec):
    """Names carry the prefix, counters `_total`, times and sizes their unit, and the help is a sentence."""
    assert re.fullmatch(r"sax_[a-z0-9_]+", spec.name)
    assert spec.name.endswith("_total") == (spec.kind == "counter")
    assert spec.help.endswith(".")
    if spec.unit in ("seconds", "bytes"):
        assert spec.unit in spec.name
    assert list(spec.buckets) == sorted(set(spec.buckets))


def test_a_bound_gauge_is_read_at_every_scrape():
    """A gauge bound to a function shows its value of now, not that of the first scrape."""
    queue = [1]
    metrics.ENGINE_WAITING.labels(model="/sax/t/bound").set_function(lambda: len(queue))
    read = lambda: metrics.registry.get_sample_value("sax_engine_requests_waiting", {"model": "/sax/t/bound"})  # noqa: E731
    before = read()
    queue.append(2)
    assert (before, read()) == (1, 2)


@pytest.mark.parametrize(
    "name", ["vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"]
)
def test_gateways_find_vllms_names(name):
    """The three gauges that an endpoint picker reads are there under vLLM's names and labels."""
    spec = next(spec for spec in metrics.CATALOGUE.values() if spec.alias == name)
    _made(spec).set(0.5)
    labels = {"model_name": _LABEL, "engine": "0"}
    assert metrics.registry.get_sample_value(name, labels) == 0.5


def test_an_aliased_histogram_keeps_its_buckets():
    """Buckets, sum and count of a histogram appear under the alias too."""
    metrics.FIRST_TOKEN_SECONDS.labels(model="/sax/t/h").observe(0.03)
    labels = {"model_name": "/sax/t/h", "engine": "0"}
    name = "vllm:time_to_first_token_seconds"
    assert metrics.registry.get_sample_value(f"{name}_bucket", {**labels, "le": "0.04"}) == 1
    assert metrics.registry.get_sample_value(f"{name}_sum", labels) == 0.03


def test_a_name_cannot_be_declared_twice():
    """The catalogue refuses a second metric of the same name."""
    with pytest.raises(ValueError, match="declared twice"):
        metrics._declare(metrics.CATALOGUE["sax_ready"])
