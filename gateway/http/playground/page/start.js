// Starts GraphiQL for the gateway that served this page, with one tab for each example.
const root = document.getElementById('playground');
const url = new URL('graphql', location.href).href;
ReactDOM.createRoot(root).render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({url, subscriptionUrl: url.replace(/^http/, 'ws')}),
    plugins: [GraphiQLPluginExplorer.explorerPlugin()],
    defaultTabs: JSON.parse(root.dataset.examples).map((query) => ({query})),
  }),
);
