// Who waits for a second factor: a refusal that asks for one opens one dialog,
// and everybody who was refused meanwhile waits for the same answer.

import { whenFactorAsked } from '../api/client';

class Factor {
  asked = $state(false);
  private waiting: ((ok: boolean) => void)[] = [];

  ask(): Promise<boolean> {
    this.asked = true;
    return new Promise((r) => this.waiting.push(r));
  }

  done(ok: boolean): void {
    this.asked = false;
    const all = this.waiting;
    this.waiting = [];
    for (const f of all) f(ok);
  }
}

export const factor = new Factor();
whenFactorAsked(() => factor.ask());
