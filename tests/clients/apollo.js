// Apollo Client: pages merge into one list, objects are kept by their id, and fragments on `Node` match its types.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ApolloClient, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { relayStylePagination } from "@apollo/client/utilities";

const [url] = process.argv.slice(2);
const cache = new InMemoryCache({
  possibleTypes: { Node: ["Model", "ModelVersion", "Algorithm", "AlgorithmVersion"] },
  typePolicies: {
    Query: { fields: { models: relayStylePagination(["filter", "orderBy"]) } },
    Registry: { keyFields: ["name"] },
  },
});
const client = new ApolloClient({ cache, link: new HttpLink({ uri: url }) });

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
          aliases {
            name
            version {
              name
            }
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
await client.query({ query: MODELS });
const list = client.watchQuery({ query: MODELS });
const watching = list.subscribe({});
const page = () => client.readQuery({ query: MODELS }).models;
for (const length of [10, 20, 30]) {
  assert.equal(page().edges.length, length);
  if (length < 30) await list.fetchMore({ variables: { after: page().pageInfo.endCursor } });
}

const said = await client.query({ query: MODELS, variables: { first: 30 }, fetchPolicy: "no-cache" });
assert.deepEqual(page().edges, said.data.models.edges);

const models = page().edges.map(({ node }) => node);
const kept = cache.extract();
assert.equal(new Set(models.map(({ id }) => id)).size, 30);
assert.ok(models.every(({ id }) => kept[`Model:${id}`]));
assert.deepEqual(
  Object.keys(kept).filter((key) => key.startsWith("Registry:")).sort(),
  ['Registry:{"name":"mlflow"}', 'Registry:{"name":"pai"}', 'Registry:{"name":"qianfan"}'],
);
const aliased = models.filter(({ aliases }) => aliases?.length);
assert.ok(aliased.length);
assert.ok(aliased.every(({ registry, aliases }) => registry.kind === "MLFLOW" && aliases[0].version.name));

// What a single query learns of a model, the list shows too: it is the same object of the cache.
const ONE = gql`
  query One($id: ID!) {
    model(id: $id) {
      id
      name
      nativeId
    }
    node(id: $id) {
      id
      ... on Node {
        __typename
      }
      ... on Model {
        type
      }
    }
  }
`;
const [{ id }] = models;
const { data } = await client.query({ query: ONE, variables: { id } });
assert.equal(data.model.name, models[0].name);
assert.equal(data.node.__typename, "Model");
cache.modify({ id: `Model:${id}`, fields: { name: () => "renamed" } });
assert.equal(client.readQuery({ query: ONE, variables: { id } }).model.name, "renamed");
assert.equal(page().edges[0].node.name, "renamed");

// A failure keeps its code on its way through the client.
await assert.rejects(client.query({ query: ONE, variables: { id: "nobody:model/x" } }), (error) => {
  assert.equal(error.errors[0].extensions.code, "INVALID_ID");
  return true;
});
watching.unsubscribe();

// A query that is named by its hash: the text goes once, then the hash alone, by GET.
const sent = [];
const http = new HttpLink({
  uri: url,
  fetch: (address, options) => {
    sent.push([options.method, `${decodeURIComponent(address)}${options.body}`.includes("query Hashed")]);
    return fetch(address, options);
  },
});
const persisted = new PersistedQueryLink({
  sha256: (text) => createHash("sha256").update(text).digest("hex"),
  useGETForHashedQueries: true,
});
const HASHED = gql`
  query Hashed {
    registries {
      name
    }
  }
`;
for (const expected of [[["GET", false], ["POST", true]], [["GET", false]]]) {
  const hashing = new ApolloClient({ cache: new InMemoryCache(), link: persisted.concat(http) });
  assert.equal((await hashing.query({ query: HASHED })).data.registries.length, 3);
  assert.deepEqual(sent.splice(0), expected);
}
