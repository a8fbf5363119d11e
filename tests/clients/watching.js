// A version that its cloud approves while a client watches it.
const [, faults, id] = process.argv.slice(2);
const put = (calls) => fetch(faults, { method: "PUT", body: JSON.stringify(calls) });
const approved = JSON.stringify({ VersionName: "0.1.0", ApprovalStatus: "Approved" });
export const wait = () => put({});
export const approve = () => put({ GetModelVersion: { body: approved } });

export const variables = { id };

export const watch = `
  subscription Watch($id: ID!) {
    modelVersionChanged(id: $id) {
      id
      approval
    }
  }
`;

export const version = `
  query Version($id: ID!) {
    modelVersion(id: $id) {
      id
      approval
    }
  }
`;
