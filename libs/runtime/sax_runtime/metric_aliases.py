"""Show catalogue metrics a second time under the names that other tools already read.

A gateway's endpoint picker asks a model server for `vllm:num_requests_waiting` and knows no other name.
Nothing is counted twice: at each scrape the aliased metric is collected again and its samples are renamed,
with `model` turned into vLLM's `model_name` and `engine="0"` added (one engine per model here). Registered
beside the catalogue; refuses to know what any metric means.
"""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


class Aliases(Collector):
    """A Prometheus collector over `pairs` of (alias, collector); counters keep their `_total`."""

    def __init__(self, pairs: Iterable[tuple[str, Collector]]) -> None:
        self._pairs = tuple(pairs)

    def collect(self) -> Iterator[Metric]:
        """Yield each aliased metric as it is now."""
        for alias, collector in self._pairs:
            for metric in collector.collect():
                yield _renamed(metric, alias.removesuffix("_total"))

    def describe(self) -> Iterable[Metric]:
        """Promise nothing in advance, so that registration need not collect."""
        return ()


def _renamed(metric: Metric, name: str) -> Metric:
    twin = Metric(name, metric.documentation, metric.type)
    twin.samples = [
        Sample(name + sample.name.removeprefix(metric.name), _labels(sample.labels), sample.value)
        for sample in metric.samples
    ]
    return twin


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if "model" not in labels:
        return labels
    rest = {key: value for key, value in labels.items() if key != "model"}
    return {"model_name": labels["model"], "engine": "0", **rest}
