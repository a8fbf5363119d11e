// Composes subgraphs with every composer. Argument: a JSON file, {case: [{name, url, sdl}]}.
// Prints {case: {composer: {errors, hints, supergraph}}}; WunderGraph's supergraph is what clients see, the others'
// what routers read.
import { readFileSync } from "node:fs";
import { composeServices as composeWithApollo } from "@apollo/composition";
import { composeServices as composeWithGuild } from "@theguild/federation-composition";
import { federateSubgraphs } from "@wundergraph/composition";
import { parse, printSchema } from "graphql";

const messages = (problems) => (problems ?? []).map((problem) => problem.message);

function compose(subgraphs) {
  const services = subgraphs.map(({ name, url, sdl }) => ({ name, url, typeDefs: parse(sdl) }));
  const apollo = composeWithApollo(services);
  const guild = composeWithGuild(services);
  const wundergraph = federateSubgraphs({
    subgraphs: services.map(({ name, url, typeDefs }) => ({ name, url, definitions: typeDefs })),
  });
  return {
    apollo: {
      errors: messages(apollo.errors),
      hints: (apollo.hints ?? []).map((hint) => `${hint.definition.code}: ${hint.message}`),
      supergraph: apollo.supergraphSdl,
    },
    guild: { errors: messages(guild.errors), hints: [], supergraph: guild.supergraphSdl },
    wundergraph: {
      errors: messages(wundergraph.errors),
      hints: messages(wundergraph.warnings),
      supergraph: wundergraph.success ? printSchema(wundergraph.federatedGraphClientSchema) : undefined,
    },
  };
}

const cases = JSON.parse(readFileSync(process.argv[2], "utf8"));
const composed = Object.entries(cases).map(([name, subgraphs]) => [name, compose(subgraphs)]);
console.log(JSON.stringify(Object.fromEntries(composed)));
