"""A process's metrics as numbers that can be sent, and the numbers of several as one page of Prometheus' format.

Each sample keeps the name of its process as a label. Summing over processes is left to Prometheus: only there a process
that began again can be told from a counter that fell.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, array_like=True):
    """One metric: its samples by name, labels and value."""

    name: str
    what: str
    kind: str
    samples: list[tuple[str, Labels, float]]


def snapshot(registry: CollectorRegistry, **labels: str) -> list[Family]:
    """What a registry holds now, each sample with these labels added."""
    added = tuple(labels.items())
    return [
        Family(metric.name, metric.documentation, metric.type, [
            (sample.name, (*sample.labels.items(), *added), sample.value)
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ])
        for metric in registry.collect()
    ]  # fmt: skip


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[Family]).decode


def merge(pages: Iterable[Sequence[Family]]) -> list[Family]:
    """Families of several processes as one list. Samples that are alike (a process that is being replaced, and the one
    that replaces it) are added up."""
    merged: dict[str, Family] = {}
    found: dict[str, dict[tuple[str, Labels], float]] = {}
    for family in (family for page in pages for family in page):
        merged.setdefault(family.name, family)
        samples = found.setdefault(family.name, {})
        for name, labels, value in family.samples:
            samples[name, labels] = samples.get((name, labels), 0.0) + value
    return [
        Family(one.name, one.what, one.kind, [(*key, value) for key, value in found[one.name].items()])
        for one in merged.values()
    ]


class _Page(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.what, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric


def render(families: Sequence[Family], headers: Mapping[str, str]) -> tuple[bytes, str]:
    """The page and its content type, as Prometheus' text or, where `accept` asks for that, as OpenMetrics."""
    encoder, content_type = choose_encoder(headers.get("accept", ""))
    return encoder(_Page(families)), content_type
