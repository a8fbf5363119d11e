// The rules of the published schema, with their options: names, descriptions, and Relay's connections.
import graphql from "@graphql-eslint/eslint-plugin";

// Types without a global id. Client caches store them as a part of their parent object.
const VALUES = [
  ...["Coverage", "PageInfo", "Registry", "RegistryFailure", "RegistryStatus"],
  ...["AlgorithmFacet", "Dataset", "Evaluation", "Facet", "FacetValue", "Label", "Metric", "ModelAlias", "Owner", "Parameter"],
  ...["Total", "Training", "VersionSource"],
  ...["AlgorithmSpec", "Channel", "CodeDir", "ComputeResource", "HyperParameter", "HyperParameterRange"],
  ...["MetricDefinition", "ProgressDefinition", "ProgressDefinitions", "ResourcePolicy", "ResourceRequirement"],
];

const RULES = {
  "description-style": [],
  "naming-convention": [
    {
      types: "PascalCase",
      FieldDefinition: "camelCase",
      InputValueDefinition: "camelCase",
      DirectiveDefinition: "camelCase",
      EnumValueDefinition: "UPPER_CASE",
      "EnumTypeDefinition,InterfaceTypeDefinition": { forbiddenSuffixes: ["Enum", "Interface"] },
    },
  ],
  "no-hashtag-description": [],
  "no-root-type": [{ disallow: ["mutation"] }], // the gateway is read-only
  "no-typename-prefix": [],
  "no-unreachable-types": [],
  "relay-arguments": [{ includeBoth: false }], // lists are paged forward only
  "relay-connection-types": [],
  "relay-edge-types": [{ listTypeCanWrapOnlyEdgeType: false }], // connections have `nodes` beside `edges`
  "relay-page-info": [],
  "require-deprecation-reason": [],
  "require-description": [
    {
      types: true,
      FieldDefinition: true,
      InputValueDefinition: true,
      EnumValueDefinition: true,
      DirectiveDefinition: true,
    },
  ],
  "strict-id-in-types": [{ exceptions: { types: VALUES, suffixes: ["Connection", "Edge"] } }],
  "unique-enum-value-names": [],
};

export default [
  {
    files: ["**/*.graphql"],
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: "build/schema.graphql" } } },
    plugins: { graphql },
    rules: Object.fromEntries(
      Object.entries(RULES).map(([name, options]) => [`graphql/${name}`, ["error", ...options]]),
    ),
  },
];
