// urql as it comes (queries go by GET), with graphcache aware of the schema and pages merged by `relayPagination`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Client, fetchExchange, gql } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { relayPagination } from "@urql/exchange-graphcache/extras";
import { buildSchema, introspectionFromSchema } from "graphql";

const [url] = process.argv.slice(2);
const schema = introspectionFromSchema(buildSchema(readFileSync("build/schema.graphql", "utf8")));
const requests = [];
const warnings = [];
const client = new Client({
  url,
  exchanges: [
    cacheExchange({
      schema,
      logger: (_, message) => warnings.push(message),
      keys: { Registry: ({ name }) => name, Owner: () => null },
      resolvers: { Query: { models: relayPagination(), model: (_, { id }) => ({ __typename: "Model", id }) } },
    }),
    fetchExchange,
  ],
  fetch: (address, options) => {
    requests.push(options.method);
    return fetch(address, options);
  },
});
const ask = async (query, variables, context) => {
  const { data, error } = await client.query(query, variables, context);
  assert.equal(error, undefined);
  return data;
};

const MODELS = gql`
  query Models($first: Int = 10, $after: String) {
    models(first: $first, after: $after) {
      edges {
        node {
          id
          name
          owner {
            nativeId
            name
          }
          registry {
            name
            kind
          }
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`;
let after;
let models;
for (const length of [10, 20, 30]) {
  ({ models } = await ask(MODELS, { after }));
  assert.equal(new Set(models.edges.map(({ node }) => node.id)).size, length);
  after = models.pageInfo.endCursor;
}
const said = await new Client({ url, exchanges: [fetchExchange] }).query(MODELS, { first: 30 });
assert.deepEqual(models.edges, said.data.models.edges);

// A model that a list brought is known to `model(id:)` without a request: its key in the cache is its id.
const NAME = gql`
  query Name($id: ID!) {
    model(id: $id) {
      id
      name
    }
  }
`;
const { id, name } = models.edges[0].node;
assert.equal((await ask(NAME, { id })).model.name, name);
assert.deepEqual(requests, ["GET", "GET", "GET"]);

// Fragments on `Node` match by the schema; what the cache lacks is asked.
const NODE = gql`
  query Node($id: ID!) {
    node(id: $id) {
      id
      ... on Model {
        nativeId
      }
    }
  }
`;
assert.ok((await ask(NODE, { id })).node.nativeId);

const { error } = await client.query(NAME, { id: "nobody:model/x" }, { requestPolicy: "network-only" });
assert.equal(error.graphQLErrors[0].extensions.code, "INVALID_ID");
assert.deepEqual(warnings, []);
