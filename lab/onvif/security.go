package onvif

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Bounds of the keystore.
const (
	mostKeys  = 16
	mostCerts = 32
	mostPaths = 16
)

type key struct {
	id, alias string
	signer    crypto.Signer
}

type cert struct {
	id, alias string
	key       string // id; "" when the device has none to it
	x         *x509.Certificate
}

type path struct {
	id, alias string
	certs     []string // ids, leaf first
}

// keystore is what the Security service holds; guarded by Device.mu.
type keystore struct {
	keys    []key
	certs   []cert
	paths   []path
	server  string // path the TLS server shows
	signing string // path whose key signs the video; "": the factory's
	made    int
	tls     []string
	dot1x   []dot1x
}

func (k *keystore) id(kind string) string {
	k.made++
	return kind + itoa(k.made)
}

// init makes the keys of the factory: a self-signed certificate for TLS.
func (k *keystore) init(host string) error {
	c, err := selfSigned(host)
	if err != nil {
		return err
	}
	k.keys = []key{{"factorykey", "factory", c.PrivateKey.(crypto.Signer)}}
	k.certs = []cert{{"factorycert", "factory", "factorykey", c.Leaf}}
	k.paths = []path{{"factorypath", "factory", []string{"factorycert"}}}
	k.server = "factorypath"
	k.tls = []string{"1.2", "1.3"}
	return nil
}

func (k *keystore) key(id string) *key {
	for i := range k.keys {
		if k.keys[i].id == id {
			return &k.keys[i]
		}
	}
	return nil
}

func (k *keystore) cert(id string) *cert {
	for i := range k.certs {
		if k.certs[i].id == id {
			return &k.certs[i]
		}
	}
	return nil
}

func (k *keystore) path(id string) *path {
	for i := range k.paths {
		if k.paths[i].id == id {
			return &k.paths[i]
		}
	}
	return nil
}

// chain is a path with its leaf's key, ready for use; nil when it has none.
func (k *keystore) chain(id string) *tls.Certificate {
	p := k.path(id)
	if p == nil {
		return nil
	}
	out := &tls.Certificate{}
	for i, id := range p.certs {
		c := k.cert(id)
		if c == nil {
			return nil
		}
		if i == 0 {
			kk := k.key(c.key)
			if kk == nil {
				return nil
			}
			out.PrivateKey, out.Leaf = kk.signer, c.x
		}
		out.Certificate = append(out.Certificate, c.x.Raw)
	}
	return out
}

// certificate is what HTTPS and RTSPS show.
func (d *Device) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.keys.chain(d.keys.server); c != nil {
		return c, nil
	}
	return nil, &soapFault{reason: "no certificate is assigned"}
}

// tlsVersions applies what SetEnabledTLSVersions set.
func (d *Device) tlsVersions(*tls.ClientHelloInfo) (*tls.Config, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: d.certificate}
	if !slices.Contains(d.keys.tls, "1.2") {
		c.MinVersion = tls.VersionTLS13
	}
	if !slices.Contains(d.keys.tls, "1.3") {
		c.MaxVersion = tls.VersionTLS12
	}
	return c, nil
}

func securityCapabilities(d *Device) *el {
	return e("tas:Capabilities",
		e("tas:KeystoreCapabilities", a("MaximumNumberOfKeys", itoa(mostKeys)), a("MaximumNumberOfCertificates", itoa(mostCerts)), a("MaximumNumberOfCertificationPaths", itoa(mostPaths)),
			a("RSAKeyPairGeneration", "true"), a("RSAKeyLengths", "2048 3072"), a("ECCKeyPairGeneration", "true"), a("EllipticCurves", "P-256 P-384"), a("PKCS10", "true"), a("SelfSignedCertificateCreation", "true"),
			a("PKCS10ExternalCertificationWithRSA", "true"), a("X509Versions", "3")),
		e("tas:TLSServerCapabilities", a("TLSServerSupported", "1.2 1.3"), a("EnabledVersionsSupported", "true"), a("MaximumNumberOfTLSCertificationPaths", "1")),
		e("tas:Dot1XCapabilities", a("MaximumNumberOfDot1XConfigurations", itoa(mostDot1X)), a("Dot1XMethods", "EAP-TLS")),
		e("tas:MediaSigningCapabilities", a("MediaSigningSupported", "true"), a("UserMediaSigningKeySupported", "true")))
}

func securityOps() map[string]operation {
	m := map[string]operation{
		"GetServiceCapabilities":             {read, func(c *call) (*el, error) { return c.ok(securityCapabilities(c.d)) }},
		"CreateRSAKeyPair":                   {write, createKey},
		"CreateECCKeyPair":                   {write, createKey},
		"GetAllKeys":                         {read, getKeys},
		"GetKeyStatus":                       {read, onKey(func(c *call, _ *key) (*el, error) { return c.ok(e("tas:KeyStatus", "ok")) })},
		"GetPrivateKeyStatus":                {read, onKey(func(c *call, k *key) (*el, error) { return c.ok(e("tas:hasPrivateKey", k.signer != nil)) })},
		"DeleteKey":                          {write, onKey(deleteKey)},
		"CreatePKCS10CSR":                    {write, onKey(createCSR)},
		"CreateSelfSignedCertificate":        {write, onKey(createSelfSigned)},
		"UploadCertificate":                  {write, uploadCertificate},
		"GetCertificate":                     {read, getCertificate},
		"GetAllCertificates":                 {read, getAllCertificates},
		"DeleteCertificate":                  {write, deleteCertificate},
		"CreateCertificationPath":            {write, createPath},
		"GetCertificationPath":               {read, getPath},
		"GetAllCertificationPaths":           {read, getPaths},
		"DeleteCertificationPath":            {write, deletePath},
		"AddServerCertificateAssignment":     {write, assign("CertificationPathID", false)},
		"ReplaceServerCertificateAssignment": {write, assign("NewCertificationPathID", false)},
		"RemoveServerCertificateAssignment":  {write, unassign(false)},
		"GetAssignedServerCertificates":      {read, assigned(false)},
		"GetEnabledTLSVersions": {read, func(c *call) (*el, error) {
			c.d.mu.Lock()
			defer c.d.mu.Unlock()
			return c.ok(e("tas:Versions", strings.Join(c.d.keys.tls, " ")))
		}},
		"SetEnabledTLSVersions":                   {write, setTLSVersions},
		"AddMediaSigningCertificateAssignment":    {write, assign("CertificationPathID", true)},
		"RemoveMediaSigningCertificateAssignment": {write, unassign(true)},
		"GetAssignedMediaSigningCertificates":     {read, assigned(true)},
		"GetMediaSigningCertificateAssignments":   {read, assigned(true)},
	}
	for name, op := range dot1xOps() {
		m[name] = op
	}
	return m
}

func full(what string) error {
	return &soapFault{receiver: true, codes: []string{"ter:Action", "ter:MaximumNumberOf" + what + "Reached"}, reason: "the device holds no more of these"}
}

func createKey(c *call) (*el, error) {
	var signer crypto.Signer
	var err error
	if c.body.name == "CreateRSAKeyPair" {
		n := c.body.str("KeyLength")
		if n != "2048" && n != "3072" {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:KeyLength"}, reason: "a key has 2048 or 3072 bits"}
		}
		signer, err = rsa.GenerateKey(rand.Reader, map[string]int{"2048": 2048, "3072": 3072}[n])
	} else {
		switch c.body.str("EllipticCurve") {
		case "P-256", "secp256r1", "prime256v1":
			signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		case "P-384", "secp384r1":
			signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		default:
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:EllipticCurve"}, reason: "the curve is P-256 or P-384"}
		}
	}
	if err != nil {
		return nil, err
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	k := &c.d.keys
	if len(k.keys) >= mostKeys {
		return nil, full("Keys")
	}
	id := k.id("key")
	k.keys = append(k.keys, key{id, clipped(c.body.str("Alias")), signer})
	return c.ok(e("tas:KeyID", id), e("tas:EstimatedCreationTime", "PT0S"))
}

func clipped(s string) string { return s[:min(len(s), 64)] }

func noKey() error {
	return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:KeyID"}, reason: "there is no such key"}
}

// onKey lets f answer for the key the call names; mu is held.
func onKey(f func(*call, *key) (*el, error)) func(*call) (*el, error) {
	return func(c *call) (*el, error) {
		c.d.mu.Lock()
		defer c.d.mu.Unlock()
		k := c.d.keys.key(c.body.str("KeyID"))
		if k == nil {
			return nil, noKey()
		}
		return f(c, k)
	}
}

func getKeys(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, k := range c.d.keys.keys {
		out = append(out, e("tas:KeyAttribute", e("tas:KeyID", k.id), e("tas:Alias", k.alias), e("tas:hasPrivateKey", true), e("tas:KeyStatus", "ok"), e("tas:externallyGenerated", false), e("tas:securelyStored", false)))
	}
	return c.ok(out)
}

func inUse() error {
	return &soapFault{codes: []string{"ter:OperationProhibited", "ter:ReferenceExists"}, reason: "it is in use"}
}

func deleteKey(c *call, k *key) (*el, error) {
	for _, x := range c.d.keys.certs {
		if x.key == k.id {
			return nil, inUse()
		}
	}
	id := k.id
	c.d.keys.keys = slices.DeleteFunc(c.d.keys.keys, func(o key) bool { return o.id == id })
	return c.ok()
}

func subject(n *node) pkix.Name {
	list := func(name string) (out []string) {
		for _, k := range n.all(name) {
			out = append(out, clipped(k.str()))
		}
		return out
	}
	return pkix.Name{CommonName: clipped(n.str("CommonName")), Country: list("Country"), Organization: list("Organization"), OrganizationalUnit: list("OrganizationalUnit"),
		Locality: list("Locality"), Province: list("StateOrProvinceName"), SerialNumber: clipped(n.str("SerialNumber"))}
}

// createCSR makes a PKCS#10 request of the names a client gives, and for the
// device's address.
func createCSR(c *call, k *key) (*el, error) {
	t := &x509.CertificateRequest{Subject: subject(c.body.at("Subject"))}
	if ip := parseIP(c.d.cfg.Host); ip != nil {
		t.IPAddresses = append(t.IPAddresses, ip)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, t, k.signer)
	if err != nil {
		return nil, err
	}
	return c.ok(e("tas:PKCS10CSR", base64.StdEncoding.EncodeToString(der)))
}

func createSelfSigned(c *call, k *key) (*el, error) {
	if len(c.d.keys.certs) >= mostCerts {
		return nil, full("Certificates")
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now().Add(c.d.skew)
	t := &x509.Certificate{SerialNumber: serial, Subject: subject(c.body.at("Subject")), NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(5, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	if ip := parseIP(c.d.cfg.Host); ip != nil {
		t.IPAddresses = append(t.IPAddresses, ip)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, k.signer.Public(), k.signer)
	if err != nil {
		return nil, err
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	id := c.d.keys.id("cert")
	c.d.keys.certs = append(c.d.keys.certs, cert{id, clipped(c.body.str("Alias")), k.id, x})
	return c.ok(e("tas:CertificateID", id))
}

func uploadCertificate(c *call) (*el, error) {
	bad := &soapFault{codes: []string{"ter:InvalidArgVal", "ter:BadCertificate"}, reason: "the certificate cannot be read"}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(c.body.str("Certificate")), ""))
	if err != nil {
		return nil, bad
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, bad
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	k := &c.d.keys
	if len(k.certs) >= mostCerts {
		return nil, full("Certificates")
	}
	owner := ""
	for _, kk := range k.keys {
		if pub, ok := kk.signer.Public().(interface{ Equal(crypto.PublicKey) bool }); ok && pub.Equal(x.PublicKey) {
			owner = kk.id
		}
	}
	if owner == "" && boolean(c.body.str("PrivateKeyRequired")) {
		return nil, &soapFault{codes: []string{"ter:OperationProhibited", "ter:NoMatchingPrivateKey"}, reason: "the device has no key to the certificate"}
	}
	for _, o := range k.certs {
		if bytes.Equal(o.x.Raw, x.Raw) {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:DuplicateCertificate"}, reason: "the device has this certificate: " + o.id}
		}
	}
	id := k.id("cert")
	k.certs = append(k.certs, cert{id, clipped(c.body.str("Alias")), owner, x})
	return c.ok(e("tas:CertificateID", id), e("tas:KeyID", owner))
}

func (x cert) el(name string) *el {
	return e(name, e("tas:CertificateID", x.id), e("tas:KeyID", x.key), e("tas:Alias", x.alias), e("tas:CertificateContent", base64.StdEncoding.EncodeToString(x.x.Raw)))
}

func noCert() error {
	return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:CertificateID"}, reason: "there is no such certificate"}
}

func getCertificate(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	x := c.d.keys.cert(c.body.str("CertificateID"))
	if x == nil {
		return nil, noCert()
	}
	return c.ok(x.el("tas:Certificate"))
}

func getAllCertificates(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, x := range c.d.keys.certs {
		out = append(out, x.el("tas:Certificate"))
	}
	return c.ok(out)
}

func deleteCertificate(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	id := c.body.str("CertificateID")
	if c.d.keys.cert(id) == nil {
		return nil, noCert()
	}
	for _, p := range c.d.keys.paths {
		if slices.Contains(p.certs, id) {
			return nil, inUse()
		}
	}
	c.d.keys.certs = slices.DeleteFunc(c.d.keys.certs, func(x cert) bool { return x.id == id })
	return c.ok()
}

func createPath(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	k := &c.d.keys
	if len(k.paths) >= mostPaths {
		return nil, full("CertificationPaths")
	}
	p := path{alias: clipped(c.body.str("Alias"))}
	var last *cert
	for _, n := range c.body.at("CertificateIDs").all("CertificateID") {
		x := k.cert(n.str())
		if x == nil || len(p.certs) >= 8 {
			return nil, noCert()
		}
		if last != nil && last.x.CheckSignatureFrom(x.x) != nil {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:InvalidCertificateChain"}, reason: "each certificate is signed by the one behind it"}
		}
		p.certs, last = append(p.certs, x.id), x
	}
	if len(p.certs) == 0 {
		return nil, noCert()
	}
	p.id = k.id("path")
	k.paths = append(k.paths, p)
	return c.ok(e("tas:CertificationPathID", p.id))
}

func noPath() error {
	return &soapFault{codes: []string{"ter:InvalidArgVal", "ter:CertificationPathID"}, reason: "there is no such certification path"}
}

func getPath(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	p := c.d.keys.path(c.body.str("CertificationPathID"))
	if p == nil {
		return nil, noPath()
	}
	var ids []*el
	for _, id := range p.certs {
		ids = append(ids, e("tas:CertificateID", id))
	}
	return c.ok(e("tas:CertificationPath", ids, e("tas:Alias", p.alias)))
}

func getPaths(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	var out []*el
	for _, p := range c.d.keys.paths {
		out = append(out, e("tas:CertificationPathID", p.id))
	}
	return c.ok(out)
}

func deletePath(c *call) (*el, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	id := c.body.str("CertificationPathID")
	if c.d.keys.path(id) == nil {
		return nil, noPath()
	}
	if id == c.d.keys.server || id == c.d.keys.signing {
		return nil, inUse()
	}
	c.d.keys.paths = slices.DeleteFunc(c.d.keys.paths, func(p path) bool { return p.id == id })
	return c.ok()
}

// assign lets the TLS server show a path, or the signer sign with it.
func assign(field string, signing bool) func(*call) (*el, error) {
	return func(c *call) (*el, error) {
		id := c.body.str(field)
		c.d.mu.Lock()
		k := &c.d.keys
		var err error
		switch {
		case k.path(id) == nil:
			err = noPath()
		case k.chain(id) == nil:
			err = &soapFault{codes: []string{"ter:OperationProhibited", "ter:NoPrivateKey"}, reason: "the device has no key to the path's first certificate"}
		case field == "NewCertificationPathID" && c.body.str("OldCertificationPathID") != k.server:
			err = &soapFault{codes: []string{"ter:InvalidArgVal", "ter:OldCertificationPathID"}, reason: "the old path is not assigned"}
		case signing:
			k.signing = id
		default:
			k.server = id
		}
		c.d.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if signing {
			c.d.sign(0)
			c.d.sign(1)
		}
		return c.ok()
	}
}

func unassign(signing bool) func(*call) (*el, error) {
	return func(c *call) (*el, error) {
		id := c.body.str("CertificationPathID")
		c.d.mu.Lock()
		into := &c.d.keys.server
		if signing {
			into = &c.d.keys.signing
		}
		ok := *into == id && id != ""
		if ok {
			*into = ""
		}
		c.d.mu.Unlock()
		if !ok {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:CertificationPathID"}, reason: "the path is not assigned"}
		}
		if signing {
			c.d.sign(0)
			c.d.sign(1)
		}
		return c.ok()
	}
}

func assigned(signing bool) func(*call) (*el, error) {
	return func(c *call) (*el, error) {
		c.d.mu.Lock()
		defer c.d.mu.Unlock()
		id := c.d.keys.server
		if signing {
			id = c.d.keys.signing
		}
		if id == "" {
			return c.ok()
		}
		return c.ok(e("tas:CertificationPathID", id))
	}
}

func setTLSVersions(c *call) (*el, error) {
	v := strings.Fields(c.body.str("Versions"))
	for _, x := range v {
		if x != "1.2" && x != "1.3" {
			return nil, &soapFault{codes: []string{"ter:InvalidArgVal", "ter:UnsupportedVersion"}, reason: "the device speaks TLS 1.2 and 1.3"}
		}
	}
	if len(v) == 0 {
		return nil, &soapFault{codes: []string{"ter:OperationProhibited"}, reason: "one version must remain"}
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.keys.tls = v
	return c.ok()
}
