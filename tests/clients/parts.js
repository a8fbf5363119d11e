// What clients ask for in parts: the fast half of a model while its cloud holds the slow one up, and rows of a list.
const [, faults] = process.argv.slice(2);
const put = (calls) => fetch(faults, { method: "PUT", body: JSON.stringify(calls) });
export const hold = () => put({ ListModelVersions: { hang: true } });
export const release = () => put({});

export const variables = { id: "pai:model/model-rbvg5wzljzjhc9ks92" };

export const model = (directive) => `
  query Model($id: ID!) {
    model(id: $id) {
      id
      name
      ... on Model ${directive} {
        versions(first: 1) {
          nodes {
            id
            name
          }
        }
      }
    }
  }
`;

export const rows = (directive) => `
  query Rows {
    models(first: 12, filter: { ownership: OWN }) {
      nodes ${directive} {
        id
        name
        versions(first: 1) {
          nodes {
            id
          }
        }
      }
      totalCount
    }
  }
`;
