"""Metrics of a gateway, read like a Prometheus scraper does."""

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Client


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with this name and these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        """Return the values of a label in samples that are not zero."""
        return {sample.labels[label] for sample in self.samples if sample.name == name and sample.value}


async def scrape(gateway: Client, path: str = "/metrics") -> Scrape:
    answer = await gateway.request("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return Scrape(answer.body)
