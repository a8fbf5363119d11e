// Relay: the documents compile against the schema, and React components page through lists and refetch with them.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Suspense, createElement, useEffect } from "react";
import relay from "react-relay";
import { create } from "react-test-renderer";
import runtime from "relay-runtime";

const { RelayEnvironmentProvider, useLazyLoadQuery, usePaginationFragment, useRefetchableFragment } = relay;
const { Environment, Network, RecordSource, Store } = runtime;
const [url] = process.argv.slice(2);
const TWELVE_VERSIONS = "qianfan:model/am-qkeenb2ztrwc";

mkdirSync("build/relay", { recursive: true });
writeFileSync("build/relay/package.json", '{ "type": "commonjs" }');
execFileSync(process.execPath, ["node_modules/relay-compiler/cli.js", "relay.config.json"], { stdio: "inherit" });

// A document stands for the module that the compiler made of it, as babel-plugin-relay has it in an app.
const require = createRequire(import.meta.url);
const graphql = ([text]) => require(`./build/relay/${/(?:query|fragment) (\w+)/.exec(text)[1]}.graphql`);

const CATALOG = graphql`
  query relayCatalogQuery {
    ...relay_catalog
  }
`;
const CATALOG_PAGES = graphql`
  fragment relay_catalog on Query
  @refetchable(queryName: "relayCatalogPaginationQuery")
  @argumentDefinitions(count: { type: "Int", defaultValue: 10 }, cursor: { type: "String" }) {
    models(first: $count, after: $cursor) @connection(key: "relay_models") {
      edges {
        node {
          id
          registryName
          owner {
            nativeId
            name
          }
        }
      }
    }
  }
`;
const MODEL = graphql`
  query relayModelQuery($id: ID!) {
    model(id: $id) {
      ...relay_name
      ...relay_versions
    }
  }
`;
const NAME = graphql`
  fragment relay_name on Model @refetchable(queryName: "relayNameRefetchQuery") {
    id
    name
  }
`;
const VERSION_PAGES = graphql`
  fragment relay_versions on Model
  @refetchable(queryName: "relayVersionsPaginationQuery")
  @argumentDefinitions(count: { type: "Int", defaultValue: 4 }, cursor: { type: "String" }) {
    versions(first: $count, after: $cursor) @connection(key: "relay_versions") {
      edges {
        node {
          id
        }
      }
    }
  }
`;

const asked = [];
process.on("exit", () => console.log(asked.join("\n")));
async function ask({ name, text }, variables) {
  asked.push(name);
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/graphql-response+json, application/json" },
    body: JSON.stringify({ query: text, variables }),
  });
  return answer.json();
}
const environment = new Environment({
  network: Network.create(ask),
  store: new Store(new RecordSource()),
});

// Draws a component and waits until it calls `done`; where it never does, Node ends with a status of 13.
const drawn = (component, properties) =>
  new Promise((done, failed) => {
    const inside = createElement(Suspense, { fallback: null }, createElement(component, { done, failed, ...properties }));
    create(createElement(RelayEnvironmentProvider, { environment }, inside));
  });

// Loads page after page until `enough` rows are there.
function usePages(list, edges, { size, enough, done, failed }) {
  useEffect(() => {
    if (edges.length >= enough) done({ nodes: edges.map(({ node }) => node), hasNext: list.hasNext });
    else list.loadNext(size, { onComplete: (error) => error && failed(error) });
  }, [edges.length]);
  return null;
}
function Catalog(properties) {
  const list = usePaginationFragment(CATALOG_PAGES, useLazyLoadQuery(CATALOG, {}));
  return usePages(list, list.data.models.edges, properties);
}
function Versions({ id, ...properties }) {
  const list = usePaginationFragment(VERSION_PAGES, useLazyLoadQuery(MODEL, { id }).model);
  return usePages(list, list.data.versions.edges, properties);
}
function Name({ id, done, failed }) {
  const [model, refetch] = useRefetchableFragment(NAME, useLazyLoadQuery(MODEL, { id }).model);
  useEffect(() => {
    const onComplete = (error) => (error ? failed(error) : done(model));
    refetch({}, { fetchPolicy: "network-only", onComplete });
  }, []);
  return null;
}

const catalog = await drawn(Catalog, { size: 10, enough: 30 });
assert.equal(new Set(catalog.nodes.map(({ id }) => id)).size, 30);
assert.deepEqual(new Set(catalog.nodes.map(({ registryName }) => registryName)), new Set(["pai", "qianfan", "mlflow"]));
assert.ok(catalog.hasNext);

const text = "{ models(first: 30) { nodes { id registryName owner { nativeId name } } } }";
const said = (await ask({ name: "without Relay", text })).data.models.nodes;
assert.deepEqual(catalog.nodes.map(({ id, registryName, owner }) => ({ id, registryName, owner })), said);

const versions = await drawn(Versions, { id: TWELVE_VERSIONS, size: 4, enough: 12 });
assert.equal(new Set(versions.nodes.map(({ id }) => id)).size, 12);
assert.ok(!versions.hasNext);

const model = await drawn(Name, { id: TWELVE_VERSIONS });
assert.equal(model.id, TWELVE_VERSIONS);

assert.deepEqual(asked, [
  "relayCatalogQuery",
  "relayCatalogPaginationQuery",
  "relayCatalogPaginationQuery",
  "without Relay",
  "relayModelQuery",
  "relayVersionsPaginationQuery",
  "relayVersionsPaginationQuery",
  "relayNameRefetchQuery",
]);
process.exit(); // Relay's timers would hold the process for minutes
