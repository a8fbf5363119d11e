// A small app in TypeScript: what it reads of an answer, and what it sends as variables, has the types of the schema.
import assert from "node:assert/strict";
import { graphql } from "./build/codegen/gql.js";
import type { ModelOrder, TypedDocumentString } from "./build/codegen/graphql.js";

const url = process.argv[2]!;

async function ask<Data, Variables>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/graphql-response+json" },
    body: JSON.stringify({ query: document.toString(), variables }),
  });
  const { data, errors } = (await answer.json()) as { data: Data; errors?: unknown };
  assert.equal(errors, undefined);
  return data;
}

const Models = graphql(`
  query Models($filter: ModelFilter, $orderBy: ModelOrder) {
    models(first: 5, filter: $filter, orderBy: $orderBy) {
      nodes {
        id
        name
        createdAt
        ownership
        parameterCount
        labels {
          key
        }
      }
      totalCount
    }
  }
`);
const Found = graphql(`
  query Found($id: ID!) {
    node(id: $id) {
      __typename
      ... on Model {
        name
      }
      ... on Algorithm {
        provider
      }
    }
  }
`);

const orderBy: ModelOrder = { field: "NAME", direction: "ASC" };
const { models } = await ask(Models, { filter: { ownership: "OWN" }, orderBy });
assert.ok(models);
const names: (string | null | undefined)[] = models.nodes.map(({ name }) => name);
assert.equal(names.length, 5);

const [first] = models.nodes;
assert.ok(first);
assert.equal(first.ownership, "OWN");
const { node } = await ask(Found, { id: first.id });
assert.equal(node?.__typename === "Model" && node.name, first.name);

// What the schema does not promise, the types do not either.
// @ts-expect-error a name may be null
export const name: string = first.name;
// @ts-expect-error there is no such word
export const order: ModelOrder = { field: "SIZE", direction: "ASC" };
// @ts-expect-error the id is required
export const found = () => ask(Found, {});
