// Apollo's gateway library behind a plain HTTP server. Arguments: port, and name=url for each subgraph.
// It composes the supergraph itself; of the subgraphs' Cache-Control it sends on the strictest.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { ApolloGateway, IntrospectAndCompose } from "@apollo/gateway";
import { parse } from "graphql";

const [port, ...named] = process.argv.slice(2);
const subgraphs = named.map((pair) => {
  const [name, url] = pair.split(/=(.*)/s);
  return { name, url };
});
const logger = { debug() {}, info() {}, warn: console.error, error: console.error };
const gateway = new ApolloGateway({ supergraphSdl: new IntrospectAndCompose({ subgraphs }), logger });
const { executor } = await gateway.load();

class Policy {
  maxAge = Infinity;
  scope = "PUBLIC";
  restrict({ maxAge = Infinity, scope }) {
    this.maxAge = Math.min(this.maxAge, maxAge);
    this.scope = scope === "PRIVATE" ? scope : this.scope;
  }
}

createServer(async (incoming, outgoing) => {
  const { query, variables, operationName } = JSON.parse(await text(incoming));
  const overallCachePolicy = new Policy();
  const result = await executor({
    document: parse(query),
    source: query,
    queryHash: createHash("sha256").update(query).digest("hex"),
    operationName: operationName ?? null,
    request: { query, variables },
    context: {},
    metrics: {},
    logger,
    overallCachePolicy,
  });
  const { maxAge, scope } = overallCachePolicy;
  outgoing.setHeader("cache-control", `max-age=${maxAge}, ${scope.toLowerCase()}`);
  outgoing.setHeader("content-type", "application/json");
  outgoing.end(JSON.stringify({ data: result.data, errors: result.errors }));
}).listen(Number(port), "127.0.0.1");
