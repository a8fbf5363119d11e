// The Plan panel: the upstream calls of the query in the editor, before it runs and after it has run.
const h = React.createElement;

// The number of open panels: only then does a query ask for the calls that it makes.
let openPanels = 0;
// Called with each result that has a record of its calls.
let showCalls = () => {};

function text(error) {
  return error.message ?? String(error);
}

function parsed(json, name) {
  try {
    return json.trim() ? JSON.parse(json) : {};
  } catch {
    throw new Error(`The ${name} are not JSON.`);
  }
}

// Returns the name if the query contains it. GraphiQL reads the names of operations a moment after a change of the query,
// and sends the name of the query before until then.
function currentName(name, query) {
  return name && new RegExp(`\\b${name}\\b`).test(query) ? name : undefined;
}

// Returns a fetcher that asks for the calls that a query makes while the panel is open.
function planningFetcher(addresses) {
  const send = GraphiQL.createFetcher(addresses);
  const sendWhole = GraphiQL.createFetcher({...addresses, enableIncrementalDelivery: false});
  return async (asked, options) => {
    const request = {...asked, operationName: currentName(asked.operationName, asked.query)};
    const isStreamed = /^\s*subscription\b|@(defer|stream)\b/m.test(request.query);
    if (!openPanels || isStreamed || request.operationName === 'IntrospectionQuery') return send(request, options);
    const headers = {...options?.headers, 'X-Gateway-Plan': 'include'};
    const result = await sendWhole(request, {...options, headers});
    showCalls(result.extensions ?? {});
    return result;
  };
}

async function planned(url, editors) {
  const {queryEditor, variableEditor, headerEditor} = editors;
  const query = queryEditor.getValue();
  const body = {
    query,
    operationName: currentName(queryEditor.operationName, query),
    variables: parsed(variableEditor?.getValue() ?? '', 'variables'),
  };
  const headers = {
    ...parsed(headerEditor?.getValue() ?? '', 'headers'),
    'Content-Type': 'application/json',
    'X-Gateway-Plan': 'only',
  };
  const response = await fetch(url, {method: 'POST', headers, body: JSON.stringify(body)});
  const result = await response.json();
  if (!result.extensions?.plan) throw new Error((result.errors ?? []).map(text).join(' ') || 'There is no plan.');
  return result.extensions;
}

// Returns the plan of the query in the editor, renewed a moment after each change, or the reason why there is none.
function usePlan(url) {
  const editors = GraphiQL.React.useEditorContext({nonNull: true});
  const [plan, setPlan] = React.useState({});
  const {queryEditor, variableEditor, headerEditor} = editors;
  React.useEffect(() => {
    const watched = [queryEditor, variableEditor, headerEditor].filter(Boolean);
    let timer, latest = 0;
    const renew = async () => {
      if (!queryEditor?.getValue().trim()) return setPlan({});
      const number = ++latest;
      const outcome = await planned(url, editors).catch((error) => ({problem: text(error)}));
      if (number === latest) setPlan(outcome);
    };
    const changed = () => {
      clearTimeout(timer);
      timer = setTimeout(renew, 400);
    };
    watched.forEach((editor) => editor.on('change', changed));
    renew();
    return () => {
      latest = Infinity;
      clearTimeout(timer);
      watched.forEach((editor) => editor.off('change', changed));
    };
  }, [queryEditor, variableEditor, headerEditor]);
  return plan;
}

function table(caption, heads, rows) {
  return h('div', {className: 'plan-table'},
    h('table', null,
      h('caption', null, caption),
      h('thead', null, h('tr', null, heads.map((head) => h('th', {key: head, scope: 'col'}, head)))),
      h('tbody', null, rows)));
}

function plannedCalls({plan, cost, problem}) {
  if (problem) return h('p', {role: 'alert'}, problem);
  if (!plan) return h('p', null, 'Write a query to see its plan.');
  const rows = plan.map((line, at) => h('tr', {key: at},
    h('td', {className: 'plan-number'}, line.times),
    h('td', null, `${line.registry} ${line.call}`, h('small', null, h('code', null, line.path), ` ${line.reason}`))));
  return [
    h('p', {key: 'cost'}, `At most ${cost.forecast} of ${cost.allowed} upstream calls, ` +
      `and ${cost.rows} of ${cost.allowedRows} objects.`),
    plan.length > 0 && h(React.Fragment, {key: 'calls'}, table('Calls that the query may make', ['times', 'call'], rows)),
  ];
}

function madeCalls({calls}) {
  if (!calls) return h('p', null, 'Run the query to see its calls. Subscriptions and incremental delivery show none.');
  if (!calls.length) return h('p', null, 'The query made no upstream call.');
  const end = Math.max(...calls.map((call) => call.startedAfter + call.milliseconds), 0.001);
  const share = (milliseconds) => `${(100 * milliseconds) / end}%`;
  const rows = calls.map((call, at) => h('tr', {key: at},
    h('td', null, `${call.registry} ${call.call} ${call.keys.join(' ')}`, h('small', null,
      `${(call.code ?? call.state).replaceAll('_', ' ')}, ${call.attempts} ${call.attempts === 1 ? 'attempt' : 'attempts'}, ${call.milliseconds.toFixed(1)} ms`)),
    h('td', {className: 'plan-line'}, h('div', {
      className: `plan-bar plan-${call.state}`,
      style: {marginLeft: share(call.startedAfter), width: share(call.milliseconds)},
    }))));
  return [
    h('p', {key: 'sum'}, `${calls.length} upstream calls in ${end.toFixed(1)} ms.`),
    h(React.Fragment, {key: 'calls'}, table('Calls of the last run', ['call', 'time'], rows)),
  ];
}

function PlanPanel({url}) {
  const plan = usePlan(url);
  const [made, setMade] = React.useState({});
  React.useEffect(() => {
    openPanels += 1;
    showCalls = setMade;
    return () => {
      openPanels -= 1;
    };
  }, []);
  return h('section', {className: 'plan', 'aria-label': 'Plan'},
    h('h2', null, 'Plan'),
    h('h3', null, 'Before running'), plannedCalls(plan),
    h('h3', null, 'Last run'), madeCalls(made));
}

function PlanIcon() {
  return h('svg', {viewBox: '0 0 24 24', fill: 'none', stroke: 'currentColor', strokeWidth: 1.5},
    h('path', {d: 'M4 5h8M8 12h9M13 19h7'}));
}

function planPlugin(url) {
  return {title: 'Plan', icon: PlanIcon, content: () => h(PlanPanel, {url})};
}
