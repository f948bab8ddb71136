package onvif

import (
	"context"
	"encoding/base64"
	"strings"
	"time"
)

// Security is the security configuration service ("advanced security"): keys,
// certificates, TLS, media signing, IEEE 802.1X.
type Security struct{ c *Client }

func (s Security) call(ctx context.Context, name string, content ...any) (*Element, error) {
	return s.c.call(ctx, nsSecurity, el("tas:"+name, content...))
}

func (s Security) set(ctx context.Context, name string, content ...any) error {
	_, err := s.call(ctx, name, content...)
	return err
}

// SecurityCapabilities say what of the service is there.
type SecurityCapabilities struct {
	RSA, ECC                bool // key pairs can be made
	RSALengths              []int
	Curves                  []string // "NIST P-256" ...; 22.06 and later
	PKCS10, PKCS8, PKCS12   bool
	SignatureAlgorithms     []string // OIDs
	TLSVersions             []string // "1.2", "1.3"
	TLSVersionsSettable     bool
	TLSPaths                int // certification paths the TLS server may have
	ClientAuthentication    bool
	Dot1XMethods            []string // "EAP-TLS" ...
	Dot1XConfigurations     int
	MediaSigning, OwnKeys   bool // streams can be signed; with keys made or uploaded by a user
	MaxKeys, MaxCertificate int
}

// Capabilities asks what of the service is there.
func (s Security) Capabilities(ctx context.Context) (SecurityCapabilities, error) {
	r, err := s.call(ctx, "GetServiceCapabilities")
	e := r.Child("Capabilities")
	k, t, x, m := e.Child("KeystoreCapabilities"), e.Child("TLSServerCapabilities"), e.Child("Dot1XCapabilities"), e.Child("MediaSigning")
	either := func(names ...string) bool {
		for _, n := range names {
			if toBool(k.Attr(n)) {
				return true
			}
		}
		return false
	}
	kinds := k.words("KeyPairGeneration")
	c := SecurityCapabilities{
		RSA: either("RSAKeyPairGeneration"), ECC: either("ECCKeyPairGeneration"), Curves: curves(k.Attr("EllipticCurves")),
		PKCS10: either("PKCS10", "PKCS10ExternalCertificationWithRSA"), PKCS8: either("PKCS8", "PKCS8RSAKeyPairUpload"), PKCS12: either("PKCS12", "PKCS12CertificateWithRSAPrivateKeyUpload"),
		TLSVersions: t.words("TLSServerSupported"), TLSVersionsSettable: toBool(t.Attr("EnabledVersionsSupported")), TLSPaths: toInt(t.Attr("MaximumNumberOfTLSCertificationPaths")),
		ClientAuthentication: toBool(t.Attr("TLSClientAuthSupported")), Dot1XMethods: x.words("Dot1XMethods"), Dot1XConfigurations: toInt(x.Attr("MaximumNumberOfDot1XConfigurations")),
		MediaSigning: toBool(m.Attr("MediaSigningSupported")), OwnKeys: toBool(m.Attr("UserMediaSigningKeySupported")),
		MaxKeys: toInt(k.Attr("MaximumNumberOfKeys")), MaxCertificate: toInt(k.Attr("MaximumNumberOfCertificates")),
	}
	for _, kind := range kinds {
		c.RSA, c.ECC = c.RSA || kind == "RSA", c.ECC || kind == "ECC"
	}
	for _, n := range k.words("RSAKeyLengths") {
		c.RSALengths = append(c.RSALengths, toInt(n))
	}
	for _, a := range k.All("SignatureAlgorithms") {
		c.SignatureAlgorithms = append(c.SignatureAlgorithms, a.str("algorithm"))
	}
	return c, err
}

// curves reads a list whose words may hold a space: "NIST P-256 NIST P-384".
func curves(s string) []string {
	var out []string
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
	for i := 0; i < len(words); i++ {
		if words[i] == "NIST" && i+1 < len(words) {
			out = append(out, "NIST "+words[i+1])
			i++
			continue
		}
		out = append(out, words[i])
	}
	return out
}

// CreateRSAKeyPair begins to make a key in the device. Ask GetKeyStatus after
// about the time estimated.
func (s Security) CreateRSAKeyPair(ctx context.Context, bits int, alias string) (key string, estimated time.Duration, err error) {
	r, err := s.call(ctx, "CreateRSAKeyPair", el("tas:KeyLength", bits), opt("tas:Alias", alias))
	return r.str("KeyID"), time.Duration(r.span("EstimatedCreationTime")), err
}

// CreateECCKeyPair begins to make a key on a curve: "NIST P-256".
func (s Security) CreateECCKeyPair(ctx context.Context, curve, alias string) (key string, estimated time.Duration, err error) {
	r, err := s.call(ctx, "CreateECCKeyPair", el("tas:EllipticCurve", curve), opt("tas:Alias", alias))
	return r.str("KeyID"), time.Duration(r.span("EstimatedCreationTime")), err
}

// GetKeyStatus gives "ok", "generating" or "corrupt".
func (s Security) GetKeyStatus(ctx context.Context, key string) (string, error) {
	r, err := s.call(ctx, "GetKeyStatus", el("tas:KeyID", key))
	return r.str("KeyStatus"), err
}

// Key is a key in the device.
type Key struct {
	ID, Alias, Status string
	Private           bool
	Secure            bool // in a secure element
}

// GetAllKeys lists the keys in the device.
func (s Security) GetAllKeys(ctx context.Context) ([]Key, error) {
	r, err := s.call(ctx, "GetAllKeys")
	var out []Key
	for _, e := range r.All("KeyAttribute") {
		out = append(out, Key{e.str("KeyID"), e.str("Alias"), e.str("KeyStatus"), e.truth("hasPrivateKey"), e.truth("securelyStored")})
	}
	return out, err
}

// DeleteKey removes a key nothing uses.
func (s Security) DeleteKey(ctx context.Context, key string) error {
	return s.set(ctx, "DeleteKey", el("tas:KeyID", key))
}

// Subject is whom a certificate is for.
type Subject struct {
	Country, Organization, OrganizationalUnit, CommonName, SerialNumber string
}

// Signature algorithms of CreatePKCS10CSR, as OIDs (RFC 3279, RFC 5758).
const (
	RSAWithSHA256   = "1.2.840.113549.1.1.11"
	ECDSAWithSHA256 = "1.2.840.10045.4.3.2"
)

// Extension is an X.509v3 extension asked for in a request: its OID and DER.
type Extension struct {
	OID      string
	Critical bool
	Value    []byte
}

// CreatePKCS10CSR gives a request for a certificate for a key in the device, DER
// (RFC 2986).
func (s Security) CreatePKCS10CSR(ctx context.Context, key string, to Subject, algorithm string, extensions ...Extension) ([]byte, error) {
	subject := el("tas:Subject", opt("tas:Country", to.Country), opt("tas:Organization", to.Organization), opt("tas:OrganizationalUnit", to.OrganizationalUnit),
		opt("tas:CommonName", to.CommonName), opt("tas:SerialNumber", to.SerialNumber))
	var attrs []*Element
	for _, x := range extensions {
		attrs = append(attrs, el("tas:CSRAttribute", el("tas:X509v3Extension", el("tas:extnOID", x.OID), el("tas:critical", x.Critical), el("tas:extnValue", base64.StdEncoding.EncodeToString(x.Value)))))
	}
	r, err := s.call(ctx, "CreatePKCS10CSR", subject, el("tas:KeyID", key), attrs, el("tas:SignatureAlgorithm", el("tas:algorithm", algorithm)))
	if err != nil {
		return nil, err
	}
	return der(r.str("PKCS10CSR"))
}

// der reads base64 with line breaks, and PEM, which some send instead.
func der(s string) ([]byte, error) {
	if i := strings.Index(s, "-----BEGIN"); i >= 0 {
		_, s, _ = strings.Cut(s[i+5:], "-----")
		s, _, _ = strings.Cut(s, "-----END")
	}
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil || len(b) == 0 {
		return nil, failuref(BadXML, "no base64 where a certificate or request should be")
	}
	return b, nil
}

// UploadCertificate stores a certificate, DER. With private, the device refuses
// it unless it holds the key.
func (s Security) UploadCertificate(ctx context.Context, certificate []byte, alias string, private bool) (id, key string, err error) {
	r, err := s.call(ctx, "UploadCertificate", el("tas:Certificate", base64.StdEncoding.EncodeToString(certificate)), opt("tas:Alias", alias), el("tas:PrivateKeyRequired", private))
	return r.str("CertificateID"), r.str("KeyID"), err
}

// Certificate is one in the device.
type Certificate struct {
	ID, KeyID, Alias string
	DER              []byte
	Private          bool // the device holds its key
}

func certificateOf(e *Element) (Certificate, error) {
	b, err := der(e.str("CertificateContent"))
	return Certificate{e.str("CertificateID"), e.str("KeyID"), e.str("Alias"), b, e.truth("HasPrivateKey")}, err
}

// GetCertificate reads one certificate.
func (s Security) GetCertificate(ctx context.Context, id string) (Certificate, error) {
	r, err := s.call(ctx, "GetCertificate", el("tas:CertificateID", id))
	if err != nil {
		return Certificate{}, err
	}
	return certificateOf(r.Child("Certificate"))
}

// GetAllCertificates reads all certificates; what cannot be read has no DER.
func (s Security) GetAllCertificates(ctx context.Context) ([]Certificate, error) {
	r, err := s.call(ctx, "GetAllCertificates")
	var out []Certificate
	for _, e := range r.All("Certificate") {
		c, _ := certificateOf(e) // its DER stays nil
		out = append(out, c)
	}
	return out, err
}

// DeleteCertificate removes a certificate nothing uses.
func (s Security) DeleteCertificate(ctx context.Context, id string) error {
	return s.set(ctx, "DeleteCertificate", el("tas:CertificateID", id))
}

// CreateCertificationPath makes a path of certificates, the device's own first.
func (s Security) CreateCertificationPath(ctx context.Context, alias string, certificates ...string) (path string, err error) {
	r, err := s.call(ctx, "CreateCertificationPath", el("tas:CertificateIDs", each("tas:CertificateID", certificates)), opt("tas:Alias", alias))
	return r.str("CertificationPathID"), err
}

// GetCertificationPath lists a path's certificates.
func (s Security) GetCertificationPath(ctx context.Context, path string) (certificates []string, alias string, err error) {
	r, err := s.call(ctx, "GetCertificationPath", el("tas:CertificationPathID", path))
	e := r.Child("CertificationPath")
	return e.strs("CertificateID"), e.str("Alias"), err
}

// GetAllCertificationPaths lists the paths.
func (s Security) GetAllCertificationPaths(ctx context.Context) ([]string, error) {
	r, err := s.call(ctx, "GetAllCertificationPaths")
	return r.strs("CertificationPathID"), err
}

// DeleteCertificationPath removes a path nothing uses.
func (s Security) DeleteCertificationPath(ctx context.Context, path string) error {
	return s.set(ctx, "DeleteCertificationPath", el("tas:CertificationPathID", path))
}

// GetAssignedServerCertificates lists the paths the TLS server shows.
func (s Security) GetAssignedServerCertificates(ctx context.Context) ([]string, error) {
	r, err := s.call(ctx, "GetAssignedServerCertificates")
	return r.strs("CertificationPathID"), err
}

// AddServerCertificateAssignment gives the TLS server a path.
func (s Security) AddServerCertificateAssignment(ctx context.Context, path string) error {
	return s.set(ctx, "AddServerCertificateAssignment", el("tas:CertificationPathID", path))
}

// ReplaceServerCertificateAssignment changes the TLS server's path.
func (s Security) ReplaceServerCertificateAssignment(ctx context.Context, old, path string) error {
	return s.set(ctx, "ReplaceServerCertificateAssignment", el("tas:OldCertificationPathID", old), el("tas:NewCertificationPathID", path))
}

// RemoveServerCertificateAssignment takes a path from the TLS server.
func (s Security) RemoveServerCertificateAssignment(ctx context.Context, path string) error {
	return s.set(ctx, "RemoveServerCertificateAssignment", el("tas:CertificationPathID", path))
}

// GetEnabledTLSVersions lists the versions the TLS server speaks: "1.2".
func (s Security) GetEnabledTLSVersions(ctx context.Context) ([]string, error) {
	r, err := s.call(ctx, "GetEnabledTLSVersions")
	return r.list("Versions"), err
}

// SetEnabledTLSVersions sets the versions the TLS server speaks.
func (s Security) SetEnabledTLSVersions(ctx context.Context, versions ...string) error {
	return s.set(ctx, "SetEnabledTLSVersions", el("tas:Versions", strings.Join(versions, " ")))
}

// SetClientAuthenticationRequired says whether the TLS server asks for
// certificates.
func (s Security) SetClientAuthenticationRequired(ctx context.Context, required bool) error {
	return s.set(ctx, "SetClientAuthenticationRequired", el("tas:clientAuthenticationRequired", required))
}

// GetAssignedMediaSigningCertificates lists the paths streams are signed with.
func (s Security) GetAssignedMediaSigningCertificates(ctx context.Context) ([]string, error) {
	r, err := s.call(ctx, "GetAssignedMediaSigningCertificates")
	return r.strs("CertificationPathID"), err
}

// AddMediaSigningCertificateAssignment gives media signing a path.
func (s Security) AddMediaSigningCertificateAssignment(ctx context.Context, path string) error {
	return s.set(ctx, "AddMediaSigningCertificateAssignment", el("tas:CertificationPathID", path))
}

// RemoveMediaSigningCertificateAssignment takes a path from media signing.
func (s Security) RemoveMediaSigningCertificateAssignment(ctx context.Context, path string) error {
	return s.set(ctx, "RemoveMediaSigningCertificateAssignment", el("tas:CertificationPathID", path))
}

// UploadPassphrase stores a passphrase in the device's key store.
func (s Security) UploadPassphrase(ctx context.Context, passphrase, alias string) (id string, err error) {
	r, err := s.call(ctx, "UploadPassphrase", el("tas:Passphrase", passphrase), opt("tas:PassphraseAlias", alias))
	return r.str("PassphraseID"), err
}

// CreateCertPathValidationPolicy makes a policy that trusts these certificates.
func (s Security) CreateCertPathValidationPolicy(ctx context.Context, alias string, anchors ...string) (id string, err error) {
	body := []any{opt("tas:Alias", alias), el("tas:Parameters")}
	for _, a := range anchors {
		body = append(body, el("tas:TrustAnchor", el("tas:CertificateID", a)))
	}
	r, err := s.call(ctx, "CreateCertPathValidationPolicy", body...)
	return r.str("CertPathValidationPolicyID"), err
}

// Dot1X is how the device signs in to a network by IEEE 802.1X.
type Dot1X struct {
	ID, Alias string
	Outer     Dot1XStage
}

// Dot1XStage is one method of EAP.
type Dot1XStage struct {
	Method     string // "EAP-TLS", "EAP-PEAP/MSCHAPv2" ...
	Identity   string
	Path       string // certification path of the device
	Passphrase string // id
	Policy     string // certification path validation policy for the server
	Inner      *Dot1XStage
}

func dot1xStageOf(e *Element) Dot1XStage {
	s := Dot1XStage{Method: e.Attr("Method"), Identity: e.str("Identity"), Path: e.str("CertificationPathID"), Passphrase: e.str("PassphraseID"), Policy: e.Attr("CertPathValidationPolicyID")}
	if in := e.Child("Inner"); in != nil {
		k := dot1xStageOf(in)
		s.Inner = &k
	}
	return s
}

func (s Dot1XStage) element(name string) *Element {
	e := el(name, attr("Method", s.Method), opt("tas:Identity", s.Identity), opt("tas:CertificationPathID", s.Path), opt("tas:PassphraseID", s.Passphrase))
	if s.Policy != "" {
		e.Attrs = append(e.Attrs, attr("CertPathValidationPolicyID", s.Policy))
	}
	if s.Inner != nil {
		e.Children = append(e.Children, s.Inner.element("tas:Inner"))
	}
	return e
}

// GetAllDot1XConfigurations lists them.
func (s Security) GetAllDot1XConfigurations(ctx context.Context) ([]Dot1X, error) {
	r, err := s.call(ctx, "GetAllDot1XConfigurations")
	var out []Dot1X
	for _, e := range r.All("Configuration") {
		out = append(out, Dot1X{e.str("Dot1XID"), e.str("Alias"), dot1xStageOf(e.Child("Outer"))})
	}
	return out, err
}

// AddDot1XConfiguration stores one and gives its id.
func (s Security) AddDot1XConfiguration(ctx context.Context, k Dot1X) (id string, err error) {
	r, err := s.call(ctx, "AddDot1XConfiguration", el("tas:Dot1XConfiguration", opt("tas:Dot1XID", k.ID), opt("tas:Alias", k.Alias), k.Outer.element("tas:Outer")))
	return r.str("Dot1XID"), err
}

// DeleteDot1XConfiguration removes one.
func (s Security) DeleteDot1XConfiguration(ctx context.Context, id string) error {
	return s.set(ctx, "DeleteDot1XConfiguration", el("tas:Dot1XID", id))
}

// GetNetworkInterfaceDot1XConfiguration gives the configuration an interface
// uses, "" for none.
func (s Security) GetNetworkInterfaceDot1XConfiguration(ctx context.Context, networkInterface string) (id string, err error) {
	r, err := s.call(ctx, "GetNetworkInterfaceDot1XConfiguration", el("tas:token", networkInterface))
	return r.str("Dot1XID"), err
}

// SetNetworkInterfaceDot1XConfiguration makes an interface use one.
func (s Security) SetNetworkInterfaceDot1XConfiguration(ctx context.Context, networkInterface, id string) (reboot bool, err error) {
	r, err := s.call(ctx, "SetNetworkInterfaceDot1XConfiguration", el("tas:token", networkInterface), el("tas:Dot1XID", id))
	return r.truth("RebootNeeded"), err
}
