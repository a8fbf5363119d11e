"""The figures of a gateway as a scraper reads them."""

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Client


class Figures:
    """One scrape: samples by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        """The values that a label takes where it counts something."""
        return {sample.labels[label] for sample in self.samples if sample.name == name and sample.value}


async def scrape(gateway: Client, path: str = "/metrics") -> Figures:
    answer = await gateway.request("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return Figures(answer.body)
