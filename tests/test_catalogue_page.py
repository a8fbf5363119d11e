"""The questions of a catalogue page in docs/clients.md: each query has the documented answer and cost."""

import json
import re

import pytest

from tests.conftest import demo
from tests.documentation import text

SECTION = text("docs/clients.md").partition("\n## Questions of a catalogue page\n")[2].partition("\n## ")[0]
QUESTIONS = re.findall(
    r"### (.+?)\n\n```graphql\n(.*?)```\n\n\*\*(\d+) calls, at most (\d+)\.\*\*.*?```json\n(.*?)```", SECTION, re.DOTALL
)


def test_the_five_questions_of_a_catalogue_page_are_documented() -> None:
    assert len(QUESTIONS) == SECTION.count("### ") == 5


@pytest.mark.parametrize(
    ("query", "calls", "forecast", "answer"),
    [question[1:] for question in QUESTIONS],
    ids=[question[0] for question in QUESTIONS],
)
async def test_a_question_of_a_catalogue_page_has_the_documented_answer_and_cost(
    query: str, calls: str, forecast: str, answer: str
) -> None:
    async with demo() as gateway:
        found = await gateway.request("POST", json={"query": query}, headers={"X-Gateway-Plan": "include"})
    assert {"data": found.data} == json.loads(answer)
    cost = found.body["extensions"]["cost"]
    assert (cost["calls"], cost["forecast"]) == (int(calls), int(forecast))
