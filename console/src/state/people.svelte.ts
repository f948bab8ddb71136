// What the pages about people share: who there is, roles, groups, actions.

import { told, type Problem } from '../api/client';
import { offered, people as routes, rights, type ActionInfo, type Grant, type Group, type Invitation, type Person, type Role } from '../api/who';
import { EVERYTHING, windowWords } from '../pure/rights';
import { day } from '../pure/words';
import { cameras, may } from './app.svelte';

class People {
  list = $state.raw<Person[]>([]);
  invitations = $state.raw<Invitation[]>([]);
  roles = $state.raw<Role[]>([]);
  groups = $state.raw<Group[]>([]);
  grants = $state.raw<Grant[]>([]);
  actions = $state.raw<ActionInfo[]>([]);
  loaded = $state(false);
  problem = $state.raw<Problem>();

  async load(): Promise<void> {
    try {
      const [list, { roles, actions }, groups, grants, inv] = await Promise.all([routes.list(), rights.roles(), rights.groups(), rights.grants(), may('people.configure') ? offered(routes.invitations()) : undefined]);
      this.list = list.filter((p) => p.state !== 'deleted').sort((a, b) => a.name.localeCompare(b.name));
      this.roles = roles;
      this.groups = groups;
      this.grants = grants;
      this.actions = actions;
      this.invitations = inv ?? [];
      this.loaded = true;
      this.problem = undefined;
    } catch (e) {
      this.problem = told(e);
    }
  }

  person = (id: string | undefined): string => this.list.find((p) => p.id === id)?.name ?? id ?? '';
  role = (id: string | undefined): string => this.roles.find((r) => r.id === id)?.name ?? id ?? '';
  words = (a: string): string => this.actions.find((x) => x.action === a)?.words ?? a;

  /** on names a group, a camera or everything. */
  on(id: string): string {
    if (id === EVERYTHING) return 'everything';
    if (id.startsWith('camera/')) return cameras.list.find((c) => c.id === id.slice(7))?.name ?? 'a camera that is gone';
    return this.groups.find((g) => g.id === id)?.name ?? id;
  }

  /** sentence says one grant as a person would. */
  sentence(g: Grant): string {
    const who = g.person ? this.person(g.person) : `Role ${this.role(g.role)}`;
    const what = g.actions.map((a) => this.words(a)).join(', ');
    const since = g.from ? ` from ${day(Date.parse(g.from))}` : '';
    const until = g.until ? ` until ${day(Date.parse(g.until))}` : '';
    return `${who} ${g.forbid ? 'must not' : 'may'} ${what} on ${this.on(g.on)}, ${windowWords(g.window)}${since}${until}.`;
  }
}

export const folk = new People();
