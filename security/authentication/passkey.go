package authentication

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"slices"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
)

// maxCredential bounds what a browser sends of an authenticator; an RSA key
// with packed attestation has less than 4 KiB.
const maxCredential = 32 << 10

// keyOwner is a person as the webauthn package wants one.
type keyOwner struct {
	id, name string
	keys     []webauthn.Credential
}

func (o keyOwner) WebAuthnID() []byte                         { return []byte(o.id) }
func (o keyOwner) WebAuthnName() string                       { return o.name }
func (o keyOwner) WebAuthnDisplayName() string                { return o.name }
func (o keyOwner) WebAuthnCredentials() []webauthn.Credential { return o.keys }

// party is this node at a site (Web Authentication Level 3 §7). User
// verification is required, so a passkey is two factors; no attestation is
// asked for.
func (s *Service) party(at security.Site) (*webauthn.WebAuthn, error) {
	host := strings.ToLower(at.Host)
	if net.ParseIP(strings.Trim(host, "[]")) != nil || host == "" {
		return nil, fault.New(fault.Unsupported, "passkeys need a host name, and this page was opened by address", "open the console by its name, on this machine https://localhost")
	}
	if !s.vouches(host) {
		return nil, fault.New(fault.Forbidden, "this node is not known under the name "+label(host, 100), "add the name to names in the configuration")
	}
	w, err := webauthn.New(&webauthn.Config{
		RPID: host, RPDisplayName: issuer, RPOrigins: []string{at.Origin},
		AttestationPreference: protocol.PreferNoAttestation,
		Timeouts: webauthn.TimeoutsConfig{
			Login:        webauthn.TimeoutConfig{Timeout: flowLife, TimeoutUVD: flowLife},
			Registration: webauthn.TimeoutConfig{Timeout: flowLife, TimeoutUVD: flowLife},
		},
	})
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "passkeys cannot be used here", "")
	}
	return w, nil
}

// keysOf needs mu: a person's passkeys, oldest first.
func (s *Service) keysOf(person string) (keys []*Passkey) {
	for _, k := range s.keys {
		if k.Person == person {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b *Passkey) int {
		if a.Created != b.Created {
			return int(min(max(a.Created-b.Created, -1), 1))
		}
		return bytes.Compare(a.ID, b.ID)
	})
	return keys
}

// owner needs mu.
func (s *Service) owner(id, name string) (keyOwner, error) {
	o := keyOwner{id: id, name: name}
	for _, k := range s.keysOf(id) {
		var c webauthn.Credential
		if err := json.Unmarshal(k.Credential, &c); err != nil {
			return o, fault.Wrap(fault.Corrupt, err, "a stored passkey is not readable", "remove it and register it again")
		}
		c.Authenticator.SignCount = k.Count
		o.keys = append(o.keys, c)
	}
	return o, nil
}

func (s *Service) ceremony(kind, bound, owner string, at security.Site, options any, data *webauthn.SessionData) (security.Ceremony, error) {
	b, err := json.Marshal(options)
	if err != nil {
		return security.Ceremony{}, fault.Wrap(fault.Internal, err, "the passkey's question could not be made", "")
	}
	secret, ends := s.flows.begin(flow{kind: kind, bound: bound, site: at, ceremony: *data}, owner)
	return security.Ceremony{Flow: secret, Options: b, Expires: ends}, nil
}

// register begins a registration for owner.
func (s *Service) register(kind, bound string, at security.Site, owner keyOwner) (security.Ceremony, error) {
	w, err := s.party(at)
	if err != nil {
		return security.Ceremony{}, err
	}
	var have []protocol.CredentialDescriptor
	for _, k := range owner.keys {
		have = append(have, k.Descriptor())
	}
	options, data, err := w.BeginRegistration(owner, webauthn.WithExclusions(have), webauthn.WithConveyancePreference(protocol.PreferNoAttestation),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		}))
	if err != nil {
		return security.Ceremony{}, fault.Wrap(fault.Internal, err, "the passkey's question could not be made", "")
	}
	return s.ceremony(kind, bound, bound, at, options.Response, data)
}

// BeginPasskey asks the subject's authenticator for a new key.
func (s *Service) BeginPasskey(ctx context.Context, sub security.Subject, at security.Site) (security.Ceremony, error) {
	if sub.Via != security.ViaSession || sub.Held {
		return security.Ceremony{}, fault.New(fault.Forbidden, "a passkey is registered in a browser's session", "log in")
	}
	s.mu.RLock()
	owner, err := s.owner(sub.UserID, sub.Name)
	s.mu.RUnlock()
	if err != nil {
		return security.Ceremony{}, err
	}
	if len(owner.keys) >= maxPasskeys {
		return security.Ceremony{}, fault.New(fault.Exhausted, "you have 16 passkeys, and more are not kept", "remove one you no longer need")
	}
	return s.register("passkey", sub.Session, at, owner)
}

// InvitedPasskey asks the authenticator of whom token invites. The handle of a
// new person is the id the person gets.
func (s *Service) InvitedPasskey(ctx context.Context, token string, at security.Site) (security.Ceremony, error) {
	i, err := s.Invited(ctx, token)
	if err != nil {
		return security.Ceremony{}, err
	}
	id := i.Person
	if id == "" {
		id = newID()
	}
	return s.register("invited-passkey", i.ID, at, keyOwner{id: id, name: i.Name})
}

func badKey(err error) error {
	return fault.Wrap(fault.Unauthenticated, err, "the passkey was refused", "try again, or use another way to log in")
}

// finishKey checks a registration's answer. It gives the key, and for whom the
// question was made.
func (s *Service) finishKey(kind, bound, flowID, name string, credential []byte) (k Passkey, person string, err error) {
	f, err := s.flows.take(kind, bound, flowID)
	if err != nil {
		return k, "", err
	}
	if name = strings.TrimSpace(name); name == "" {
		name = "Passkey"
	}
	if label(name, maxDevice) != name {
		return k, "", fault.New(fault.Invalid, "the passkey's name is too long or not plain text", "give it a short name")
	}
	parsed, err := parseCreation(credential)
	if err != nil {
		return k, "", err
	}
	w, err := s.party(f.site)
	if err != nil {
		return k, "", err
	}
	person = string(f.ceremony.UserID)
	c, err := w.CreateCredential(keyOwner{id: person}, f.ceremony, parsed)
	if err != nil {
		return k, "", badKey(err)
	}
	if !c.Flags.UserVerified {
		return k, "", badKey(nil)
	}
	c.Attestation = webauthn.CredentialAttestation{} // asked for none, keep none
	b, err := json.Marshal(c)
	if err != nil {
		return k, "", fault.Wrap(fault.Internal, err, "the passkey could not be kept", "")
	}
	now := s.clock.Now()
	return Passkey{ID: c.ID, Person: person, Name: name, Credential: b, Count: c.Authenticator.SignCount, Created: now, Seen: now}, person, nil
}

// parseCreation reads what a browser says of a new key. Only what needs no
// chain of certificates is taken: attestation formats none and packed.
func parseCreation(b []byte) (*protocol.ParsedCredentialCreationData, error) {
	if len(b) > maxCredential {
		return nil, badKey(nil)
	}
	p, err := protocol.ParseCredentialCreationResponseBytes(b)
	if err != nil {
		return nil, badKey(err)
	}
	if f := p.Response.AttestationObject.Format; f != "none" && f != "packed" || len(p.RawID) == 0 || len(p.RawID) > 1023 {
		return nil, badKey(nil)
	}
	return p, nil
}

func parseAssertion(b []byte) (*protocol.ParsedCredentialAssertionData, error) {
	if len(b) > maxCredential {
		return nil, badKey(nil)
	}
	p, err := protocol.ParseCredentialRequestResponseBytes(b)
	if err != nil {
		return nil, badKey(err)
	}
	return p, nil
}

// AddPasskey keeps a new passkey of the subject.
func (s *Service) AddPasskey(ctx context.Context, sub security.Subject, flowID, name string, credential []byte) (security.PasskeyInfo, error) {
	k, whose, err := s.finishKey("passkey", sub.Session, flowID, name, credential)
	if err == nil && whose != sub.UserID {
		err = badKey(nil)
	}
	if err != nil {
		return security.PasskeyInfo{}, err
	}
	err = s.change(ctx, sub.UserID, func(p *person) (Change, error) {
		if s.keys[string(k.ID)] != nil {
			return Change{}, fault.New(fault.Conflict, "this passkey is registered already", "")
		}
		if p.State != security.PersonActive || len(s.keysOf(p.ID)) >= maxPasskeys {
			return Change{}, fault.New(fault.Exhausted, "you have 16 passkeys, and more are not kept", "remove one you no longer need")
		}
		security.TellNew(ctx, keyID(k.ID))
		return Change{Key: &k}, nil
	})
	if err != nil {
		return security.PasskeyInfo{}, err
	}
	return k.info(), nil
}

func keyID(id []byte) string { return base64.RawURLEncoding.EncodeToString(id) }

func (k *Passkey) info() security.PasskeyInfo {
	var c webauthn.Credential
	_ = json.Unmarshal(k.Credential, &c) // ours; unreadable shows as not synced
	return security.PasskeyInfo{ID: keyID(k.ID), Name: k.Name, Created: k.Created, Seen: k.Seen, Synced: c.Flags.BackupEligible, Blocked: k.Blocked}
}

// Passkeys lists the subject's own, oldest first.
func (s *Service) Passkeys(_ context.Context, sub security.Subject) ([]security.PasskeyInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := []security.PasskeyInfo{}
	for _, k := range s.keysOf(sub.UserID) {
		list = append(list, k.info())
	}
	return list, nil
}

// ownKey needs mu.
func (s *Service) ownKey(person, id string) (*Passkey, error) {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if k := s.keys[string(raw)]; err == nil && k != nil && k.Person == person {
		return k, nil
	}
	return nil, fault.New(fault.NotFound, "you have no such passkey", "")
}

// RenamePasskey gives one of the subject's own another name.
func (s *Service) RenamePasskey(ctx context.Context, sub security.Subject, id, name string) error {
	if name = strings.TrimSpace(name); name == "" || label(name, maxDevice) != name {
		return fault.New(fault.Invalid, "the passkey's name is empty, too long or not plain text", "give it a short name")
	}
	return s.change(ctx, sub.UserID, func(p *person) (Change, error) {
		k, err := s.ownKey(p.ID, id)
		if err != nil {
			return Change{}, err
		}
		n := *k
		n.Name = name
		return Change{Key: &n}, nil
	})
}

// EndPasskey removes one of the subject's own, but not the last way in.
func (s *Service) EndPasskey(ctx context.Context, sub security.Subject, id string) error {
	return s.change(ctx, sub.UserID, func(p *person) (Change, error) {
		k, err := s.ownKey(p.ID, id)
		if err != nil {
			return Change{}, err
		}
		others := slices.ContainsFunc(s.keysOf(p.ID), func(o *Passkey) bool { return o != k && !o.Blocked })
		if !others && !(p.Password != "" && len(p.Seed) > 0) {
			return Change{}, fault.New(fault.Conflict, "this is the last passkey, and without it you could not log in", "register another, or set a password and an authenticator app")
		}
		return Change{EndKey: k.ID}, nil
	})
}

// BeginSignIn asks any authenticator who it is: no name is typed, and nothing
// is told of who has passkeys.
func (s *Service) BeginSignIn(ctx context.Context, o security.Origin, at security.Site) (security.Ceremony, error) {
	w, err := s.party(at)
	if err != nil {
		return security.Ceremony{}, err
	}
	options, data, err := w.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return security.Ceremony{}, fault.Wrap(fault.Internal, err, "the passkey's question could not be made", "")
	}
	return s.ceremony("sign-in", "", "@"+addressOf(o.Remote).String(), at, options.Response, data)
}

// BeginStepUp asks one of the subject's own authenticators.
func (s *Service) BeginStepUp(ctx context.Context, sub security.Subject, at security.Site) (security.Ceremony, error) {
	w, err := s.party(at)
	if err != nil {
		return security.Ceremony{}, err
	}
	s.mu.RLock()
	owner, err := s.owner(sub.UserID, sub.Name)
	s.mu.RUnlock()
	if err != nil {
		return security.Ceremony{}, err
	}
	if len(owner.keys) == 0 {
		return security.Ceremony{}, fault.New(fault.NotFound, "you have no passkey", "type a code, or register a passkey")
	}
	options, data, err := w.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return security.Ceremony{}, fault.Wrap(fault.Internal, err, "the passkey's question could not be made", "")
	}
	return s.ceremony("step-up", sub.Session, sub.Session, at, options.Response, data)
}

// assert checks an authenticator's answer (§7.2) and gives its key as it now
// is: the counter forward, or blocked when that went back. person is whose key
// it must be; "" for anybody's. Each answer is charged to its address.
func (s *Service) assert(ctx context.Context, kind, bound, flowID string, credential []byte, person string, o security.Origin) (Passkey, error) {
	var none Passkey
	at := addressOf(o.Remote)
	if left := s.limits.charge(at, "passkey", true); left > 0 {
		return none, tooMany(left)
	}
	f, err := s.flows.take(kind, bound, flowID)
	if err != nil {
		return none, err
	}
	parsed, err := parseAssertion(credential)
	if err != nil {
		return none, err
	}
	w, err := s.party(f.site)
	if err != nil {
		return none, err
	}
	var k Passkey
	_, c, err := w.ValidatePasskeyLogin(func(raw, handle []byte) (webauthn.User, error) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		m := s.keys[string(raw)]
		if m == nil || m.Person != string(handle) || person != "" && m.Person != person {
			return nil, fault.New(fault.Unauthenticated, "no such passkey", "")
		}
		k = *m
		return s.owner(m.Person, "")
	}, f.ceremony, parsed)
	if err != nil {
		return none, badKey(err)
	}
	if !parsed.Response.AuthenticatorData.Flags.HasUserVerified() {
		return none, badKey(nil)
	}
	copied := fault.New(fault.Forbidden, "this passkey may have been copied: its counter went back", "it serves no more; use another way to log in, remove it, and tell an administrator")
	if k.Blocked {
		return none, copied
	}
	if c.Authenticator.CloneWarning {
		k.Blocked = true
		// This is not what was asked for, and has an entry of its own.
		ctx, _ := security.Carry(ctx, security.Entry{At: s.clock.Now(), UserID: k.Person, Via: security.ViaLocal, Remote: label(o.Remote, maxDevice), Action: "passkey.block",
			Resource: security.Resource{Kind: "passkey", ID: keyID(k.ID)}, Outcome: security.Allowed, Detail: "its counter went back: it may have been copied"})
		if err := s.keep(ctx, Change{Person: k.Person, Key: &k}); err != nil {
			return none, err
		}
		return none, copied
	}
	k.Count, k.Seen = c.Authenticator.SignCount, max(s.clock.Now(), k.Seen+timebase.Wall(1))
	if k.Credential, err = json.Marshal(c); err != nil {
		return none, fault.Wrap(fault.Internal, err, "the passkey could not be kept", "")
	}
	s.limits.refund(at, "passkey", true, true)
	return k, nil
}

// SignIn opens a session for whom the passkey says.
func (s *Service) SignIn(ctx context.Context, flowID string, credential []byte, o security.Origin) (security.Subject, string, error) {
	var none security.Subject
	k, err := s.assert(ctx, "sign-in", "", flowID, credential, "", o)
	if err != nil {
		return none, "", err
	}
	return s.open(ctx, k.Person, o, false, Change{Key: &k})
}

// open opens a session of a person who was recognised, and keeps with it what
// recognising changed.
func (s *Service) open(ctx context.Context, id string, o security.Origin, single bool, c Change) (security.Subject, string, error) {
	var none security.Subject
	release, err := s.alone(ctx)
	if err != nil {
		return none, "", err
	}
	defer release()
	s.mu.RLock()
	p := s.people[id]
	state := security.PersonDeleted
	if p != nil {
		state = p.State
	}
	s.mu.RUnlock()
	switch state {
	case security.PersonDeleted:
		return none, "", badKey(nil)
	case security.PersonDisabled:
		return none, "", disabled()
	}
	return s.openAs(ctx, p, o, single, c)
}

// openAs is open for p, who may be about to come with c; the caller is alone.
func (s *Service) openAs(ctx context.Context, p *person, o security.Origin, single bool, c Change) (security.Subject, string, error) {
	n, b, cookie := s.newSession(p, s.clock.Now(), o, single)
	c.Person, c.Pass, c.Browser = p.ID, &n, b
	s.tellSession(ctx, p, n, o)
	if err := used(s.apply(ctx, c)); err != nil {
		return security.Subject{}, "", err
	}
	s.mu.RLock()
	p = s.people[p.ID]
	s.mu.RUnlock()
	return s.begin(ctx, p, n, nil, o), cookie, nil
}
