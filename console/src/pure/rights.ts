// Rights in the words and marks of the matrix. Nothing here decides: the
// server does; this reads grants so that a person can.

import type { ActionInfo, Grant, Group, MatrixRow, NewGrant, Window } from '../api/who';

export const EVERYTHING = 'everything';
export const oneCamera = (id: string): string => 'camera/' + id;

/** The columns people know by name; the others follow by their own words. */
const SHORT: Record<string, string> = {
  live: 'Live', playback: 'Playback', export: 'Export', ptz: 'PTZ', talk: 'Talk', unmask: 'Unmask', alarms: 'Alarms', 'cameras.view': 'See', 'cameras.configure': 'Configure', approve: 'Approve',
  'people.configure': 'Manage people', 'people.view': 'See people', 'audit.view': 'Read trail', 'system.view': 'See system', 'system.configure': 'Change system', 'network.view': 'See network', 'network.configure': 'Change network',
  'network.order': 'Order network', 'platform.view': 'See functions', 'platform.configure': 'Change functions', 'platform.run': 'Run functions', self: 'Own account',
};
const ORDER = ['cameras.view', 'live', 'playback', 'export', 'ptz', 'talk', 'cameras.configure', 'unmask', 'alarms', 'approve', 'people.configure'];

export const short = (a: string): string => SHORT[a] ?? a;
export const camCols = (all: ActionInfo[]): ActionInfo[] => all.filter((a) => a.camera).sort((a, b) => (ORDER.indexOf(a.action) + 99) % 99 - (ORDER.indexOf(b.action) + 99) % 99);
export const nodeCols = (all: ActionInfo[]): ActionInfo[] => all.filter((a) => !a.camera && a.action !== 'self');

export type Mark = 'yes' | 'times' | 'never' | 'no';
export function mark(row: MatrixRow | undefined, action: string): Mark {
  if (!row) return 'no';
  if (row.forbids.includes(action)) return 'never';
  if (row.now.includes(action)) return 'yes';
  return row.times.includes(action) ? 'times' : 'no';
}
export const MARK: Record<Mark, string> = { yes: 'may', times: 'may at other times', never: 'forbidden', no: 'may not' };

const DAY: Record<string, string> = { mon: 'Mon', tue: 'Tue', wed: 'Wed', thu: 'Thu', fri: 'Fri', sat: 'Sat', sun: 'Sun' };
export const DAYS = Object.keys(DAY);
export const dayName = (d: string): string => DAY[d] ?? d;

/** windowWords: "Mon to Fri, 08:00 to 18:00 (Europe/Berlin)". */
export function windowWords(w: Window | null | undefined): string {
  if (!w) return 'at any time';
  const at = DAYS.map((d, i) => (w.days.includes(d) ? i : -1)).filter((i) => i >= 0);
  const first = at[0]!;
  const last = at[at.length - 1]!;
  const name = (i: number): string => DAY[DAYS[i]!]!;
  const days = !at.length || at.length === 7 ? 'every day' : at.length > 2 && last - first === at.length - 1 ? `${name(first)} to ${name(last)}` : at.map(name).join(', ');
  return `${days}, ${w.from} to ${w.to}${w.to <= w.from ? ' of the next day' : ''} (${w.zone})`;
}

/** chain is the groups that hold id, the nearest first, up to everything. */
export function chain(groups: Group[], id: string): string[] {
  const out: string[] = [];
  let g = groups.find((x) => x.id === id);
  while (g?.within && !out.includes(g.within)) {
    out.push(g.within);
    g = groups.find((x) => x.id === g!.within);
  }
  return id === EVERYTHING ? out : [...out, EVERYTHING];
}

/** tree lists groups with their depth, each under the one that holds it. */
export function tree(groups: Group[]): { group: Group; depth: number }[] {
  const out: { group: Group; depth: number }[] = [];
  const seen = new Set<string>();
  const walk = (within: string, depth: number): void => {
    for (const g of groups.filter((x) => (x.within || '') === within).sort((a, b) => Number(b.site) - Number(a.site) || a.name.localeCompare(b.name))) {
      if (seen.has(g.id)) continue;
      seen.add(g.id);
      out.push({ group: g, depth });
      walk(g.id, depth + 1);
    }
  };
  walk('', 0);
  for (const g of groups) if (!seen.has(g.id)) out.push({ group: g, depth: 0 });
  return out;
}

export const of = (g: Grant, who: { role?: string; person?: string }): boolean => (who.person ? g.person === who.person : !!who.role && g.role === who.role);

/** plain: a grant without limits, which a tick in the matrix means. */
export const plain = (g: Grant): boolean => !g.window && !g.from && !g.until;

export type Cell = { kind: 'none' } | { kind: 'give' | 'forbid'; window?: Window; from?: string; until?: string; note?: string };

/** edit says which grants to write and which to end so that who holds exactly
 * cell for action on the group; what other actions the grants give stays. */
export function edit(grants: Grant[], who: { role?: string; person?: string }, on: string, action: string, cell: Cell): { put: NewGrant[]; end: string[] } {
  const put: NewGrant[] = [];
  const end: string[] = [];
  const here = grants.filter((g) => of(g, who) && g.on === on);
  const same = (g: Grant): boolean => cell.kind !== 'none' && !!g.forbid === (cell.kind === 'forbid') && JSON.stringify(g.window ?? null) === JSON.stringify(cell.window ?? null) && Date.parse(g.from || '0') === Date.parse(cell.from || '0') && Date.parse(g.until || '0') === Date.parse(cell.until || '0') && (cell.note === undefined || (g.note ?? '') === cell.note);
  const home = here.find((g) => same(g) && g.actions.includes(action)) ?? here.find(same);
  if (cell.kind !== 'none' && !home?.actions.includes(action)) {
    if (home) put.push({ ...home, actions: [...home.actions, action] });
    else put.push({ ...who, on, actions: [action], forbid: cell.kind === 'forbid', window: cell.window, from: cell.from, until: cell.until, note: cell.note });
  }
  for (const g of here) {
    if (g === home || !g.actions.includes(action)) continue;
    const rest = g.actions.filter((a) => a !== action);
    if (rest.length) put.push({ ...g, actions: rest });
    else end.push(g.id);
  }
  return { put, end };
}
