// Starts GraphiQL for the gateway that served this page: the query in the page's URL, or one tab for each example.
const root = document.getElementById('playground');
const url = new URL('graphql', location.href).href;
const linked = new URLSearchParams(location.search);
const fetcher = planningFetcher({url, subscriptionUrl: url.replace(/^http/, 'ws')});

const NEW_TAB = `# Write a query here. Ctrl-Space completes names, Ctrl-Enter runs the query.
# The explorer and the documentation in the bar at the left show all fields, and Plan shows what a query costs.

{
  registries {
    name
    kind
  }
}
`;

// GraphiQL has no setting for the wrapping of long lines, such as comments.
new MutationObserver((_, observer) => {
  const editor = root.querySelector('.graphiql-query-editor .CodeMirror');
  if (!editor) return;
  observer.disconnect();
  editor.CodeMirror.setOption('lineWrapping', true);
}).observe(root, {childList: true, subtree: true});

// On a touch screen, a field with the focus opens the keyboard. A tap elsewhere must not give the focus to a field.
if (matchMedia('(pointer: coarse)').matches) {
  let tapped = null;
  addEventListener('pointerdown', ({target}) => { tapped = target; }, true);
  addEventListener('keydown', () => { tapped = null; }, true);
  addEventListener('focusin', ({target}) => {
    const field = target.closest('.CodeMirror, label') ?? target;
    if (tapped && target.matches('input, textarea') && !field.contains(tapped)) target.blur();
  });
}

ReactDOM.createRoot(root).render(
  React.createElement(GraphiQL, {
    fetcher,
    plugins: [GraphiQLPluginExplorer.explorerPlugin(), planPlugin(url)],
    defaultQuery: NEW_TAB,
    defaultTabs: JSON.parse(root.dataset.examples).map((query) => ({query})),
    ...(linked.has('query') && {query: linked.get('query'), variables: linked.get('variables') ?? ''}),
  }),
);
