// A real OpenID provider for the tests: oidc-provider with one client, the
// people the test names, and log-in pages that answer without a person. Prints its issuer.
//
//   node provider.mjs REDIRECT_URI
//
// /hint?email=...&verified=0|1&sub=...&amr=a,b&groups=x sets who logs in next.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const redirect = process.argv[2];
let who = { sub: 'u1', email: 'dora@corp.example', verified: true, amr: [], groups: [] };
const people = new Map();
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'bartizan', client_secret: 'a-secret-of-the-test-0123456789abcdef', grant_types: ['authorization_code'], response_types: ['code'],
      redirect_uris: [redirect], post_logout_redirect_uris: [new URL('/', redirect).href],
    }],
    claims: { openid: ['sub', 'groups', 'amr'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true } },
    pkce: { required: () => true },
    findAccount: (_ctx, id) => {
      const w = people.get(id);
      return { accountId: id, claims: () => ({ sub: w.sub, email: w.email, email_verified: w.verified, groups: w.groups, ...(w.amr.length ? { amr: w.amr } : {}) }) };
    },
    interactions: { url: (_ctx, i) => `/interaction/${i.uid}` },
    cookies: { keys: ['test'] },
  });
  const app = provider.callback();
  server.on('request', async (req, res) => {
    const u = new URL(req.url, issuer);
    if (u.pathname === '/hint') {
      const q = u.searchParams;
      who = { sub: q.get('sub') ?? 'u1', email: q.get('email') ?? '', verified: q.get('verified') !== '0', amr: (q.get('amr') ?? '').split(',').filter(Boolean), groups: (q.get('groups') ?? '').split(',').filter(Boolean) };
      res.end('ok');
      return;
    }
    if (u.pathname.startsWith('/interaction/')) {
      try {
        const { prompt, params, session } = await provider.interactionDetails(req, res);
        const accountId = who.sub;
        people.set(accountId, who);
        if (prompt.name === 'login') {
          await provider.interactionFinished(req, res, { login: { accountId, amr: who.amr.length ? who.amr : undefined } }, { mergeWithLastSubmission: false });
          return;
        }
        const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
        grant.addOIDCScope(params.scope);
        await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
      } catch (e) {
        res.statusCode = 500;
        res.end(String(e));
      }
      return;
    }
    app(req, res);
  });
  console.log(issuer);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0)); // ends with the test
