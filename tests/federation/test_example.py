"""The example in `docker/supergraph` has the tested router and subgraphs."""

import json

import yaml

from tests.federation.supergraph import HERE, REVIEWS, hive

COMPOSE = REVIEWS.parent.parent / "compose.yaml"


def test_the_example_has_the_tested_router() -> None:
    router = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["router"]
    image, _, version = router["image"].partition(":")
    packages = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert (image, version) == ("ghcr.io/graphql-hive/gateway", packages["@graphql-hive/gateway"])

    subgraphs = {"registries": "http://gateway:8000/graphql", "reviews": "http://reviews:8001/graphql"}
    words = iter(hive(4000, subgraphs, HERE)[1:])
    tested = [word for word in words if not (word in ("--host", "--port") and next(words))]
    assert router["command"] == tested


def test_the_example_has_the_subgraphs_that_its_router_needs() -> None:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert services.keys() == {"gateway", "reviews", "router"}
    assert services["gateway"]["entrypoint"][:2] == ["gateway", "demo"]
    assert services["reviews"]["entrypoint"][-2:] == ["--port", "8001"]
    (mounted,) = services["reviews"]["volumes"]
    source, target, _ = mounted.split(":")
    inside = services["reviews"]["entrypoint"][1]
    assert COMPOSE.parent / source / inside.removeprefix(f"{target}/") == REVIEWS
