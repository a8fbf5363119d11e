// The catalogue: a search box, facets with counts, the merged list, and one model with its versions.
// The address of the page holds the state, so that every view can be linked to.

// The facets, each with the condition of `ModelFilter` that holds its values.
const FACETS = {
  REGISTRY: ['Registry', 'registries'],
  OWNERSHIP: ['Ownership', 'ownership'],
  TYPE: ['Type', 'types'],
  PROVIDER: ['Provider', 'providers'],
  TASK: ['Task', 'tasks'],
  FRAMEWORK: ['Framework', 'frameworks'],
};
const SINGLE = ['ownership'];
const {list: LIST, detail: DETAIL} = document.body.dataset;
const at = (id) => document.getElementById(id);

// Elements

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in made && name !== 'list') made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function drawing(tag, attributes, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  made.append(...children);
  return made;
}

const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;
const words = (text) => text.toLowerCase().replaceAll('_', ' ');
const day = (time) => (time ? new Date(time).toLocaleDateString(undefined, {dateStyle: 'medium'}) : '');

function age(seconds) {
  if (seconds < 60) return `${plural(Math.round(seconds), 'second')} old`;
  if (seconds < 7200) return `${plural(Math.round(seconds / 60), 'minute')} old`;
  return `${plural(Math.round(seconds / 3600), 'hour')} old`;
}

// Requests

async function ask(query, variables, signal) {
  const response = await fetch('graphql', {
    method: 'POST',
    headers: {'Content-Type': 'application/json', Accept: 'application/graphql-response+json, application/json;q=0.9'},
    body: JSON.stringify({query, variables}),
    signal,
  });
  const {data, errors} = await response.json();
  if (!data) throw new Error(errors.map((error) => error.message).join(' '));
  return {data, errors: errors ?? []};
}

// State

function state() {
  const given = new URLSearchParams(location.search);
  const filter = {search: given.get('search') ?? ''};
  for (const [, condition] of Object.values(FACETS)) {
    const values = given.getAll(condition);
    if (values.length) filter[condition] = SINGLE.includes(condition) ? values[0] : values;
  }
  return {filter, model: given.get('model')};
}

function link({filter, model}) {
  const target = new URLSearchParams();
  for (const [condition, value] of Object.entries(filter)) {
    for (const each of [value].flat()) if (each) target.append(condition, each);
  }
  if (model) target.append('model', model);
  return `catalog${target.size ? `?${target}` : ''}`;
}

function go(next, {replace = false} = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', link(next));
  show();
}

// The list

let listing = new AbortController();
let shown = null; // the filter of the list on the page
let cursor = null;
let failed = false; // whether the last page could not be loaded: only a click tries again

async function loadPage(filter, after) {
  const {signal} = listing;
  at('more').hidden = true;
  try {
    const {data, errors} = await ask(LIST, {filter, after, facets: Object.keys(FACETS), isFirst: !after}, signal);
    if (!data.models) throw new Error(errors.map((error) => error.message).join(' '));
    const {nodes, pageInfo, coverage, facets, total} = data.models;
    if (!after) at('models').replaceChildren();
    at('models').append(...nodes.map(row));
    showCoverage(coverage);
    if (total) showTotal(total);
    if (facets) showFacets(facets, filter);
    at('problem').textContent = errors.map((error) => error.message).join(' ');
    cursor = pageInfo.endCursor;
    failed = false;
    at('more').textContent = 'Load more';
    at('more').hidden = !pageInfo.hasNextPage;
    markCurrent();
  } catch (error) {
    if (error.name === 'AbortError') return;
    failed = true;
    if (!after) showNothing();
    at('problem').replaceChildren(`${error.message} `, element('a', {href: 'catalog'}, 'Show all models'));
    at('more').textContent = 'Try again';
    at('more').hidden = false;
  }
}

// Removes what belongs to another filter. The choices stay, so that they can be changed, but without counts.
function showNothing() {
  cursor = null;
  at('total').textContent = 'No models could be loaded';
  at('models').replaceChildren();
  at('coverage').replaceChildren();
  at('facets').querySelectorAll('output').forEach((count) => count.replaceChildren());
}

function row(model) {
  const {filter} = state();
  return element('li', {}, element('a', {href: link({filter, model: model.id}), 'data-model': model.id},
    element('b', {}, model.name ?? model.id),
    element('span', {className: 'badge'}, model.registryName),
    element('span', {className: 'quiet'}, [model.type, model.provider, day(model.createdAt)].filter(Boolean).join(' · ')),
    model.description && element('span', {className: 'quiet'}, model.description)));
}

function showTotal({count, relation}) {
  at('total').textContent = relation === 'EXACT' ? plural(count, 'model') : `At least ${plural(count, 'model')}`;
}

function showCoverage(coverage) {
  at('coverage').replaceChildren(...coverage.map(({registry, state, age: seconds, error}) => {
    const fresh = seconds === null || seconds < 1 ? 'up to date' : age(seconds);
    const texts = {COMPLETE: fresh, STALE: fresh, PARTIAL: 'incomplete', UNAVAILABLE: 'unavailable'};
    return element('li', {className: state, title: error?.message}, `${registry.name}: ${texts[state]}`);
  }));
}

function showFacets(facets, filter) {
  const focused = document.activeElement?.id;
  at('facets').replaceChildren(...facets.filter(({values}) => values.length).map(({field, exact, values}) => {
    const [title, condition] = FACETS[field];
    const chosen = [filter[condition] ?? []].flat();
    const same = (one, other) => one.toLowerCase() === other.toLowerCase();
    const missing = chosen.filter((value) => !values.some((each) => same(each.value, value)));
    const all = [...values, ...missing.map((value) => ({value, count: null}))];
    return element('fieldset', {'data-condition': condition}, element('legend', {}, title),
      ...all.map(({value, count}) => element('label', {},
        element('input', {type: 'checkbox', id: `${condition} ${value}`, value, checked: chosen.some((each) => same(each, value))}),
        element('span', {}, condition === 'ownership' ? words(value) : value),
        element('output', {}, count === null ? '' : exact ? `${count}` : `${count}+`))));
  }));
  at(focused)?.focus();
}

function loadList(filter) {
  listing.abort();
  listing = new AbortController();
  shown = JSON.stringify(filter);
  at('total').textContent = 'Loading…';
  at('problem').textContent = '';
  loadPage(filter, null);
}

function markCurrent() {
  const {model} = state();
  for (const anchor of at('models').querySelectorAll('a')) {
    if (anchor.dataset.model === model) anchor.setAttribute('aria-current', 'true');
    else anchor.removeAttribute('aria-current');
  }
}

// One model

let opening = new AbortController();
let opened = null;

async function openModel(id) {
  opened = id;
  opening.abort();
  opening = new AbortController();
  const close = element('button', {type: 'button', id: 'close'}, 'Close');
  const place = at('detail');
  place.hidden = false;
  document.querySelector('main').className = 'opened';
  place.replaceChildren(element('header', {}, element('h2', {id: 'name', tabIndex: -1}, 'Loading…'), close));
  at('name').focus();
  try {
    const {data, errors} = await ask(DETAIL, {id}, opening.signal);
    at('name').textContent = data.model?.name ?? (errors.length ? 'The model could not be loaded' : 'There is no such model');
    const problem = errors.length > 0 && element('p', {role: 'alert'}, errors.map((error) => error.message).join(' '));
    place.append(...[problem, ...(data.model ? details(data.model) : [])].filter(Boolean));
  } catch (error) {
    if (error.name !== 'AbortError') place.append(element('p', {role: 'alert'}, error.message));
  }
}

function closeModel() {
  opened = null;
  opening.abort();
  at('detail').hidden = true;
  document.querySelector('main').className = '';
}

function details(model) {
  const facts = {
    Registry: model.registryName, Ownership: model.ownership && words(model.ownership), Provider: model.provider,
    Type: model.type, Domain: model.domain, Task: model.task, Created: day(model.createdAt), Changed: day(model.updatedAt),
    Labels: model.labels?.map(({key, value}) => (value ? `${key}: ${value}` : key)).join(', '),
  };
  const versions = model.versions?.nodes ?? [];
  const incomplete = model.versions?.coverage?.find(({state}) => ['PARTIAL', 'UNAVAILABLE'].includes(state));
  return [
    model.description && element('p', {}, model.description),
    element('dl', {}, ...Object.entries(facts).filter(([, value]) => value)
      .flatMap(([term, value]) => [element('dt', {}, term), element('dd', {}, value)])),
    model.documentationUrl && element('p', {}, element('a', {href: safe(model.documentationUrl)}, 'Documentation')),
    versionTable(versions, model.versions ? incomplete && `The list is incomplete. ${incomplete.error?.message ?? ''}`
      : 'The versions could not be loaded.'),
    metrics(versions),
    hyperParameters(versions),
  ].filter(Boolean);
}

const safe = (url) => (/^https?:/.test(url) ? url : '#');

function table(caption, heads, rows) {
  return element('div', {className: 'table', tabIndex: 0, role: 'region', 'aria-label': caption}, element('table', {},
    element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', {scope: 'col'}, head)))),
    element('tbody', {}, ...rows.map((cells) => element('tr', {}, ...cells.map((cell) => element('td', {}, cell ?? '')))))));
}

function versionTable(versions, problem) {
  const marked = (word) => word && element('span', {className: word}, words(word));
  if (!versions.length) return element('div', {}, element('h3', {}, 'Versions'), element('p', {}, problem ?? 'There are none.'));
  return element('div', {}, element('h3', {}, 'Versions'), problem && element('p', {role: 'alert'}, problem),
    table('Versions', ['version', 'created', 'approval', 'readiness', 'framework'], versions.map((version) => [
      version.name, day(version.createdAt), marked(version.approval), marked(version.readiness), version.framework])));
}

// Returns the values of each metric by version, oldest first.
function series(versions) {
  const found = new Map();
  for (const version of [...versions].reverse()) {
    for (const {dataset, metrics: measured} of version.evaluations ?? []) {
      for (const {name, value} of measured ?? []) {
        if (value === null) continue;
        const of = dataset?.name ?? dataset?.nativeId ?? dataset?.uri;
        const title = of ? `${name} (${of})` : name;
        if (!found.has(title)) found.set(title, []);
        found.get(title).push({version: version.name, value});
      }
    }
  }
  return found;
}

function metrics(versions) {
  const found = series(versions);
  if (!found.size) return null;
  const drawn = element('div');
  const choice = element('select', {id: 'metric', onchange: () => drawn.replaceChildren(plot(choice.value, found.get(choice.value)))},
    ...[...found.keys()].map((name) => element('option', {value: name}, name)));
  choice.onchange();
  return element('div', {}, element('h3', {}, element('label', {htmlFor: 'metric'}, 'Metric '), choice), drawn);
}

function plot(name, points) {
  const [width, height, left, top] = [560, 200, 56, 16];
  const values = points.map(({value}) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (index) => left + ((width - left - 24) * (points.length === 1 ? 0.5 : index / (points.length - 1)));
  const y = (value) => top + ((height - top - 40) * (high === low ? 0.5 : (high - value) / (high - low)));
  const label = `${name}: ${points.map(({version, value}) => `${value} in version ${version}`).join(', ')}`;
  const line = points.map(({value}, index) => `${index ? 'L' : 'M'}${x(index)} ${y(value)}`).join('');
  const marks = points.map(({version, value}, index) => drawing('g', {},
    drawing('circle', {cx: x(index), cy: y(value), r: 4}, drawing('title', {}, `${version}: ${value}`)),
    drawing('text', {x: x(index), y: height - 12, 'text-anchor': 'middle'}, version.slice(0, 10))));
  const scale = [...new Set([high, low])].map((value) => drawing('text', {x: 0, y: y(value) + 4}, Number(value.toPrecision(4))));
  return drawing('svg', {class: 'plot', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label},
    drawing('path', {d: line}), ...marks, ...scale);
}

function hyperParameters(versions) {
  const training = versions.flatMap((version) => version.trainedWith ?? []).find((each) => each.spec?.hyperParameters?.length);
  if (!training) return null;
  return element('div', {}, element('h3', {}, `Hyperparameters of ${training.name ?? 'the algorithm'}`),
    table('Hyperparameters', ['name', 'type', 'default', 'description'], training.spec.hyperParameters.map((each) => [
      each.name, each.type, each.defaultValue, each.description])));
}

// Events

function show() {
  const current = state();
  if (at('search').value !== current.filter.search && document.activeElement !== at('search')) {
    at('search').value = current.filter.search;
  }
  if (JSON.stringify(current.filter) !== shown) loadList(current.filter);
  if (!current.model) closeModel();
  else if (current.model !== opened) openModel(current.model);
  markCurrent();
}

let typing;
document.querySelector('form').addEventListener('submit', (event) => event.preventDefault());
at('search').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const {filter} = state();
    go({filter: {...filter, search: at('search').value}}, {replace: true});
  }, 250);
});
at('facets').addEventListener('change', ({target}) => {
  const {filter, model} = state();
  const {condition} = target.closest('fieldset').dataset;
  const kept = (value) => value.toLowerCase() !== target.value.toLowerCase();
  const others = SINGLE.includes(condition) ? [] : [filter[condition] ?? []].flat().filter(kept);
  const values = target.checked ? [...others, target.value] : others;
  const {[condition]: _, ...rest} = filter;
  const chosen = SINGLE.includes(condition) ? values[0] : values;
  go({filter: values.length ? {...rest, [condition]: chosen} : rest, model});
});
at('models').addEventListener('click', (event) => {
  const anchor = event.target.closest('a');
  if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({filter: state().filter, model: anchor.dataset.model});
});
at('detail').addEventListener('click', ({target}) => {
  if (target.id === 'close') leaveModel();
});
function leaveModel() {
  const {filter, model} = state();
  go({filter});
  at('models').querySelector(`[data-model="${CSS.escape(model)}"]`)?.focus();
}
addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && state().model) leaveModel();
  if (event.key === '/' && !event.target.matches('input, select')) {
    event.preventDefault();
    at('search').focus();
  }
});
at('more').addEventListener('click', () => loadPage(state().filter, cursor));
new IntersectionObserver(([{isIntersecting}]) => {
  if (isIntersecting && !at('more').hidden && !failed) loadPage(state().filter, cursor);
}, {rootMargin: '400px'}).observe(at('more'));
addEventListener('popstate', show);
at('filters').open = !matchMedia('(max-width: 45rem)').matches;
show();
